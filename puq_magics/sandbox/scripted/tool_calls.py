"""Scripted calls of functions: arguments made from the schema and the question, and an answer from the results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.chat_tools import CallRecord, OfferedTool
from puq_magics.sandbox.scripted.json_answers import example_for_schema

#: Names that are listed: a call is made for each. At most so many.
_LISTED_NAMES: Final = re.compile(r"\b[A-Z]\w+(?:, [A-Z]\w+)*,? and [A-Z]\w+")
_MAX_CALLS: Final = 4
#: Words in a question that change the script.
_MALFORMED: Final = re.compile(r"\bmalformed\b", re.IGNORECASE)
_ENDLESS: Final = re.compile(r"\bfor ?ever\b|\bendless", re.IGNORECASE)
_MAX_RESULT: Final = 300


def wanted_calls(request: ChatRequest) -> list[tuple[str, str]]:
    """Return the calls that the script makes now, each a name and its arguments as text; empty for none.

    A question is asked of the function that it names, or of the first. "malformed" in it breaks the arguments,
    "forever" calls again after each result, and a list such as "Oslo and Bergen" makes a call for each.
    """
    question = request.last_user_message.text
    last = request.messages[-1].role
    if (
        not request.tools
        or request.tool_choice == "none"
        or (last == "tool" and not _ENDLESS.search(question))
    ):
        return []
    named = [tool for tool in request.tools if _is_named(tool, question)]
    is_required = request.tool_choice != "auto"
    if not (named or is_required or "?" in question or _ENDLESS.search(question)):
        return []
    chosen = next((tool for tool in request.tools if tool.name == request.tool_choice), None)
    tool = chosen or (named or list(request.tools))[0]
    listed = _LISTED_NAMES.search(question)
    subjects = re.split(r",? and |, ", listed[0])[:_MAX_CALLS] if listed else [question]
    calls = [json.dumps(_arguments(tool, subject), ensure_ascii=False) for subject in subjects]
    if _MALFORMED.search(question):
        calls = [arguments[:-2] for arguments in calls]
    return [(tool.name, arguments) for arguments in calls]


def _is_named(tool: OfferedTool, question: str) -> bool:
    words = set(re.findall(r"[a-z]{3,}", question.lower()))
    return bool(words & set(re.split(r"[_-]", tool.name.lower())))


def _arguments(tool: OfferedTool, question: str) -> Any:
    """Return arguments that fit the schema: those that are required, and a choice that the question names."""
    if re.search(r"\s[A-Z]", question):  # the capital of the first word makes no name
        question = question[:1].lower() + question[1:]
    schema = tool.schema
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = schema.get("required") if isinstance(schema.get("required"), list) else []
    needed = {name: part for name, part in properties.items() if name in required}
    arguments = example_for_schema({**schema, "properties": needed, "type": "object"}, question)
    for name, part in properties.items():
        choices = part.get("enum") if isinstance(part, Mapping) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, str) and re.search(rf"\b{re.escape(choice)}\b", question, re.IGNORECASE):
                arguments[name] = choice
    return arguments


def result_lines(request: ChatRequest) -> Iterator[str]:
    """Yield a line of Markdown for each call since the user's last message, with its result."""
    calls: dict[str, CallRecord] = {}
    lines: list[str] = []
    for message in request.messages:
        if message.role == "user":
            lines = []
        calls |= {call.id: call for call in message.calls}
        if message.role == "tool":
            call = calls[message.call_id]
            lines.append(f"- `{_shown_call(call)}`: {_shown_result(message.text)}\n")
    yield from lines


def _shown_call(call: CallRecord) -> str:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = {}
    listed = arguments.items() if isinstance(arguments, dict) else ()
    shown = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in listed)
    return f"{call.name}({shown})".replace("`", "'")


def _shown_result(text: str) -> str:
    """Return a result as words: the fields of an object, or the text on one line."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, dict):
        value = ", ".join(f"{name} **{each}**" for name, each in value.items())
    line = " ".join(str(value).split())
    return line if len(line) <= _MAX_RESULT else f"{line[:_MAX_RESULT]} …"
