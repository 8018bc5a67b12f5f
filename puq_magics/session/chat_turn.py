"""A question's place in a conversation: what is sent before it, and its turn once it is answered."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from puq_magics.api.types import Message, Usage
from puq_magics.core.errors import InputError
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.prompts.token_estimate import estimate_message_tokens
from puq_magics.session.budget import usage_or_estimate
from puq_magics.session.conversations import PartialAnswer
from puq_magics.session.session import LAST_RESULT, Session

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.prompts.conversation.turns import Turn
    from puq_magics.session.conversations import TurnKey, TurnSlot


MessageContent = str | Sequence[dict[str, Any]]


def conversation_name(session: Session, args: argparse.Namespace) -> str:
    """The conversation that a call joins; empty for none."""
    named = session.settings.chat if args.chat is None else args.chat
    return named or ""


def resolve_system_prompt(session: Session, conversation: Conversation | None, system: str | None) -> str:
    """The system prompt: the call's, else the conversation's, else the one that is set."""
    if system is not None:
        return system
    own = None if conversation is None else conversation.system
    return own or session.settings.system or ""


def context_limits(session: Session) -> dict[str, int | None]:
    """How much of a conversation is sent."""
    settings = session.settings
    return {"limit_tokens": settings.context_limit, "limit_turns": settings.context_turns}


def total_usage(result: ChatResult, partial_text: str = "") -> Usage | None:
    """The tokens of an answer, and of the tries before it; estimated where the router did not say.

    ``begun`` of the text was there before.
    """
    from puq_magics.prompts.conversation.turns import add_usage

    usage = usage_or_estimate(
        result.usage, estimate_message_tokens(result.messages), result.text.removeprefix(partial_text)
    )
    for attempt in result.previous_attempts:
        usage = add_usage(total_usage(attempt, partial_text), usage)
    return usage


@dataclass(frozen=True)
class TurnContext:
    """One question, and the place that it takes in a conversation; None where it stands alone."""

    session: Session
    slot: TurnSlot | None
    content: MessageContent
    #: The system prompt that the call names; None where it names none, empty where it wants none.
    system: str | None = None
    #: The system prompt that it is asked with; empty for none.
    system_prompt: str = ""
    #: What was there of the answer already, and the tokens that went into that.
    partial_text: str = ""
    previous_usage: Usage | None = None
    #: The user's words at which it goes on.
    continue_prompts: Sequence[str] = ()

    @classmethod
    def from_args(
        cls, session: Session, args: argparse.Namespace, content: MessageContent, system: str | None
    ) -> TurnContext:
        """As the options say. Raises InputError for what is no name of a conversation."""
        name = conversation_name(session, args)
        slot = session.conversations.slot(name, advance=not args.dry_run) if name else None
        system_prompt = resolve_system_prompt(session, None if slot is None else slot.conversation, system)
        return cls(session, slot, content, system, system_prompt)

    @property
    def name(self) -> str:
        """The conversation; empty for none."""
        return "" if self.slot is None else self.slot.conversation.name

    @property
    def key(self) -> TurnKey | None:
        """The turn's key; None where there is no conversation."""
        return None if self.slot is None else self.slot.key

    def messages(self, instructions: str = "") -> tuple[list[Message], tuple[str, ...]]:
        """What to send, with ``more`` words to the system, and notes about what of the conversation is left out."""
        system = "\n\n".join(instruction for instruction in (self.system_prompt, instructions) if instruction)
        if self.slot is None:
            first: list[Message] = [{"role": "system", "content": system}] if system else []
            return [*first, {"role": "user", "content": self.content}], ()
        messages, notes = self.slot.conversation.preview(
            self.content, key=self.slot.key, system=system, **context_limits(self.session)
        )
        return list(messages), notes

    def commit_turn(self, result: ChatResult) -> None:
        """Make the answer a turn; one that failed, or holds no text, leaves nothing.

        The system prompt of a conversation's first turn is the conversation's.
        """
        if self.slot is None or not result.text:
            return
        from puq_magics.prompts.conversation.turns import add_usage

        conversations = self.session.conversations
        usage = add_usage(self.previous_usage, total_usage(result, self.partial_text))
        if result.has_failed:
            conversations.record_partial(PartialAnswer(result, usage, self.system_prompt, self.system))
            return
        with conversations.locked(self.slot.conversation) as conversation:
            before = len(conversation.turns)
            notes = conversation.commit(
                self.content,
                result.text,
                key=self.slot.key,
                model=result.requested_model,
                usage=usage,
                interrupted=result.interrupted,
                truncated=result.finish_reason == "length",
                continue_prompts=self.continue_prompts,
                system=self.system_prompt,
            )
            if self.system is not None and len(conversation.turns) == 1:
                conversation.system = self.system
            lost_turns = len(conversation.turns) < before
        for note in notes:
            if lost_turns:  # later turns: not everybody who runs a cell again expects that
                result.add_note(note)
            else:
                result.add_note(note, is_warning=False)


#: What the model is told, unless the user says it.
CONTINUE_PROMPT = (
    "Your last answer was cut off. Go on exactly where it ends, even in mid-word: "
    "repeat nothing of it, and say nothing about this."
)


@dataclass(frozen=True)
class UnfinishedAnswer:
    """An answer that is not whole."""

    #: What it answers, and as far as it came.
    question: Sequence[Message]
    text: str
    model: str
    notes: Sequence[str] = ()
    chat: str = ""
    turn: tuple[str, int] | None = None
    #: Keeps the whole in the conversation.
    commit_turn: Callable[[ChatResult], None] | None = None

    def messages(self, instruction: str) -> list[Message]:
        """What asks for the rest."""
        partial = {"role": "assistant", "content": self.text}
        return [*self.question, partial, {"role": "user", "content": instruction.strip() or CONTINUE_PROMPT}]


def find_unfinished_answer(
    session: Session, args: argparse.Namespace, instruction: str = ""
) -> UnfinishedAnswer:
    """The answer to go on with: the conversation's last one, or ``_puq``; ``words`` are what the user says to that.

    Raises InputError where it is whole.
    """
    continue_prompts = (instruction.strip(),) if instruction.strip() else ()
    for option, value in (("-a", args.attach), ("-s", args.system)):
        if value is not None:
            raise InputError(f"--continue takes no {option}.", hint="It goes on with what was asked.")
    last = session.namespace.get(LAST_RESULT)
    last = last if isinstance(last, ChatResult) and last.is_truncated else None
    name = conversation_name(session, args)
    if not name and args.chat is None and last is not None:
        name = last.chat
    if last is not None and (not name or (last.chat == name and last.has_failed)):
        return _from_result(session, last, continue_prompts)
    if not name:
        raise InputError(
            "there is no answer to go on with.", hint="The last one is whole, or no text came of it."
        )
    conversation = session.conversations.find(name)
    if not conversation.turns or conversation.turns[-1].is_complete:
        raise InputError(f"the last answer in {conversation.name} is whole.", hint="Ask for more in words.")
    return _from_turn(session, conversation, continue_prompts)


def _from_turn(
    session: Session, conversation: Conversation, continue_prompts: Sequence[str]
) -> UnfinishedAnswer:
    last = conversation.turns[-1]
    messages, notes = conversation.messages(last.system, **context_limits(session))
    return UnfinishedAnswer(
        question=messages[:-1],
        text=last.answer,
        model=last.model,
        notes=notes,
        chat=conversation.name,
        turn=last.key,
        commit_turn=lambda result: _extend_turn(session, conversation, last, result, continue_prompts),
    )


def _extend_turn(
    session: Session,
    conversation: Conversation,
    turn: Turn,
    result: ChatResult,
    continue_prompts: Sequence[str],
) -> None:
    """Put the whole in the place of what was there."""
    from puq_magics.prompts.conversation.turns import add_usage

    usage = total_usage(result, turn.answer)
    if result.has_failed:
        session.conversations.record_partial(PartialAnswer(result, add_usage(turn.usage, usage), turn.system))
        return
    if not result.text or result.text == turn.answer:
        return
    with session.conversations.locked(conversation) as kept:
        if not kept.turns or kept.turns[-1] is not turn:
            result.add_note(f"{kept.name} has changed meanwhile: the rest is in _puq alone")
            return
        # Another beginning: the whole was asked for once more, as it did not fit its schema.
        update = kept.extend_answer if result.text.startswith(turn.answer) else kept.replace_answer
        notes = update(
            result.text,
            model=result.requested_model,
            usage=usage,
            interrupted=result.interrupted,
            truncated=result.finish_reason == "length",
            continue_prompts=continue_prompts,
        )
    for note in notes:
        result.add_note(note, is_warning=False)


def _from_result(session: Session, last: ChatResult, continue_prompts: Sequence[str]) -> UnfinishedAnswer:
    """One that stands alone; or that failed in a conversation, where the whole becomes its turn."""
    found = UnfinishedAnswer(question=last.question, text=last.text, model=last.requested_model)
    if not last.chat or last.turn is None:
        return found
    slot = session.conversations.slot(last.chat, advance=False)
    partial = session.conversations.partial_answer(last) or PartialAnswer(last, total_usage(last))
    joining = TurnContext(
        session,
        replace(slot, key=last.turn),
        last.question[-1]["content"],
        partial.system,
        partial.system_prompt,
        partial_text=last.text,
        previous_usage=partial.usage,
        continue_prompts=continue_prompts,
    )
    return replace(found, chat=last.chat, turn=last.turn, commit_turn=joining.commit_turn)
