"""Ogg Opus that came in parts, as one stream: a chain of streams would play, but tell only the last one's length.

Pages as RFC 3533 has them, and Opus in them as RFC 7845 has it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_HEAD = struct.Struct("<4sBBqIIIB")
_LAST = 4  # of a page's flags
_NO_TIME = -1  # of a page on which no packet ends
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    #: Samples of 48 kHz until the end of the page.
    time: int
    serial: int
    lacing: bytes
    body: bytes

    def written(self, number: int) -> bytes:
        head = _HEAD.pack(b"OggS", 0, self.flags, self.time, self.serial, number, 0, len(self.lacing))
        page = head + self.lacing + self.body
        return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def join_opus(parts: Sequence[bytes]) -> bytes:
    """Streams of one kind as one. Raises ValueError for what is not Opus, or not of one kind."""
    streams = [_read(part) for part in parts]
    head = streams[0][0]
    pages = list(streams[0][1])
    serial, time = pages[0].serial, 0
    for number, (other, rest) in enumerate(streams):
        if other != head:
            raise ValueError("these parts of ogg differ in channels")
        sound = [page for page in rest if page.time != 0]  # without its heads
        if number:
            pages += [replace(page, serial=serial, time=_shifted(page.time, time)) for page in sound]
        time += max((page.time for page in sound), default=0)
    last = len(pages) - 1
    flagged = (
        replace(page, flags=page.flags & ~_LAST | (_LAST if number == last else 0))
        for number, page in enumerate(pages)
    )
    return b"".join(page.written(number) for number, page in enumerate(flagged))


def _shifted(time: int, by: int) -> int:
    return time if time == _NO_TIME else time + by


def _read(data: bytes) -> tuple[bytes, list[_Page]]:
    """What kind of sound it is, and all whole pages. Raises ValueError."""
    pages = list(_pages(data))
    if not pages or pages[0].body[:8] != b"OpusHead" or len({page.serial for page in pages}) != 1:
        raise ValueError("no Ogg stream of Opus")
    head = pages[0].body
    return head[8:10] + head[
        18:
    ], pages  # version, channels and how they are mapped; not the lead-in, nor the rate


def _pages(data: bytes) -> Iterator[_Page]:
    position = 0
    while position + _HEAD.size <= len(data):
        magic, version, flags, time, serial, _, _, count = _HEAD.unpack_from(data, position)
        if magic != b"OggS" or version != 0:
            raise ValueError("no Ogg page")
        start = position + _HEAD.size
        lacing = data[start : start + count]
        position = start + count + sum(lacing)
        if position > len(data):  # cut
            return
        yield _Page(flags, time, serial, lacing, data[start + count : position])


def _checksum(page: bytes) -> int:
    """Ogg's CRC runs the other way round than zlib's, from 0 and without the last inversion."""
    other_way = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{other_way:032b}"[::-1], 2)
