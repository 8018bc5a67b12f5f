"""Functions that a model calls."""

from __future__ import annotations

from typing import Any

import pytest
from raw_server import DONE, delta, event


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")


def completion(text: object, *calls: tuple[str, str], finish: str = "stop") -> dict[str, Any]:
    """Return an answer with calls, each a name and its arguments as text."""
    listed = [
        {"id": f"t{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    message = {"content": text} | ({"tool_calls": listed} if listed else {})
    finish = "tool_calls" if listed and finish == "stop" else finish
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


OSLO = ("weather", '{"city": "Oslo"}')


def test_calls_are_kept_shown_and_sent_in_the_next_turn(use_responses: Any, shell: Any) -> None:
    server = use_responses(completion("Let me look.", OSLO, ("f", "x")), completion("Fine."))
    ran = shell.run("%puq_chat --no-stream -c trip -o r hi")
    result = shell.names["r"]
    assert [(call.name, call.arguments, call.id) for call in result.calls] == [
        ("weather", {"city": "Oslo"}, "t0"),
        ("f", "x", "t1"),
    ]
    assert result.raw["choices"][0]["message"]["tool_calls"][1]["function"]["arguments"] == "x"
    assert 'weather(city="Oslo") not run\nf(x) not run' in ran.out
    assert "2 tool calls in .calls" in ran.out
    assert (
        "<code>weather&#40;city&#61;&#34;Oslo&#34;&#41;</code> not run"
        in result._repr_mimebundle_()["text/markdown"]
    )
    shell.run("%puq_chat --no-stream -c trip and now?")
    _, called, one, two, answer, question = server.requests[-1].json["messages"]
    assert [each["function"]["arguments"] for each in called["tool_calls"]] == ['{"city": "Oslo"}', "{}"]
    assert [one["tool_call_id"], two["tool_call_id"]] == ["t0", "t1"]
    assert (answer["content"], question["content"]) == ("Let me look.", "and now?")


def test_streamed_calls(use_responses: Any, shell: Any) -> None:
    parts = [
        {"tool_calls": [{"index": 0, "id": "t0", "function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"content": "", "tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
    ]
    chunks = [*(delta(**part) for part in parts), delta("", "tool_calls")]
    use_responses(b"".join(event(chunk) for chunk in chunks) + DONE, kind="text/event-stream")
    ran = shell.run("%puq_chat -o r hi")
    assert 'weather(city="Oslo") not run' in ran.out
    assert [str(call) for call in shell.names["r"].calls] == ['weather(city="Oslo")']
