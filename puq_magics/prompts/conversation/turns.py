"""Turns of a conversation (a question and its answer), and branches (earlier lines of turns)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite
from textwrap import shorten
from typing import Any, Protocol

from puq_magics.api.types import Message, Usage
from puq_magics.core.errors import InputError
from puq_magics.core.thinking import split_thinking
from puq_magics.prompts.token_estimate import estimate_message_tokens, estimate_tokens

#: The cell's id, and the ordinal of the question within one execution of the cell. Where the front end sends no
#: ids, the cell's id is the execution count, as ``In[5]`` or ``5``.
TurnKey = tuple[str, int]
#: Content of a user's message: text, or parts such as ``{"type": "text", …}`` and ``{"type": "image_url", …}``.
MessageContent = str | Sequence[Mapping[str, Any]]

_MAX_NAME_LENGTH = 64
_NAME_PATTERN = re.compile(r"\w[\w.-]*")
_MAX_DEPTH = 50  # nesting of a content part

#: Time of a turn where it is not known.
NO_TIME = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, repr=False)
class Turn:
    """A question and its answer."""

    key: TurnKey | None
    #: The question: text, or content parts.
    content: str | tuple[Mapping[str, Any], ...]
    #: The model's text, unchanged.
    answer: str
    #: The model's name at the router; empty if unknown.
    model: str = ""
    usage: Usage | None = None
    #: True if the answer was stopped, so that it is incomplete.
    interrupted: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Execution of its cell, counted from 1; 0 outside of cells.
    execution: int = field(default=0, repr=False, compare=False)
    #: The user's texts that asked to continue the answer; they are not sent again.
    continue_prompts: tuple[str, ...] = ()
    #: The system prompt that was sent; empty for none.
    system: str = ""
    #: True if the answer ended at the token limit, so that it is incomplete.
    truncated: bool = False
    #: The model's tool calls before the answer, and their results, as messages.
    tool_messages: tuple[Message, ...] = ()
    #: The title and the URL of each source that the model names beside its text; either may be empty.
    sources: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        question, answer = (repr(shorten(text, 60, placeholder="…")) for text in (self.question, self.answer))
        facts = [
            self.model,
            *(["interrupted"] if self.interrupted else []),
            *(["truncated"] if self.truncated else []),
        ]
        return f"<Turn {question} → {answer}{''.join(f', {fact}' for fact in facts if fact)}>"

    @property
    def question(self) -> str:
        """Text of the question, without parts of other types."""
        if isinstance(self.content, str):
            return self.content
        return "\n\n".join(part["text"] for part in self.content if is_text_part(part))

    @property
    def is_complete(self) -> bool:
        """True if the answer was neither interrupted nor truncated."""
        return not (self.interrupted or self.truncated)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turn as it is sent: question, tool calls with their results, and answer without reasoning.

        An answer without text, which no router accepts, is left out.
        """
        answer = split_thinking(self.answer)[1] or self.answer
        return [
            user_message(self.content),
            *(_copy_plain_data(message) for message in self.tool_messages),
            *([{"role": "assistant", "content": answer}] if answer else []),
        ]

    @property
    def tokens(self) -> int:
        """Estimated number of tokens."""
        tools = estimate_message_tokens(self.tool_messages)
        return estimate_tokens(self.content) + tools + estimate_tokens(self.answer)

    def with_answer(
        self,
        answer: str,
        model: str,
        usage: Usage | None,
        interrupted: bool,
        truncated: bool,
        continue_prompts: Sequence[str],
        sources: Sequence[tuple[str, str]],
    ) -> Turn:
        """Return a copy with another answer; ``continue_prompts`` and ``sources`` are added to those of the turn."""
        return replace(
            self,
            answer=answer,
            model=model or self.model,
            usage=usage,
            interrupted=interrupted,
            truncated=truncated,
            continue_prompts=(*self.continue_prompts, *continue_prompts),
            sources=tuple(dict.fromkeys((*self.sources, *sources))),
        )


@dataclass(frozen=True)
class Branch:
    """An earlier line of turns, kept when some of them were replaced or removed."""

    #: Such as ``main~1``.
    name: str
    #: All turns, from the first.
    turns: tuple[Turn, ...]
    #: The cause, for display: ``turn 2 replaced``.
    reason: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: The conversation's system prompt at that time; None for none.
    system: str | None = None

    @property
    def number(self) -> int:
        """The number in its name."""
        return int(self.name.rpartition("~")[2])


class ConversationData(Protocol):
    """The parts of a conversation that are saved and exported."""

    @property
    def name(self) -> str:
        """Name; empty for an unnamed conversation."""

    @property
    def system(self) -> str | None:
        """System prompt of the next questions; None for none."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Turns of the current line, oldest first."""

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Earlier lines, oldest first."""


def validate_name(name: str) -> str:
    """Return the name of a conversation in Unicode's composed form (NFC). Raises InputError for an invalid one."""
    composed = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
    if _NAME_PATTERN.fullmatch(composed) and len(composed) <= _MAX_NAME_LENGTH:
        return composed
    hint = "A name has letters, digits and . _ -, and begins with a letter or digit"
    raise InputError(f"{short_repr(name)} is not a name for a conversation.", hint=f"{hint}: essay-2.")


def validate_content(content: object) -> str | tuple[dict[str, Any], ...]:
    """Return a question's text, or a copy of its parts. Raises InputError if it is neither."""
    if isinstance(content, str):
        if not content.strip():
            raise InputError("the question is empty.", hint="Write a prompt.")
        return content
    parts = (
        list(content) if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray) else []
    )
    if not parts or not all(_is_content_part(part) for part in parts):
        raise InputError(
            "the question must be text or a list of content parts.",
            hint='A part is like {"type": "text", "text": "Hello"}.',
        )
    return tuple(_copy_plain_data(dict(part)) for part in parts)


def validate_tool_messages(messages: object) -> tuple[Message, ...]:
    """Return a copy of the messages of tool calls and their results. Raises InputError for others.

    Routers reject calls without a result, and results without a call.
    """
    copied = [_copy_plain_data(each) for each in messages] if isinstance(messages, list | tuple) else [None]
    expected: list[Any] = []  # the calls without a result
    for message in copied:
        match message:
            case {"role": "tool", "tool_call_id": call_id} if call_id in expected:
                expected.remove(call_id)
            case {"role": "assistant", "tool_calls": [*calls]} if calls and not expected:
                expected = [call.get("id") if isinstance(call, dict) else None for call in calls]
            case _:
                expected = [None]
                break
    if expected:
        raise InputError(
            "the tool messages do not belong together.", hint="Each tool call must be followed by its result."
        )
    return tuple(message for message in copied if message is not None)


def is_text_part(part: Mapping[str, Any]) -> bool:
    """Return whether a part is text."""
    return bool(part["type"] == "text")


def validate_key(key: object) -> TurnKey | None:
    """Return a turn's key. Raises InputError for an invalid one."""
    match key:
        case None:
            return None
        case (str(cell), int(ordinal)) if cell and ordinal >= 0 and not isinstance(ordinal, bool):
            return cell, ordinal
    raise InputError(
        f"{short_repr(key)} is not a turn's key.", hint="Give a cell's id and an ordinal from 0, or None."
    )


def _is_content_part(part: object) -> bool:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        return False
    return part["type"] != "text" or isinstance(part.get("text"), str)


def _copy_plain_data(value: Any, depth: int = 0) -> Any:
    """Return a deep copy of plain data. Raises InputError for other data."""
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: _copy_plain_data(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [_copy_plain_data(each, depth + 1) for each in value]
    raise InputError(
        "a part of the question is not plain data.", hint="Use strings, numbers, lists and dicts."
    )


def user_message(content: str | tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
    """Return a question as a message."""
    copied = content if isinstance(content, str) else [_copy_plain_data(part) for part in content]
    return {"role": "user", "content": copied}


def short_repr(value: object) -> str:
    """Return a value as an error quotes it: at most 80 characters."""
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:79]}…"
