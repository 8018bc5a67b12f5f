from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from threading import Event

import pytest
import requests

from puq_magics.sandbox import Sandbox, chat
from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.models import MODELS
from puq_magics.sandbox.scripted.scripts import NOTICE, Action, Content, Stall
from puq_magics.sandbox.tokens import count


def words(stream: list, field: str = "content") -> str:
    deltas = [choice["delta"] for event in stream for choice in event["choices"]]
    return "".join(delta.get(field, "") for delta in deltas)


def test_an_answer_in_one_piece(client, sandbox: Sandbox) -> None:
    answer = client.chat(prompt="Why is the sky blue?").json()
    assert (answer["object"], answer["model"]) == ("chat.completion", "sandbox/short")
    (choice,) = answer["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    text = choice["message"]["content"]
    assert text.startswith(NOTICE)
    assert "> Why is the sky blue?" in text
    assert answer["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": count(text),
        "total_tokens": 6 + count(text),
    }


@pytest.mark.parametrize("code", ["sandbox/short", "sandbox/tour", "sandbox/echo", "sandbox/think"])
def test_a_stream_says_the_same_as_one_piece(client, events, code: str) -> None:
    whole = client.chat(code).json()
    response = client.chat(code, stream=True)
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *stream, last, done = events(response)
    assert done == "[DONE]"
    assert stream[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert {event["choices"][0]["finish_reason"] for event in stream} == {None}
    assert {(event["id"], event["object"], event["model"]) for event in stream} == {
        (stream[0]["id"], "chat.completion.chunk", code)
    }
    assert len(stream) == 1 + whole["usage"]["completion_tokens"]
    message = whole["choices"][0]["message"]
    if code != "sandbox/echo":  # which shows that one of them asked for a stream
        assert words(stream) == message["content"]
    assert words(stream, "reasoning_content") == message.get("reasoning_content", "")


def test_reasoning_comes_first_and_apart(client, events) -> None:
    *stream, _done = events(client.chat("sandbox/think", stream=True))
    fields = [next(iter(event["choices"][0]["delta"]), "") for event in stream[1:-1]]
    turn = fields.index("content")
    assert set(fields[:turn]) == {"reasoning_content"}
    assert set(fields[turn:]) == {"content"}


def test_usage_comes_last_when_asked_for(client, events) -> None:
    *stream, usage, done = events(client.chat(stream=True, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 6
    assert usage["usage"]["completion_tokens"] == len(stream) - 2  # all but the first and the last
    assert not [event for event in stream if "usage" in event]


@pytest.mark.parametrize("code", ["sandbox/short", "sandbox/think"])
def test_a_limit_cuts(client, events, code: str) -> None:
    whole = client.chat(code, max_completion_tokens=5).json()
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 5
    *stream, last, _done = events(client.chat(code, max_completion_tokens=5, stream=True))
    assert last["choices"][0]["finish_reason"] == "length"
    assert len(stream) == 6


@pytest.mark.parametrize("stream", [False, True])
def test_the_balance_falls_by_the_price(client, sandbox: Sandbox, stream: bool) -> None:
    response = client.chat("sandbox/tour", stream=stream)
    assert response.content
    usage = client.chat("sandbox/tour").json()["usage"]
    price = MODELS["sandbox/tour"].price(prompt=usage["prompt_tokens"], completion=usage["completion_tokens"])
    assert price > 0.01
    assert sandbox.balance == pytest.approx(100 - 2 * price, abs=1e-9)


def test_the_last_answer_may_overdraw(client, sandbox: Sandbox) -> None:
    sandbox.configure(balance=1e-6)
    assert client.chat().status_code == 200
    assert sandbox.balance < 0
    assert client.chat().status_code == 402


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("sandbox/forbidden", 403, None),
        ("sandbox/retired", 403, None),
        ("sandbox/nothing", 404, "MODEL_NOT_FOUND"),
        ("openai/gpt-4o", 404, "MODEL_NOT_FOUND"),
        ("sandbox/tts", 400, "VALIDATION_ERROR"),
        ("short", 400, "VALIDATION_ERROR"),
    ],
)
def test_models_that_do_not_answer(client, stream: bool, code: str, status: int, error: str | None) -> None:
    response = client.chat(code, stream=stream)
    assert response.status_code == status
    assert code in response.json()["error"]
    assert response.json().get("code") == error


def test_a_local_model_of_a_sandbox_without_them(client) -> None:
    response = client.chat("local/smollm2-135m-instruct")
    assert (response.status_code, "runs without --local" in response.json()["error"]) == (404, True)
    assert "--local" not in client.chat("sandbox/nothing").json()["error"]


def test_a_body_that_cannot_be_processed(client) -> None:
    response = client.post("/v1/chat/completions", data=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()) == (422, {"error": "The body is not JSON"})


def test_a_wrong_value(client) -> None:
    response = client.chat(temperature=3, stream=True)
    assert response.status_code == 400
    assert response.json() == {
        "error": "'temperature' must be a number from 0 to 2",
        "code": "VALIDATION_ERROR",
    }


def test_failing_in_mid_answer(client, events) -> None:
    *stream, error = events(client.chat("sandbox/fail", stream=True))
    assert "starts well" in words(stream)
    assert error["code"] == "INTERNAL_ERROR"
    assert "sandbox/fail" in error["error"]
    whole = client.chat("sandbox/fail")
    assert (whole.status_code, whole.json()["code"]) == (500, "INTERNAL_ERROR")


@pytest.mark.parametrize("number", [0, 1, 7])
def test_the_connection_is_cut(client, sandbox: Sandbox, events, number: int) -> None:
    sandbox.configure(drop_after=number)
    stream = events(client.chat("sandbox/tour", stream=True))
    assert len([next(stream) for _ in range(number)]) == number
    with pytest.raises(requests.packages.urllib3.exceptions.ProtocolError):
        next(stream)
    assert client.chat().status_code == 200  # in one piece, there is nothing to cut


def test_a_stall_is_kept_alive(client) -> None:
    chunks = client.chat("sandbox/stall", stream=True).raw.read_chunked()
    comment = next(chunk for chunk in chunks if not chunk.startswith(b"data: "))
    assert comment == b": PROCESSING\n\n"


@pytest.mark.parametrize("keep_alive", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_when_its_client_goes(
    client, monkeypatch: pytest.MonkeyPatch, stream: bool, keep_alive: bool
) -> None:
    began, ended = Event(), Event()

    def endless(_request: ChatRequest) -> Iterator[Action]:
        try:
            yield Content("Once upon a time")
            began.set()
            yield Stall(keep_alive)
        finally:
            ended.set()

    monkeypatch.setattr(chat, "SCRIPTS", {"sandbox/short": endless})
    if stream:
        response = client.chat(stream=True)
        assert began.wait(30)
        response.close()
    else:
        body = json.dumps({"model": "sandbox/short", "messages": [{"role": "user", "content": "Hello"}]})
        leaving = http.client.HTTPConnection(client.sandbox.base_url.removeprefix("http://"))
        leaving.request(
            "POST", "/v1/chat/completions", body, {"Authorization": f"Token {client.sandbox.token}"}
        )
        assert began.wait(30)
        leaving.close()
    assert ended.wait(30)


def test_signs_without_utf8_do_no_harm(client, events) -> None:
    raw = b'{"model": "sandbox/echo", "messages": [{"role": "user", "content": "lone \\ud800 half"}], "stream": true}'
    response = client.post("/v1/chat/completions", data=raw, stream=True)
    *stream, done = events(response)
    assert done == "[DONE]"
    assert "lone ? half" in words(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_json_comes_cut_and_goes_on(client, events, stream: bool) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    question = {"role": "user", "content": "Who is it? Ada Lovelace, 36 years old."}

    def ask(*later: dict[str, str], **fields: object) -> tuple[str, str]:
        body = {"model": "sandbox/chat", "messages": [question, *later], "response_format": asked, **fields}
        response = client.post("/v1/chat/completions", json=body | {"stream": stream}, stream=stream)
        if not stream:
            (choice,) = response.json()["choices"]
            return choice["message"]["content"], choice["finish_reason"]
        *came, last, _done = events(response)
        return words([*came, last]), last["choices"][0]["finish_reason"]

    first, why = ask(max_completion_tokens=8)
    assert why == "length"
    go_on = {"role": "user", "content": "Continue exactly where you stopped."}
    second, why = ask({"role": "assistant", "content": first}, go_on)
    assert why == "stop"
    assert json.loads(first + second) == {"name": "Ada Lovelace", "age": 36}


def test_a_format_that_does_not_fit(client) -> None:
    response = client.chat(response_format={"type": "yaml"})
    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
