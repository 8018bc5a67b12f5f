"""A text as few bytes that know when they are damaged: how the sandbox's words travel in its own sound."""

from __future__ import annotations

import zlib
from typing import Final

#: The longest text in UTF-8, in bytes; more has been tampered with.
_LONGEST: Final = 1024 * 1024


def pack(text: str) -> bytes:
    """The text as bytes."""
    return zlib.compress(text.encode("utf-8", "replace"), 9)


def unpack(data: bytes) -> str | None:
    """The text again; None for what is not whole."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _LONGEST)
        return text.decode() if unpacker.eof else None
    except (zlib.error, UnicodeDecodeError):
        return None
