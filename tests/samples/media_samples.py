"""Small images and sounds, made here."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

from puq_magics.api.types import Usage


def png(width: int, height: int, extra: int = 0) -> bytes:
    """A grey picture; with so many bytes more in it, if it is to be large."""

    def _chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width) * height)
    more = _chunk(b"puQx", bytes(extra)) if extra else b""
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    )


def webp(width: int, height: int) -> bytes:
    """The head of a picture."""
    body = struct.pack("<I", 0x10) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + body


def wav(seconds: float, rate: int = 8_000) -> bytes:
    """Silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * round(seconds * rate)))
    return out.getvalue()


#: What a call tells, for any result.
CALL_FIELDS: dict[str, Any] = {
    "model": "a/b",
    "usage": Usage(1, 2, 3),
    "latency": 1.25,
    "request_id": "req_1",
}
