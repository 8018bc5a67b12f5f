"""Cost of calls, by estimate and by the balance, and the budget.

Prices are those of the model list, and the balance is authoritative: every figure computed here is an estimate.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from puq_magics.api.types import Model, Usage
from puq_magics.core.errors import BudgetError
from puq_magics.core.fork import after_fork
from puq_magics.outputs.results.footer import format_credits
from puq_magics.prompts.token_estimate import estimate_tokens

#: Assumed tokens of an answer without a limit, until a longer one has arrived.
DEFAULT_ANSWER_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Facts about a call before it is made."""

    kind: str
    model: str
    #: Tokens of the prompt, estimated.
    prompt_tokens: int = 0
    #: Limit on the answer's tokens; None for none.
    max_tokens: int | None = None
    #: Number of answers, images or requests.
    count: int = 1
    #: Characters to speak; None for other kinds of calls.
    characters: int | None = None

    @property
    def billing_units(self) -> int:
        """Number that the cost is proportional to if not to tokens: characters, images or requests."""
        return max(1, self.characters or self.count)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of a call, in credits; None if unknown."""

    cost: float | None
    #: Basis of the estimate, as text.
    basis: str

    def __str__(self) -> str:
        return f"about {format_credits(self.cost)}, {self.basis}" if self.cost is not None else self.basis


def usage_cost(model: Model | None, usage: Usage | None, price_unit: int) -> float | None:
    """Return the cost of so many tokens in credits, by the list's prices; None if a needed price is unknown."""
    if model is None or usage is None:
        return None
    cost = 0.0
    for tokens, price in (
        (usage.prompt_tokens, model.input_price),
        (usage.completion_tokens, model.output_price),
    ):
        if tokens and price is None:
            return None
        cost += tokens * (price or 0.0)
    return cost / price_unit


class CostTracker:
    """Cost of this session with one router, and its budget."""

    def __init__(self) -> None:
        #: Sum of the estimates so far, in credits.
        self.estimated_total = 0.0
        #: Number of calls whose cost is unknown.
        self.unpriced_calls = 0
        self._reserved = 0.0  # estimates of calls that are on their way
        self._reset_lock()
        after_fork(self, CostTracker._reset_lock)
        self._costs: dict[tuple[str, str], list[float]] = {}
        self._longest_answers: dict[str, int] = {}

    def _reset_lock(self) -> None:
        self._lock = threading.Lock()

    def record(
        self, info: CallInfo, cost: float | None, usage: Usage | None = None, *, complete: bool = True
    ) -> None:
        """Add the cost of a call that has ended."""
        if cost is None:
            self.unpriced_calls += 1
        else:
            self.estimated_total += cost
            self._costs.setdefault((info.kind, info.model), []).append(cost / info.billing_units)
        if usage is not None and info.kind == "chat" and complete and info.max_tokens is None:
            tokens = usage.completion_tokens // info.count
            self._longest_answers[info.model] = max(tokens, self._longest_answers.get(info.model, 0))

    def estimate(self, info: CallInfo, model: Model | None, price_unit: int) -> Estimate:
        """Estimate the cost of a call by the list's prices, else by what similar calls have cost."""
        if info.kind == "chat":
            answer, words = self._expected_answer_tokens(info)
            cost = usage_cost(model, Usage(info.prompt_tokens, info.count * answer, 0), price_unit)
            if cost is not None:
                return Estimate(cost, f"by the list's prices and {words}")
        of_model = self._costs.get((info.kind, info.model))
        past_costs = of_model or [
            c for (kind, _), costs in self._costs.items() if kind == info.kind for c in costs
        ]
        if not past_costs:
            words = f"the price of {info.model} is not known, and no similar call was made yet"
            return Estimate(None, words)
        mean = sum(past_costs) / len(past_costs)
        others = "" if of_model else " of other models"
        return Estimate(
            info.billing_units * mean, f"by the mean of {len(past_costs)} such calls{others} so far"
        )

    def _expected_answer_tokens(self, info: CallInfo) -> tuple[int, str]:
        if info.max_tokens is not None:
            return info.max_tokens, f"at most {info.max_tokens:,} tokens of answer"
        longest = self._longest_answers.get(info.model, 0)
        if longest > DEFAULT_ANSWER_TOKENS:
            return longest, f"{longest:,} tokens of answer, as long as the longest so far"
        return (
            DEFAULT_ANSWER_TOKENS,
            f"an assumed {DEFAULT_ANSWER_TOKENS:,} tokens of answer (--max-tokens sets the most)",
        )

    def spent(self, balance_drop: float | None) -> float:
        """Return the credits spent: the estimates or the drop of the balance, whichever is larger."""
        return max(self.estimated_total, balance_drop or 0.0)

    def reserve(self, budget: float, estimate: Estimate, balance_drop: float | None) -> float:
        """Reserve an estimated cost until ``release``. Raises BudgetError for a call that would exceed the budget."""
        with self._lock:
            self.check(budget, estimate, balance_drop)
            reserved = estimate.cost or 0.0
            self._reserved += reserved
        return reserved

    def release(self, reserved: float) -> None:
        """Release the reserved cost of a call that has ended."""
        with self._lock:
            self._reserved -= reserved

    def check(self, budget: float, estimate: Estimate, balance_drop: float | None) -> None:
        """Raise BudgetError for a call that would exceed the budget, or whose cost cannot be limited."""
        spent = self.spent(balance_drop) + self._reserved
        if estimate.cost is None and balance_drop is None:
            raise BudgetError(
                f"a budget cannot be kept here: {estimate.basis}, and the router tells no balance.",
                hint="Nothing was sent. To go on without one: %config PuqMagics.budget = None",
            )
        if spent + (estimate.cost or 0.0) <= budget and (spent < budget or estimate.cost == 0.0):
            return
        by = "by the balance" if (balance_drop or 0.0) > self.estimated_total else "by estimate"
        raise BudgetError(
            f"this call would exceed the budget of {format_credits(budget)}: "
            f"{format_credits(spent)} are spent ({by}), and {_cost_text(estimate)}.",
            hint=f"Nothing was sent. To go on: %config PuqMagics.budget = {_suggested_budget(spent, estimate)}"
            " (None for no budget)",
        )


def _cost_text(estimate: Estimate) -> str:
    return f"it may cost {estimate}" if estimate.cost is not None else f"its cost is unknown: {estimate}"


def _suggested_budget(spent: float, estimate: Estimate) -> str:
    """Return a round budget that allows the call."""
    return f"{float(f'{2 * (spent + (estimate.cost or 0.0)) or 1.0:.1g}'):g}"


def usage_or_estimate(usage: Usage | None, prompt_tokens: int, text: str) -> Usage | None:
    """Return the router's count of tokens; of what it does not count, an estimate."""
    if usage is not None and usage.total_tokens and not (usage.prompt_tokens or usage.completion_tokens):
        prompt_tokens = min(prompt_tokens, usage.total_tokens)
        return replace(
            usage, prompt_tokens=prompt_tokens, completion_tokens=usage.total_tokens - prompt_tokens
        )
    if usage is not None or not text:
        return usage
    completion = estimate_tokens(text)
    return Usage(prompt_tokens, completion, prompt_tokens + completion)


def find_model(models: Mapping[str, Model], code: str) -> Model | None:
    """Return a model's entry in the list, also for a name without its provider."""
    if code in models:
        return models[code]
    last = code.rsplit("/", 1)[-1]
    found = [model for model in models.values() if model.code.rsplit("/", 1)[-1] == last]
    return found[0] if len(found) == 1 else None
