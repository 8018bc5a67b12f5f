"""Choices of a chat answer: their text, reasoning and refusal; those that a stream sends in parts are assembled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from puq_magics.api.types import join_surrogates

#: Fields of a message that hold the model's reasoning, in order of preference: some routers send several.
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_details")
_REASONING_TYPES = frozenset({"thinking", "reasoning", "thought", "reasoning.text", "reasoning.summary"})
#: Fields of a content part that hold its text, or parts of it.
_TEXT_FIELDS = ("text", "thinking", "reasoning", "summary", "refusal", "content")
_MAX_NESTING = 8
#: Fields of a choice and of a message that are assembled on their own.
_CHOICE_FIELDS = frozenset({"index", "delta", "message", "text", "finish_reason"})
_MESSAGE_FIELDS = frozenset({"role", "content", "reasoning_content", "reasoning", "thinking", "thought"})
#: Fields whose strings are sent in parts; any other string is sent whole.
_CONTINUED_FIELDS = frozenset({"arguments", "data", "refusal", "transcript"})
#: Lists that some routers send anew, and longer, with each event.
_REPEATED_LISTS = frozenset({"annotations", "citations", "images", "search_results"})
#: A part that repeats at least so many characters from the beginning holds the whole text so far.
_MIN_REPEATED_CHARS = 4
#: A part that equals all text so far, of at least so many characters, is no text of its own.
_MIN_WHOLE_CHARS = 12


class MessageText(NamedTuple):
    """The text of a message, by what it is."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""


@dataclass(slots=True)
class ChoicePart:
    """One choice of an answer, or its part in an event of a stream."""

    index: int
    text: str
    reasoning: str
    refusal: str
    finish_reason: str | None
    #: The whole text so far, where an event of a stream holds that; None where it does not.
    whole_text: str | None
    #: The choice, and its message or delta, as they came.
    choice: Mapping[str, Any]
    message: Mapping[str, Any]


def read_choices(answer: Mapping[str, Any]) -> list[ChoicePart]:
    """Return the choices of an answer (``message``) or of a stream's event (``delta``)."""
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return []
    return [_read_choice(choice, n) for n, choice in enumerate(choices) if isinstance(choice, dict)]


def _read_choice(choice: Mapping[str, Any], position: int) -> ChoicePart:
    index, finish = choice.get("index"), choice.get("finish_reason")
    delta, message = choice.get("delta"), choice.get("message")
    # Some routers send the whole message with the last event, or with each, beside the delta.
    whole = _read_message(message).text if isinstance(message, dict) and isinstance(delta, dict) else None
    part = delta if isinstance(delta, dict) and (delta or whole is None) else message
    part = part if isinstance(part, dict) else {}
    content = _read_message(part)
    text = content.text or (choice["text"] if isinstance(choice.get("text"), str) else "")
    return ChoicePart(
        index=index if isinstance(index, int) else position,
        text="" if part is message and whole is not None else text,
        reasoning=content.reasoning,
        refusal=content.refusal,
        finish_reason=finish if isinstance(finish, str) else None,
        whole_text=whole,
        choice=choice,
        message=part,
    )


def _read_message(message: Mapping[str, Any]) -> MessageText:
    content = read_content(message.get("content"))
    fields = (_join_text(message.get(name)) for name in _REASONING_FIELDS)
    reasoning = content.reasoning or next(filter(None, fields), "")
    return MessageText(content.text, reasoning, content.refusal or _join_text(message.get("refusal")))


def read_content(value: object) -> MessageText:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(value, str):
        return MessageText(value)
    texts: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in value if isinstance(value, list) else [value]:
        kind = part.get("type") if isinstance(part, dict) else ""
        name = "reasoning" if kind in _REASONING_TYPES else "refusal" if kind == "refusal" else "text"
        texts[name].append(_join_text(part))
    return MessageText(*("".join(parts) for parts in texts.values()))


def _join_text(value: object, depth: int = 0) -> str:
    """Return all text of a string, of a content part, or of a list of such."""
    if isinstance(value, str):
        return value
    if depth > _MAX_NESTING:
        return ""
    if isinstance(value, list):
        return "".join(_join_text(each, depth + 1) for each in value)
    if isinstance(value, dict):
        return next(filter(None, (_join_text(value.get(name), depth + 1) for name in _TEXT_FIELDS)), "")
    return ""


def count_extras(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a message holds beside text, such as ``2 tool calls`` and ``1 image``."""
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    calls, images = message.get("tool_calls"), message.get("images")
    counts = {
        "tool call": (len(calls) if isinstance(calls, list) else 0) + bool(message.get("function_call")),
        "image": (len(images) if isinstance(images, list) else 0)
        + sum("image" in str(part.get("type")) for part in parts),
        "recording": bool(message.get("audio")) + sum("audio" in str(part.get("type")) for part in parts),
    }
    return tuple(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n)


class ChoiceBuilder:
    """Assembles one choice from the parts that a stream sends."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = TextBuffer()
        self.reasoning = TextBuffer()
        self.refusal = ""
        self.finish_reason: str | None = None
        self._parts: list[Any] = []  # of a content that is a list
        self._message: dict[str, Any] = {}
        self._fields: dict[str, Any] = {}

    def add(self, part: ChoicePart) -> tuple[str, str]:
        """Add a part; return the text and the reasoning to show for it."""
        text = self.text.add(part.text)
        if part.whole_text is not None:
            text += self.text.complete(part.whole_text)
        self.refusal += part.refusal
        self.finish_reason = part.finish_reason or self.finish_reason
        content = part.message.get("content")
        if isinstance(content, list):
            self._parts += [each for each in content if not _join_text(each)]
        merge_fields(self._message, part.message, _MESSAGE_FIELDS)
        merge_fields(self._fields, part.choice, _CHOICE_FIELDS)
        return text + part.refusal, self.reasoning.add(part.reasoning)

    def to_json(self) -> dict[str, Any]:
        """Return the choice as a router that does not stream sends it."""
        text, reasoning = self.text.text, self.reasoning.text
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._parts:
            message["content"] = [*([{"type": "text", "text": text}] if text else []), *self._parts]
        message |= {"reasoning": reasoning} if reasoning else {}
        choice = {"index": self.index, "message": message | self._message}
        return choice | {"finish_reason": self.finish_reason} | self._fields


def merge_fields(
    target: dict[str, Any], part: Mapping[str, Any], ignored: frozenset[str] = frozenset()
) -> None:
    """Merge a part of a JSON object, as a stream sends it, into the object."""
    for name, value in part.items():
        old = target.get(name)
        if name in ignored or value is None:
            continue
        if isinstance(value, list):
            old = target[name] = old if isinstance(old, list) else []
            _merge_list(name, old, value)
        elif isinstance(value, dict):
            old = target[name] = old if isinstance(old, dict) else {}
            merge_fields(old, value)
        elif isinstance(value, str) and isinstance(old, str) and name in _CONTINUED_FIELDS:
            target[name] = old + value
        elif value != "" or old is None:
            target[name] = value


def _merge_list(name: str, old: list[Any], new: list[Any]) -> None:
    for entry in new:
        if name == "tool_calls" and isinstance(entry, dict):
            _merge_tool_call(old, entry)
        elif name not in _REPEATED_LISTS or entry not in old:
            old.append(entry)


def _merge_tool_call(calls: list[Any], part: Mapping[str, Any]) -> None:
    """Merge a part of a tool call: into the call of its index or id, else into the last one if it has no name."""
    function = part.get("function")
    is_new = bool(part.get("id") or (isinstance(function, dict) and function.get("name")))
    for call in reversed(calls):
        by_index = "index" in part and call.get("index") == part["index"]
        by_id = "index" not in part and bool(part.get("id")) and call.get("id") == part["id"]
        if by_index or by_id or ("index" not in part and not is_new):
            merge_fields(call, part)
            return
    calls.append({})
    merge_fields(calls[-1], part)


class TextBuffer:
    """Joins the parts of a text.

    It never returns half of a surrogate pair that JSON escapes split over two parts, and returns text once where a
    router repeats the whole text so far in each part, or at the end.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._high_surrogate = ""
        self._last = ""  # the last part, while it may be repeated by the next
        self._repetitions = 0
        #: True if each part repeats the text before it; None as long as that is unclear.
        self.is_cumulative: bool | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return join_surrogates(self._parts)

    def add(self, part: str) -> str:
        """Add a part; return its complete characters that are new, with the half of one before it."""
        if self.is_cumulative is not False and part:
            part = self._without_repetition(part)
        elif _MIN_WHOLE_CHARS <= self._size <= len(part) + 8 and part.strip() == self.text.strip():
            return ""  # the whole text once more
        return self.append(part)

    def append(self, part: str) -> str:
        """Add a part as it is; return as ``add``."""
        self._parts.append(part)
        self._size += len(part)
        part, self._high_surrogate = self._high_surrogate + part, ""
        if part and "\ud800" <= part[-1] <= "\udbff":
            part, self._high_surrogate = part[:-1], part[-1]
        return join_surrogates([part])

    def complete(self, whole: str) -> str:
        """Add what a whole text holds beyond the parts, and return it."""
        text = self.text
        return self.append(whole[len(text) :]) if len(whole) > len(text) and whole.startswith(text) else ""

    def end(self) -> str:
        """Return the replacement for a half that is left."""
        half, self._high_surrogate = self._high_surrogate, ""
        return join_surrogates([half])

    def _without_repetition(self, part: str) -> str:
        """Return what a part adds; detect whether each repeats the text before it."""
        last, self._last = self._last, part
        repeats = bool(last) and len(part) > len(last) and part.startswith(last)
        if self.is_cumulative is None:
            if not last:
                return part
            if not repeats:
                self.is_cumulative = False
                return part
            self._repetitions += 1
            if len(last) < _MIN_REPEATED_CHARS or len(set(last)) < 3:
                if self._repetitions == 1:  # it may be chance
                    return part
                self._parts, self._size = [last], len(last)
            self.is_cumulative = True
        if not repeats:
            self._last = last if last.startswith(part) else last + part
        return part[len(last) :] if repeats else "" if last.startswith(part) else part
