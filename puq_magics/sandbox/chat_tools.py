"""Tools of a chat request: the functions that it offers, the calls in its messages, and the order of those."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from puq_magics.sandbox.validation import Json, invalid, unprocessable

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TOOLS: Final = 128


@dataclass(frozen=True)
class OfferedTool:
    """A function that may be called."""

    name: str
    description: str
    #: JSON Schema of its arguments.
    schema: Any


@dataclass(frozen=True)
class CallRecord:
    """A call in an earlier message of the assistant."""

    id: str
    name: str
    arguments: str


class _ToolMessage(Protocol):
    @property
    def role(self) -> str: ...

    @property
    def calls(self) -> tuple[CallRecord, ...]: ...

    @property
    def call_id(self) -> str: ...


def read_tools(body: Json) -> tuple[OfferedTool, ...]:
    """Parse ``tools``. Raises ErrorResponse (400) for invalid ones."""
    listed = body.get("tools")
    if listed is None:
        return ()
    if not isinstance(listed, list) or not 0 < len(listed) <= _MAX_TOOLS:
        raise invalid(f"'tools' must be a list of 1 to {_MAX_TOOLS} functions")
    tools = tuple(_tool(number, entry) for number, entry in enumerate(listed))
    if len({tool.name for tool in tools}) < len(tools):
        raise invalid("Two of the 'tools' have the same name")
    return tools


def _tool(number: int, value: object) -> OfferedTool:
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if not isinstance(function, dict):
        raise invalid(f"tools[{number}] must have type 'function', and a function")
    name, schema = function.get("name"), function.get("parameters", {})
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise invalid(f"The name of tools[{number}] must be 1 to 64 letters, digits, _ or -")
    if not isinstance(schema, dict):
        raise invalid(f"The parameters of tools[{number}] must be a JSON Schema")
    description = function.get("description") or ""
    if not isinstance(description, str):
        raise invalid(f"The description of tools[{number}] must be a string")
    return OfferedTool(name, description, schema)


def read_tool_choice(body: Json, tools: Sequence[OfferedTool]) -> str:
    """Parse ``tool_choice``: ``auto``, ``none``, ``required``, or a function's name. Raises ErrorResponse (400)."""
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if not tools:
        raise invalid("'tool_choice' needs 'tools'")
    if choice in ("auto", "none", "required"):
        return str(choice)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in {tool.name for tool in tools}:
        raise invalid("'tool_choice' must be auto, none, required, or one of the functions")
    return str(name)


def read_calls(where: str, value: object) -> tuple[CallRecord, ...]:
    """Parse ``tool_calls`` of a message. Raises ErrorResponse (422)."""
    if value is None:
        return ()
    calls = []
    for entry in value if isinstance(value, list) else [None]:
        match entry:
            case {"id": str(call_id), "function": {"name": str(name), "arguments": str(arguments)}} if (
                call_id
            ):
                calls.append(CallRecord(call_id, name, arguments))
            case _:
                raise unprocessable(
                    f"{where}.tool_calls: a call has an id, and a function with name and arguments"
                )
    if not calls:
        raise unprocessable(f"{where}.tool_calls is empty")
    return tuple(calls)


def check_order(messages: Sequence[_ToolMessage]) -> None:
    """Raise ErrorResponse (422) unless each call is followed by its result, and each result follows its call."""
    expected: set[str] = set()
    for number, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id not in expected:
                raise unprocessable(
                    f"messages[{number}]: a tool message must follow the call that it answers"
                )
            expected.remove(message.call_id)
        elif expected:
            break
        else:
            expected = {call.id for call in message.calls}
    if expected:
        raise unprocessable(
            f"The tool call {min(expected)!r} is not followed by a tool message that answers it"
        )
