"""Account of one key with one router, in this session: models and prices, cost, balance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from puq_magics.api.types import Model, Usage
from puq_magics.core.errors import APIError, NotFoundError
from puq_magics.session.budget import CallInfo, CostTracker, Estimate, find_model, usage_cost
from puq_magics.session.model_list import ModelList, RouterFactory, resolve_kind
from puq_magics.session.settings import PuqMagics


class Account:
    """Cached facts about the account: model list, balance, and cost.

    ``costs`` are those of the session with the router, with any key.
    """

    def __init__(
        self,
        connect: RouterFactory,
        settings: PuqMagics,
        costs: CostTracker,
    ) -> None:
        self.model_list = ModelList(connect)
        self.costs = costs
        self._connect = connect
        self._settings = settings
        self._has_balance = True
        #: Balance when it was last fetched.
        self.last_balance: float | None = None

    def kind(self, code: str) -> str:
        """Return the kind of a model."""
        return resolve_kind(code, self._settings.model_kinds)

    def model(self, code: str) -> Model | None:
        """Return the model's entry in the list, if it was fetched."""
        return find_model(self.model_list.cached, code)

    def cost(self, code: str, usage: Usage | None) -> float | None:
        """Return the cost of a call by the list's prices; None if they are not known."""
        return usage_cost(self.model(code), usage, self._settings.price_unit)

    def estimate(self, info: CallInfo) -> Estimate:
        """Estimate the cost of a call."""
        return self.costs.estimate(info, self.model(info.model), self._settings.price_unit)

    def balance(self, *, quick: bool = False) -> float:
        """Fetch the balance. Raises APIError, also if the router has none."""
        with self._connect(quick=quick) as router:
            balance = router.balance()
        self.record_balance(balance)
        return balance

    def record_balance(self, balance: float) -> None:
        """Record the balance as it is now."""
        self.model_list.record_balance(balance)
        self.last_balance = balance

    @property
    def balance_drop(self) -> float | None:
        """Return the credits by which the balance has fallen since it was first fetched; None if unknown."""
        start = self.model_list.balance_at_start
        return None if start is None or self.last_balance is None else start - self.last_balance

    def restart_count(self) -> None:
        """Start anew the count of what was spent: of the estimates, and of the balance's change."""
        self.costs.reset()
        self.model_list.forget_balance()
        self.last_balance = None

    @contextmanager
    def reserve(
        self, info: CallInfo, budget: float | None, *, over_budget: bool = False, refresh: bool = True
    ) -> Iterator[None]:
        """Reserve the estimated cost of a call while it runs. Raises BudgetError, unless ``over_budget``.

        ``budget`` is in credits; None is no limit. With ``refresh`` the balance is fetched first.
        """
        if budget is None:
            yield
            return
        if refresh:
            self._refresh_balance()
        if not self.model_list.cached:
            self.model_list.fetch_in_background()
            self.model_list.wait()  # soon: a look in the background is a quick one, and not repeated at once
        estimate = self.estimate(info)
        with self.costs.reserve(budget, estimate, self.last_balance, over_budget=over_budget):
            yield

    def record_cost(self, info: CallInfo, usage: Usage | None, *, complete: bool) -> float | None:
        """Record and return the cost of a call that has ended.

        It is what the router reports, else by the list's prices for the tokens that it reports, else the fall of
        the balance, which is watched while there is a budget, else by the list's prices for the input's length.
        """
        fall = None
        if self.costs.watches_balance:
            self._refresh_balance()
            fall = self.costs.balance_fall(self.last_balance)
        reported = None if usage is None else usage.cost
        cost = self.cost(info.model, usage) if reported is None else reported
        if cost is None and fall:
            cost = fall
        if cost is None and info.kind != "chat":
            cost = self.cost(info.model, self.costs.assumed_usage(info, self.model(info.model)))
        self.costs.record(info, cost, usage, complete=complete, balance_fall=fall)
        return cost

    def charge_estimate(self, info: CallInfo) -> None:
        """Record the estimated cost of a call without an answer: it may have been charged."""
        self.costs.record(info, self.estimate(info).cost, complete=False)

    def _refresh_balance(self) -> None:
        if self._has_balance:
            try:
                self.balance(quick=True)
            except NotFoundError:  # a server without one
                self._has_balance = False
            except APIError:  # the call itself will say what is wrong
                self.last_balance = None


def available_models(account: Account, kind: str = "chat", limit: int = 8) -> str:
    """Return some models of a kind, as a sentence; empty for none. Raises APIError."""
    listed = account.model_list.fetch().values()
    codes = [model.code for model in listed if model.enabled and account.kind(model.code) == kind]
    if not codes:
        return ""
    more = f" and {len(codes) - limit} more" if len(codes) > limit else ""
    return f" This key can use {', '.join(codes[:limit])}{more}."
