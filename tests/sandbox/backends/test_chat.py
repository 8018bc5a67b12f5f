from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox, streaming
from puq_magics.sandbox.tokens import count

TINY = "upstream/tiny"
USAGE = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
#: Of 30 and 5 tokens at the prices of the fixture.
PRICE = 0.03 + 0.05


def words(stream: list, field: str = "content") -> str:
    deltas = [choice["delta"] for event in stream for choice in event["choices"]]
    return "".join(delta.get(field) or "" for delta in deltas)


def raw(data: bytes) -> Callable[[Any, Any], Awaitable[None]]:
    """What to say when the answer is just these bytes, and then the end of the connection."""

    async def say(handler: Any, _body: Any) -> None:
        stream = handler.raw()
        await stream.write(data)
        stream.close()

    return say


def refusing(status: int, body: object, **headers: str) -> Callable[[Any, Any], Awaitable[None]]:
    async def say(handler: Any, _body: Any) -> None:
        handler.set_status(status)
        for name, value in headers.items():
            handler.set_header(name.replace("_", "-"), value)
        handler.finish((body if isinstance(body, str) else json.dumps(body)) or None)

    return say


def test_an_answer_in_one_piece(upstream_client, upstream_sandbox: Sandbox) -> None:
    response = upstream_client.chat(TINY)
    answer = response.json()
    assert (response.status_code, answer["model"], answer["created"]) == (200, TINY, 7)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"][0]["message"]["content"] == "Hello there."
    assert answer["usage"] == USAGE
    assert response.headers["x-request-id"].startswith("req_")
    assert upstream_sandbox.balance == pytest.approx(100 - PRICE)
    assert [(asked.status, asked.model) for asked in upstream_sandbox.requests] == [(200, TINY)]


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream(upstream_client, upstream_sandbox: Sandbox, events, include_usage: bool) -> None:
    response = upstream_client.chat(TINY, stream=True, stream_options={"include_usage": include_usage})
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *stream, done = events(response)
    assert done == "[DONE]"
    assert words(stream) == "Hello there."
    assert {event["model"] for event in stream} == {TINY}
    assert len({event["id"] for event in stream}) == 1
    assert stream[0]["id"].startswith("chatcmpl-")
    assert [event["usage"] for event in stream if "usage" in event] == [USAGE] * include_usage
    assert upstream_sandbox.balance == pytest.approx(100 - PRICE)


def test_what_the_other_server_hears(upstream_client, upstream_server, upstream_sandbox: Sandbox) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    further = {
        "temperature": 0.5,
        "stop": ["x"],
        "seed": 4,
        "top_p": 0.9,
        "response_format": schema,
        "min_p": 0.1,
    }
    assert upstream_client.chat(TINY, max_completion_tokens=9, **further).status_code == 200
    heard = upstream_server.requests[-1]
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    assert (heard.method, heard.path) == ("POST", "/v1/chat/completions")
    assert heard.body == {
        "model": "tiny",
        "messages": messages,
        "max_completion_tokens": 9,
        "max_tokens": 9,
        **further,
    }
    assert heard.headers["Authorization"] == "Bearer our-own-key"
    assert upstream_sandbox.token not in repr(upstream_server.requests)
    assert "gzip" not in heard.headers["Accept-Encoding"]


def test_usage_is_asked_for_in_any_case(upstream_client, upstream_server) -> None:
    assert upstream_client.chat(TINY, stream=True, stream_options={"other": 1}).content
    assert upstream_server.requests[-1].body["stream_options"] == {"other": 1, "include_usage": True}


def test_each_event_comes_as_it_is_sent(upstream_client, upstream_server, events) -> None:
    steps = [threading.Event() for _ in range(3)]

    async def say(handler: Any, _body: Any) -> None:
        for number, step in enumerate(steps):
            await handler.send_delta(f"{number} ")
            await handler.wait(step)
        await handler.send_delta(why="stop")

    upstream_server.respond = say
    stream = events(upstream_client.chat(TINY, stream=True))
    for number, step in enumerate(steps):
        assert words([next(stream)]) == f"{number} "
        step.set()  # only now it goes on
    assert next(stream)["choices"][0]["finish_reason"] == "stop"
    assert next(stream) == "[DONE]"


def test_what_others_do_is_taken(upstream_client, upstream_server, upstream_sandbox: Sandbox) -> None:
    """CRLF, no space after the colon, comments, no [DONE], a body that ends with the connection, null as content."""
    lines = [
        ": hello",
        'data:{"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}',
        "",
        "event: message",
        'data:{"choices":[{"index":0,"delta":{"content":"Grüß"},"finish_reason":null}],"usage":null}',
        "",
        'data: {"choices":[{"index":0,"delta":{"content":" Gott"},"finish_reason":"stop"}]}',
    ]
    upstream_server.respond = raw("\r\n".join(["HTTP/1.0 200 OK", "", *lines]).encode())
    sent = upstream_client.chat(TINY, stream=True, stream_options={"include_usage": True}).content.decode()
    *stream, last = sent.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    *pieces, usage = [json.loads(event.removeprefix("data: ")) for event in stream]
    assert words(pieces) == "Grüß Gott"
    assert usage["usage"] == {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8}  # counted by us
    assert upstream_sandbox.balance == pytest.approx(100 - 0.006 - 0.02)


def test_usage_in_every_chunk_is_charged_once(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, events
) -> None:
    async def say(handler: Any, _body: Any) -> None:
        for number in range(1, 4):
            choices = [
                {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop" if number == 3 else None}
            ]
            usage = {"prompt_tokens": 10, "completion_tokens": number}
            await handler.send_event({"choices": choices, "usage": usage})
        await handler.send_event("[DONE]")

    upstream_server.respond = say
    *stream, _done = events(upstream_client.chat(TINY, stream=True))
    assert "usage" not in stream[0]
    assert upstream_sandbox.balance == pytest.approx(100 - 0.01 - 0.03)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": 1}, "much"])
def test_what_is_not_counted_there_is_counted_here(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, usage: object
) -> None:
    message = {"role": "assistant", "reasoning_content": "Hm.", "content": "It is so."}
    upstream_server.respond = refusing(200, {"choices": [{"index": 0, "message": message}], "usage": usage})
    answer = upstream_client.chat(TINY).json()
    assert answer["choices"][0]["message"] == message
    assert upstream_sandbox.balance == pytest.approx(100 - 0.006 - 0.01 * count("Hm.It is so."))


def test_reasoning_is_passed_on(upstream_client, upstream_server, events) -> None:
    async def say(handler: Any, _body: Any) -> None:
        await handler.send_delta(reasoning_content="Let me see")
        await handler.send_delta("Yes")
        await handler.send_delta(why="stop")
        await handler.send_event("[DONE]")

    upstream_server.respond = say
    *stream, _done = events(upstream_client.chat(TINY, stream=True))
    assert (words(stream, "reasoning_content"), words(stream)) == ("Let me see", "Yes")


TOO_LONG = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 4031,
        "n_ctx": 2048,
    }
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "body", "status", "code", "told"),
    [
        (400, TOO_LONG, 422, None, "4,031 tokens, and the model's context holds 2,048"),
        (400, {"error": {"message": "no such thing"}}, 400, "VALIDATION_ERROR", "no such thing"),
        (404, {"error": "model not found"}, 404, None, "model not found"),
        (422, {"detail": "so not"}, 422, None, "so not"),
        (429, {"error": {"message": "slowly"}}, 429, None, "slowly"),
        (401, {"error": "the key our-own-key is wrong"}, 502, "INTERNAL_ERROR", "the key … is wrong"),
        (403, {"message": "no entry"}, 502, "INTERNAL_ERROR", "no entry"),
        (500, {"error": {"message": "oh"}}, 502, "INTERNAL_ERROR", "500: oh"),
        (500, "<html><body>Oh</body></html>", 502, "INTERNAL_ERROR", "does not say why"),
        (500, "our-own-key", 502, "INTERNAL_ERROR", "500: …"),
        (
            500,
            {"error": "image input is not supported - hint: x"},
            400,
            "VALIDATION_ERROR",
            "takes no images",
        ),
        (503, {"error": {"message": "Loading model"}}, 503, None, "Loading model"),
        (204, "", 502, "INTERNAL_ERROR", "204"),
    ],
)
def test_refusals(
    upstream_client,
    upstream_server,
    upstream_sandbox: Sandbox,
    stream: bool,
    said: int,
    body: object,
    status: int,
    code: str | None,
    told: str,
) -> None:
    upstream_server.respond = refusing(said, body, Retry_After="3")
    response = upstream_client.chat(TINY, stream=stream)
    assert response.status_code == status
    assert told in response.json()["error"]
    assert response.json().get("code") == code
    passed_on = status == said
    assert response.headers.get("Retry-After") == ("3" if passed_on else None)
    assert "our-own-key" not in response.text
    assert upstream_sandbox.balance == 100


@pytest.mark.parametrize("body", ["{", "[]", '{"choices": 1}', '{"data": []}', "[" * 100_000])
def test_an_answer_that_is_none(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, body: str
) -> None:
    upstream_server.respond = refusing(200, body)
    response = upstream_client.chat(TINY)
    assert (response.status_code, response.json()["code"]) == (502, "INTERNAL_ERROR")
    assert "no answer that can be read" in response.json()["error"]
    assert upstream_sandbox.balance == 100


def test_no_redirect_is_followed(upstream_client, upstream_server) -> None:
    upstream_server.respond = refusing(307, "", Location="http://localhost:9/v1/chat/completions")
    response = upstream_client.chat(TINY)
    assert response.status_code == 502
    assert "redirects to another address (307)" in response.json()["error"]
    assert len(upstream_server.requests) == 2  # the list, and the chat once


@pytest.mark.parametrize("field", ["max_tokens", "stream_options"])
def test_what_is_not_known_there_is_left_out(upstream_client, upstream_server, events, field: str) -> None:
    usual = upstream_server.respond

    async def say(handler: Any, body: Any) -> None:
        refuse = refusing(422, {"error": f"unknown field {field}"})
        await (refuse if field in body else usual)(handler, body)

    upstream_server.respond = say
    assert list(events(upstream_client.chat(TINY, stream=True, max_completion_tokens=9)))[-1] == "[DONE]"
    assert [field in heard.body for heard in upstream_server.requests[1:]] == [True, False]
    assert upstream_server.requests[-1].body["max_completion_tokens"] == 9


def test_a_limit_that_is_too_large_is_no_unknown_field(upstream_client, upstream_server) -> None:
    upstream_server.respond = refusing(400, {"error": "max_tokens is larger than the context"})
    assert upstream_client.chat(TINY, max_completion_tokens=10**6).status_code == 400
    assert len(upstream_server.requests) == 2


def test_nothing_is_waited_for_behind_the_end(upstream_client, upstream_server) -> None:
    async def say(handler: Any, _body: Any) -> None:
        await handler.send_delta("Hello", "stop")
        await handler.send_event("[DONE]")
        await handler.wait(handler.server.client_left)

    upstream_server.respond = say
    assert upstream_client.chat(TINY, stream=True).text.endswith("data: [DONE]\n\n")
    assert upstream_server.client_left.wait(30)


def test_what_the_client_sent_itself_is_not_left_out(upstream_client, upstream_server) -> None:
    upstream_server.respond = refusing(400, {"error": "max_tokens is not supported"})
    assert upstream_client.chat(TINY, max_tokens=10**6).status_code == 400
    assert len(upstream_server.requests) == 2


PIECE = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
CHUNKED = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len(PIECE):x}\r\n{PIECE}\r\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (CHUNKED, "the connection was cut"),
        (CHUNKED + "0\r\n\r\n", "it stopped"),
        (CHUNKED + "zz\r\n", "is not valid HTTP"),
        (f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{PIECE}", "the connection was cut"),
        (f"HTTP/1.1 200 OK\r\n\r\n{PIECE}", "it stopped"),
        (
            f'HTTP/1.1 200 OK\r\n\r\n{PIECE}data: {{"error": {{"message": "out of memory"}}}}\n\n',
            "out of memory",
        ),
        (f"HTTP/1.1 200 OK\r\n\r\n{PIECE}data: {{\n\n", "invalid event"),
    ],
)
def test_an_answer_that_breaks_off(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, said: str, told: str
) -> None:
    upstream_server.respond = raw(said.encode())
    first, last = upstream_client.chat(TINY, stream=True).text.strip().split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"] == {"content": "Hi"}
    error = json.loads(last.removeprefix("data: "))
    assert error["code"] == "INTERNAL_ERROR"
    assert told in error["error"]
    assert upstream_sandbox.balance == pytest.approx(100 - 0.006 - 0.01)  # what came of it


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "said", ["", "HTTP/1.1 200", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_an_answer_that_does_not_come(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, stream: bool, said: str
) -> None:
    upstream_server.respond = raw(said.encode())
    response = upstream_client.chat(TINY, stream=stream)
    assert response.status_code == (502 if "Length" in said else 503)
    assert upstream_server.url in response.json()["error"]
    assert upstream_sandbox.balance == 100


def test_a_server_that_has_gone(upstream_client, upstream_server) -> None:
    assert upstream_client.chat(TINY).status_code == 200
    upstream_server.stop()
    response = upstream_client.chat(TINY)
    assert response.status_code == 503
    assert (
        response.json()["error"]
        == f"The upstream {upstream_server.url} cannot be reached: nothing listens there"
    )
    assert upstream_client.chat().status_code == 200


@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_ends_the_work(upstream_client, upstream_server, stream: bool, began: bool) -> None:
    """Whether a first byte came already or not."""
    busy = threading.Event()

    async def say(handler: Any, _body: Any) -> None:
        if began:
            await (handler.send_delta("Once upon a time") if stream else handler.flush())
        busy.set()
        await handler.wait(handler.server.client_left)

    upstream_server.respond = say
    leaver = threading.Thread(target=ask_and_leave, args=(upstream_client, stream, began, busy))
    leaver.start()
    assert upstream_server.client_left.wait(30)
    leaver.join()
    assert upstream_client.get("/v1/models").status_code == 200


def ask_and_leave(client: Any, stream: bool, began: bool, busy: threading.Event) -> None:
    """Close the connection as soon as the other server is at work, and something came if it began."""
    import http.client

    host = client.sandbox.base_url.removeprefix("http://")
    body = {"model": TINY, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Authorization": f"Token {client.sandbox.token}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    assert busy.wait(30)
    if began and stream:
        assert connection.getresponse().readline() != b""
    connection.close()


def test_signs_of_life_while_nothing_comes(
    upstream_client, upstream_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_KEEP_ALIVE_INTERVAL", 0.05)
    alive = [threading.Event(), threading.Event()]

    async def say(handler: Any, _body: Any) -> None:
        await handler.wait(alive[0])
        await handler.send_delta("Hello")
        await handler.wait(alive[1])
        await handler.send_delta(why="stop")

    upstream_server.respond = say
    chunks = upstream_client.chat(TINY, stream=True).raw.read_chunked()
    for seen, what in zip(alive, (b"Hello", b"stop"), strict=True):
        assert next(chunks) == b": PROCESSING\n\n"
        seen.set()
        assert what in next(chunk for chunk in chunks if chunk.startswith(b"data: "))
    assert list(chunks)[-1] == b"data: [DONE]\n\n"


def test_a_refusal_after_signs_of_life_is_an_event(
    upstream_client, upstream_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_KEEP_ALIVE_INTERVAL", 0.05)
    alive = threading.Event()

    async def say(handler: Any, body: Any) -> None:
        await handler.wait(alive)
        await refusing(400, TOO_LONG)(handler, body)

    upstream_server.respond = say
    response = upstream_client.chat(TINY, stream=True)
    assert response.status_code == 200
    chunks = response.raw.read_chunked()
    assert next(chunks) == b": PROCESSING\n\n"
    alive.set()
    (error,) = [chunk for chunk in chunks if chunk.startswith(b"data: ")]
    assert "4,031 tokens" in json.loads(error.removeprefix(b"data: "))["error"]


def test_the_connection_is_cut_on_purpose(
    upstream_client, upstream_sandbox: Sandbox, upstream_server, events
) -> None:
    upstream_sandbox.configure(drop_after=2)
    stream = events(upstream_client.chat(TINY, stream=True))
    assert len([next(stream) for _ in range(2)]) == 2
    with pytest.raises(requests.packages.urllib3.exceptions.ProtocolError):
        next(stream)


def test_faults_and_an_empty_account_come_first(
    upstream_client, upstream_sandbox: Sandbox, upstream_server
) -> None:
    upstream_sandbox.configure(fail="500:1")
    assert upstream_client.chat(TINY).status_code == 500
    upstream_sandbox.configure(balance=1e-6)
    assert upstream_client.chat(TINY).status_code == 200
    assert upstream_sandbox.balance < 0
    assert upstream_client.chat(TINY).status_code == 402
    assert [heard.method for heard in upstream_server.requests] == ["GET", "POST"]


def test_a_wrong_value_is_refused_here(upstream_client, upstream_server) -> None:
    response = upstream_client.chat(TINY, temperature=3)
    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
    assert upstream_server.requests == []


def test_the_pace_is_for_scripts(upstream_server, connect) -> None:
    """At this pace, the first of its words would come in eleven days."""
    with Sandbox(pace=1e-6, upstream=upstream_server.url) as sandbox:
        client = connect(sandbox)
        assert client.chat(TINY).json()["usage"] == USAGE
        assert client.chat(TINY, stream=True).text.endswith("data: [DONE]\n\n")
        assert "Authorization" not in upstream_server.requests[-1].headers


def test_stopping_ends_what_is_under_way(upstream_server, connect) -> None:
    async def say(handler: Any, _body: Any) -> None:
        await handler.send_delta("Once")
        await handler.wait(handler.server.client_left)

    upstream_server.respond = say
    sandbox = Sandbox(pace=0, upstream=upstream_server.url).start()
    chunks = connect(sandbox).chat(TINY, stream=True).raw.read_chunked()
    assert b"Once" in next(chunks)
    sandbox.stop()
    assert upstream_server.client_left.wait(30)
    assert "puq-sandbox" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_list_open", [False, True])
@pytest.mark.parametrize("scheme", ["Bearer", "Token"])
def test_the_word_before_the_key_is_found(
    upstream_server, connect, scheme: str, is_list_open: bool, stream: bool
) -> None:
    usual, handler = upstream_server.respond, upstream_server.handler
    right = f"{scheme} our-own-key"

    async def say(answer: Any, body: Any) -> None:
        if answer.request.headers["Authorization"] == right:
            await usual(answer, body)
        else:
            await refusing(401, {"error": "wrong"})(answer, body)

    def get(answer: Any) -> None:
        if is_list_open or answer.request.headers["Authorization"] == right:
            answer.finish({"models": [{"code": "tiny"}]})
        else:
            answer.send_error(401)

    upstream_server.respond, handler.get = say, get
    with Sandbox(pace=0, upstream=upstream_server.url, upstream_key="our-own-key") as running:
        client = connect(running)
        for _ in range(2):
            assert "Hello" in client.chat(TINY, stream=stream).text
        assert running.default_chat_model == TINY
    asked = [request.headers["Authorization"] for request in upstream_server.requests]
    assert len(asked) <= 2 + (scheme == "Token")


LATE = [
    {"error": {"message": "slowly", "code": 429}},
    {"error": {"message": "slowly", "type": "rate_limit_error"}},
    {"error": {"message": "slowly", "status": "429"}},
    {"error": "slowly", "code": "rate_limit_exceeded"},
    {"error": "slowly", "status": 429},
]


@pytest.mark.parametrize("error", LATE)
@pytest.mark.parametrize("began", [False, True])
def test_a_late_rate_limit_is_one(upstream_client, upstream_server, error: object, began: bool) -> None:
    async def say(handler: Any, _body: Any) -> None:
        if began:
            await handler.send_delta("Hello")
        await handler.send_event(error)

    upstream_server.respond = say
    response = upstream_client.chat(TINY, stream=True)
    if not began:
        assert response.status_code == 429
        assert "slowly" in response.json()["error"]
        return
    last = json.loads(response.text.strip().rpartition("data: ")[2])
    assert "slowly" in last["error"]
    assert last["code"] == "RATE_LIMIT"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pieces", [1, 4, 100])
def test_an_answer_without_usage_is_charged_by_its_length(
    upstream_client, upstream_server, upstream_sandbox: Sandbox, pieces: int, stream: bool
) -> None:
    text = "word " * 1000

    async def say(handler: Any, body: Any) -> None:
        if not body.get("stream"):
            choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
            handler.finish({"choices": [choice]})
            return
        for number in range(pieces):
            part = len(text) // pieces
            await handler.send_delta(text[part * number : part * (number + 1)])
        await handler.send_delta(why="stop")
        await handler.send_event("[DONE]")

    upstream_server.respond = say
    assert upstream_client.chat(TINY, stream=stream).text.count("word") >= 1000 - pieces
    charged = 100 - upstream_sandbox.balance
    assert charged == pytest.approx(10.0, rel=0.2)  # 1,000 tokens, at 10,000 credits for a million
