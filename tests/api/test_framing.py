from __future__ import annotations

from http.client import HTTPException, IncompleteRead
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.body import ChunkedFraming, CloseDelimitedFraming, ContentLengthFraming, make_framing


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


def test_the_headers_choose() -> None:
    assert isinstance(make_framing(True, None), ChunkedFraming)
    assert isinstance(make_framing(False, 0), ContentLengthFraming)
    assert isinstance(make_framing(False, None), CloseDelimitedFraming)


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
    chunked, counted = ChunkedFraming(), ContentLengthFraming(2)
    assert chunked.decode(b"2\r\nab\r\n0\r\n\r\nHTTP/1.1 200") == b"ab"
    assert counted.decode(b"abc") == b"ab"
    for framing in (chunked, counted):
        assert framing.ended
        assert not framing.reusable


def test_a_counted_body() -> None:
    framing = ContentLengthFraming(5)
    assert framing.decode(b"abc") == b"abc"
    with pytest.raises(IncompleteRead) as caught:
        framing.end()
    assert caught.value.expected == 2
    assert framing.decode(b"de") == b"de"
    assert framing.ended
    assert framing.reusable
    framing.end()
    assert ContentLengthFraming(0).ended


def test_an_unbounded_body_ends_with_its_connection() -> None:
    framing = CloseDelimitedFraming()
    assert framing.decode(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert not framing.ended
    framing.end()
    assert framing.ended
    assert not framing.reusable
