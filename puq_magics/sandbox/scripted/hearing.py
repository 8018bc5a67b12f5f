"""What an uploaded recording is, and what the sandbox knows of it: heard as it comes, kept nowhere."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from puq_magics.sandbox.scripted.speech import WavHeader, pack, parse_wav_header, text_from_label, unpack

Sound: TypeAlias = bytes | bytearray

#: Of 32,768.
LEVEL: Final = 8
_BEGINNING: Final = bytes.fromhex("b5c7e39a6d1f5a0c")
_SAMPLES_PER_BYTE: Final = 8
#: Bytes of sound that a byte of text takes.
_WIDTH: Final = _SAMPLES_PER_BYTE * 2
_LONGEST: Final = 0xFFFF


@dataclass(frozen=True)
class MarkMatch:
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


#: So much of the beginning and of the end is kept, in bytes: labels stand there.
_ENDS: Final = 64 * 1024
#: How much of the samples shows how loud marks are, in bytes.
_FIRST_SAMPLES: Final = 1024
#: What a second takes in a compressed recording, in bytes, for want of better knowledge: 128 kbit/s.
_BYTES_PER_SECOND: Final = 16_000


def detect_audio_format(data: bytes) -> str | None:
    """What a file is by its first bytes; None for no audio that the API takes."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "WAV"
    if data.startswith(b"ID3"):
        return "MP3"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "AAC"
    # A frame of MPEG audio, layer II or III (I is not in use, and a UTF-16 text could look like it).
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 in (2, 4):
        return "MP3" if data[2] >> 4 != 15 else None
    for beginning, kind in ((b"OggS", "Ogg"), (b"fLaC", "FLAC"), (b"\x1aE\xdf\xa3", "WebM")):
        if data.startswith(beginning):
            return kind
    return "M4A" if data[4:8] == b"ftyp" else None


@dataclass(frozen=True)
class RecognizedText:
    """Words of the sandbox's own, and when they are said, in seconds."""

    text: str
    start: float
    end: float


class SpeechMatcher:
    """Listens to a file piece by piece, and finds the words of the sandbox's own speech in it."""

    def __init__(self) -> None:
        self.size = 0
        self._beginning = bytearray()
        self._ending = b""
        self._head: WavHeader | None = None
        #: Nothing of the sandbox's own can be in it, but for a label.
        self._deaf = False
        self._signs: tuple[bytes, ...] = ()
        self._found: list[MarkMatch] = []
        #: What may still have a mark in it, and where in the file it begins.
        self._open = bytearray()
        self._open_at = 0

    def feed(self, data: bytes) -> None:
        """Listen on."""
        self.size += len(data)
        if len(self._beginning) < _ENDS:
            self._beginning += data[: _ENDS - len(self._beginning)]
        self._ending = data[-_ENDS:] if len(data) >= _ENDS else (self._ending + data)[-_ENDS:]
        if not self._deaf:
            self._open += data
            self._listen(final=False)

    def close(self) -> None:
        """Say that it is over."""
        if not self._deaf:
            self._listen(final=True)
        self._open.clear()

    @property
    def kind(self) -> str | None:
        """WAV, MP3 and the like; None for no audio."""
        return detect_audio_format(bytes(self._beginning[:16]))

    @property
    def has_no_audio(self) -> bool:
        """Whether it is a WAV without any sound."""
        if self._head is None:  # in a large file the sound may begin behind what is kept of it
            return self.kind == "WAV" and self.size <= _ENDS
        return self._head.seconds(self.size) == 0

    @property
    def seconds(self) -> float | None:
        """How long it lasts; None for what is not a WAV."""
        return None if self._head is None else self._head.seconds(self.size)

    @property
    def estimated_seconds(self) -> float:
        """How long it lasts, or would if it were an MP3 of 128 kbit/s."""
        return self.size / _BYTES_PER_SECOND if self.seconds is None else self.seconds

    @property
    def spoken(self) -> tuple[RecognizedText, ...]:
        """What the sandbox said in it, in order; nothing when it is a recording of anything else."""
        if self._found and self._head is not None:
            head = self._head
            starts = [max(0, found.place - head.start) / head.bytes_per_second for found in self._found]
            ends = [*starts[1:], self.estimated_seconds]
            return tuple(map(RecognizedText, (found.text for found in self._found), starts, ends))
        label = text_from_label(bytes(self._beginning)) or text_from_label(self._ending)
        return () if label is None else (RecognizedText(label, 0.0, self.estimated_seconds),)

    def _listen(self, *, final: bool) -> None:
        """Find marks, once the head says how they would begin; stop where there can be none."""
        if not self._signs:
            self._head = parse_wav_header(bytes(self._beginning))
            known = self._head is not None and len(self._beginning) >= self._head.start + _FIRST_SAMPLES
            if not (known or final or len(self._beginning) >= _ENDS):
                return
            if self._head is None or not self._head.is_pcm16:
                self._deaf = True
                self._open.clear()
                return
            samples = self._beginning[self._head.start :][:_FIRST_SAMPLES]
            self._signs = beginnings(samples[: len(samples) // 2 * 2])
        self._find(final=final)

    def _find(self, *, final: bool) -> None:
        """Take every mark that is here whole, and forget all that can be none."""
        while (place := self._next()) is not None:
            length = length_at(self._open, place)
            if length is None or place + length > len(self._open):
                if not final:
                    self._forget(place)
                    return
                length = len(self._open)
            text = text_at(self._open, place, length)
            if text is not None:
                self._found.append(MarkMatch(self._open_at + place, text))
            self._forget(place + (2 if text is None else length))
        self._forget(max(0, len(self._open) - max(map(len, self._signs)) + 1))

    def _next(self) -> int | None:
        """Where the next mark may begin."""
        places = [place for sign in self._signs if (place := self._open.find(sign)) >= 0]
        return min(places, default=None)

    def _forget(self, count: int) -> None:
        del self._open[:count]
        self._open_at += count
