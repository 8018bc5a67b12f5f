"""One key's account with one router, in this session: models and prices, spending, the balance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from puq_magics.api.errors import AnswerError, APIError, NotFoundError
from puq_magics.api.wire import Model, Usage
from puq_magics.session.catalogue import Catalogue, kind_of
from puq_magics.session.settings import PuqMagics
from puq_magics.session.spending import Asked, Estimate, Spending, by_code, cost_of

if TYPE_CHECKING:
    from puq_magics.api.client import Router


class Account:
    """What is known of it; ``connect`` makes a router of its own, to look beside a call."""

    def __init__(self, connect: Callable[[], Router], settings: PuqMagics) -> None:
        self.catalogue = Catalogue(connect)
        self.spending = Spending()
        self._connect = connect
        self._settings = settings
        self._has_balance = True
        #: The balance when it was last looked at.
        self.last_balance: float | None = None

    def kind(self, code: str) -> str:
        """What a model is for."""
        return kind_of(code, self._settings.kinds)

    def model(self, code: str) -> Model | None:
        """The model's line of the list, if that is known by now."""
        return by_code(self.catalogue.known, code)

    def cost(self, code: str, usage: Usage | None) -> float | None:
        """What a call has cost, by the list's prices; None when these are not known."""
        return cost_of(self.model(code), usage, self._settings.price_unit)

    def estimate(self, asked: Asked) -> Estimate:
        """What a call may cost."""
        return self.spending.estimate(asked, self.model(asked.model), self._settings.price_unit)

    def balance(self) -> float:
        """The balance now. Raises APIError, also where the router has none."""
        with closing(self._connect()) as router:
            balance = router.balance()
        self.catalogue.saw_balance(balance)
        self.last_balance = balance
        return balance

    @property
    def fallen(self) -> float | None:
        """Credits by which the balance has fallen since the first look; None when that is not known."""
        start = self.catalogue.balance_at_start
        return None if start is None or self.last_balance is None else start - self.last_balance

    def admit(self, asked: Asked) -> None:
        """Let a call pass that keeps to the budget. Raises BudgetError."""
        budget = self._settings.budget
        if budget is None:
            return
        self._look_at_balance()
        if not self.catalogue.known:
            with suppress(APIError):  # then by what such calls cost so far
                self.catalogue.fetch()
        self.spending.check(budget, self.estimate(asked), self.fallen)

    def settle(self, asked: Asked, usage: Usage | None) -> float | None:
        """A call has ended: note its cost, and give it."""
        cost = self.cost(asked.model, usage)
        if cost is None and self._settings.budget is not None:
            before = self.last_balance
            self._look_at_balance()
            if before is not None and self.last_balance is not None:
                cost = max(0.0, before - self.last_balance)
        self.spending.note(asked, cost, usage)
        return cost

    def _look_at_balance(self) -> None:
        if not self._has_balance:
            return
        try:
            self.balance()
        except (NotFoundError, AnswerError):  # a server without one
            self._has_balance = False
        except APIError:  # the call itself will say what is wrong
            return
