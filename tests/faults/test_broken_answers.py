"""Answers that no server should give."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib
from threading import Event

import pytest
from clients import KEY, MODEL, ask, router_for, words
from raw_server import (
    DONE,
    STOP,
    Connection,
    RawServer,
    chunk,
    chunked,
    delta,
    event,
    event_stream,
    gzip_members,
    head,
    responds,
    responds_and_closes,
)

from puq_magics.api import Router
from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    InvalidResponseError,
    PuqError,
)

pytestmark = pytest.mark.usefixtures("body_reader")  # each test with both readers


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"\0" * 1000,
        b"x" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_http(said: bytes) -> None:
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError, match="does not answer in proper HTTP") as caught,
    ):
        router.chat("Hello", model=MODEL)
    assert "base URL" in caught.value.hint


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100_000,
    ],
)
def test_what_is_no_framing(said: bytes, body_reader: str) -> None:
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        pytest.raises(APIError) as caught,
    ):
        router.balance()
    assert isinstance(caught.value, InvalidResponseError | APIConnectionError)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("length", ["abc", "-1", ""])
def test_a_content_length_that_is_none(length: str, body_reader: str) -> None:
    said = head(Content_Length=length) + event_stream(["a"])
    with RawServer(responds_and_closes(said)) as server, router_for(server) as router:
        assert words(ask(router)) == "a"


def test_http_1_0_and_bare_line_feeds(body_reader: str) -> None:
    said = b"HTTP/1.0 200 OK\nContent-Type: text/event-stream\n\n" + event_stream(["a"])
    with RawServer(responds_and_closes(said)) as server, router_for(server) as router:
        assert words(ask(router)) == "a"


def test_a_hundred_continues() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + chunked(event_stream(["a"]))
    with RawServer(responds_and_closes(said)) as server, router_for(server) as router:
        assert words(ask(router)) == "a"


def test_plain_http_where_tls_was_expected(retry_delays: list[float]) -> None:
    def script(connection: Connection) -> None:
        connection.sock.recv(65536)
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(script) as server:
        url = server.base_url.replace("http:", "https:")
        with Router(KEY, url, max_retries=2) as router, pytest.raises(APIConnectionError) as caught:
            router.balance()
    assert "no secure connection" in caught.value.message
    assert "_ssl" not in caught.value.message
    assert retry_delays == []


def test_a_hang_up_in_the_handshake() -> None:
    def script(connection: Connection) -> None:
        connection.sock.recv(65536)

    with RawServer(script) as server:
        url = server.base_url.replace("http:", "https:")
        with Router(KEY, url, max_retries=0) as router, pytest.raises(APIConnectionError) as caught:
            router.chat("Hello", model=MODEL)
    assert "closed the connection" in caught.value.message


def test_a_listener_that_accepts_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        with (
            Router(KEY, f"http://127.0.0.1:{port}", timeout=0.1, max_retries=0) as router,
            pytest.raises(APITimeoutError),
        ):
            router.balance()
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_gzip_of_several_members(encoding: str, framing: str, body_reader: str) -> None:
    packed = gzip_members(event(delta("a")), event(delta("b")) + STOP, DONE)
    if framing == "chunked":
        said = head(Content_Encoding=encoding, Transfer_Encoding="chunked") + chunk(packed) + b"0\r\n\r\n"
    else:
        length = {"Content_Length": len(packed)} if framing == "length" else {}
        said = head(Content_Encoding=encoding, **length) + packed
    with RawServer(responds_and_closes(said)) as server, router_for(server) as router:
        assert words(ask(router)) == "ab"


@pytest.mark.parametrize("body", [b"data: plain\n\n", gzip.compress(b"x" * 100, mtime=0)[:-9] + b"garbage!!"])
def test_what_claims_to_be_gzip(body: bytes, body_reader: str) -> None:
    said = head(Content_Encoding="gzip") + body
    with (
        RawServer(responds_and_closes(said)) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError, match="compressed in a way that cannot be read"),
    ):
        words(ask(router))


def test_other_encodings_were_not_asked_for_but_are_read_where_they_can_be() -> None:
    packed = zlib.compress(event_stream(["a"]))
    said = head(Content_Encoding="deflate", Content_Length=len(packed)) + packed
    with RawServer(responds(said)) as server, router_for(server) as router:
        assert words(ask(router)) == "a"


def test_a_gzip_bomb_is_cut_at_the_limit_and_never_held_whole(body_reader: str) -> None:
    bomb = gzip.compress(b": " + b"x" * (1 << 16) + b"\n") * 3000  # 200 MB of comments
    said = head(Content_Encoding="gzip", Content_Length=len(bomb)) + bomb

    def script(connection: Connection) -> None:
        connection.read_request()
        try:
            connection.send(said)
        except ConnectionError:
            cut.set()

    cut = Event()
    with RawServer(script) as server, router_for(server) as router:
        stream = ask(router)
        tracemalloc.start()
        with pytest.raises(InvalidResponseError, match="larger than 67,108,864 bytes"):
            list(stream)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16 << 20


WHOLE = b'{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}], "x": [0'


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("start", "filler", "end", "megabytes", "said"),
    [
        (b'{"choices": [{"message": {"content": "', b"x", b'"}}]}', 80, "larger than 67,108,864 bytes"),
        (WHOLE, b" ", b"]}", 80, "larger than 67,108,864 bytes"),
        (WHOLE, b",{}", b"]}", 40, "more than 1,000,000 values"),
        (WHOLE, b",0", b"]}", 40, "more than 1,000,000 values"),
        (WHOLE, b",[[]]", b"]}", 40, "more than 1,000,000 values"),
        (b'{"choices": [{}', b",{}", b"]}", 40, "more than 1,000,000 values"),
    ],
)
def test_a_whole_answer_has_a_bound(
    start: bytes, filler: bytes, end: bytes, megabytes: int, said: str, streamed: bool
) -> None:
    middle = gzip.compress(filler * (10**6 // len(filler))) * megabytes
    bomb = gzip.compress(start) + middle + gzip.compress(end)
    raw = head(content_type="application/json", Content_Encoding="gzip", Content_Length=len(bomb)) + bomb
    with RawServer(responds_and_closes(raw)) as server, router_for(server) as router:
        tracemalloc.start()
        with pytest.raises(InvalidResponseError, match=said):
            words(ask(router)) if streamed else router.chat("Hello", model=MODEL)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 160 << 20


def test_audio_without_end_has_a_bound(body_reader: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(content_type="audio/mpeg") + b"ID3\x04" + b"\0" * 6)
        try:
            while True:
                connection.send(b"\xff\xfb\x90\x64" * (1 << 18))
        except ConnectionError:
            cut.set()

    cut = Event()
    with RawServer(script) as server, router_for(server) as router:
        with pytest.raises(InvalidResponseError, match="larger than 134,217,728 bytes") as caught:
            router.speech("Hello", model=MODEL)
        assert cut.wait(15)
    assert len(caught.value.partial) > 120 << 20
    assert "shorter text" in caught.value.hint


def test_an_event_without_end_is_cut_at_the_limit(body_reader: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head() + event(delta("some words")) + b"data: ")
        filler = b"x" * (1 << 20)
        try:
            while True:
                connection.send(filler)
        except ConnectionError:
            cut.set()

    cut = Event()
    with RawServer(script) as server, router_for(server) as router:
        with pytest.raises(InvalidResponseError, match="an event of the stream is larger") as caught:
            words(ask(router))
        assert cut.wait(15)
    assert caught.value.partial == "some words"


LONG_LABEL = "https://" + "a" * 64 + ".example"


@pytest.mark.parametrize(
    "url", ["https://nowhere.invalid", "https://..", LONG_LABEL, "https://*.example", "http://127.0.0.1:0"]
)
def test_hosts_that_cannot_be_asked(url: str) -> None:
    with pytest.raises(PuqError) as caught, Router(KEY, url, max_retries=0, timeout=5) as router:
        router.balance()
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    assert "Error)" not in caught.value.message
