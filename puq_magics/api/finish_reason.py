"""Kinds of ``finish_reason``: providers spell the same end of an answer in many ways."""

from __future__ import annotations

import re
from typing import Literal

#: ``length``: cut off at a limit of tokens; ``filter``: by a content filter; ``failed``: by a failure.
FinishKind = Literal["complete", "length", "filter", "failed", "unknown"]

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
