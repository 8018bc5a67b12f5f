"""Streaming audio encoders: bytes that were returned are final."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

#: Length in a WAV header that stands for an unknown one, in bytes.
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
_FULL_SCALE: Final = 32767


@dataclass(frozen=True)
class _SoundfileFormat:
    """Format and settings for soundfile."""

    format: str
    subtype: str | None = None
    bitrate_mode: str | None = None
    #: From 0, large and good, to 1.
    compression_level: float | None = None
    #: True if its header holds the length: then the file is returned as a whole, at its end.
    needs_length: bool = False


_FORMATS: Final = {
    # A constant 64 kbit/s: without the table of a whole file, players compute an MP3's length from its bit rate.
    "mp3": _SoundfileFormat("MP3", bitrate_mode="CONSTANT", compression_level=0.6),
    "opus": _SoundfileFormat("OGG", "OPUS"),
    "flac": _SoundfileFormat("FLAC", "PCM_16", needs_length=True),
}

#: Names of the formats.
FORMATS: Final = (*_FORMATS, "wav")


def make_encoder(name: str, rate: int) -> WavEncoder | SoundfileEncoder:
    """Return an encoder for one of the `FORMATS`; ``rate`` in Hz, 24000 works for all of them."""
    return WavEncoder(rate) if name == "wav" else SoundfileEncoder(_FORMATS[name], rate)


class WavEncoder:
    """Encoder of 16-bit WAV with a header that leaves the length open, as streams do."""

    def __init__(self, rate: int) -> None:
        form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
        unknown = struct.pack("<I", _UNKNOWN_LENGTH)
        self._header = b"RIFF" + unknown + b"WAVEfmt " + form + b"data" + unknown

    def encode(self, sound: Any) -> bytes:
        """Encode mono sound, an array of floats from -1 to 1; return the bytes that are complete, perhaps none."""
        samples: bytes = (sound.clip(-1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
        return self.close() + samples

    def close(self) -> bytes:
        """End the file; return the rest of it."""
        header, self._header = self._header, b""
        return header


class SoundfileEncoder:
    """Encoder that uses soundfile (libsndfile)."""

    def __init__(self, form: _SoundfileFormat, rate: int) -> None:
        soundfile: Any = import_module("soundfile")
        self._needs_length = form.needs_length
        self._buffer = WriteBuffer()
        self._file = soundfile.SoundFile(
            self._buffer,
            "w",
            samplerate=rate,
            channels=1,
            format=form.format,
            subtype=form.subtype,
            bitrate_mode=form.bitrate_mode,
            compression_level=form.compression_level,
        )

    def encode(self, sound: Any) -> bytes:
        """Encode more sound, as `WavEncoder.encode`."""
        self._file.write(sound.clip(-1.0, 1.0))
        return b"" if self._needs_length else self._buffer.drain()

    def close(self) -> bytes:
        """End the file; return the rest of it."""
        self._file.close()
        return self._buffer.drain()


class WriteBuffer(io.BytesIO):
    """File object whose bytes are drained while it is written.

    At the end the library seeks back to write lengths into the header, which is already drained. Players accept the
    header without them, as that of a stream.
    """

    _drained = 0

    def drain(self) -> bytes:
        """Return the bytes written since the last call; later changes of them have no effect."""
        data = bytes(self.getbuffer()[self._drained :])
        self._drained += len(data)
        return data
