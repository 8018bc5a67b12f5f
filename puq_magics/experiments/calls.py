"""Calls of a run: a request with its key, and the outcome that the journal keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import fsum
from typing import Any

from puq_magics.api.params import token_limit
from puq_magics.api.types import Message, Usage
from puq_magics.core.text import pluralize

_KEY_CHARS = 32


@dataclass(frozen=True, slots=True)
class CallSpec:
    """One chat request of a run."""

    model: str
    messages: Sequence[Message]
    #: Further fields of the request, ``response_format`` among them.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Number of the repeat, from 0: a repeat never takes the answer of another one.
    repeat: int = 0
    #: Hash of all of the above: calls of the same key are one.
    key: str = ""

    @property
    def max_tokens(self) -> int | None:
        """Limit on the answer's tokens; None for none."""
        return token_limit(self.params)


class SpecBuilder:
    """Makes the calls of one model and its parameters."""

    def __init__(self, model: str, params: Mapping[str, Any]) -> None:
        self.model = model
        self.params = {name: value for name, value in params.items() if value is not None}
        self._encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode
        self._hash = hashlib.sha256(self._encode([model, self.params]).encode("utf-8", "surrogatepass"))

    def build(self, messages: Sequence[Message], repeat: int = 0) -> CallSpec:
        """Return a call with its key."""
        digest = self._hash.copy()
        digest.update(self._encode([messages, repeat]).encode("utf-8", "surrogatepass"))
        return CallSpec(self.model, messages, self.params, repeat, digest.hexdigest()[:_KEY_CHARS])


@dataclass(slots=True)
class CallOutcome:
    """The end of one call: an answer, or an error."""

    key: str
    #: The model that was requested, and the one that answered.
    requested_model: str
    model: str = ""
    text: str = ""
    #: The answer as JSON that fits the schema; None without a schema.
    data: Any = None
    #: What had to be repaired to read the JSON; empty for nothing.
    repairs: str = ""
    #: The failure in one line; empty for none.
    error: str = ""
    #: True if the failed call is not worth repeating as it is: the answer came, and does not do.
    is_final: bool = True
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    #: Credits, estimated; None if unknown.
    cost: float | None = None
    #: Seconds from the first request to the end of the last.
    seconds: float | None = None
    #: Requests that were sent.
    attempts: int = 0

    @property
    def is_settled(self) -> bool:
        """True if no later run makes the call again."""
        return self.is_final or not self.error

    @property
    def usage(self) -> Usage | None:
        """The tokens used; None if unknown."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        return Usage(prompt, completion, prompt + completion)

    def to_json(self) -> str:
        """Return it as one line of JSON, without the fields that have their default."""
        record = {name: value for name in _DEFAULTS if (value := getattr(self, name)) != _DEFAULTS[name]}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> CallOutcome:
        """Read a line of a journal; fields of later versions are ignored. Raises ValueError for another text."""
        record = json.loads(line)
        if not isinstance(record, dict) or not isinstance(record.get("key"), str):
            raise ValueError("not a record of a call")
        return cls(
            **{"requested_model": ""} | {name: record[name] for name in record.keys() & _DEFAULTS.keys()}
        )


def repair_notes(outcomes: Iterable[CallOutcome]) -> list[str]:
    """Return a note of how many answers were repaired, and of what; none if none was."""
    repaired = [outcome.repairs for outcome in outcomes if outcome.repairs and not outcome.error]
    kinds = dict.fromkeys(kind for repairs in repaired for kind in repairs.split(", "))
    return [f"JSON repaired in {pluralize(len(repaired), 'answer')}: {', '.join(kinds)}"] if repaired else []


def total_cost(outcomes: Iterable[CallOutcome]) -> float | None:
    """Return the estimated cost of some calls in credits; None if it is unknown for all of them."""
    costs = [outcome.cost for outcome in outcomes if outcome.cost is not None]
    return fsum(costs) if costs else None  # the order in which calls ended does not matter


def cost_range(costs: Sequence[float | None], count: int) -> tuple[float, float] | None:
    """Return the likely cost of so many calls (95 %), by the costs of some of them; None if unknown."""
    known = [cost for cost in costs if cost is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    variance = sum((cost - mean) ** 2 for cost in known) / max(1, len(known) - 1)
    half = 1.96 * (variance / len(known)) ** 0.5 if len(known) > 1 else mean / 2
    return max(0.0, (mean - half) * count), (mean + half) * count


_DEFAULTS: dict[str, Any] = {
    each.name: None if each.name in ("key", "requested_model") else each.default
    for each in fields(CallOutcome)
}
