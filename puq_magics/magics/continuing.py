"""``--continue``: go on with an answer that was interrupted or cut off, keeping what is there."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from puq_magics.core.errors import InputError
from puq_magics.api.types import Message
from puq_magics.session.chat_turn import Joining, chat_name, limits, used
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.session.conversations import Broken
from puq_magics.session.session import LAST, Workspace

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.prompts.conversation.turns import Turn

#: What the model is told, unless the user says it.
GO_ON = (
    "Your last answer was cut off. Go on exactly where it ends, even in mid-word: "
    "repeat nothing of it, and say nothing about this."
)


@dataclass(frozen=True)
class Unfinished:
    """An answer that is not whole."""

    #: What it answers, and as far as it came.
    question: Sequence[Message]
    text: str
    model: str
    notes: Sequence[str] = ()
    chat: str = ""
    turn: tuple[str, int] | None = None
    #: Keeps the whole in the conversation.
    keep: Callable[[ChatResult], None] | None = None

    def messages(self, words: str) -> list[Message]:
        """What asks for the rest."""
        partial = {"role": "assistant", "content": self.text}
        return [*self.question, partial, {"role": "user", "content": words.strip() or GO_ON}]


def unfinished(workspace: Workspace, args: argparse.Namespace, words: str = "") -> Unfinished:
    """The answer to go on with: the conversation's last one, or ``_puq``; ``words`` are what the user says to that.

    Raises InputError where it is whole.
    """
    continued = (words.strip(),) if words.strip() else ()
    for option, value in (("-a", args.attach), ("-s", args.system)):
        if value is not None:
            raise InputError(f"--continue takes no {option}.", hint="It goes on with what was asked.")
    last = workspace.namespace.get(LAST)
    last = last if isinstance(last, ChatResult) and last.is_cut else None
    name = chat_name(workspace, args)
    if not name and args.chat is None and last is not None:
        name = last.chat
    if last is not None and (not name or (last.chat == name and last.has_failed)):
        return _of_result(workspace, last, continued)
    if not name:
        raise InputError(
            "there is no answer to go on with.", hint="The last one is whole, or no text came of it."
        )
    conversation = workspace.conversations.find(name)
    if not conversation.turns or conversation.turns[-1].is_whole:
        raise InputError(f"the last answer in {conversation.name} is whole.", hint="Ask for more in words.")
    return _of_turn(workspace, conversation, continued)


def _of_turn(workspace: Workspace, conversation: Conversation, continued: Sequence[str]) -> Unfinished:
    last = conversation.turns[-1]
    messages, notes = conversation.messages(last.system, **limits(workspace))
    return Unfinished(
        question=messages[:-1],
        text=last.answer,
        model=last.model,
        notes=notes,
        chat=conversation.name,
        turn=last.key,
        keep=lambda result: _extend(workspace, conversation, last, result, continued),
    )


def _extend(
    workspace: Workspace, conversation: Conversation, turn: Turn, result: ChatResult, continued: Sequence[str]
) -> None:
    """Put the whole in the place of what was there."""
    from puq_magics.prompts.conversation.turns import sum_of

    usage = used(result, turn.answer)
    if result.has_failed:
        workspace.conversations.note_broken(Broken(result, sum_of(turn.usage, usage), turn.system))
        return
    if not result.text or result.text == turn.answer:
        return
    with workspace.conversations.changing(conversation) as kept:
        if not kept.turns or kept.turns[-1] is not turn:
            result.note(f"{kept.name} has changed meanwhile: the rest is in _puq alone")
            return
        # Another beginning: the whole was asked for once more, as it did not fit its schema.
        put = kept.extend if result.text.startswith(turn.answer) else kept.answer_anew
        notes = put(
            result.text,
            model=result.asked_model,
            usage=usage,
            interrupted=result.interrupted,
            cut=result.finish_reason == "length",
            continued=continued,
        )
    result.remarks = (*result.remarks, *notes)


def _of_result(workspace: Workspace, last: ChatResult, continued: Sequence[str]) -> Unfinished:
    """One that stands alone; or that failed in a conversation, where the whole becomes its turn."""
    found = Unfinished(question=last.question, text=last.text, model=last.asked_model)
    if not last.chat or last.turn is None:
        return found
    seat = workspace.conversations.seat(last.chat, take=False)
    known = workspace.conversations.broken(last) or Broken(last, used(last))
    joining = Joining(
        workspace,
        replace(seat, key=last.turn),
        last.question[-1]["content"],
        known.system,
        known.told,
        begun=last.text,
        earlier=known.usage,
        continued=continued,
    )
    return replace(found, chat=last.chat, turn=last.turn, keep=joining.keep)
