"""The conversations of one shell, and which turn of one a call is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell

from puq_magics.core.errors import InputError
from puq_magics.core.fork import after_fork
from puq_magics.session.cell_tracker import CellTracker

if TYPE_CHECKING:
    from puq_magics.api.types import Usage
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.prompts.conversation.turns import TurnKey

#: Where a shell keeps them, among what extensions leave with it.
_META_KEY = "puq_magics_conversations"


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
        #: Tracks the running cell, whose calls are turns.
        self.cell_tracker = CellTracker(shell)
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
        self.cell_tracker.open()

    def close(self) -> None:
        """Stop tracking cells."""
        self.cell_tracker.close()
        self._partial_answer = PartialAnswer()

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
            key = self.cell_tracker.next_key(advance=advance)
            if (
                self._begun_in.get(conversation.name, self.cell_tracker.execution_number)
                != self.cell_tracker.execution_number
            ):
                conversation.begin_execution(key[0])
                self._begun_in[conversation.name] = self.cell_tracker.execution_number
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
        self._begun_in.setdefault(conversation.name, self.cell_tracker.execution_number)
        self._named[conversation.name] = conversation

    def record_partial(self, partial_answer: PartialAnswer) -> None:
        """Note what is known of an incomplete answer."""
        self._partial_answer = partial_answer

    def partial_answer(self, result: object) -> PartialAnswer | None:
        """Return the state of this answer, if it was the last incomplete one."""
        return self._partial_answer if self._partial_answer.result is result else None
