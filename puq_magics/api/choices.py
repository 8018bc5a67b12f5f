"""Choices of a chat answer: their text, reasoning and refusal; those that a stream sends in parts are assembled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from puq_magics.api.finish_reason import FINISH_FIELDS, read_finish_reason
from puq_magics.api.types import join_surrogates
from puq_magics.core.text import pluralize

#: Fields of a message that hold the model's reasoning, in order of preference (some routers send several): as text,
#: and as lists of parts.
_REASONING_TEXTS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thought", "thoughts")
_REASONING_LISTS = ("reasoning_details", "thinking_blocks")
_REASONING_FIELDS = (*_REASONING_TEXTS, *_REASONING_LISTS)
_REASONING_TYPES = frozenset(
    {
        "thinking", "reasoning", "thought", "reasoning_content", "reasoning_text", "reasoning.text",
        "reasoning.summary",
    }
)  # fmt: skip
#: Fields of a content part that hold its text, or parts of it.
_TEXT_FIELDS = (
    "text", "thinking", "reasoning", "reasoning_content", "summary", "refusal", "content", "value"
)  # fmt: skip
_MAX_NESTING = 8
#: Fields of a choice and of a message that are assembled on their own.
_CHOICE_FIELDS = frozenset({"index", "delta", "message", "text", "finish_reason"})
_MESSAGE_FIELDS = frozenset({"role", "content", *_REASONING_TEXTS, *FINISH_FIELDS})
#: Fields of a message that a person sees, or that say nothing of what came.
_SHOWN_FIELDS = _MESSAGE_FIELDS | {"refusal", "name", "index", *_REASONING_LISTS}
_PART_FIELDS = frozenset({"type", "index", *_TEXT_FIELDS})
#: Fields whose strings are sent in parts; any other string is sent whole.
_CONTINUED_FIELDS = frozenset({"arguments", "data", "refusal", "transcript"})
#: Lists that some routers send anew, and longer, with each event.
_REPEATED_LISTS = frozenset({"annotations", "citations", "images", "search_results"})
#: Entries of such a list that are compared with a new one.
_MAX_COMPARED = 200
#: Different characters that repeated parts hold: of few, such as blanks or digits, repetition means nothing.
_MIN_DISTINCT_CHARS = 4
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
    #: True if it holds the whole answer so far, which an event of a stream may do.
    is_whole: bool
    #: The whole text so far, beside a part of it; empty without one.
    whole_text: str
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
    index = choice.get("index")
    delta, message = choice.get("delta"), choice.get("message")
    # Some routers send the whole message with the last event, or with each, beside the delta.
    has_delta = isinstance(delta, dict) and (bool(delta) or not isinstance(message, dict))
    part = delta if has_delta else message
    part = part if isinstance(part, dict) else {}
    content = _read_message(part)
    return ChoicePart(
        index=index if isinstance(index, int) else position,
        text=content.text or (choice["text"] if isinstance(choice.get("text"), str) else ""),
        reasoning=content.reasoning,
        refusal=content.refusal,
        finish_reason=read_finish_reason(choice) or read_finish_reason(part),
        is_whole=part is message,
        whole_text=_read_message(message).text if has_delta and isinstance(message, dict) else "",
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
        texts[_text_kind(part)].append(_join_text(part))
    return MessageText(*("".join(parts) for parts in texts.values()))


def _text_kind(part: object) -> str:
    """Return what the text of a content part is."""
    kind = str(part.get("type")) if isinstance(part, dict) else ""
    if kind in _REASONING_TYPES or (isinstance(part, dict) and part.get("thought") is True):
        return "reasoning"
    return "refusal" if kind == "refusal" else "text"


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
    parts = content if isinstance(content, list) else [content]
    kinds = [str(part.get("type")) for part in parts if isinstance(part, dict)]

    def count(kind: str, *names: str) -> int:
        values = [message.get(name) for name in names]
        listed = sum(len(value) if isinstance(value, list) else bool(value) for value in values)
        return listed + sum(kind in each for each in kinds)

    counts = {
        "tool call": count("tool", "tool_calls", "function_call"),
        "image": count("image", "images", "image"),
        "recording": count("audio", "audio"),
        "source": count("citation", "annotations", "citations"),
    }
    return tuple(pluralize(n, name) for name, n in counts.items() if n)


def unknown_fields(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a message's fields that hold something else than text."""
    return tuple(name for name, value in message.items() if value and name not in _SHOWN_FIELDS)


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
        self._has_deltas = False

    def add(self, part: ChoicePart) -> tuple[str, str]:
        """Add a part; return the text and the reasoning to show for it."""
        self.finish_reason = part.finish_reason or self.finish_reason
        content = part.message.get("content")
        if isinstance(content, list):
            self._parts += [kept for each in content if (kept := _without_text(each))]
        merge_fields(self._fields, part.choice, _CHOICE_FIELDS)
        if part.is_whole and self._has_deltas:
            return self._complete(part)
        self._has_deltas = self._has_deltas or not part.is_whole
        merge_fields(self._message, part.message, _MESSAGE_FIELDS)
        self.refusal += part.refusal
        text = self.text.add(part.text, is_last=part.finish_reason is not None)
        text += self.text.complete(part.whole_text)
        return text + part.refusal, self.reasoning.add(part.reasoning)

    def _complete(self, part: ChoicePart) -> tuple[str, str]:
        """Add what a whole message holds beyond the parts before it."""
        fields = {
            name: value for name, value in part.message.items() if name not in _MESSAGE_FIELDS and value
        }
        self._message |= fields
        refusal = "" if part.refusal in self.refusal else part.refusal
        self.refusal += refusal
        return self.text.complete(part.text) + refusal, self.reasoning.complete(part.reasoning)

    def to_json(self) -> dict[str, Any]:
        """Return the choice as a router that does not stream sends it."""
        text, reasoning = self.text.text, self.reasoning.text
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._parts:
            message["content"] = [*([{"type": "text", "text": text}] if text else []), *self._parts]
        message |= {"reasoning": reasoning} if reasoning else {}
        choice = {"index": self.index, "message": message | self._message}
        return choice | {"finish_reason": self.finish_reason} | self._fields


def _without_text(part: object) -> object:
    """Return a content part without its text; None if nothing else is in it."""
    if not _join_text(part):
        return part
    if not isinstance(part, dict) or part.keys() <= _PART_FIELDS:
        return None
    return {name: value for name, value in part.items() if name == "type" or name not in _PART_FIELDS}


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
        elif name not in _REPEATED_LISTS or len(old) > _MAX_COMPARED or entry not in old:
            old.append(entry)


def _merge_tool_call(calls: list[Any], part: Mapping[str, Any]) -> None:
    """Merge a part of a tool call into the call that it goes on with, or add it as a new one."""
    name = _function_field(part, "name")
    for call in reversed(calls):
        if isinstance(call, dict) and _is_repeated(call, part):
            return
        if isinstance(call, dict) and _continues(call, part, bool(name)):
            old = _function_field(call, "name")
            merge_fields(call, part)
            if isinstance(old, str) and isinstance(name, str) and name:
                call["function"]["name"] = (
                    name if name.startswith(old) else old if old.startswith(name) else old + name
                )
            return
    calls.append({})
    merge_fields(calls[-1], part)


def _is_repeated(call: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Return whether a part is a whole call that has come already: some servers send it once more at the end."""
    return (
        bool(part.get("id"))
        and call.get("id") == part["id"]
        and part.get("index") in (None, call.get("index"))
        and _function_field(part, "name") == _function_field(call, "name")
        and _function_field(part, "arguments") == _function_field(call, "arguments")
        and _is_whole(_function_field(call, "arguments"))
    )


def _continues(call: Mapping[str, Any], part: Mapping[str, Any], has_name: bool) -> bool:
    """Return whether a part of a tool call goes on with a call; some servers give no index, or always the same."""
    has_other_id = bool(part.get("id")) and bool(call.get("id")) and call["id"] != part["id"]
    if has_name and _function_field(part, "arguments") and _is_whole(_function_field(call, "arguments")):
        return False
    if "index" in part:
        return call.get("index") == part["index"] and not (has_other_id and has_name)
    return call.get("id") == part["id"] if part.get("id") else not has_name


def _function_field(call: Mapping[str, Any], name: str) -> Any:
    function = call.get("function")
    return function.get(name) if isinstance(function, dict) else None


def _is_whole(arguments: object) -> bool:
    """Return whether the arguments of a call are complete, so that a part with a name begins another call."""
    if not isinstance(arguments, str):
        return bool(arguments)
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


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

    def add(self, part: str, *, is_last: bool = False) -> str:
        """Add a part; return its complete characters that are new, with the half of one before it."""
        if is_last and len(part) == self._size >= _MIN_WHOLE_CHARS and part == self.text:
            return ""  # the whole text once more
        if self.is_cumulative is not False and part:
            part = self._without_repetition(part)
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
        """Add what a whole text holds beyond the parts, and return it; what differs in another way is left out."""
        if len(whole) <= self._size:
            return ""
        text = self.text
        return self.append(whole[len(text) :]) if whole.startswith(text) else ""

    def end(self) -> str:
        """Return the replacement for a half that is left."""
        half, self._high_surrogate = self._high_surrogate, ""
        return join_surrogates([half])

    def _without_repetition(self, part: str) -> str:
        """Return what a part adds, if each repeats the text before it.

        Two parts in turn that repeat all text before them show that; one can be chance.
        """
        last = self._last
        if len(part) > len(last) > 0 and part.startswith(last):
            self._repetitions += 1
            if self.is_cumulative is None and self._repetitions > 1 and len(set(part)) >= _MIN_DISTINCT_CHARS:
                self._parts, self._size, self.is_cumulative = [last], len(last), True
            self._last = part
            return part[len(last) :] if self.is_cumulative else part
        if self.is_cumulative and part == last:
            return ""
        self.is_cumulative = False if last else None
        self._last = part
        return part
