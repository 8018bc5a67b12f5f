"""Image size and format, which is all that the sandbox reads of an attached image; and token counts."""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

_TOKEN = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+")


def tokens(text: str) -> Iterator[str]:
    """Cut ``text`` into its tokens."""
    return (match[0] for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    """Count the tokens of ``text``."""
    return sum(1 for _ in _TOKEN.finditer(text))


#: So much of an image's base64 is decoded: its head is in it.
MAX_HEAD_CHARS = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def describe_image(url: str) -> str:
    """Describe an image: ``640x480 PNG``, or the host that it would be fetched from."""
    if not url.startswith("data:"):
        return f"at {_host(url)}, not fetched"
    head, _, packed = url.partition(",")
    try:
        packed = packed[:MAX_HEAD_CHARS]
        data = binascii.a2b_base64(packed.encode("ascii")) if head.endswith(";base64") else b""
    except (binascii.Error, ValueError):
        data = b""
    name, size = _format(data), _size(data)
    if name and size:
        return f"{size[0]}x{size[1]} {name}"
    return name or "of an unknown format"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "an address that is none"
    except ValueError:
        return "an address that is none"


def _format(data: bytes) -> str:
    if data.startswith(_PNG):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return "GIF" if data[:6] in (b"GIF87a", b"GIF89a") else ""


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        match _format(data):
            case "PNG":
                width, height = struct.unpack_from(">II", data, 16)
            case "GIF":
                width, height = struct.unpack_from("<HH", data, 6)
            case "JPEG":
                return _jpeg_size(data)
            case "WebP":
                return _webp_size(data)
            case _:
                return None
    except struct.error:
        return None
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Size from the first frame header, after skipping the segments before it."""
    place = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, place)
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker < 0xFF00:
            return None
        place += 2 + length


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
