"""One key's account with one router, in this session: models and prices, spending, the balance."""

from __future__ import annotations

from puq_magics.api.types import Model, Usage
from puq_magics.core.errors import APIError, NotFoundError
from puq_magics.session.budget import Asked, Estimate, Spending, by_code, cost_of
from puq_magics.session.model_list import Catalogue, Connect, kind_of
from puq_magics.session.settings import PuqMagics


class Account:
    """What is known of it. ``spending`` is what the session has spent with the router, by whatever key."""

    def __init__(self, connect: Connect, settings: PuqMagics, spending: Spending) -> None:
        self.catalogue = Catalogue(connect)
        self.spending = spending
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

    def balance(self, *, quick: bool = False) -> float:
        """The balance now. Raises APIError, also where the router has none."""
        with self._connect(quick=quick) as router:
            balance = router.balance()
        self.catalogue.saw_balance(balance)
        self.last_balance = balance
        return balance

    @property
    def fallen(self) -> float | None:
        """Credits by which the balance has fallen since the first look; None when that is not known."""
        start = self.catalogue.balance_at_start
        return None if start is None or self.last_balance is None else start - self.last_balance

    def admit(self, asked: Asked) -> float:
        """Let a call pass that keeps to the budget; what is held for it is to be released. Raises BudgetError."""
        budget = self._settings.budget
        if budget is None:
            return 0.0
        self._look_at_balance()
        if not self.catalogue.known:
            self.catalogue.begin()
            self.catalogue.wait()  # soon: a look in the background is a quick one, and not repeated at once
        return self.spending.hold(budget, self.estimate(asked), self.fallen)

    def settle(self, asked: Asked, usage: Usage | None, *, whole: bool) -> float | None:
        """A call has ended: note its cost, and give it."""
        cost = self.cost(asked.model, usage)
        if cost is None and self._settings.budget is not None:
            before = self.last_balance
            self._look_at_balance()
            if before is not None and self.last_balance is not None and self.last_balance < before:
                cost = before - self.last_balance
        self.spending.note(asked, cost, usage, whole=whole)
        return cost

    def assume(self, asked: Asked) -> None:
        """A call was sent, and nothing came: it may have been charged all the same."""
        self.spending.note(asked, self.estimate(asked).cost, whole=False)

    def _look_at_balance(self) -> None:
        if self._has_balance:
            try:
                self.balance(quick=True)
            except NotFoundError:  # a server without one
                self._has_balance = False
            except APIError:  # the call itself will say what is wrong
                self.last_balance = None
