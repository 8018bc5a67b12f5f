"""Bytes are given as they come, whatever holds them; each body over a real socket."""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from itertools import pairwise
from pathlib import Path
from threading import Event
from threading import enumerate as all_threads

import pytest
import trustme
from clients import ask, router_for, words
from hypothesis import given
from hypothesis import strategies as st
from raw_server import (
    DONE,
    LAST_CHUNK,
    STOP,
    Connection,
    RawServer,
    chunk,
    chunked,
    delta,
    event,
    event_stream,
    gzip_flushed,
    head,
    responds,
)

from puq_magics.api.body import (
    ChunkedFraming,
    GzipDecoder,
    LengthFraming,
    PolledSource,
    ThreadedSource,
    make_framing,
)
from puq_magics.api.types import Delta
from puq_magics.core.errors import APITimeoutError

FIRST, REST = event(delta("first")), event(delta(" rest")) + STOP + DONE
PACKED_FIRST, PACKED_REST, PACKED_END = gzip_flushed(FIRST, REST)


SHAPES = {
    "chunked": (head(Transfer_Encoding="chunked") + chunk(FIRST), chunk(REST) + LAST_CHUNK),
    "a chunk in halves": (
        head(Transfer_Encoding="chunked") + chunk(FIRST + REST).partition(REST)[0],
        REST + b"\r\n" + LAST_CHUNK,
    ),
    "part of the next chunk's size": (
        head(Transfer_Encoding="chunked") + chunk(FIRST) + chunk(REST)[:1],
        chunk(REST)[1:] + LAST_CHUNK,
    ),
    "the next chunk's size": (
        head(Transfer_Encoding="chunked") + chunk(FIRST) + chunk(REST).partition(b"\n")[0] + b"\n",
        chunk(REST).partition(b"\n")[2] + LAST_CHUNK,
    ),
    "close-delimited": (head() + FIRST, REST),
    "Content-Length": (head(Content_Length=len(FIRST + REST)) + FIRST, REST),
    "gzip, chunked": (
        head(Transfer_Encoding="chunked", Content_Encoding="gzip") + chunk(PACKED_FIRST),
        chunk(PACKED_REST) + chunk(PACKED_END) + LAST_CHUNK,
    ),
    "gzip, close-delimited": (head(Content_Encoding="gzip") + PACKED_FIRST, PACKED_REST + PACKED_END),
    "gzip, members": (head(Content_Encoding="x-gzip") + gzip.compress(FIRST), gzip.compress(REST)),
}


@pytest.fixture(scope="session")
def certificate_authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
def tls(
    request: pytest.FixtureRequest,
    certificate_authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ssl.SSLContext | None:
    """What a server needs for TLS, which the client then trusts; or nothing."""
    if request.param == "http":
        return None
    certificate_authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_words_come_while_the_rest_is_held_back(
    shape: str, body_reader: str, tls: ssl.SSLContext | None
) -> None:
    first, rest = SHAPES[shape]
    heard = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(first)
        connection.wait(heard)
        connection.send(rest)

    with RawServer(script, tls=tls) as server, router_for(server) as router, ask(router) as stream:
        assert isinstance(
            stream._response._body.source, PolledSource if body_reader == "polled" else ThreadedSource
        )  # type: ignore[attr-defined]
        assert next(iter(stream)) == Delta("first")
        while stream.receive(0) == Delta():  # bytes without words
            pass
        assert stream.receive(0) is None
        assert not stream.finished
        heard.set()
        assert "".join(part.text for part in stream) == " rest"
        assert stream.completion.finish_reason == "stop"


@pytest.mark.parametrize("shape", SHAPES)
def test_single_bytes(shape: str, body_reader: str) -> None:
    """Each byte in its own segment: inside characters, chunk sizes, gzip's header."""
    wire = b"".join(SHAPES[shape])

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(*(bytes([byte]) for byte in wire))

    with RawServer(script) as server, router_for(server) as router:
        assert words(ask(router)) == "first rest"


def test_a_tls_record_in_two_parts_is_waited_for_no_longer_than_asked(
    certificate_authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate_authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(context)
    half_sent, looked = Event(), Event()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_side=True)

    def script(connection: Connection) -> None:
        _shake_hands(connection, session, incoming, outgoing)
        session.write(head(Transfer_Encoding="chunked") + chunk(FIRST))
        connection.send(outgoing.read())
        session.write(chunk(REST) + LAST_CHUNK)
        record = outgoing.read()
        connection.send(record[:9])
        half_sent.set()
        connection.wait(looked)
        connection.send(record[9:])

    with RawServer(script) as server:
        server.base_url = server.base_url.replace("http:", "https:")
        with router_for(server) as router, ask(router) as stream:
            assert next(iter(stream)) == Delta("first")
            assert half_sent.wait(15)
            assert stream.receive(0) is None
            assert stream.receive(0.01) is None
            looked.set()
            assert words(stream) == " rest"


def _shake_hands(
    connection: Connection, session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """TLS by hand, until the request has come."""
    step: Callable[[], object] = session.do_handshake
    while True:
        try:
            step()
        except ssl.SSLWantReadError:
            connection.send(outgoing.read())
            incoming.write(connection.sock.recv(65536))
            continue
        connection.send(outgoing.read())
        if step == session.do_handshake:
            step = lambda: session.read(65536)  # noqa: E731 - the next step
        else:
            return


def test_a_burst_is_read_whole(body_reader: str) -> None:
    texts = [f"{number} é😀 " for number in range(20_000)]
    events = (event(delta(text)) for text in texts)
    with RawServer(responds(chunked(*events, STOP, DONE))) as server, router_for(server) as router:
        assert words(ask(router)) == "".join(texts)


def test_nothing_comes(body_reader: str) -> None:
    enough = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head())
        connection.wait(enough)
        connection.send(event_stream(["late"]))

    with RawServer(script) as server, router_for(server) as router, ask(router) as stream:
        assert stream.receive(0) is None
        assert stream.receive(0.01) is None
        assert stream.receive(-1) is None
        enough.set()
        assert words(stream) == "late"


@pytest.mark.parametrize("framing", [{}, {"Transfer_Encoding": "chunked"}, {"Content_Length": 1000}])
def test_silence_in_mid_answer_is_a_timeout(framing: dict[str, str | int], body_reader: str) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(**framing) + (chunk(FIRST) if "Transfer_Encoding" in framing else FIRST))
        assert connection.wait_for_close()

    with RawServer(script) as server, router_for(server, timeout=0.5) as router:
        stream = ask(router)
        with pytest.raises(APITimeoutError) as caught:
            list(stream)
        assert caught.value.partial == "first"


def test_bytes_without_words_put_off_the_timeout(body_reader: str) -> None:
    heard = [Event() for _ in range(3)]

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head())
        for event_heard in heard:
            connection.send(b": PROCESSING\n\n")
            connection.wait(event_heard)
        connection.send(event_stream(["word"]))

    with RawServer(script) as server, router_for(server) as router, ask(router) as stream:
        for event_heard in heard:
            assert stream.receive() == Delta()
            event_heard.set()
        assert words(stream) == "word"


@pytest.mark.parametrize("framing", [{}, {"Transfer_Encoding": "chunked"}, {"Content_Length": 1000}])
def test_closing_in_mid_answer_closes_the_connection(framing: dict[str, str | int], body_reader: str) -> None:
    closed = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head(**framing) + (chunk(FIRST) if "Transfer_Encoding" in framing else FIRST))
        if connection.wait_for_close():
            closed.set()

    with RawServer(script) as server, router_for(server) as router:
        stream = ask(router)
        assert stream.receive() == Delta("first")
        stream.close()
        assert closed.wait(15)  # the router stays open
        assert stream.receive() is None
        assert stream._response.receive() == b""
        stream.close()


def test_no_thread_is_left_behind(body_reader: str) -> None:
    def held(connection: Connection) -> None:
        connection.read_request()
        connection.send(head() + FIRST)
        assert connection.wait_for_close()

    with RawServer(responds(chunked(FIRST, REST)), held, held) as server:
        with router_for(server) as router:
            assert words(ask(router)) == "first rest"
        with router_for(server) as router, ask(router) as stream:
            assert next(iter(stream)) == Delta("first")
        with router_for(server, timeout=0.1) as router, pytest.raises(APITimeoutError):
            list(ask(router))
        readers = [thread for thread in all_threads() if thread.name == "puq-body"]
        for thread in readers:
            thread.join(15)
        assert not any(thread.is_alive() for thread in readers)


def test_a_reader_that_never_looks_does_not_fill_the_memory(body_reader: str) -> None:
    """A thread reads ahead only so far: then the server has to wait."""
    filled = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(head() + FIRST)
        connection.sock.setblocking(False)
        sent = 0
        try:
            while sent < 1 << 30:
                sent += connection.sock.send(b": " + b"x" * 65000 + b"\n")
                if sent > 1 << 26:
                    break
        except BlockingIOError:
            pass
        connection.sock.setblocking(True)
        filled.set()
        assert connection.wait_for_close()

    with RawServer(script) as server, router_for(server) as router, ask(router) as stream:
        assert filled.wait(15)
        assert next(iter(stream)) == Delta("first")


# GzipDecoder


def gunzip(*parts: bytes, limit: int = 10) -> bytes:
    gunzipper = GzipDecoder()
    decoded = []
    for part in parts:
        out = gunzipper.decode(part, limit)
        while out:
            assert len(out) <= limit
            decoded.append(out)
            out = gunzipper.more(limit)
    gunzipper.finish()
    return b"".join(decoded)


@given(
    texts=st.lists(st.binary(max_size=60) | st.integers(0, 5000).map(lambda size: b"a" * size), max_size=4),
    step=st.integers(1, 50),
    limit=st.integers(1, 300),
    padding=st.sampled_from([b"", b"\0", b"\0" * 40]),
)
def test_gunzip_of_members_split_anywhere(texts: list[bytes], step: int, limit: int, padding: bytes) -> None:
    packed = b"".join(map(gzip.compress, texts)) + (padding if texts else b"")
    parts = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert gunzip(*parts, limit=limit) == b"".join(texts)


def test_gunzip_gives_all_that_was_flushed() -> None:
    gunzipper = GzipDecoder()
    for part, packed in zip([b"one", b"", b"x" * 3000], gzip_flushed(b"one", b"", b"x" * 3000), strict=False):
        out = gunzipper.decode(packed, 1000)
        while more := gunzipper.more(1000):
            out += more
        assert out == part


def test_gunzip_of_a_cut_stream() -> None:
    packed = gzip.compress(b"some words")
    with pytest.raises(EOFError):
        gunzip(packed[:-1])
    with pytest.raises(EOFError):
        gunzip(packed[:3])
    with pytest.raises(EOFError):
        gunzip(packed, packed[:-1])
    assert gunzip() == b""


def test_gunzip_of_what_is_not_gzip() -> None:
    with pytest.raises(zlib.error):
        gunzip(b"plain text")
    broken = bytearray(gzip.compress(b"some words" * 9) * 2)
    broken[-20] ^= 0xFF
    with pytest.raises((zlib.error, EOFError)):
        gunzip(bytes(broken))


def test_gunzip_of_a_bomb_gives_no_more_than_asked() -> None:
    bomb = gzip.compress(b"\0" * (1 << 24))
    gunzipper = GzipDecoder()
    assert len(gunzipper.decode(bomb, 1000)) == 1000
    assert len(gunzipper.more(1000)) == 1000


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


def test_the_headers_choose() -> None:
    assert isinstance(make_framing(True, None), ChunkedFraming)
    assert isinstance(make_framing(False, 0), LengthFraming)
    assert not make_framing(False, None).reusable


@given(
    parts=st.lists(st.binary(min_size=1, max_size=20), max_size=6),
    size=st.sampled_from(["%x", "%X", "000%x", "%x ", "%x;name=value", '%x;a="1;2"']),
    trailers=st.sampled_from([b"", b"Checksum: 0\r\n", b"A: 1\r\nB: 2\r\n"]),
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_chunks_split_anywhere(
    parts: list[bytes], size: str, trailers: bytes, line_end: bytes, cuts: list[int]
) -> None:
    wire = b"".join((size % len(part)).encode() + line_end + part + line_end for part in parts)
    wire += (size % 0).encode() + line_end + trailers + line_end
    framing = ChunkedFraming()
    pieces = cut(wire, cuts)
    body = b""
    for piece in pieces:
        assert not framing.ended
        body += framing.decode(piece)
    assert body == b"".join(parts)
    assert framing.ended
    assert framing.reusable
    framing.end()


def test_data_is_given_while_its_chunk_is_on_its_way() -> None:
    framing = ChunkedFraming()
    assert framing.decode(b"5\r\nab") == b"ab"
    assert framing.decode(b"cde") == b"cde"
    assert framing.decode(b"\r") == b""
    assert framing.decode(b"\n2") == b""
    assert framing.decode(b"\r\nx") == b"x"
    with pytest.raises(IncompleteRead):
        framing.end()


@pytest.mark.parametrize(
    "wire",
    [
        b"nonsense\r\n",
        b"\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"1_0\r\n",
        b"5 5\r\n",
        b"ffffffffffffffff\r\n",
        b"2\r\nabc\r\n",
        b"0" * 20_000,
        b"0\r\n" + b"A: 1\r\n" * 101,
        b"0\r\n" + b"A" * 20_000,
    ],
)
def test_what_is_no_chunk(wire: bytes) -> None:
    with pytest.raises(HTTPException):
        ChunkedFraming().decode(wire)


def test_bytes_behind_the_body_spoil_the_connection() -> None:
    chunked, counted = ChunkedFraming(), LengthFraming(2)
    assert chunked.decode(b"2\r\nab\r\n0\r\n\r\nHTTP/1.1 200") == b"ab"
    assert counted.decode(b"abc") == b"ab"
    for framing in (chunked, counted):
        assert framing.ended
        assert not framing.reusable


def test_a_counted_body() -> None:
    framing = LengthFraming(5)
    assert framing.decode(b"abc") == b"abc"
    with pytest.raises(IncompleteRead) as caught:
        framing.end()
    assert caught.value.expected == 2
    assert framing.decode(b"de") == b"de"
    assert framing.ended
    assert framing.reusable
    framing.end()
    assert LengthFraming(0).ended


def test_an_unbounded_body_ends_with_its_connection() -> None:
    framing = LengthFraming(None)
    assert framing.decode(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert not framing.ended
    framing.end()
    assert framing.ended
    assert not framing.reusable
