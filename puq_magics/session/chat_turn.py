"""The place of a question in a conversation: the messages sent before it, and the turn that its answer becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from puq_magics.api.types import Message, Usage, add_usage
from puq_magics.core.errors import InputError
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.prompts.token_estimate import estimate_message_tokens
from puq_magics.session.budget import usage_or_estimate
from puq_magics.session.conversations import PartialAnswer, TurnSlot
from puq_magics.session.session import LAST_RESULT, Session

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.conversation import Conversation
    from puq_magics.prompts.conversation.turns import MessageContent, Turn, TurnKey


#: Sent to continue an answer, unless the user writes a prompt.
CONTINUE_PROMPT = (
    "Your last answer was cut off. Go on exactly where it ends, even in mid-word: "
    "repeat nothing of it, and say nothing about this."
)


@dataclass(frozen=True)
class TurnContext:
    """One question and its turn in a conversation; without a slot it stands alone."""

    session: Session
    slot: TurnSlot | None
    content: MessageContent
    #: The system prompt that the call names; None if it names none, empty if it wants none.
    requested_system: str | None = None
    #: The system prompt in force; empty for none.
    system_prompt: str = ""
    #: The partial answer that is continued, and the tokens that it used.
    partial_text: str = ""
    previous_usage: Usage | None = None
    #: The user's prompts to continue it.
    continue_prompts: Sequence[str] = ()
    #: The tool calls before it and their results.
    tool_messages: Sequence[Message] = ()
    #: The stored turn that the partial answer is; None if the turn is new.
    unfinished_turn: Turn | None = None

    @classmethod
    def for_question(
        cls,
        session: Session,
        content: MessageContent,
        *,
        chat: str | None = None,
        system: str | None = None,
        advance: bool = True,
    ) -> TurnContext:
        """Return the context of a new question.

        ``chat`` is the conversation's name, ``system`` the system prompt; None takes those of the settings. Without
        ``advance`` the turn stays free, as for a dry run. Raises InputError for an invalid name.
        """
        name = _conversation_name(session, chat)
        slot = session.conversations.slot(name, advance=advance) if name else None
        stored = None if slot is None else slot.conversation.system
        system_prompt = session.system_prompt(system, stored)
        return cls(session, slot, content, system, system_prompt)

    @property
    def name(self) -> str:
        """The conversation's name; empty without one."""
        return "" if self.slot is None else self.slot.conversation.name

    @property
    def key(self) -> TurnKey | None:
        """The turn's key; None without a conversation."""
        return None if self.slot is None else self.slot.key

    def messages(self, instructions: str = "") -> tuple[list[Message], tuple[str, ...]]:
        """Return the messages to send, and notes about the turns that were left out.

        ``instructions`` are added to the system prompt.
        """
        system = "\n\n".join(text for text in (self.system_prompt, instructions) if text)
        if self.slot is None:
            first: list[Message] = [{"role": "system", "content": system}] if system else []
            return [*first, {"role": "user", "content": self.content}], ()
        messages, notes = self.slot.conversation.preview(
            self.content, key=self.slot.key, system=system, **_context_limits(self.session)
        )
        return list(messages), notes

    def commit(self, result: ChatResult) -> None:
        """Store the answer as a turn; one that failed is only remembered, one without text or calls is ignored.

        The system prompt of a conversation's first turn becomes the conversation's.
        """
        if self.slot is None or not (result.text or result.calls):
            return
        usage = _total_usage(result, self.partial_text)
        conversations = self.session.conversations
        if result.has_failed:
            usage = add_usage(self.previous_usage, usage)
            partial = PartialAnswer(result, usage, self.system_prompt, self.requested_system)
            conversations.record_partial(partial)
            return
        with conversations.locked(self.slot.conversation) as conversation:
            if self.unfinished_turn is not None:
                _extend_turn(conversation, self.unfinished_turn, result, usage, self.continue_prompts)
            else:
                self._add_turn(conversation, self.slot.key, result, add_usage(self.previous_usage, usage))
            number = len(conversation.turns)
            if number and conversation.turns[-1].answer == result.text:
                is_new = number == 1 and not conversation.branches
                result.turn_name = "new" if is_new else f"turn {number}"

    def _add_turn(
        self, conversation: Conversation, key: TurnKey | None, result: ChatResult, usage: Usage | None
    ) -> None:
        before = len(conversation.turns)
        notes = conversation.commit(
            self.content,
            result.text,
            key=key,
            model=result.requested_model,
            usage=usage,
            continue_prompts=self.continue_prompts,
            system=self.system_prompt,
            interrupted=result.interrupted,
            truncated=result.is_cut_off,
            tool_messages=(*self.tool_messages, *result.tool_messages),
            sources=result.sources,
        )
        if self.requested_system is not None and len(conversation.turns) == 1:
            conversation.system = self.requested_system
        # A warning if later turns were removed, which the user may not expect.
        removed_turns = len(conversation.turns) < before
        for note in notes:
            result.add_note(note, is_warning=removed_turns)


def _extend_turn(
    conversation: Conversation,
    turn: Turn,
    result: ChatResult,
    usage: Usage | None,
    continue_prompts: Sequence[str],
) -> None:
    """Replace the partial answer of a turn by the whole."""
    if result.text == turn.answer:
        return
    if not conversation.turns or conversation.turns[-1] is not turn:
        result.add_note(f"{conversation.name} has changed meanwhile: the rest is only in _puq")
        return
    # The whole has another beginning if it was requested again, as it did not fit its schema.
    update = (
        conversation.extend_answer if result.text.startswith(turn.answer) else conversation.replace_answer
    )
    notes = update(
        result.text,
        model=result.requested_model,
        usage=usage,
        continue_prompts=continue_prompts,
        sources=result.sources,
        interrupted=result.interrupted,
        truncated=result.is_cut_off,
    )
    for note in notes:
        result.add_note(note, is_warning=False)


@dataclass(frozen=True)
class UnfinishedAnswer:
    """An answer that was cut off or interrupted, or is incomplete."""

    #: The messages that it answers, and its model.
    question: Sequence[Message]
    model: str
    context: TurnContext
    notes: Sequence[str] = ()

    def messages(self, prompt: str) -> list[Message]:
        """Return the messages that request the rest; an empty ``prompt`` stands for CONTINUE_PROMPT."""
        partial = {"role": "assistant", "content": self.context.partial_text}
        return [*self.question, partial, {"role": "user", "content": prompt.strip() or CONTINUE_PROMPT}]


def find_unfinished_answer(
    session: Session, *, chat: str | None = None, prompt: str = ""
) -> UnfinishedAnswer:
    """Return the answer to continue: the last one of the conversation ``chat``, or ``_puq``.

    ``prompt`` is what the user writes to continue it. Raises InputError if that answer is complete.
    """
    continue_prompts = (prompt.strip(),) if prompt.strip() else ()
    last = session.namespace.get(LAST_RESULT)
    last = last if isinstance(last, ChatResult) and last.is_truncated else None
    name = _conversation_name(session, chat)
    if not name and chat is None and last is not None:
        name = last.chat
    if last is not None and (not name or (last.chat == name and last.has_failed)):
        return _from_result(session, last, continue_prompts)
    if not name:
        raise InputError(
            "there is no unfinished answer to continue.", hint="The last answer is complete, or has no text."
        )
    conversation = session.conversations.find(name)
    if not conversation.turns or conversation.turns[-1].is_complete or not conversation.turns[-1].answer:
        raise InputError(
            f"the last answer in {conversation.name} is already complete.", hint="Ask a new question instead."
        )
    return _from_turn(session, conversation, continue_prompts)


def _from_turn(
    session: Session, conversation: Conversation, continue_prompts: Sequence[str]
) -> UnfinishedAnswer:
    last = conversation.turns[-1]
    messages, notes = conversation.messages(last.system, **_context_limits(session))
    context = TurnContext(
        session,
        TurnSlot(conversation, last.key),
        "",
        system_prompt=last.system,
        partial_text=last.answer,
        previous_usage=last.usage,
        continue_prompts=continue_prompts,
        unfinished_turn=last,
    )
    return UnfinishedAnswer(messages[:-1], last.model, context, notes)


def _from_result(session: Session, last: ChatResult, continue_prompts: Sequence[str]) -> UnfinishedAnswer:
    """Return a result that stands alone, or that failed in a conversation; the whole becomes a turn of that."""
    context = TurnContext(session, None, "", partial_text=last.text, continue_prompts=continue_prompts)
    if last.chat and last.turn is not None:
        slot = session.conversations.slot(last.chat, advance=False)
        partial = session.conversations.partial_answer(last) or PartialAnswer(last, _total_usage(last))
        context = replace(
            context,
            slot=replace(slot, key=last.turn),
            content=next(each["content"] for each in reversed(last.question) if each["role"] == "user"),
            tool_messages=last.tool_messages,
            requested_system=partial.system,
            system_prompt=partial.system_prompt,
            previous_usage=partial.usage,
        )
    return UnfinishedAnswer(last.question, last.requested_model, context)


def _conversation_name(session: Session, chat: str | None) -> str:
    """Return the conversation that a call joins; empty for none."""
    return (session.settings.chat if chat is None else chat) or ""


def _context_limits(session: Session) -> dict[str, int | None]:
    settings = session.settings
    return {"limit_tokens": settings.context_limit, "limit_turns": settings.context_turns}


def _total_usage(result: ChatResult, partial_text: str = "") -> Usage | None:
    """Return the tokens of an answer and its previous attempts, estimated if the router did not count them.

    ``partial_text`` is the beginning of the answer that an earlier call returned.
    """
    usage = _own_usage(result, partial_text)
    for each in result.rounds:
        usage = add_usage(_own_usage(each), usage)
    for attempt in result.previous_attempts:
        usage = add_usage(_total_usage(attempt, partial_text), usage)
    return usage


def _own_usage(result: ChatResult, partial_text: str = "") -> Usage | None:
    """Return the tokens of one answer, without the rounds and attempts before it."""
    text = result.text.removeprefix(partial_text)
    return usage_or_estimate(result.usage, estimate_message_tokens(result.messages), text)
