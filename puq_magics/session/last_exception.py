"""The last exception of the shell that can be explained."""

from __future__ import annotations

import sys
from bdb import BdbQuit
from dataclasses import dataclass, field
from typing import Any

from puq_magics.core.errors import PuqError

# What somebody did on purpose, and what this package says itself, is nothing to explain.
_IGNORED_EXCEPTIONS = (PuqError, KeyboardInterrupt, SystemExit, BdbQuit)


@dataclass(frozen=True)
class Failure:
    """An exception, and the cell that was run when it came; an empty one when that is not known."""

    error: BaseException
    cell: str = ""
    execution_count: int | None = None
    #: The hints that were given for it, in order.
    hints: list[str] = field(default_factory=list, compare=False)


class FailureTracker:
    """Keeps the last exception that can be explained, whatever comes after it."""

    def __init__(self) -> None:
        self._last: Failure | None = None

    @property
    def last(self) -> Failure | None:
        """The last one: of this cell so far, of one before, or of before the extension was loaded."""
        error = _last_exception()
        if error is not None and (self._last is None or error is not self._last.error):
            self._last = Failure(error)
        return self._last

    def after_cell(self, result: Any) -> None:
        """Check whether the cell that has ended showed an exception."""
        error = _last_exception()
        if error is None:
            return
        known = self._last is not None and error is self._last.error
        raised = error is result.error_in_exec or error is result.error_before_exec
        if raised or not known:  # else it is one of an earlier cell
            number = result.execution_count if getattr(result.info, "store_history", False) else None
            self._last = Failure(error, getattr(result.info, "raw_cell", "") or "", number)


def _last_exception() -> BaseException | None:
    """The exception that Python's prompt keeps, if it is one to explain."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) and not isinstance(error, _IGNORED_EXCEPTIONS) else None
