"""WAV files: written whole, read in their first bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

#: What streams write where nobody knows the length yet is this or more, in bytes.
_UNKNOWN: Final = 0x7FFFF000
_PCM: Final = 1


@dataclass(frozen=True)
class Pcm:
    """Mono sound of 16-bit samples, little-endian."""

    rate: int
    samples: bytes

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / 2 / self.rate


@dataclass(frozen=True)
class Head:
    """What the first bytes of a WAV file say of its sound."""

    rate: int
    channels: int
    #: Bits per sample of one channel.
    bits: int
    #: 1 is PCM.
    format: int
    #: Where its samples begin, in bytes.
    start: int
    #: How long they are, in bytes; None is until the end.
    length: int | None
    #: How many bytes of them are a second.
    per_second: int

    @property
    def is_pcm16(self) -> bool:
        """Whether it is mono of 16-bit samples, as the sandbox's own speech is."""
        return (self.format, self.channels, self.bits) == (_PCM, 1, 16)

    def seconds(self, size: int) -> float:
        """How long it lasts, in a file of ``size`` bytes: what is not there is not heard."""
        there = max(0, size - self.start)
        return (there if self.length is None else min(there, self.length)) / self.per_second


def write_wav(pcm: Pcm, comment: str) -> bytes:
    """A WAV file that carries a comment, as players show it; the comment in ASCII."""
    form = struct.pack("<HHIIHH", _PCM, 1, pcm.rate, pcm.rate * 2, 2, 16)
    info = b"INFO" + _chunk(b"ICMT", comment.encode("ascii") + b"\0")
    # The comment comes first: it is there as soon as the first bytes are.
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"LIST", info) + _chunk(b"data", pcm.samples)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def read_head(data: bytes) -> Head | None:
    """Read the first bytes of a file; None when it is no WAV, or its samples do not begin in these bytes."""
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        return None
    place, form = 12, None
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8
        if name == b"fmt " and place + 16 <= len(data):
            form = struct.unpack_from("<HHIIHH", data, place)
        if name == b"data":
            return None if form is None else _head(form, place, length)
        place += length + length % 2
    return None


def _head(form: tuple[int, ...], start: int, length: int) -> Head | None:
    kind, channels, rate, per_second, _frame, bits = form
    if not (channels and rate and per_second):
        return None
    known = None if length >= _UNKNOWN or not length else length
    return Head(rate, channels, bits, kind, start, known, per_second)
