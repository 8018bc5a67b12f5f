"""Detect the format of an upload, and recognise the sandbox's own speech in it while it arrives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from puq_magics.sandbox.scripted.speech import WavHeader, parse_wav_header, text_from_label

#: Samples by which an utterance is looked up, and the number of utterances that are remembered.
_KEY_SAMPLES: Final = 512
_MAX_UTTERANCES: Final = 1000
#: Maps the high byte of a sample to its sign. Signs, unlike samples, survive a change of volume.
_SIGN: Final = bytes(byte < 128 for byte in range(256))


@dataclass(frozen=True)
class _Utterance:
    """Speech of this process: its text, its length in samples, and the hash of their signs."""

    text: str
    length: int
    digest: bytes


_utterances: OrderedDict[bytes, dict[tuple[int, bytes], _Utterance]] = OrderedDict()
_lock = threading.Lock()


def remember_speech(samples: bytes, text: str) -> None:
    """Remember 16-bit samples, so that a SpeechMatcher in this process recognises them."""
    signs = samples[1::2].translate(_SIGN)
    key = signs[:_KEY_SAMPLES]
    if len(key) < _KEY_SAMPLES or len(set(signs)) == 1:  # silences are all alike
        return
    with _lock:
        known = _utterances.setdefault(key, {})
        digest = sha256(signs).digest()
        known[len(signs), digest] = _Utterance(text, len(signs), digest)
        _utterances.move_to_end(key)
        while len(_utterances) > _MAX_UTTERANCES:
            _utterances.popitem(last=False)


class _Reading:
    """One way to read sound as a row of remembered utterances."""

    def __init__(self, start: int, matches: tuple[tuple[_Utterance, int], ...] = ()) -> None:
        self.start = start
        #: Each utterance, and the sample at which it begins.
        self.matches = matches
        self._key = bytearray()
        self._hash = sha256()
        self._count = 0
        self._candidates: list[_Utterance] | None = None

    @property
    def is_over(self) -> bool:
        """True if no remembered utterance can follow."""
        return self._candidates is not None and not self._candidates

    def feed(self, signs: bytes) -> Iterator[_Reading]:
        """Process the signs of more samples; yield a reading that continues after each complete utterance."""
        if self._candidates is None:
            missing = _KEY_SAMPLES - len(self._key)
            self._key += signs[:missing]
            signs = signs[missing:]
            if len(self._key) < _KEY_SAMPLES:
                return
            with _lock:
                known = list(_utterances.get(bytes(self._key), {}).values())
            self._candidates = sorted(known, key=lambda utterance: utterance.length)
            self._hash.update(self._key)
            self._count = _KEY_SAMPLES
        while self._candidates:
            missing = self._candidates[0].length - self._count
            self._hash.update(signs[:missing])
            self._count += len(signs[:missing])
            signs = signs[missing:]
            if self._count < self._candidates[0].length:
                return
            utterance = self._candidates.pop(0)
            if self._hash.digest() == utterance.digest:
                following = _Reading(self.start + utterance.length, (*self.matches, (utterance, self.start)))
                yield from following.feed(signs)
                yield following


#: So much of the beginning and of the end is kept, in bytes: labels stand there.
_ENDS: Final = 64 * 1024
#: What a second takes in a compressed recording, in bytes, for want of better knowledge: 128 kbit/s.
_BYTES_PER_SECOND: Final = 16_000


def detect_audio_format(data: bytes) -> str | None:
    """Return the audio format by a file's first bytes; None for what the API does not take."""
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
    """Text that the sandbox spoke, and when, in seconds."""

    text: str
    start: float
    end: float


class SpeechMatcher:
    """Recognises the sandbox's own speech in a file that is fed in pieces, and keeps none of it."""

    def __init__(self) -> None:
        self.size = 0
        self._beginning = bytearray()
        self._ending = b""
        self._head: WavHeader | None = None
        self._odd_byte = b""
        #: By the sample at which they go on; empty when nothing of the sandbox's own can follow.
        self._readings: dict[int, _Reading] = {0: _Reading(0)}
        self._best: tuple[tuple[_Utterance, int], ...] = ()

    def feed(self, data: bytes) -> None:
        """Process more of the file."""
        before = self.size
        self.size += len(data)
        if len(self._beginning) < _ENDS:
            self._beginning += data[: _ENDS - len(self._beginning)]
        self._ending = data[-_ENDS:] if len(data) >= _ENDS else (self._ending + data)[-_ENDS:]
        if self._head is not None:
            self._match(data)
        elif before < _ENDS:
            self._head = parse_wav_header(bytes(self._beginning))
            if self._head is not None and self._head.is_pcm16:
                rest = max(0, self.size - len(self._beginning))
                self._match(bytes(self._beginning[self._head.start :]) + data[len(data) - rest :])

    def close(self) -> None:
        """Finish: nothing more will come."""
        self._readings.clear()

    def _match(self, samples: bytes) -> None:
        """Follow every reading through more samples."""
        if not self._readings or self._head is None or not self._head.is_pcm16:
            return
        samples = self._odd_byte + samples
        self._odd_byte = samples[len(samples) // 2 * 2 :]
        signs = samples[1::2].translate(_SIGN)
        for reading in list(self._readings.values()):
            for following in reading.feed(signs):
                self._readings.setdefault(following.start, following)
                self._best = max(self._best, following.matches, key=_matched_samples)
        self._readings = {start: reading for start, reading in self._readings.items() if not reading.is_over}

    @property
    def kind(self) -> str | None:
        """WAV, MP3 and the like; None for no audio."""
        return detect_audio_format(bytes(self._beginning[:16]))

    @property
    def has_no_audio(self) -> bool:
        """True for a WAV without any sound."""
        if self._head is None:  # in a large file the sound may begin behind what is kept of it
            return self.kind == "WAV" and self.size <= _ENDS
        return self._head.seconds(self.size) == 0

    @property
    def seconds(self) -> float | None:
        """Duration in seconds; None for what is not a WAV."""
        return None if self._head is None else self._head.seconds(self.size)

    @property
    def estimated_seconds(self) -> float:
        """Duration in seconds; estimated, as for an MP3 of 128 kbit/s, where it is not known."""
        return self.size / _BYTES_PER_SECOND if self.seconds is None else self.seconds

    @property
    def spoken(self) -> tuple[RecognizedText, ...]:
        """The text of the sandbox's own speech and when it is said; empty where there is none."""
        if self._head is not None and self._best:
            rate = self._head.rate
            return tuple(
                RecognizedText(utterance.text, start / rate, (start + utterance.length) / rate)
                for utterance, start in self._best
            )
        label = text_from_label(bytes(self._beginning)) or text_from_label(self._ending)
        return () if label is None else (RecognizedText(label, 0.0, self.estimated_seconds),)


def _matched_samples(matches: tuple[tuple[_Utterance, int], ...]) -> int:
    return sum(utterance.length for utterance, _ in matches)
