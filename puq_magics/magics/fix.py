"""``%puq_fix``: have the last exception explained."""

from __future__ import annotations

import sys
from bdb import BdbQuit
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class, no_var_expand

from puq_magics.core.errors import PuqError
from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, option, refuse_rest
from puq_magics.session.session import Workspace

if TYPE_CHECKING:
    from puq_magics.outputs.results.chat import ChatResult

HINT = option("--hint", action="store_true", help="a hint where to look, and not the solution")
FORMAT = option(
    "-f",
    "--format",
    choices=("markdown", "text", "code"),
    help="how to show the answer; code puts the mended cell below, and does not run it",
)
COMMAND = CommandLine(
    options.MODEL,
    options.SYSTEM,
    options.TEMPERATURE,
    options.MAX_TOKENS,
    options.NO_STREAM,
    FORMAT,
    HINT,
    options.OUT,
    options.PARAM,
    options.QUIET,
    options.DRY_RUN,
)

# What somebody did on purpose, and what this package says itself, is nothing to explain.
_ASIDE = (PuqError, KeyboardInterrupt, SystemExit, BdbQuit)


@dataclass(frozen=True)
class Failure:
    """An exception, and the cell that was run when it came; an empty one when that is not known."""

    error: BaseException
    cell: str = ""
    count: int | None = None


class Failures:
    """Keeps the last exception that can be explained, whatever comes after it."""

    def __init__(self) -> None:
        self._last: Failure | None = None

    @property
    def last(self) -> Failure | None:
        """The last one: of this cell so far, of one before, or of before the extension was loaded."""
        error = _shown_last()
        if error is not None and (self._last is None or error is not self._last.error):
            return Failure(error)
        return self._last

    def after_cell(self, result: Any) -> None:
        """Look whether the cell that has ended showed an exception."""
        error = _shown_last()
        if error is None:
            return
        known = self._last is not None and error is self._last.error
        raised = error is result.error_in_exec or error is result.error_before_exec
        if raised or not known:  # else it is one of an earlier cell
            self._last = Failure(error, getattr(result.info, "raw_cell", "") or "", result.execution_count)


@magics_class
class PuqFixMagics(WorkspaceMagics):
    """Have exceptions explained."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._failures = Failures()
        workspace.shell.events.register("post_run_cell", self._failures.after_cell)

    def close(self) -> None:
        """Keep no exception any more."""
        self.workspace.shell.events.unregister("post_run_cell", self._failures.after_cell)

    @no_var_expand
    @line_magic
    @COMMAND
    def puq_fix(self, line: str) -> ChatResult | None:
        """Have the last exception explained, with the code that raised it.

        What is sent is the error, a short traceback, the cell, and the variables of the lines that failed: their
        types, and the beginning of what they hold. Passwords and keys are masked. ``--dry-run`` shows all of it and
        sends nothing.

        Example: ``%puq_fix --hint``
        """
        args = refuse_rest(COMMAND, line)
        from puq_magics.magics.fixing import fix

        return fix(self.workspace, args, self._failures.last)


def _shown_last() -> BaseException | None:
    """The exception that Python's prompt keeps, if it is one to explain."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) and not isinstance(error, _ASIDE) else None
