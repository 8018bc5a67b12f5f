"""Speech as a file of the format that was asked for, labelled as the sandbox's."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
import struct
import subprocess
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

RATE: Final = 22050
#: Seconds at speed 1.
_LETTER: Final = 0.075
_BETWEEN_WORDS: Final = 0.09
_BETWEEN_SENTENCES: Final = 0.3
_AMPLITUDE: Final = 9000
_SEMITONES: Final = 24


def tones(text: str, *, pitch: float, speed: float) -> bytes:
    """Return 16-bit samples at `RATE`, a tone per letter; ``pitch`` is the lowest one in Hz."""
    sounds = []
    for word in text.split():
        letters = [letter for letter in unicodedata.normalize("NFKD", word.lower()) if letter.isalnum()]
        sounds += [_tone(pitch, ord(letter) % _SEMITONES, _LETTER / speed) for letter in letters]
        pause = _BETWEEN_SENTENCES if word[-1] in ".!?:;" else _BETWEEN_WORDS
        sounds.append(bytes(2 * round(pause / speed * RATE)))
    return b"".join(sounds)


@lru_cache(maxsize=256)
def _tone(pitch: float, semitones: int, seconds: float) -> bytes:
    """A sine that dies away, so that nothing clicks."""
    step, count = 2 * math.pi * pitch * 2 ** (semitones / 12) / RATE, round(seconds * RATE)
    samples = [round(_AMPLITUDE * (1 - n / count) * math.sin(step * n)) for n in range(count)]
    return struct.pack(f"<{count}h", *samples)


#: What streams write where nobody knows the length yet is this or more, in bytes.
_UNKNOWN: Final = 0x7FFFF000
_PCM: Final = 1


@dataclass(frozen=True)
class PcmAudio:
    """Mono sound of 16-bit samples, little-endian."""

    rate: int
    samples: bytes

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / 2 / self.rate


@dataclass(frozen=True)
class WavHeader:
    """Header of a WAV file."""

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
    bytes_per_second: int

    @property
    def is_pcm16(self) -> bool:
        """True for mono 16-bit PCM, as the sandbox's own speech is."""
        return (self.format, self.channels, self.bits) == (_PCM, 1, 16)

    def seconds(self, size: int) -> float:
        """Return the duration in seconds in a file of ``size`` bytes; missing samples are not counted."""
        there = max(0, size - self.start)
        return (there if self.length is None else min(there, self.length)) / self.bytes_per_second


def write_wav(pcm: PcmAudio, comment: str) -> bytes:
    """A WAV file that carries a comment, as players show it; the comment in ASCII."""
    form = struct.pack("<HHIIHH", _PCM, 1, pcm.rate, pcm.rate * 2, 2, 16)
    info = b"INFO" + _chunk(b"ICMT", comment.encode("ascii") + b"\0")
    # The comment comes first: it is there as soon as the first bytes are.
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"LIST", info) + _chunk(b"data", pcm.samples)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def parse_wav_header(data: bytes) -> WavHeader | None:
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


def _head(form: tuple[int, ...], start: int, length: int) -> WavHeader | None:
    kind, channels, rate, bytes_per_second, _frame, bits = form
    if not (channels and rate and bytes_per_second):
        return None
    known = None if length >= _UNKNOWN or not length else length
    return WavHeader(rate, channels, bits, kind, start, known, bytes_per_second)


ENGINE: Final = "espeak-ng"
#: The engine's own limits, in words per minute; a speed beyond them is as near as it gets.
_SLOWEST, _USUAL, _FASTEST = 80, 170, 450
#: Seconds; the longest text takes about two.
_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class EspeakVoice:
    """A voice of either engine."""

    #: espeak-ng's name for it.
    name: str
    #: espeak-ng's measure, 0 to 99.
    pitch: int
    #: The lowest tone, in Hz.
    tone: float


VOICES: Final[Mapping[str, EspeakVoice]] = MappingProxyType(
    {
        "alloy": EspeakVoice("en-us", 50, 220.0),
        "echo": EspeakVoice("en-us+m3", 40, 196.0),
        "fable": EspeakVoice("en-gb", 55, 233.1),
        "onyx": EspeakVoice("en-us+m7", 20, 146.8),
        "nova": EspeakVoice("en-us+f2", 55, 277.2),
        "shimmer": EspeakVoice("en-gb+f4", 70, 311.1),
    }
)


class EspeakProcess:
    """espeak-ng at work on one text; from any thread."""

    def __init__(self, text: str, voice: EspeakVoice, speed: float) -> None:
        """Start; raises OSError where espeak-ng is not installed."""
        program = shutil.which(ENGINE)
        if program is None:
            raise FileNotFoundError(f"{ENGINE} is not installed")
        rate = min(max(round(_USUAL * speed), _SLOWEST), _FASTEST)
        options = ["-v", voice.name, "-p", str(voice.pitch), "-s", str(rate), "-b", "1"]
        # Signs that are no text would end it or ring; the text itself goes nowhere near a command line.
        self._text = "".join(sign if sign.isprintable() or sign.isspace() else " " for sign in text)
        self._process = subprocess.Popen(  # noqa: S603 - the program's own path, and options of ours alone
            [program, *options, "--stdin", "--stdout"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> PcmAudio | None:
        """Wait for the audio; None if espeak-ng fails or produces none."""
        try:
            wav, _ = self._process.communicate(self._text.encode("utf-8", "replace"), timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.stop()
            self._process.communicate()
            return None
        head = parse_wav_header(wav)
        if self._process.returncode != 0 or head is None or not head.is_pcm16 or len(wav) <= head.start:
            return None
        return PcmAudio(head.rate, wav[head.start : len(wav) - (len(wav) - head.start) % 2])

    def stop(self) -> None:
        """Stop speaking in mid-word; `wait` ends then."""
        self._process.kill()


#: What a comment of the sandbox's has in it: the words that are spoken, so that any format can carry them.
_LABEL = re.compile(rb"puq-sandbox:([A-Za-z0-9+/=]*);")


@dataclass(frozen=True)
class _EncodedFormat:
    """Format for soundfile, and the sample rate that it needs in Hz (None: any)."""

    format: str
    subtype: str | None
    mime: str
    rate: int | None = None


_ENCODERS: Final[Mapping[str, _EncodedFormat]] = MappingProxyType(
    {
        "mp3": _EncodedFormat("MP3", None, "audio/mpeg"),
        "opus": _EncodedFormat("OGG", "OPUS", "audio/ogg", 24000),
        "flac": _EncodedFormat("FLAC", "PCM_16", "audio/flac"),
    }
)

#: The formats that may be asked for; all but the first need the package soundfile.
FORMATS: Final = ("wav", *_ENCODERS)


class EncoderMissingError(Exception):
    """The package soundfile is not installed, or its library lacks the format."""


def write_audio(pcm: PcmAudio, text: str, engine: str, kind: str) -> tuple[bytes, str]:
    """A file and its MIME type; raises EncoderMissingError."""
    comment = f"Spoken by the sandbox ({engine}), not by a model. {_label(text)}"
    if kind == "wav":
        return write_wav(pcm, comment), "audio/wav"
    return _encode(pcm, comment, _ENCODERS[kind]), _ENCODERS[kind].mime


def text_from_label(data: bytes) -> str | None:
    """Return the text in the label of a file, if these bytes contain one."""
    found = _LABEL.search(data)
    if found is None:
        return None
    try:
        return base64.b64decode(found[1], validate=True).decode() or None
    except ValueError:
        return None


def _label(text: str) -> str:
    return f"puq-sandbox:{base64.b64encode(text.encode('utf-8', 'replace')).decode()};"


def _encode(pcm: PcmAudio, comment: str, encoder: _EncodedFormat) -> bytes:
    try:
        np: Any = import_module("numpy")
        soundfile: Any = import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: without the library that it is made for
        raise EncoderMissingError from error
    sound = np.frombuffer(pcm.samples, "<i2").astype("float32") / 32768
    rate = pcm.rate
    if encoder.rate is not None and encoder.rate != rate:
        times = np.arange(0, len(sound) / rate, 1 / encoder.rate)
        sound, rate = np.interp(times, np.arange(len(sound)) / rate, sound).astype("float32"), encoder.rate
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file, "w", samplerate=rate, channels=1, format=encoder.format, subtype=encoder.subtype
        ) as out:
            out.comment = comment
            out.write(sound)
    except (RuntimeError, ValueError, TypeError) as error:  # a library that was built without it
        raise EncoderMissingError from error
    return file.getvalue()
