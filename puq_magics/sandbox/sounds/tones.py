"""Words as tones, for machines without a speech engine: each letter a note, each word a phrase."""

from __future__ import annotations

import math
import sys
import unicodedata
from array import array
from functools import lru_cache
from typing import Final

RATE: Final = 22050
#: Semitones of a pentatonic scale over three octaves: whatever follows whatever, it sounds well.
_SCALE: Final = tuple(octave * 12 + step for octave in range(3) for step in (0, 2, 4, 7, 9))
#: Seconds at speed 1.
_NOTE: Final = 0.075
_BETWEEN_WORDS: Final = 0.09
_BETWEEN_SENTENCES: Final = 0.3
_LOUDNESS: Final = 7000


def tones(text: str, *, pitch: float, speed: float) -> bytes:
    """16-bit samples at `RATE`; ``pitch`` is the lowest note in Hz."""
    sounds = []
    for word in text.split():
        letters = [letter for letter in unicodedata.normalize("NFKD", word.lower()) if letter.isalnum()]
        sounds += [_note(pitch, ord(letter) % len(_SCALE), _NOTE / speed) for letter in letters]
        pause = _BETWEEN_SENTENCES if word[-1] in ".!?:;" else _BETWEEN_WORDS
        sounds.append(_silence(pause / speed))
    return b"".join(sounds)


def _silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


@lru_cache(maxsize=256)
def _note(pitch: float, step: int, seconds: float) -> bytes:
    """A plucked note: it starts quickly, dies away, and ends in silence."""
    turn = 2 * math.pi * pitch * 2 ** (_SCALE[step] / 12) / RATE
    count = round(seconds * RATE)
    samples = array("h")
    for place in range(count):
        done = place / count
        shape = min(1.0, done * 12) * (1 - done) ** 1.5
        wave = math.sin(turn * place) + 0.35 * math.sin(2 * turn * place) + 0.12 * math.sin(3 * turn * place)
        samples.append(int(_LOUDNESS * shape * wave))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
