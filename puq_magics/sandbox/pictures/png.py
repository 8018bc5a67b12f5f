"""PNG files, as little of the standard as a picture of 8-bit RGB needs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB8: Final = (8, 2, 0, 0, 0)  # bits, colour type, compression, filter, no interlace
_NO_FILTER: Final = b"\0"


def write_png(width: int, height: int, rows: Iterable[bytes | bytearray], notes: Mapping[str, str]) -> bytes:
    """A PNG of so many rows of ``3 * width`` bytes; ``notes`` (keyword to text) are kept in it, in UTF-8."""
    packer = zlib.compressobj(6)
    packed = bytearray()
    for row in rows:
        packed += packer.compress(_NO_FILTER + row)
    packed += packer.flush()
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II5B", width, height, *_RGB8)),
            *(_chunk(b"iTXt", _note(keyword, text)) for keyword, text in notes.items()),
            _chunk(b"IDAT", packed),
            _chunk(b"IEND", b""),
        ]
    )


def _note(keyword: str, text: str) -> bytes:
    # Not compressed, in no language, the keyword not translated.
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace").replace(b"\0", b" ")


def _chunk(kind: bytes, data: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
