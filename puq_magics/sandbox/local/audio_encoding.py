"""Sound as a file of some format, encoded as it comes: what was given away is never changed."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, Protocol

#: What stands in a WAV's head for a length that nobody knows yet, in bytes.
_UNKNOWN: Final = 0xFFFFFFFF
_FULL_SCALE: Final = 32767


class Encoder(Protocol):
    """Makes a file of mono sound; ``sound`` is an array of floats from -1 to 1."""

    def encode(self, sound: Any) -> bytes:
        """Encode more sound; return the bytes of the file that are complete, which may be none."""

    def close(self) -> bytes:
        """End the file; give the rest of it."""


@dataclass(frozen=True)
class _SoundfileFormat:
    """Format and settings for soundfile."""

    format: str
    subtype: str | None = None
    bitrate_mode: str | None = None
    #: From 0, large and good, to 1.
    compression_level: float | None = None
    #: Whether its head must count what is in it: then it is given as a whole, at its end.
    needs_length: bool = False


#: A constant 64 kbit/s: without the table of a whole file, players reckon an MP3's length by its bits.
_MP3: Final = _SoundfileFormat("MP3", bitrate_mode="CONSTANT", compression_level=0.6)
_FORMS: Final[Mapping[str, _SoundfileFormat]] = MappingProxyType(
    {
        "mp3": _MP3,
        "opus": _SoundfileFormat("OGG", "OPUS"),
        "flac": _SoundfileFormat("FLAC", "PCM_16", needs_length=True),
    }
)

#: The formats that can be made.
FORMATS: Final = (*_FORMS, "wav")


def make_encoder(kind: str, rate: int) -> Encoder:
    """Return an encoder for one of the `FORMATS`; ``rate`` in Hz, 24000 works for all of them."""
    return WavEncoder(rate) if kind == "wav" else LibraryEncoder(_FORMS[kind], rate)


class WavEncoder:
    """16 bits a sample, behind a head that leaves the length open, as streams do."""

    def __init__(self, rate: int) -> None:
        form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
        head = b"RIFF" + struct.pack("<I", _UNKNOWN) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
        self._head = head + b"data" + struct.pack("<I", _UNKNOWN)

    def encode(self, sound: Any) -> bytes:
        """Implement `Encoder`."""
        head, self._head = self._head, b""
        samples: bytes = (sound.clip(-1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
        return head + samples

    def close(self) -> bytes:
        """Implement `Encoder`."""
        return self._head


class LibraryEncoder:
    """By libsndfile."""

    def __init__(self, form: _SoundfileFormat, rate: int) -> None:
        soundfile: Any = import_module("soundfile")
        self._counted = form.needs_length
        self._outlet = WriteBuffer()
        self._file = soundfile.SoundFile(
            self._outlet,
            "w",
            samplerate=rate,
            channels=1,
            format=form.format,
            subtype=form.subtype,
            bitrate_mode=form.bitrate_mode,
            compression_level=form.compression_level,
        )

    def encode(self, sound: Any) -> bytes:
        """Implement `Encoder`."""
        self._file.write(sound.clip(-1.0, 1.0))
        return b"" if self._counted else self._outlet.drain()

    def close(self) -> bytes:
        """Implement `Encoder`."""
        self._file.close()
        return self._outlet.drain()


class WriteBuffer(io.RawIOBase):
    """File object whose bytes are drained while it is written.

    At its end the library seeks back to write lengths into the header, which is already drained. Players accept the
    header without them, as that of a stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()
        self._taken = 0
        self._position = 0

    def drain(self) -> bytes:
        """Return and remove the bytes written since the last call."""
        data = bytes(self._waiting)
        self._taken += len(data)
        self._waiting.clear()
        return data

    def writable(self) -> bool:
        """Implement io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """Implement io.RawIOBase."""
        return True

    def tell(self) -> int:
        """Implement io.RawIOBase."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Implement io.RawIOBase."""
        start = (0, self._position, self._taken + len(self._waiting))[whence]
        self._position = start + offset
        return self._position

    def write(self, data: Any) -> int:
        """Write bytes; drained ones stay as they are."""
        written = bytes(data)
        place = self._position - self._taken
        late = max(0, -place)
        if late < len(written):
            start = place + late
            self._waiting[start : start + len(written) - late] = written[late:]
        self._position += len(written)
        return len(written)
