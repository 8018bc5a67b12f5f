"""Speech as a file of the format that was asked for, labelled as the sandbox's."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from puq_magics.sandbox.sounds.packed import pack, unpack
from puq_magics.sandbox.sounds.wav import Pcm, write_wav

#: What a comment of the sandbox's has in it: the words that are spoken, so that any format can carry them.
_LABEL = re.compile(rb"puq-sandbox:([A-Za-z0-9+/=]*);")


@dataclass(frozen=True)
class _Encoder:
    """How soundfile calls a format, and the rate it needs, in Hz (None: any)."""

    format: str
    subtype: str | None
    mime: str
    rate: int | None = None


_ENCODERS: Final[Mapping[str, _Encoder]] = MappingProxyType(
    {
        "mp3": _Encoder("MP3", None, "audio/mpeg"),
        "opus": _Encoder("OGG", "OPUS", "audio/ogg", 24000),
        "flac": _Encoder("FLAC", "PCM_16", "audio/flac"),
    }
)

#: The formats that may be asked for; all but the first need the package soundfile.
FORMATS: Final = ("wav", *_ENCODERS)


class EncoderMissingError(Exception):
    """The package soundfile is not installed, or its library lacks the format."""


def write_audio(pcm: Pcm, text: str, engine: str, kind: str) -> tuple[bytes, str]:
    """A file and its MIME type; raises EncoderMissingError."""
    comment = f"Spoken by the sandbox ({engine}), not by a model. {_label(text)}"
    if kind == "wav":
        return write_wav(pcm, comment), "audio/wav"
    return _encode(pcm, comment, _ENCODERS[kind]), _ENCODERS[kind].mime


def labelled_text(data: bytes) -> str | None:
    """The words in the label of a file, if these bytes of it have one."""
    found = _LABEL.search(data)
    if found is None:
        return None
    try:
        return unpack(base64.b64decode(found[1], validate=True))
    except ValueError:
        return None


def _label(text: str) -> str:
    return f"puq-sandbox:{base64.b64encode(pack(text)).decode()};"


def _encode(pcm: Pcm, comment: str, encoder: _Encoder) -> bytes:
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
