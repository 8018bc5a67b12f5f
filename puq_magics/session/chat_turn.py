"""A question's place in a conversation: what is sent before it, and its turn once it is answered."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from puq_magics.api.types import Message, Usage
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.prompts.token_estimate import tokens_of
from puq_magics.session.conversations import Broken
from puq_magics.session.budget import with_usage
from puq_magics.session.session import Workspace

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.session.conversations import Key, Seat

Content = str | Sequence[dict[str, Any]]


def chat_name(workspace: Workspace, args: argparse.Namespace) -> str:
    """The conversation that a call joins; empty for none."""
    named = workspace.settings.chat if args.chat is None else args.chat
    return named or ""


def told_in(workspace: Workspace, conversation: Conversation | None, system: str | None) -> str:
    """The system prompt: the call's, else the conversation's, else the one that is set."""
    if system is not None:
        return system
    own = None if conversation is None else conversation.system
    return own or workspace.settings.system or ""


def limits(workspace: Workspace) -> dict[str, int | None]:
    """How much of a conversation is sent."""
    settings = workspace.settings
    return {"limit_tokens": settings.context_limit, "limit_turns": settings.context_turns}


def used(result: ChatResult, begun: str = "") -> Usage | None:
    """The tokens of an answer, and of the tries before it; estimated where the router did not say.

    ``begun`` of the text was there before.
    """
    from puq_magics.prompts.conversation.turns import sum_of

    usage = with_usage(result.usage, tokens_of(result.messages), result.text.removeprefix(begun))
    for attempt in result.earlier:
        usage = sum_of(used(attempt, begun), usage)
    return usage


@dataclass(frozen=True)
class Joining:
    """One question, and the place that it takes in a conversation; None where it stands alone."""

    workspace: Workspace
    seat: Seat | None
    content: Content
    #: The system prompt that the call names; None where it names none, empty where it wants none.
    system: str | None = None
    #: The system prompt that it is asked with; empty for none.
    told: str = ""
    #: What was there of the answer already, and the tokens that went into that.
    begun: str = ""
    earlier: Usage | None = None
    #: The user's words at which it goes on.
    continued: Sequence[str] = ()

    @classmethod
    def of(
        cls, workspace: Workspace, args: argparse.Namespace, content: Content, system: str | None
    ) -> Joining:
        """As the options say. Raises InputError for what is no name of a conversation."""
        name = chat_name(workspace, args)
        seat = workspace.conversations.seat(name, take=not args.dry_run) if name else None
        told = told_in(workspace, None if seat is None else seat.conversation, system)
        return cls(workspace, seat, content, system, told)

    @property
    def name(self) -> str:
        """The conversation; empty for none."""
        return "" if self.seat is None else self.seat.conversation.name

    @property
    def key(self) -> Key | None:
        """The turn's key; None where there is no conversation."""
        return None if self.seat is None else self.seat.key

    def messages(self, more: str = "") -> tuple[list[Message], tuple[str, ...]]:
        """What to send, with ``more`` words to the system, and notes about what of the conversation is left out."""
        system = "\n\n".join(words for words in (self.told, more) if words)
        if self.seat is None:
            first: list[Message] = [{"role": "system", "content": system}] if system else []
            return [*first, {"role": "user", "content": self.content}], ()
        messages, notes = self.seat.conversation.preview(
            self.seat.key, self.content, system=system, **limits(self.workspace)
        )
        return list(messages), notes

    def keep(self, result: ChatResult) -> None:
        """Make the answer a turn; one that failed, or holds no text, leaves nothing.

        The system prompt of a conversation's first turn is the conversation's.
        """
        if self.seat is None or not result.text:
            return
        from puq_magics.prompts.conversation.turns import sum_of

        conversations = self.workspace.conversations
        usage = sum_of(self.earlier, used(result, self.begun))
        if result.has_failed:
            conversations.note_broken(Broken(result, usage, self.told, self.system))
            return
        with conversations.changing(self.seat.conversation) as conversation:
            before = len(conversation.turns)
            notes = conversation.commit(
                self.seat.key,
                self.content,
                result.text,
                result.asked_model,
                usage,
                interrupted=result.interrupted,
                cut=result.finish_reason == "length",
                continued=self.continued,
                system=self.told,
            )
            if self.system is not None and len(conversation.turns) == 1:
                conversation.system = self.system
            has_moved = len(conversation.turns) < before
        for note in notes:
            if has_moved:  # later turns: not everybody who runs a cell again expects that
                result.note(note)
            else:
                result.remarks = (*result.remarks, note)
