from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from puq_magics.api.sse import ServerSentEvent, SSEDecoder, is_keep_alive
from puq_magics.core.errors import InvalidResponseError


def reference(stream: bytes) -> tuple[list[ServerSentEvent], ServerSentEvent | None]:
    """The standard's algorithm on the whole stream; and the event that it discards at the end."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, tail = re.split("\r\n|\r|\n", text)
    events: list[ServerSentEvent] = []
    data, kind, last_id = "", "", ""
    for line in [*lines, tail] if tail else lines:
        name, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            if data:
                events.append(ServerSentEvent(data[:-1], kind or "message", last_id))
            data, kind = "", ""
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events, ServerSentEvent(data[:-1], kind or "message", last_id) if data else None


def decode(*chunks: bytes) -> tuple[list[ServerSentEvent], ServerSentEvent | None]:
    decoder = SSEDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    *more, last = decoder.flush() or [None]
    return events + more, last


def datas(*chunks: bytes) -> list[str]:
    return [event.data for event in decode(*chunks)[0]]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", ["a", "b", "c"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\ndata\ndata\n\n", ["", "\n"]),
        (b"data:\n\n", [""]),
        (b": PROCESSING\n\ndata: a\n: more\ndata: b\n\n:\n\n", ["a\nb"]),
        (b"event: x\n\ndata: a\n\n", ["a"]),
        (b"datum: a\n\ndata : b\n\n data: c\n\nData: d\n\n", []),
        (b"\n\n\n\ndata: a\n\n\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", ["b"]),
        (b"data: \xef\xbb\xbfa\n\n", ["\ufeffa"]),
        ("data: \u2028\u2029\x85\x0b\x0c\x1c\n\n".encode(), ["\u2028\u2029\x85\x0b\x0c\x1c"]),
        (b"data: a\xff\xe2\n\n", ["a\ufffd\ufffd"]),
        (b"data: a: b: c\n\n", ["a: b: c"]),
        (b"retry: 10\ndata: a\n\n", ["a"]),
    ],
)
def test_the_standard_line_by_line(stream: bytes, expected: list[str]) -> None:
    assert datas(stream) == expected
    assert datas(*(bytes([byte]) for byte in stream)) == expected


def test_types_and_ids() -> None:
    stream = b"event: x\nid: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\nevent: y\nevent\ndata: e\n\n"
    assert decode(stream)[0] == [
        ServerSentEvent("a", "x", "1"),
        ServerSentEvent("b", "message", "1"),
        ServerSentEvent("c", "message", "1"),
        ServerSentEvent("d", "message", ""),
        ServerSentEvent("e", "message", ""),
    ]


def test_a_type_and_its_data_in_two_parts() -> None:
    assert decode(b"event: x\n", b"data: a\n\n")[0] == [ServerSentEvent("a", "x")]


def test_an_id_counts_from_its_event_on_though_that_has_no_data() -> None:
    assert decode(b"data: a\n\nid: 7\n\ndata: b\n\n")[0] == [
        ServerSentEvent("a"),
        ServerSentEvent("b", "message", "7"),
    ]


def test_a_carriage_return_ends_the_event_at_once() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\r\r") == [ServerSentEvent("a")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\r\n\r") == [ServerSentEvent("b")]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\ndata: c\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\ndata: d\n\n") == [ServerSentEvent("c\nd")]


def test_the_byte_order_mark_split() -> None:
    assert datas(b"\xef", b"", b"\xbb", b"\xbfdata: a\n\n") == ["a"]
    assert datas(b"\xef\xbb\xbf", b"", b"data: a\n\n") == ["a"]
    assert decode(b"\xef\xbb\xbf") == ([], None)


def test_half_a_byte_order_mark_is_a_broken_character_and_no_mark() -> None:
    assert datas(b"\xef\xbb", b"data: a\n\ndata: b\n\n") == ["b"]
    assert decode(b"\xef\xbb") == ([], None)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_an_event_without_its_blank_line_is_given_by_flush_alone(end: bytes) -> None:
    assert decode(b"data: a\n\ndata: [DONE]" + end) == ([ServerSentEvent("a")], ServerSentEvent("[DONE]"))
    assert decode(b"data: a\n\n: comment" + end) == ([ServerSentEvent("a")], None)


def test_flush_of_nothing() -> None:
    assert decode() == ([], None)
    assert decode(b"", b"data: a\n\n", b"") == ([ServerSentEvent("a")], None)


_BITS = st.sampled_from(
    [
        *(
            b"data",
            b"data: ",
            b"data:",
            b":",
            b" ",
            b"a",
            b"[DONE]",
            b"event: t",
            b"id: i",
            b"id: \0",
            b"retry: 1",
        ),
        *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n"),
        *("é😀\u2028\x85".encode(), b"\xef\xbb\xbf", b"\xff", b"\xe2\x80"),
    ]
)


@given(stream=st.lists(_BITS, max_size=40).map(b"".join), cuts=st.lists(st.integers(0, 120), max_size=12))
@example(stream=b"data: a\r\n\r\ndata: b\r\n\r\n", cuts=[8, 9, 10])
@example(stream="data: 😀\n\n".encode(), cuts=[7, 8, 9])
@example(stream=b"event: t\n\n\ndata: a\n\n", cuts=[])
def test_any_split_gives_what_the_standard_gives(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(places)]
    assert decode(*chunks) == reference(stream)


@given(stream=st.lists(_BITS, max_size=25).map(b"".join))
def test_byte_by_byte_is_the_same(stream: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in stream)) == reference(stream)


class CopyCountingBytes(bytes):
    """Bytes that count how many are copied when one sticks them to others."""

    copied = 0

    def __radd__(self, other: Any) -> bytes:
        CopyCountingBytes.copied += len(other)
        return bytes(other) + bytes(self)

    def __add__(self, other: Any) -> bytes:
        CopyCountingBytes.copied += len(self)
        return bytes(self) + bytes(other)


def test_a_long_event_in_single_bytes_is_not_copied_again_and_again() -> None:
    size = 1 << 20
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    CopyCountingBytes.copied = 0
    one = CopyCountingBytes(b"x")
    for _ in range(size):
        assert decoder.feed(one) == []
    assert decoder.feed(b"\n\n") == [ServerSentEvent("x" * size)]
    assert CopyCountingBytes.copied <= size


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: ", b"x" * 101],
        [b"data: xxxxxxxx\n"] * 13,
        [b"x"] * 101,
        [b"data: a\n\n" + b"y" * 101],
        [b"data: " + b"x" * 101 + b"\n"],
    ],
)
def test_an_event_has_a_largest_size(chunks: list[bytes]) -> None:
    decoder = SSEDecoder(max_event_size=100)
    *before, last = chunks
    for chunk in before:
        assert decoder.feed(chunk) == []
    with pytest.raises(InvalidResponseError, match="larger than 100 bytes"):
        decoder.feed(last)


def test_many_small_events_are_not_one_large_one() -> None:
    decoder = SSEDecoder(max_event_size=100)
    assert sum(len(decoder.feed(b"data: 0123456789\n\n")) for _ in range(1000)) == 1000


KEEP_ALIVES = """
ping pong heart beat heartbeat keep alive keepalive openrouter processing waiting queued pending ok tick noop
t z utc gmt start started begin connecting connected please wait loading ready
"""


@pytest.mark.parametrize(
    "data",
    [*KEEP_ALIVES.split(), "", " ", "[PING]", ": OPENROUTER PROCESSING", "ping - 10:00:00Z", "1", "." * 100],
)
def test_words_that_keep_a_connection_open(data: str) -> None:
    assert is_keep_alive(data) is True


@pytest.mark.parametrize(
    "data", ["{}", '{"ping"', "[ping", "ping]", "engine died", "pings", "été", "." * 101, "{ping}", "ping {x"]
)
def test_other_data(data: str) -> None:
    assert is_keep_alive(data) is False


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b'data: {"a": 1}\ndata: {"b": 2}\n\n', ['{"a": 1}', '{"b": 2}']),
        (b'data:{"a": 1}\ndata:{"b": 2}\ndata:[DONE]\n\n', ['{"a": 1}', '{"b": 2}', "[DONE]"]),
        (b'data: {"a": 1} \ndata: [DONE]\n\n', ['{"a": 1} ', "[DONE]"]),
        (b'data: {"a": 1}\ndata: \ndata: {"b": 2}\n\n', ['{"a": 1}\n', '{"b": 2}']),
        (b'data: {"a":\ndata: {"b": 2}}\n\n', ['{"a":\n{"b": 2}}']),
        (b'data: {"a": 1}\ndata: "b"\n\n', ['{"a": 1}\n"b"']),
        (b"data: [{}\ndata: {}]\n\n", ["[{}\n{}]"]),
        (b'data: [\ndata: {"a": 1}\ndata: {"b": 2}\n\n', ['[\n{"a": 1}\n{"b": 2}']),
        (b'{"error": 1}\n\n', ['{"error": 1}']),
        (b'{"a": 1}\n{"b": 2}\n\n', ['{"a": 1}', '{"b": 2}']),
        (b': ping\n{"a": 1}\n: ping\n{"b": 2}\n\n', ['{"a": 1}', '{"b": 2}']),
        (b"event: error\n\n", [""]),
        (b"event: other\n\ndata: a\n\n", ["a"]),
        (b"error: x\n\n", ["x"]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", ["a", "b"]),
    ],
)
def test_events_without_blank_lines_and_errors_as_they_are(stream: bytes, expected: list[str]) -> None:
    for chunks in ([stream], [stream[:9], stream[9:]], [bytes([byte]) for byte in stream]):
        decoder = SSEDecoder()
        events = [event for chunk in chunks for event in decoder.feed(chunk)]
        assert [event.data for event in events] == expected
        is_error = stream.startswith((b"event: error", b"error"))
        assert {event.type for event in events} == {"error" if is_error else "message"}
        assert decoder.flush() == []


def test_the_id_stays_with_the_events_that_follow() -> None:
    decoder = SSEDecoder()
    ids = [event.id for event in decoder.feed(b"id: 1\ndata: a\n\n") + decoder.feed(b"data: b\n\n")]
    assert ids == ["1", "1"]


def test_an_event_of_sixteen_megabytes_is_fine_and_one_byte_more_is_not() -> None:
    decoder = SSEDecoder()
    line = b"data: " + b"x" * (16 << 20)
    assert decoder.feed(line[:-6]) == []
    assert decoder.feed(line[-6:] + b"\n") == []
    with pytest.raises(InvalidResponseError, match="larger than 16,777,216 bytes"):
        decoder.feed(b"data:x\n")
