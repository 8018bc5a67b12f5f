"""The words of an utterance, inside its own sound.

Each utterance of the sandbox begins with a mark: its text as a few milliseconds of noise too faint to be heard
(-72 dB).  So it is known again after it was saved, joined with others, or taken through NumPy, by any sandbox
and at any time, with nothing remembered.  Lossy compression and resampling end it.

A mark is bits, one a sample, as +/-`LEVEL`: a fixed beginning, the length of the compressed text in bytes (16
bits), and the text as zlib compresses it, with zlib's own checksum.  When all of a recording is amplified alike
(as IPython's ``Audio`` does with arrays) the two levels are others, but there are still two.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from puq_magics.sandbox.sounds.packed import pack, unpack

Sound: TypeAlias = bytes | bytearray

#: Of 32,768.
LEVEL: Final = 8
_BEGINNING: Final = bytes.fromhex("b5c7e39a6d1f5a0c")
_SAMPLES_PER_BYTE: Final = 8
#: Bytes of sound that a byte of text takes.
_WIDTH: Final = _SAMPLES_PER_BYTE * 2
_LONGEST: Final = 0xFFFF


@dataclass(frozen=True)
class Found:
    """Words, and the place in the sound where they begin, in bytes."""

    place: int
    text: str


def mark(text: str) -> bytes:
    """The 16-bit samples that stand before an utterance of that text."""
    packed = pack(text)
    if len(packed) > _LONGEST:
        raise ValueError("The text is too long for a mark")
    return _sound(_BEGINNING + len(packed).to_bytes(2, "big") + packed, LEVEL)


def beginnings(samples: Sound) -> tuple[bytes, ...]:
    """How marks may begin in a sound that starts with these samples."""
    first = next((abs(sample) for sample in _numbers(samples) if sample), LEVEL)
    return tuple(_sound(_BEGINNING, level) for level in sorted({LEVEL, min(first, 0x7FFF)}))


def length_at(sound: Sound, place: int) -> int | None:
    """How many bytes the mark at this place takes; None when too little of it is there to tell."""
    start = place + _WIDTH * len(_BEGINNING)
    head = sound[start : start + _WIDTH * 2]
    if len(head) < _WIDTH * 2:
        return None
    return _WIDTH * (len(_BEGINNING) + 2 + int.from_bytes(_bytes(head), "big"))


def text_at(sound: Sound, place: int, length: int) -> str | None:
    """The words of the mark at this place; None where it only began like one."""
    start = place + _WIDTH * (len(_BEGINNING) + 2)
    there = max(0, min(place + length, len(sound)) - start) // _WIDTH * _WIDTH
    return unpack(_bytes(sound[start : start + there]))


def _sound(data: bytes, level: int) -> bytes:
    table = _table(level)
    return b"".join([table[byte] for byte in data])


@cache
def _table(level: int) -> tuple[bytes, ...]:
    """The samples of each byte."""
    low, high = (number.to_bytes(2, "little", signed=True) for number in (-level, level))
    return tuple(
        b"".join(high if byte >> bit & 1 else low for bit in range(7, -1, -1)) for byte in range(256)
    )


def _numbers(sound: Sound) -> array[int]:
    numbers = array("h", sound)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _bytes(sound: Sound) -> bytes:
    """The bytes whose bits these samples are."""
    bits = "".join(["1" if sample > 0 else "0" for sample in _numbers(sound)])
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")
