"""The conversations of one shell, and which turn of one a call is."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell

from puq_magics.core.errors import InputError
from puq_magics.core.fork import after_fork

if TYPE_CHECKING:
    from puq_magics.api.types import Usage
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.prompts.conversation.turns import TurnKey

#: Where a shell keeps them, among what extensions leave with it.
_META_KEY = "puq_magics_conversations"


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


@dataclass(frozen=True)
class TurnSlot:
    """Turn of one call in a conversation; a turn that was loaded may have no key."""

    conversation: Conversation
    key: TurnKey | None


@dataclass(frozen=True)
class PartialAnswer:
    """State of an incomplete answer that can be continued."""

    result: object = None
    #: Tokens used, including those of the parts that it continued.
    usage: Usage | None = None
    #: The system prompt in force, and the one that the call named.
    system_prompt: str = ""
    system: str | None = None


class Conversations:
    """The conversations of one shell, by name.

    They last as long as the shell does, whatever becomes of the extension: see ``for_shell``.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._cells = CellTracker(shell)
        self._named: dict[str, Conversation] = {}
        self._begun_in: dict[str, int] = {}  # the execution that each of them knows of
        self._partial_answer = PartialAnswer()
        self._reset_lock()
        after_fork(self, Conversations._reset_lock)

    def _reset_lock(self) -> None:
        self._lock = threading.RLock()

    @classmethod
    def for_shell(cls, shell: InteractiveShell) -> Conversations:
        """Return the shell's conversations and start tracking cells; reloading the extension keeps them."""
        kept = shell.meta.get(_META_KEY)
        conversations = kept if isinstance(kept, cls) else cls(shell)
        shell.meta[_META_KEY] = conversations
        conversations.open()
        return conversations

    def open(self) -> None:
        """Start tracking cells; also after ``close``."""
        self._cells.open()

    def close(self) -> None:
        """Stop tracking cells."""
        self._cells.close()
        self._partial_answer = PartialAnswer()

    @property
    def execution_number(self) -> int:
        """Return the number of this execution among all; cells that run within another are part of it."""
        return self._cells.execution_number

    @property
    def ends_with_magic(self) -> bool:
        """True if the running cell's value is that of a magic in its last line, or if that is unknown."""
        return self._cells.ends_with_magic

    @property
    def cell_name(self) -> str:
        """Return the running cell's id, or a name for this run of it; empty if the extension was loaded in it."""
        return self._cells.name

    @property
    def cell_number(self) -> int | None:
        """Return n of the running cell's ``In[n]``; None if it has none."""
        return self._cells.number

    @property
    def cell_source(self) -> str:
        """Return the text of the running cell as a front end sent it; empty outside of cells, and in a terminal."""
        return self._cells.source

    def __iter__(self) -> Iterator[Conversation]:
        return iter(list(self._named.values()))

    def __len__(self) -> int:
        return len(self._named)

    def __contains__(self, name: object) -> bool:
        return name in self._named

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order in which they began."""
        return tuple(self._named)

    def find(self, name: str) -> Conversation:
        """The conversation of that name. Raises InputError."""
        from puq_magics.core.suggestions import did_you_mean
        from puq_magics.prompts.conversation.turns import validate_name

        name = validate_name(name)
        if name in self._named:
            return self._named[name]
        hint = "%puq_chats lists them." if self._named else f"A cell begins it: %%puq_chat -c {name}"
        raise InputError(
            f"there is no conversation {name!r}.", hint=f"{did_you_mean(name, self._named)} {hint}".lstrip()
        )

    def slot(self, name: str, *, advance: bool = True) -> TurnSlot:
        """The place of the next call; a conversation that is not there begins, and is kept with its first turn.

        Raises InputError for what is no name. Without ``advance`` the place stays free, as for a dry run.
        """
        from puq_magics.prompts.conversation.conversation import Conversation

        conversation = Conversation(name)
        with self._lock:
            conversation = self._named.get(conversation.name, conversation)
            key = self._cells.next_key(advance=advance)
            if (
                self._begun_in.get(conversation.name, self._cells.execution_number)
                != self._cells.execution_number
            ):
                conversation.begin_execution(key[0])
                self._begun_in[conversation.name] = self._cells.execution_number
            if conversation.turns and not any(
                turn.key and turn.key[0] == key[0] for turn in conversation.turns
            ):
                from puq_magics.session.notebook_file import saved_cell_order

                conversation.set_cell_order(saved_cell_order())
        return TurnSlot(conversation, key)

    @contextmanager
    def locked(self, conversation: Conversation) -> Iterator[Conversation]:
        """Lock and yield the stored conversation of that name; store this one if there is none.

        Calls at the same time may each have begun one of that name.
        """
        with self._lock:
            kept = self._named.get(conversation.name, conversation)
            yield kept
            self.add(kept)

    def add(self, conversation: Conversation) -> None:
        """Keep it under its name, in the place of another of that name."""
        self._begun_in.setdefault(conversation.name, self._cells.execution_number)
        self._named[conversation.name] = conversation

    def record_partial(self, partial_answer: PartialAnswer) -> None:
        """Note what is known of an incomplete answer."""
        self._partial_answer = partial_answer

    def partial_answer(self, result: object) -> PartialAnswer | None:
        """Return the state of this answer, if it was the last incomplete one."""
        return self._partial_answer if self._partial_answer.result is result else None
