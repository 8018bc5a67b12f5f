"""Chat request bodies: parsed strictly, with the API's error messages.

A body that cannot be processed is a 422 (no JSON, no messages), an invalid value a 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from puq_magics.sandbox import tokens
from puq_magics.sandbox.chat_tools import (
    CallRecord,
    OfferedTool,
    check_order,
    read_calls,
    read_tool_choice,
    read_tools,
)
from puq_magics.sandbox.tokens import describe_image
from puq_magics.sandbox.validation import (
    MAX_TEXT_CHARS,
    Json,
    boolean,
    invalid,
    model_code,
    prompt_too_long,
    read_object,
    unprocessable,
    whole_number,
)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPES: Final = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class JsonFormat:
    """Required JSON format of an answer; without a schema, any object."""

    schema: Any = None


def read_response_format(body: Json) -> JsonFormat | None:
    """Parse ``response_format``; None for text. Raises ErrorResponse (400) for an invalid one."""
    value = body.get("response_format")
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("type") not in _TYPES:
        raise invalid(f"'response_format' must be an object whose type is one of {', '.join(_TYPES)}")
    if value["type"] != "json_schema":
        return JsonFormat({}) if value["type"] == "json_object" else None
    named = value.get("json_schema")
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        raise invalid("'response_format' lacks json_schema: an object with a name and a schema")
    if not isinstance(named.get("name"), str) or _NAME.fullmatch(named["name"]) is None:
        raise invalid("The name of 'json_schema' must be 1 to 64 letters, digits, _ or -")
    if boolean(named, "strict"):
        _check_strict(named["schema"])
    return JsonFormat(named["schema"])


def find_schema_in_text(text: str) -> JsonFormat | None:
    """Find the JSON schema that a prompt contains after the words "JSON Schema"."""
    found = re.search(r"JSON Schema[^{]{0,80}(?=\{)", text)
    if found is None:
        return None
    try:
        schema, _ = json.JSONDecoder().raw_decode(text, found.end())
    except (ValueError, RecursionError):
        return None
    return JsonFormat(schema)


def _check_strict(schema: Json) -> None:
    """Refuse what servers refuse that promise to fit: open objects, fields that may be absent, no object at all."""
    if schema.get("type") != "object" and "$ref" not in schema:
        raise invalid("A strict schema must be of type object")
    for part in _parts(schema):
        properties = part.get("properties")
        if part.get("type") != "object" and properties is None:
            continue
        if part.get("additionalProperties") is not False:
            raise invalid("A strict schema must have 'additionalProperties': false in each object")
        missing = set(properties or {}) - set(part.get("required") or [])
        if missing:
            raise invalid(f"A strict schema must require every property; it lacks {sorted(missing)[0]!r}")


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """The schema and those in it; the names of properties are none."""
    if isinstance(value, list):
        for item in value:
            yield from _parts(item)
    if not isinstance(value, dict):
        return
    yield value
    for key, item in value.items():
        if key in ("properties", "$defs", "definitions") and isinstance(item, dict):
            for part in item.values():
                yield from _parts(part)
        elif key in ("items", "anyOf", "allOf", "oneOf"):
            yield from _parts(item)


ROLES: Final = ("system", "user", "assistant", "tool")
#: The most answers that one request may ask for.
MAX_CHOICES: Final = 8
#: What an image counts as, whatever its size.
TOKENS_PER_IMAGE: Final = 85


@dataclass(frozen=True)
class Message:
    """One message: role, text of all parts, and a short description of each image."""

    role: str
    text: str
    image_descriptions: tuple[str, ...] = ()
    #: The calls of an assistant's message, and the call that a tool's message answers.
    calls: tuple[CallRecord, ...] = ()
    call_id: str = ""

    @property
    def image_count(self) -> int:
        """Number of images in the request."""
        return len(self.image_descriptions)


@dataclass(frozen=True)
class ChatRequest:
    """A chat request that can be answered."""

    model: str
    messages: tuple[Message, ...]
    stream: bool
    include_usage: bool
    max_completion_tokens: int | None
    #: The JSON that is asked for; None for words.
    json_format: JsonFormat | None
    #: The functions that may be called; and auto, none, required, or the name of the one to call.
    tools: tuple[OfferedTool, ...]
    tool_choice: str
    #: The number of answers.
    choices: int
    #: The body, of long images the beginning; and as it arrived.
    body: Json
    raw: bytes | bytearray

    @cached_property
    def whole_body(self) -> Json:
        """All of the body, parsed now."""
        body: Json = json.loads(self.raw)
        return body

    @cached_property
    def prompt_tokens(self) -> int:
        """The tokens of all messages and tools, images at a flat rate."""
        calls = [call for message in self.messages for call in message.calls]
        tools = [self.body["tools"]] if self.tools else []
        return sum(
            tokens.count(message.text) + TOKENS_PER_IMAGE * message.image_count for message in self.messages
        ) + sum(tokens.count(text) for text in [*(call.arguments for call in calls), *map(json.dumps, tools)])

    @property
    def last_user_message(self) -> Message:
        """The last message of the user; an empty one where none is the user's."""
        own = (message for message in reversed(self.messages) if message.role == "user")
        return next(own, Message("user", ""))


def read_chat_request(raw: bytes | bytearray) -> ChatRequest:
    """Read a body; raises ErrorResponse (400, 422) where it does not fit."""
    body = read_object(raw)
    messages = _messages(body.get("messages"))
    if (size := sum(len(message.text) for message in messages)) > MAX_TEXT_CHARS:
        raise prompt_too_long(size)
    _check_temperature(body.get("temperature"))
    stream, tools = boolean(body, "stream"), read_tools(body)
    request = ChatRequest(
        model=model_code(body.get("model")),
        messages=messages,
        stream=stream,
        include_usage=stream and _include_usage(body.get("stream_options")),
        max_completion_tokens=_limit(body.get("max_completion_tokens")),
        json_format=_response_format(body),
        tools=tools,
        tool_choice=read_tool_choice(body, tools),
        choices=whole_number(body, "n", 1, 1, MAX_CHOICES),
        body=body,
        raw=raw,
    )
    _ = request.prompt_tokens  # counted here, in the thread that reads the request
    return request


def _response_format(body: Json) -> JsonFormat | None:
    try:
        return read_response_format(body)
    except (TypeError, ValueError, AttributeError) as error:
        raise invalid("'response_format' holds no JSON Schema that can be read") from error


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise unprocessable("'messages' is required: a list with at least one message")
    messages = tuple(_message(number, message) for number, message in enumerate(value))
    check_order(messages)
    return messages


def _message(number: int, value: object) -> Message:
    if not isinstance(value, dict):
        raise unprocessable(f"messages[{number}] is not an object")
    role = value.get("role")
    if role not in ROLES:
        raise unprocessable(f"messages[{number}].role is none of {', '.join(ROLES)}")
    content = value.get("content")
    calls = read_calls(f"messages[{number}]", value.get("tool_calls")) if role == "assistant" else ()
    call_id = value.get("tool_call_id", "") if role == "tool" else ""
    if not isinstance(call_id, str):
        raise unprocessable(f"messages[{number}].tool_call_id is not a string")
    if (isinstance(content, str) and content) or (content in (None, "") and (calls or call_id)):
        return Message(role, content or "", calls=calls, call_id=call_id)
    if isinstance(content, list) and content:
        parts = [_part(f"messages[{number}].content[{place}]", part) for place, part in enumerate(content)]
        texts = [part for kind, part in parts if kind == "text"]
        image_descriptions = tuple(describe_image(part) for kind, part in parts if kind == "image_url")
        return Message(role, "\n\n".join(texts), image_descriptions, calls, call_id)
    raise unprocessable(f"messages[{number}].content is empty: write a string or a list of parts")


def _part(where: str, value: object) -> tuple[str, str]:
    """The type of a part, and its text or its address."""
    match value:
        case {"type": "text", "text": str(text)}:
            return "text", text
        case {"type": "image_url", "image_url": {"url": str(url)}} if url:
            return "image_url", url
    raise unprocessable(f"{where} is neither a text nor an image_url part")


def _check_temperature(value: object) -> None:
    if value is None:
        return
    # In Python a bool is an int; in JSON it is no number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise invalid("'temperature' must be a number from 0 to 2")


def _limit(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid("'max_completion_tokens' must be a whole number, 1 or more")
    return value


def _include_usage(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise invalid("'stream_options' must be an object")
    return boolean(value, "include_usage")
