"""Small images and sounds: whole where that is easy, else as many bytes as identify the format."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

from puq_magics.api.types import Usage


def png(width: int = 3, height: int = 2, extra: int = 0, fill: bytes = b"\x80") -> bytes:
    """A grey PNG; ``extra`` bytes in a private chunk make it large."""
    rows = (b"\0" + fill * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if extra:
        chunks.insert(1, (b"puQx", bytes(extra)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(width: int = 5, height: int = 4) -> bytes:
    """A JPEG's markers, with a comment and padding before the frame."""
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    frame = b"\xff\xc0\x00\x0b\x08" + size + b"\x01\x01\x11\x00"
    return b"\xff\xd8\xff\xfe\x00\x06note\xff" + frame + b"\xff\xda\x00\x02scan\xff\xd9"


def webp(width: int = 7, height: int = 6, kind: bytes = b"VP8X") -> bytes:
    """A WebP's first chunk, in one of its three kinds."""
    bodies = {
        b"VP8X": bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"),
        b"VP8 ": b"\x30\x01\x00\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little"),
        b"VP8L": b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(5),
    }
    body = b"WEBP" + kind + len(bodies[kind]).to_bytes(4, "little") + bodies[kind]
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def wav(seconds: float = 0.01, rate: int = 8_000) -> bytes:
    """Silence, in 16 bits and mono."""
    return _wav(bytes(2 * round(seconds * rate)), rate)


def wav_of(*samples: int, rate: int = 16_000) -> bytes:
    """A WAV file of these samples, in 16 bits and mono."""
    return _wav(struct.pack(f"<{len(samples)}h", *samples), rate)


def _wav(frames: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(frames)
    return file.getvalue()


MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)
ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
ADTS_FRAME = b"\xff\xf1\x50\x80\x01\x7f\xfc" + bytes(4)
OGG_PAGE = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead" + bytes(11)
FLAC_START = b"fLaC\x80\x00\x00\x22" + bytes(34)
M4A_START = b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00M4A mp42isom"
WEBM_START = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\x82\x84webm\x42\x87\x81\x04"

#: Fields of a call that every result has.
CALL_FIELDS: dict[str, Any] = {
    "model": "a/b",
    "usage": Usage(1, 2, 3),
    "latency": 1.25,
    "request_id": "req_1",
}
