"""Kinds of ``finish_reason``: providers spell the same end of an answer in many ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

#: ``length``: cut off at a limit of tokens; ``filter``: by a content filter; ``failed``: by a failure.
FinishKind = Literal["complete", "length", "filter", "failed", "unknown"]

#: Fields that hold the reason, in order of preference, as a text or in an object.
FINISH_FIELDS = (
    "finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "incomplete_details",
)  # fmt: skip
_OTHER_FIELDS = frozenset(FINISH_FIELDS[1:])
_OBJECT_FIELDS = ("type", "reason", "finish_reason", "name", "value")
#: Texts that some servers send as long as there is no reason.
_NO_REASONS = frozenset({"", "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified"})
#: Ends of a complete answer, in lower case and letters alone.
_COMPLETE = frozenset(
    {
        "stop", "stopped", "stopsequence", "eos", "eostoken", "eot", "endturn", "endofturn", "endoftext", "end",
        "toolcalls", "toolcall", "tooluse", "functioncall", "functioncalls", "complete", "completed", "done",
        "finished", "success", "normal", "natural",
    }
)  # fmt: skip
_PATTERNS: tuple[tuple[FinishKind, str], ...] = (
    ("length", r"length|max.*token|token.*limit|context|truncat|outputlimit|^(?:error)?limit"),
    (
        "filter",
        r"filter|safety|blocked|blocklist|recitation|prohibited|spii|refus|moderat|sensitive|guardrail|censor|polic"
        r"|violat|flagged|unsafe|toxic",
    ),
    (
        "failed",
        r"error|fail|abort|cancel|timeout|network|resource|unavailable|interrupt|malformed|overload|exception",
    ),
)


def read_finish_reason(place: Mapping[str, Any]) -> str | None:
    """Return the finish reason in a choice, or in an object beside or within it; None without one.

    The provider's own counts where it tells more: some routers say ``stop`` for all ends.
    """
    reason = place.get("finish_reason")
    if reason is None and _OTHER_FIELDS.isdisjoint(place):
        return None  # nearly all
    given = next(filter(None, (_read_reason(place.get(name)) for name in FINISH_FIELDS)), None)
    return given and choose_reason(given, _read_reason(place.get("native_finish_reason")))


def _read_reason(value: object) -> str | None:
    if isinstance(value, dict):
        value = next(filter(None, (value.get(name) for name in _OBJECT_FIELDS)), None)
    return value if isinstance(value, str) and value.strip().lower() not in _NO_REASONS else None


def choose_reason(*reasons: str | None) -> str | None:
    """Return the first of an answer's finish reasons, or the first that is no end of a complete answer."""
    given = [reason for reason in reasons if reason]
    cut = (reason for reason in given if finish_kind(reason) in ("length", "filter", "failed"))
    return next(cut, given[0] if given else None)


def is_cut_off(reason: str | None) -> bool:
    """Return whether an answer ended at a limit of tokens, or by a failure, so that it can be continued."""
    return finish_kind(reason) in ("length", "failed")


def finish_kind(reason: str | None) -> FinishKind:
    """Return the kind of a finish reason; ``complete`` for None, as some servers send none.

    >>> finish_kind("MAX_TOKENS"), finish_kind("content-filter"), finish_kind("end_turn")
    ('length', 'filter', 'complete')
    """
    letters = re.sub(r"[^a-z]", "", (reason or "stop").lower()).removeprefix("finishreason")
    if letters in _COMPLETE:
        return "complete"
    return next((kind for kind, pattern in _PATTERNS if re.search(pattern, letters)), "unknown")
