"""Tool calls in the forms in which routers send them."""

from __future__ import annotations

from typing import Any

import pytest

from puq_magics.api.chat import read_completion
from puq_magics.api.choices import ChoiceBuilder, read_choices
from puq_magics.api.tool_calls import calls_message, read_tool_calls
from puq_magics.api.types import ToolCall

OSLO, BERGEN = '{"city": "Oslo"}', '{"city": "Bergen"}'
WEATHER = ToolCall("t1", "weather", OSLO)


def entry(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": "weather", "arguments": arguments}, **fields}


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [entry(OSLO, id="t1", type="function")]},
        {"tool_calls": [entry({"city": "Oslo"}, id="t1")]},
        {"tool_calls": entry(OSLO, id="t1")},
        {"tool_calls": [None, {"id": "t0"}, entry(OSLO, id="t1", index=0)]},
        {"tool_calls": [{"id": "t1", "name": " weather ", "arguments": OSLO}]},
        {"content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}]},
    ],
)
def test_forms_of_a_call(message: dict[str, Any]) -> None:
    assert read_tool_calls(message) == (WEATHER,)
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    assert read_completion(answer, "m", None).calls == (WEATHER,)


def test_calls_without_an_id_are_counted() -> None:
    legacy = {"function_call": {"name": "weather", "arguments": OSLO}}
    assert read_tool_calls(legacy) == (ToolCall("call_1", "weather", OSLO),)
    same = [entry(OSLO, id="x"), entry(BERGEN, id="x"), entry(BERGEN, id="")]
    assert [call.id for call in read_tool_calls({"tool_calls": same})] == ["x", "call_2", "call_3"]
    same = [entry(OSLO, id="call_2"), entry(BERGEN, id="call_2")]
    assert [call.id for call in read_tool_calls({"tool_calls": same})] == ["call_2", "call_3"]
    assert read_tool_calls({"content": "Hello", "tool_calls": None}) == ()


@pytest.mark.parametrize("last", [{"index": 0}, {}])
def test_a_call_that_comes_once_more_whole_is_one(last: dict[str, Any]) -> None:
    builder = ChoiceBuilder(0)
    for part in (
        entry(OSLO[:6], id="t1", index=0),
        {"index": 0, "function": {"arguments": OSLO[6:]}},
        entry(OSLO, id="t1", **last),
        entry(OSLO, id="t1", index=1),
        entry(OSLO, id="t2", index=2),
    ):
        for delta in read_choices({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}):
            builder.add(delta)
    calls = read_tool_calls(builder.to_json()["message"])
    assert calls == (WEATHER, ToolCall("call_2", "weather", OSLO), ToolCall("t2", "weather", OSLO))


@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}])
def test_whole_calls_of_one_function_are_several(index: dict[str, Any]) -> None:
    builder = ChoiceBuilder(0)
    for arguments in (OSLO, BERGEN):
        delta = {"content": "", "tool_calls": [entry(arguments, **index)]}
        for part in read_choices({"choices": [{"index": 0, "delta": delta}]}):
            builder.add(part)
    calls = read_tool_calls(builder.to_json()["message"])
    assert [call.arguments for call in calls] == [OSLO, BERGEN]


@pytest.mark.parametrize(
    ("arguments", "parsed", "sent"),
    [
        (OSLO, {"city": "Oslo"}, OSLO),
        ("", {}, "{}"),
        ("{'city': Oslo}", None, "{}"),
        ("[1]", None, "{}"),
        ("[" * 100_000, None, "{}"),
    ],
)
def test_arguments(arguments: str, parsed: Any, sent: str) -> None:
    call = ToolCall("t1", "weather", arguments, {"extra_content": {"google": {"thought_signature": "s"}}})
    assert call.parse_arguments() == parsed
    (written,) = calls_message("", [call])["tool_calls"]
    assert written["function"] == {"name": "weather", "arguments": sent}
    assert read_tool_calls({"tool_calls": [written]})[0].extra == call.extra
