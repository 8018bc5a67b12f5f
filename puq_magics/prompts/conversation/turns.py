"""Turns of a conversation, each a question and its answer, and branches, which are lines of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite
from textwrap import shorten
from typing import Any, Protocol

from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError
from puq_magics.prompts.token_estimate import estimate_tokens

#: Which question this is: the cell's id, and the ordinal of the question within one execution of the cell. Where
#: the front end sends no ids, the execution count stands for the cell, as ``In[5]`` or ``5``.
TurnKey = tuple[str, int]
#: What a user's message says: words, or parts such as ``{"type": "text", …}`` and ``{"type": "image_url", …}``.
MessageContent = str | Sequence[Mapping[str, Any]]

_MAX_NAME_LENGTH = 64
_NAME_PATTERN = re.compile(r"\w[\w.-]*")
_MAX_DEPTH = 50  # lists and objects within each other, in a part


@dataclass(frozen=True, repr=False)
class Turn:
    """A question and its answer."""

    key: TurnKey | None
    #: Words, or parts.
    content: str | tuple[Mapping[str, Any], ...]
    #: The model's own words.
    answer: str
    #: The model that answered, as the router names it; empty when nobody said.
    model: str = ""
    usage: Usage | None = None
    #: Whether the answer was stopped, so that only its beginning is here.
    interrupted: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Which execution of its cell it is from.
    execution: int = field(default=0, repr=False, compare=False)
    #: The words, the user's own, at which the model went on with the answer; none of them is sent again.
    continue_prompts: tuple[str, ...] = ()
    #: The system prompt that it was asked with; empty for none.
    system: str = ""
    #: Whether the answer ended at the token limit, so that only its beginning is here.
    truncated: bool = False

    def __repr__(self) -> str:
        asked, with_answer = (
            repr(shorten(words, 60, placeholder="…")) for words in (self.question, self.answer)
        )
        facts = [
            self.model,
            *(["interrupted"] if self.interrupted else []),
            *(["cut"] if self.truncated else []),
        ]
        return f"<Turn {asked} → {with_answer}{''.join(f', {fact}' for fact in facts if fact)}>"

    @property
    def question(self) -> str:
        """The words of the question, without what is not text."""
        if isinstance(self.content, str):
            return self.content
        return "\n\n".join(part["text"] for part in self.content if is_text_part(part))

    @property
    def is_complete(self) -> bool:
        """Whether the answer came to its end."""
        return not (self.interrupted or self.truncated)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As they are sent."""
        return [user_message(self.content), {"role": "assistant", "content": self.answer}]

    @property
    def tokens(self) -> int:
        """How many tokens it has, estimated."""
        return estimate_tokens(self.content) + estimate_tokens(self.answer)

    def with_answer(
        self,
        answer: str,
        model: str,
        usage: Usage | None,
        interrupted: bool,
        truncated: bool,
        continue_prompts: Sequence[str],
    ) -> Turn:
        """The same question with another answer, for which the model was told to go on at ``continued`` as well."""
        return replace(
            self,
            answer=answer,
            model=model or self.model,
            usage=usage,
            interrupted=interrupted,
            truncated=truncated,
            continue_prompts=(*self.continue_prompts, *continue_prompts),
        )


@dataclass(frozen=True)
class Branch:
    """The line of turns as it was before some of them left it."""

    #: Such as ``main~1``.
    name: str
    #: All of them, from the first.
    turns: tuple[Turn, ...]
    #: What happened then, for people: ``turn 2 replaced``.
    reason: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: The conversation's system prompt then; None for none.
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
    """A question's words or parts, as a copy of their own. Raises InputError for what is neither."""
    if isinstance(content, str):
        if not content.strip():
            raise InputError("the question is empty.", hint="Write some words.")
        return content
    parts = (
        list(content) if isinstance(content, Sequence) and not isinstance(content, bytes | bytearray) else []
    )
    if not parts or not all(_is_content_part(part) for part in parts):
        raise InputError(
            "the question is neither words nor a list of parts.",
            hint='A part is like {"type": "text", "text": "Hello"}.',
        )
    return tuple(_copy_plain_data(dict(part)) for part in parts)


def is_text_part(part: Mapping[str, Any]) -> bool:
    """Whether a part is words."""
    return bool(part["type"] == "text")


def validate_key(key: object) -> TurnKey | None:
    """A turn's key. Raises InputError for what is none."""
    match key:
        case None:
            return None
        case (str(cell), int(ordinal)) if cell and ordinal >= 0 and not isinstance(ordinal, bool):
            return cell, ordinal
    raise InputError(
        f"{short_repr(key)} is not a turn's key.", hint="It is a cell's id and an ordinal from 0, or None."
    )


def _is_content_part(part: object) -> bool:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        return False
    return part["type"] != "text" or isinstance(part.get("text"), str)


def _copy_plain_data(value: Any, depth: int = 0) -> Any:
    """A copy of plain data, so that no change elsewhere reaches it. Raises InputError for other data."""
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
    """A question as it is sent."""
    said = content if isinstance(content, str) else [_copy_plain_data(part) for part in content]
    return {"role": "user", "content": said}


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """The tokens of two calls; None where nothing is known of either."""
    if one is None or other is None:
        return one or other
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.total_tokens + other.total_tokens,
    )


def short_repr(value: object) -> str:
    """A value as an error quotes it."""
    words = repr(value[:60] if isinstance(value, str) else value)
    return words if len(words) <= 80 else f"{words[:79]}…"
