"""Tool calls of a chat answer: functions that the model asks to be run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from puq_magics.api.types import ToolCall, join_surrogates

#: Fields of a call that hold its arguments; those of Anthropic's content parts are in ``input``.
_ARGUMENT_FIELDS = ("arguments", "input", "args", "parameters")
#: Fields of a call that are written anew when it is sent back.
_OWN_FIELDS = frozenset({"id", "type", "index", "function", "name", *_ARGUMENT_FIELDS})
#: Content of the message that answers a call that was not run: each call must have one.
NOT_RUN = "This call was not run."


def read_tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    """Return the tool calls of a complete message, also one in the legacy ``function_call``, or in content parts."""
    calls: list[ToolCall] = []
    ids: set[str] = set()
    for entry in _entries(message):
        function = entry.get("function")
        function = function if isinstance(function, dict) else entry
        name = function.get("name")
        name = join_surrogates([name]).strip() if isinstance(name, str) else ""
        arguments = next((function[key] for key in _ARGUMENT_FIELDS if function.get(key) is not None), "")
        if not name and not arguments:
            continue
        given = entry.get("id")
        number = str(given) if isinstance(given, str | int) and given != "" else ""
        if not number or number in ids:
            number = next(each for n in count(len(calls) + 1) if (each := f"call_{n}") not in ids)
        ids.add(number)
        extra = {key: value for key, value in entry.items() if key not in _OWN_FIELDS and value is not None}
        calls.append(ToolCall(number, name, _arguments_text(arguments), extra))
    return tuple(calls)


def _entries(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    parts = [
        part
        for part in (content if isinstance(content, list) else [])
        if isinstance(part, dict) and str(part.get("type")) in ("tool_use", "tool_call", "function_call")
    ]
    listed = message.get("tool_calls") or message.get("function_call") or parts
    for entry in listed if isinstance(listed, list) else [listed]:
        if isinstance(entry, dict):
            yield entry


def _arguments_text(arguments: object) -> str:
    if isinstance(arguments, str):
        return join_surrogates([arguments])
    return join_surrogates([json.dumps(arguments, ensure_ascii=False)])


def calls_message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """Return the assistant's message with these calls, as it is sent back to the model.

    Arguments that are no JSON object are left out: servers parse them, and reject the request.
    """
    entries = [
        {
            **call.extra,
            "id": call.id,
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": "{}" if not call.parse_arguments() else call.arguments,
            },
        }
        for call in calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": entries}


def tool_message(call_id: str, content: str) -> dict[str, Any]:
    """Return the message that answers a call."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def unanswered_messages(calls: Sequence[ToolCall]) -> tuple[dict[str, Any], ...]:
    """Return the messages of calls that were not run, as they are sent back."""
    return (calls_message("", calls), *(tool_message(call.id, NOT_RUN) for call in calls)) if calls else ()
