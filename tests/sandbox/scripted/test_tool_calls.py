from __future__ import annotations

import json
from typing import Any

import pytest

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.tool_calls import wanted_calls
from puq_magics.sandbox.validation import ErrorResponse

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
        "days": {"type": "integer"},
    },
    "required": ["city"],
}


def tool(name: str, schema: Any = SCHEMA) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "It.", "parameters": schema}}


CALL = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CALLED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "t1", "content": '{"celsius": 12}'},
]


def request(text: str, *messages: Any, tools: Any = None, **fields: Any) -> ChatRequest:
    tools = [tool("weather"), tool("rain_fall")] if tools is None else tools
    body = {
        "model": "sandbox/chat",
        "messages": [{"role": "user", "content": text}, *messages],
        "tools": tools,
    }
    return read_chat_request(json.dumps(body | fields).encode())


@pytest.mark.parametrize(
    ("question", "fields", "calls"),
    [
        ("Do I need an umbrella in Oslo?", {}, [("weather", '{"city": "Oslo"}')]),
        ("Does much rain fall in Oslo?", {}, [("rain_fall", '{"city": "Oslo"}')]),
        ("The weather of Oslo in kelvin", {}, [("weather", '{"city": "Oslo", "unit": "kelvin"}')]),
        (
            "What of Oslo and Bergen?",
            {},
            [("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Bergen"}')],
        ),
        ("Is it dry in Oslo? malformed", {}, [("weather", '{"city": "Oslo')]),
        ("Hello there", {}, []),
        ("Hello Oslo", {"tool_choice": "required"}, [("weather", '{"city": "Oslo"}')]),
        ("Is it dry in Oslo?", {"tool_choice": "none"}, []),
        (
            "Is it dry in Oslo?",
            {"tool_choice": {"type": "function", "function": {"name": "rain_fall"}}},
            [("rain_fall", '{"city": "Oslo"}')],
        ),
        ("Really?", {"tools": [tool("now", {})]}, [("now", "{}")]),
    ],
)
def test_calls_are_made_of_the_question(question: str, fields: dict[str, Any], calls: Any) -> None:
    assert wanted_calls(request(question, **fields)) == calls


def test_a_result_ends_the_calls_unless_they_are_endless() -> None:
    assert wanted_calls(request("Is it dry in Oslo?", *CALLED)) == []
    assert wanted_calls(request("Look at Oslo forever", *CALLED)) == [("weather", '{"city": "Oslo"}')]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": {}},
        {"tools": [{}]},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [tool("a", 3)]},
        {"tools": [tool("a"), tool("a")]},
        {"tool_choice": "maybe"},
        {"tool_choice": {"type": "function", "function": {"name": "other"}}},
    ],
)
def test_tools_that_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ErrorResponse) as caught:
        request("Hello", **fields)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "messages",
    [
        CALLED[:1],
        CALLED[1:],
        [*CALLED, CALLED[1]],
        [CALLED[0], {"role": "user", "content": "What?"}, CALLED[1]],
        [{"role": "assistant", "tool_calls": []}],
        [{"role": "assistant", "tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": {}}}]}],
        [CALLED[0], {"role": "tool", "tool_call_id": 1, "content": "x"}],
    ],
)
def test_messages_that_are_refused(messages: Any) -> None:
    with pytest.raises(ErrorResponse) as caught:
        request("Hello", *messages)
    assert caught.value.status == 422
