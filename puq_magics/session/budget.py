"""Cost of calls, by estimate and by the balance, and the budget.

Prices are those of the model list, and the balance is authoritative: every figure computed here is an estimate.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from puq_magics.api.types import Model, Usage
from puq_magics.core.errors import BudgetError
from puq_magics.core.fork import after_fork
from puq_magics.outputs.results.footer import format_credits
from puq_magics.prompts.token_estimate import estimate_tokens

#: Assumed tokens of an answer without a limit, until a longer one has arrived.
DEFAULT_ANSWER_TOKENS = 1_000
#: Assumed tokens of an image a megapixel, and megapixels of one whose size is not set: as dear as they come.
IMAGE_TOKENS, DEFAULT_MEGAPIXELS = 4_160, 1.5
#: Assumed tokens of speech a character, where the list prices output: two tokens of audio; one of text is the input.
SPEECH_TOKENS = 2
#: Assumed tokens of a second of audio, and of its transcript where the list prices output.
AUDIO_TOKENS, TRANSCRIPT_TOKENS = 10, 4


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
    #: Megapixels of an image.
    megapixels: float = DEFAULT_MEGAPIXELS
    #: Return the seconds of audio to transcribe, None if unknown; called when needed: it may read a file.
    read_audio_seconds: Callable[[], float | None] | None = None
    #: What is sent, for a hash of it: messages, a text, or a function that opens a file.
    content: object = field(default=None, compare=False, repr=False)
    #: Parameters of the request.
    params: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


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
        self._reserved = 0.0  # estimates of calls that are on their way
        self._running = 0
        self._reset_lock()
        after_fork(self, CostTracker._reset_lock)
        self._rates: dict[tuple[str, str], float] = {}  # the most that a token of such a call has cost
        self._longest_answers: dict[str, int] = {}
        self.reset()

    def _reset_lock(self) -> None:
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Start the count of what was spent anew."""
        #: Sum of the estimates so far, in credits.
        self.estimated_total = 0.0
        #: Sum of the falls of the balance while calls ran; of the estimates where that is not known.
        self.measured_total = 0.0
        #: Number of calls whose cost is unknown.
        self.unpriced_calls = 0
        self._last_balance: float | None = None  # as far as falls are counted

    def record(
        self,
        info: CallInfo,
        cost: float | None,
        usage: Usage | None = None,
        *,
        complete: bool = True,
        balance_fall: float | None = None,
    ) -> None:
        """Add the cost of a call that has ended."""
        if cost is None:
            self.unpriced_calls += 1
        else:
            self.estimated_total += cost
            tokens = usage or self.assumed_usage(info, None)
            if tokens is not None and complete:
                key = info.kind, info.model
                self._rates[key] = max(cost / max(1, tokens.total_tokens), self._rates.get(key, 0.0))
        self.measured_total += (cost or 0.0) if balance_fall is None else balance_fall
        if usage is not None and info.kind == "chat" and complete and info.max_tokens is None:
            answer_tokens = usage.completion_tokens // info.count
            self._longest_answers[info.model] = max(answer_tokens, self._longest_answers.get(info.model, 0))

    def estimate(self, info: CallInfo, model: Model | None, price_unit: int) -> Estimate:
        """Estimate the cost of a call by the list's prices, else by the dearest call of that model so far."""
        usage = self.assumed_usage(info, model)
        if usage is None:
            return Estimate(None, "the length of the recording is not known")
        assumption = self._assumption(info, usage)
        cost = usage_cost(model, usage, price_unit)
        if cost is not None:
            return Estimate(cost, f"by the list's prices and {assumption}")
        rate = self._rates.get((info.kind, info.model))
        if rate is None:
            return Estimate(None, f"the price of {info.model} is not known")
        return Estimate(rate * usage.total_tokens, f"by the dearest such call so far and {assumption}")

    def assumed_usage(self, info: CallInfo, model: Model | None) -> Usage | None:
        """Return the tokens that a call is assumed to use; None if its length is not known.

        Output that the list has no price for is part of the input's price in speech and transcription.
        """
        has_output_price = model is not None and model.output_price is not None
        if info.kind == "speech":
            prompt = info.characters or 0
            answer = SPEECH_TOKENS * prompt * has_output_price
        elif info.kind == "transcription":
            seconds = info.read_audio_seconds() if info.read_audio_seconds is not None else None
            if seconds is None:
                return None
            prompt = ceil(AUDIO_TOKENS * seconds)
            answer = ceil(TRANSCRIPT_TOKENS * seconds) * has_output_price
        elif info.kind == "image":
            prompt = 0 if model is not None and model.input_price is None else info.prompt_tokens
            answer = info.count * ceil(IMAGE_TOKENS * info.megapixels)
        else:
            prompt, answer = info.prompt_tokens, info.count * self._expected_answer_tokens(info)
        return Usage(prompt, answer, prompt + answer)

    def _expected_answer_tokens(self, info: CallInfo) -> int:
        return info.max_tokens or max(self._longest_answers.get(info.model, 0), DEFAULT_ANSWER_TOKENS)

    def _assumption(self, info: CallInfo, usage: Usage) -> str:
        if info.kind == "speech":
            return f"{usage.prompt_tokens:,} characters as tokens"
        if info.kind == "transcription":
            return f"{AUDIO_TOKENS} tokens a second of audio"
        if info.kind == "image":
            return f"an assumed {usage.completion_tokens:,} tokens of image"
        tokens = self._expected_answer_tokens(info)
        if info.max_tokens is not None:
            return f"at most {tokens:,} tokens of answer"
        if tokens > DEFAULT_ANSWER_TOKENS:
            return f"{tokens:,} tokens of answer, as long as the longest so far"
        return f"an assumed {tokens:,} tokens of answer (--max-tokens sets the most)"

    @property
    def spent(self) -> float:
        """Return the credits spent: by the estimates or by the balance, whichever is more."""
        return max(self.estimated_total, self.measured_total)

    @contextmanager
    def reserve(
        self, budget: float, estimate: Estimate, balance: float | None, *, over_budget: bool = False
    ) -> Iterator[None]:
        """Reserve an estimated cost while a call runs, and begin to watch the balance.

        Raises BudgetError for a call that would exceed the budget, unless ``over_budget`` allows that.
        """
        reserved = estimate.cost or 0.0
        with self._lock:
            if not over_budget:
                self.check(budget, estimate)
            if self._running == 0:  # what was spent between calls was spent by others
                self._last_balance = balance
            self._running += 1
            self._reserved += reserved
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._reserved -= reserved

    @property
    def watches_balance(self) -> bool:
        """Return whether falls of the balance are counted now."""
        return self._running > 0 and self._last_balance is not None

    def balance_fall(self, balance: float | None) -> float | None:
        """Return by how much the balance has fallen since the last look while calls ran; None if unknown."""
        with self._lock:
            before, self._last_balance = self._last_balance, balance
        return None if before is None or balance is None else max(0.0, before - balance)

    def check(self, budget: float, estimate: Estimate) -> None:
        """Raise BudgetError for a call that would exceed the budget, or whose cost cannot be estimated."""
        if estimate.cost is None:
            raise BudgetError(
                f"the cost of this call cannot be estimated, and a budget of {format_credits(budget)} is set: "
                f"{estimate.basis}.",
                hint="Nothing was sent. --over-budget allows one call; %config PuqMagics.budget = None all of them.",
            )
        spent = self.spent + self._reserved
        if spent + estimate.cost <= budget and (spent < budget or estimate.cost == 0.0):
            return
        by = "by the balance" if self.measured_total > self.estimated_total else "by estimate"
        raise BudgetError(
            f"this call would exceed the budget of {format_credits(budget)}: "
            f"{format_credits(spent)} are spent ({by}), and it may cost {estimate}.",
            hint="Nothing was sent. --over-budget allows one call; "
            f"for more: %config PuqMagics.budget = {_suggested_budget(spent + estimate.cost)} (None for no budget)",
        )


def _suggested_budget(needed: float) -> str:
    """Return a round budget that allows the call."""
    return f"{float(f'{2 * needed or 1.0:.1g}'):g}"


def usage_or_estimate(usage: Usage | None, prompt_tokens: int, text: str) -> Usage | None:
    """Return the router's count of tokens; of what it does not count, an estimate."""
    if usage is None and not text:
        return None
    usage = usage or Usage(0, 0, 0)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    rest = max(0, usage.total_tokens - prompt - completion)
    if not prompt:
        prompt = (rest or prompt_tokens) if completion else min(prompt_tokens, rest or prompt_tokens)
    if not completion:
        completion = max(0, usage.total_tokens - prompt) or estimate_tokens(text)
    total = max(usage.total_tokens, prompt + completion)
    return replace(usage, prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


def find_model(models: Mapping[str, Model], code: str) -> Model | None:
    """Return a model's entry in the list, also for a name without its provider."""
    if code in models:
        return models[code]
    last = code.rsplit("/", 1)[-1]
    found = [model for model in models.values() if model.code.rsplit("/", 1)[-1] == last]
    return found[0] if len(found) == 1 else None
