"""Connections that break, at every place where they can."""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Event

import pytest
from clients import MODEL, ask, router_for, words
from raw_server import (
    COMPLETION,
    DONE,
    LAST_CHUNK,
    STOP,
    Connection,
    RawServer,
    Script,
    answer,
    chunk,
    delta,
    event,
    gzip_flushed,
    head,
    responds,
)

from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    InvalidResponseError,
    StreamError,
)

pytestmark = pytest.mark.usefixtures("body_reader")  # each test with both readers

FIRST = event(delta("some ")) + event(delta("words"))
WHOLE = FIRST + STOP
BALANCE = answer({"balance": 5.0})


def cut_after(said: bytes, *, reset: bool) -> Script:
    """Say so much, and once the client has read it, be gone."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(said)
        if reset:
            connection.reset()

    return script


def send_then_reset(said: bytes, heard: Event) -> Script:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(said)
        connection.wait(heard)
        connection.reset()

    return script


FRAMED: dict[str, Callable[[bytes], bytes]] = {
    "chunked": lambda body: head(Transfer_Encoding="chunked") + chunk(body),
    "in a chunk": lambda body: head(Transfer_Encoding="chunked") + chunk(body + b" " * 50)[:-52],
    "in a chunk's size": lambda body: head(Transfer_Encoding="chunked") + chunk(body) + b"4",
    "Content-Length": lambda body: head(Content_Length=len(body) + 50) + body,
    "gzip": lambda body: (
        head(Transfer_Encoding="chunked", Content_Encoding="gzip") + chunk(gzip_flushed(body, end=False)[0])
    ),
}


@pytest.mark.parametrize("framing", FRAMED)
def test_a_connection_closed_in_mid_answer(framing: str, body_reader: str) -> None:
    with RawServer(cut_after(FRAMED[framing](FIRST), reset=False)) as server, router_for(server) as router:
        stream = ask(router)
        with pytest.raises(APIConnectionError, match="closed the connection") as caught:
            words(stream)
    assert caught.value.partial == stream.text == "some words"
    assert stream.finished


@pytest.mark.parametrize("framing", [*FRAMED, "close-delimited"])
def test_a_connection_reset_in_mid_answer(framing: str, body_reader: str) -> None:
    heard = Event()
    said = FRAMED.get(framing, lambda body: head() + body)(FIRST)
    with RawServer(send_then_reset(said, heard)) as server, router_for(server) as router:
        stream = ask(router)
        came = ""
        while came != "some words":
            part = stream.receive()
            came += part.text if part else ""
        heard.set()
        with pytest.raises(APIConnectionError, match="closed the connection") as caught:
            list(stream)
    assert caught.value.partial == "some words"


def test_words_that_came_before_a_reset_are_given_before_it() -> None:
    """Bytes and the reset behind them are there at once: the words first."""
    reset = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head() + event(delta("first")))
        connection.wait(heard)
        connection.send(event(delta(" second")))
        connection.reset()
        reset.set()

    heard = Event()
    with RawServer(script) as server, router_for(server) as router:
        stream = ask(router)
        assert next(iter(stream)).text == "first"
        heard.set()
        assert reset.wait(15)
        with pytest.raises((APIConnectionError, StreamError)) as caught:
            list(stream)
    # Linux drops unread bytes at a reset, or gives them: either way the error has what was given.
    assert caught.value.partial == stream.text
    assert isinstance(caught.value, APIConnectionError)


def test_a_body_that_ends_with_its_connection_and_without_an_end(body_reader: str) -> None:
    with (
        RawServer(cut_after(head() + FIRST, reset=False)) as server,
        router_for(server) as router,
        pytest.raises(StreamError, match="before it was finished") as caught,
    ):
        words(ask(router))
    assert caught.value.partial == "some words"


@pytest.mark.parametrize("framing", FRAMED)
def test_a_cut_behind_the_finish_is_no_error(framing: str, body_reader: str) -> None:
    with RawServer(cut_after(FRAMED[framing](WHOLE), reset=False)) as server, router_for(server) as router:
        assert words(ask(router)) == "some words"


def test_a_server_that_never_ends_the_body_is_not_waited_for(body_reader: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(Transfer_Encoding="chunked") + chunk(WHOLE + DONE))
        assert connection.wait_for_close()

    with RawServer(script) as server, router_for(server) as router:
        assert words(ask(router)) == "some words"


def test_a_whole_answer_cut(body_reader: str) -> None:
    body = json.dumps(COMPLETION).encode()
    said = head(Content_Length=len(body) + 1, content_type="application/json") + body
    with (
        RawServer(cut_after(said, reset=False)) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(APIConnectionError, match="closed the connection"),
    ):
        router.chat("Hello", model=MODEL)
    assert len(server.requests) == 1


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_post_without_an_answer_is_not_sent_twice(
    said: bytes, reset: bool, retry_delays: list[float]
) -> None:
    with (
        RawServer(cut_after(said, reset=reset)) as server,
        router_for(server, max_retries=2) as router,
        pytest.raises(APIError) as caught,
    ):
        words(ask(router))
    assert caught.value.hint
    assert len(server.requests) == 1
    assert retry_delays == []


def test_a_silent_post_is_not_sent_twice(retry_delays: list[float]) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        assert connection.wait_for_close()

    with (
        RawServer(script) as server,
        router_for(server, timeout=0.1, max_retries=2) as router,
        pytest.raises(APITimeoutError, match="sent nothing for too long"),
    ):
        router.chat("Hello", model=MODEL)
    assert len(server.requests) == 1
    assert retry_delays == []


def test_a_silent_get_is_not_asked_again_either(retry_delays: list[float]) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        assert connection.wait_for_close()

    with (
        RawServer(script) as server,
        router_for(server, timeout=0.1, max_retries=2) as router,
        pytest.raises(APITimeoutError),
    ):
        router.balance()
    assert len(server.requests) == 1
    assert retry_delays == []


@pytest.mark.parametrize("reset", [True, False])
def test_a_get_without_an_answer_is_sent_again(reset: bool, retry_delays: list[float]) -> None:
    with (
        RawServer(cut_after(b"", reset=reset), responds(BALANCE)) as server,
        router_for(server, max_retries=1) as router,
    ):
        assert router.balance() == 5.0
    assert len(server.requests) == 2
    assert len(retry_delays) == 1


def test_after_a_cut_the_next_call_has_a_fresh_connection(body_reader: str) -> None:
    with (
        RawServer(cut_after(FRAMED["chunked"](FIRST), reset=False), responds(BALANCE)) as server,
        router_for(server) as router,
    ):
        with pytest.raises(APIConnectionError):
            words(ask(router))
        assert router.balance() == 5.0


@pytest.mark.parametrize("status", [402, 500])
@pytest.mark.parametrize("body", [b"", b'{"error": "no credits"}', b"{"])
def test_an_error_whose_body_is_cut_keeps_its_status(status: int, body: bytes, body_reader: str) -> None:
    said = head(status, "application/json", Content_Length=1000) + body
    with (
        RawServer(cut_after(said, reset=False)) as server,
        router_for(server) as router,
        pytest.raises(APIError, match=str(status)),
    ):
        router.chat("Hello", model=MODEL)


def test_an_error_whose_body_never_ends_keeps_its_status(body_reader: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(500, "text/plain", Transfer_Encoding="chunked"))
        filler = chunk(b"no end. " * 1000)
        try:
            while True:
                connection.send(filler)
        except ConnectionError:
            closed.set()

    closed = Event()
    with RawServer(script) as server, router_for(server) as router:
        with pytest.raises(APIError, match=r"500 Internal Server Error\): no end"):
            router.chat("Hello", model=MODEL)
        assert closed.wait(15)


def test_trailing_bytes_and_trailers(body_reader: str) -> None:
    said = head(Transfer_Encoding="chunked") + chunk(WHOLE) + b"0\r\nChecksum: 1\r\n\r\n"
    with RawServer(responds(said, BALANCE)) as server, router_for(server) as router:
        assert words(ask(router)) == "some words"
        assert router.balance() == 5.0
    assert LAST_CHUNK not in said
    assert server.connections == 1 or body_reader == "threaded"


def test_gzip_without_its_end_is_an_error_for_what_has_none_of_its_own(body_reader: str) -> None:
    cut = gzip_flushed(b'{"balance": 5.0}', end=False)[0]
    said = head(Content_Encoding="gzip", Content_Length=len(cut), content_type="application/json") + cut
    with (
        RawServer(responds(said)) as server,
        router_for(server) as router,
        pytest.raises(APIConnectionError, match="closed the connection"),
    ):
        router.balance()


def test_a_stream_that_is_no_stream_and_cut(body_reader: str) -> None:
    said = head(Content_Length=100, content_type="application/json") + b'{"choices": ['
    with (
        RawServer(cut_after(said, reset=False)) as server,
        router_for(server) as router,
        pytest.raises((APIConnectionError, InvalidResponseError)) as caught,
    ):
        words(ask(router))
    assert isinstance(caught.value, APIConnectionError)
