"""The running cell, and the number of its calls."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.turns import TurnKey


class CellTracker:
    """Tracks the running cell and the number of its calls.

    A cell is known by the id that the front end sends, else by its number in this session. Cells that run within
    another, as those of ``%run notebook.ipynb`` do, are part of it.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        # Numbers begin anew in each session, and conversations can be loaded from another.
        self._session = token_hex(3)
        self._running: object = None
        #: Identifies the run that ``_name`` names; None if that is not known yet.
        self._run: object = None
        self._name = ""
        self._number: int | None = None
        self._calls = 0
        #: Which execution this is, of all cells.
        self.execution_number = 0

    @property
    def number(self) -> int | None:
        """The number of the running cell, or of the last one: n of ``In[n]``; None if it has none, as in nbval."""
        return _prompt_number(self._shell) if self._run is None else self._number

    @property
    def name(self) -> str:
        """The running cell's id, or a name for this run of it; empty if the extension was loaded in it."""
        return self._name

    @property
    def source(self) -> str:
        """The running cell's text as the kernel got it; empty outside of cells, and in a terminal."""
        return str(_parent(self._shell).get("content", {}).get("code") or "")

    @property
    def ends_with_magic(self) -> bool:
        """True if the running cell's value is that of a magic in its last line, or if that is unknown."""
        code = getattr(self._running, "raw_cell", None)
        try:
            body = ast.parse(self._shell.transform_cell(code)).body if code else []
        except (SyntaxError, ValueError):
            body = []
        if not body:
            return True
        call = body[-1].value if isinstance(body[-1], ast.Expr) else None
        name = call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""
        return name in ("run_line_magic", "run_cell_magic")

    def open(self) -> None:
        """Begin to look at cells; again after ``close``, in the same cell or in a later one."""
        if self._run != _identify_run(self._shell):
            self._run, self._calls = None, 0
            self.execution_number += 1
        self._shell.events.register("pre_run_cell", self._begin)
        self._shell.events.register("post_run_cell", self._end)

    def close(self) -> None:
        """Stop tracking cells."""
        self._shell.events.unregister("pre_run_cell", self._begin)
        self._shell.events.unregister("post_run_cell", self._end)
        self._running = None

    def next_key(self, *, advance: bool = True) -> TurnKey:
        """Return the key of the next call in the running cell; without ``advance`` it stays the next."""
        if self._run is None:  # the extension was loaded in this very cell
            self._number = _prompt_number(self._shell)
            self._name = _frontend_cell_id(self._shell) or self._fallback_name()
            self._run = _identify_run(self._shell)
        ordinal = self._calls
        self._calls += advance
        return self._name, ordinal

    def _begin(self, info: Any) -> None:
        run = _identify_run(self._shell)
        if self._running is not None and run == self._run:
            return
        self._running, self._run = info, run
        self.execution_number += 1
        self._number = _prompt_number(self._shell) if getattr(info, "store_history", True) else None
        self._name = getattr(info, "cell_id", None) or self._fallback_name()
        self._calls = 0

    def _end(self, result: Any) -> None:
        if getattr(result, "info", None) is self._running:
            self._running = None

    def _fallback_name(self) -> str:
        """A name for a cell without an id; where executions are not counted, each has its own."""
        number = f"run {self.execution_number}" if self._number is None else f"In[{self._number}]"
        return f"{number} {self._session}"


def _prompt_number(shell: Any) -> int:
    """Return the number that the shell shows for the running cell.

    ``execution_count`` is that number or the next one: some versions of IPython raise it before a cell runs.
    """
    return int(shell.displayhook.prompt_count)


def _identify_run(shell: Any) -> object:
    """Return what a run of a cell differs in from others: its message; in a terminal, its number."""
    return _parent(shell).get("header", {}).get("msg_id") or _prompt_number(shell)


def _parent(shell: Any) -> Mapping[str, Any]:
    """Return the message that the kernel handles; empty in a terminal."""
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    return parent if isinstance(parent, Mapping) else {}


def _frontend_cell_id(shell: Any) -> str:
    """The id of the running cell as the kernel got it; empty where none came."""
    return str(_parent(shell).get("metadata", {}).get("cellId") or "")
