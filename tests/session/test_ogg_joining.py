from __future__ import annotations

import struct

import pytest

from puq_magics.core.audio_joining import join, join_opus

HEAD = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00"
TAGS = b"OpusTags\x00\x00\x00\x00\x00\x00\x00\x00"


def checksum(page: bytes) -> int:
    """Ogg's, bit by bit as the standard has it."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def page(flags: int, time: int, number: int, body: bytes, serial: int = 7) -> bytes:
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, time, serial, number, 0, len(lacing)) + lacing
    whole = head + body
    return whole[:22] + struct.pack("<I", checksum(whole)) + whole[26:]


def stream(*sound: tuple[int, bytes], serial: int = 7, head: bytes = HEAD, tags: bytes = TAGS) -> bytes:
    """An Ogg stream of pages with their times."""
    pages = [page(2, 0, 0, head, serial), page(0, 0, 1, tags, serial)]
    last = len(sound) - 1
    pages += [page(4 if n == last else 0, time, n + 2, body, serial) for n, (time, body) in enumerate(sound)]
    return b"".join(pages)


ONE = stream((960, b"one"), (1920, b"two" * 100))


def test_parts_are_one_stream() -> None:
    other = stream((480, b"three"), (-1, b"four"), (700, b"five"), serial=99, tags=TAGS + b"of others")
    assert join_opus([ONE, other]) == stream(
        (960, b"one"), (1920, b"two" * 100), (2400, b"three"), (-1, b"four"), (2620, b"five")
    )
    assert join([ONE, other], "ogg") == join_opus([ONE, other])


def test_a_lone_stream_stays_as_it_is() -> None:
    assert join_opus([ONE]) == ONE
    assert join([ONE], "ogg") is ONE


def test_of_a_cut_part_whole_pages_are_kept() -> None:
    assert join_opus([ONE, ONE[:-9]]) == stream((960, b"one"), (1920, b"two" * 100), (2880, b"one"))
    assert join_opus([ONE, ONE[:50]]) == ONE


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"OggS",
        b"no pages at all, and quite some of them too",
        stream((10, b"x"), head=b"\x01vorbis" + bytes(23)),
        stream((10, b"x"), head=HEAD[:9] + b"\x02" + HEAD[10:]),
        ONE + stream((10, b"x"), serial=8),
        stream((1 << 62, b"x")) + page(4, (1 << 63) - 1, 3, b"y"),
    ],
)
def test_what_is_not_of_one_kind_is_chained(other: bytes) -> None:
    assert join([ONE, other], "ogg") == ONE + other


def test_what_is_played_first_does_not_count() -> None:
    later = HEAD[:10] + struct.pack("<HI", 3840, 24_000) + HEAD[16:]
    assert join_opus([ONE, stream((10, b"x"), head=later)]).count(b"OpusHead") == 1
