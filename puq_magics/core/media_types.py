"""Detect types of images and audio by their first bytes; names and headers are not trusted.

Only kinds that a model gives or takes, and that a notebook can show or play, are known. SVG and HTML are not among
them on purpose: they can hold scripts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from puq_magics.core.audio_duration import parse_mp3_frame

#: Bytes that are enough to tell a kind of audio, also of an MP3 with a few kB of something else in front.
SNIFF_BYTES = 16_384
_PNG = b"\x89PNG\r\n\x1a\n"
# JPEG: the markers that stand alone, and those that begin a frame and so hold the size.
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ALONE = (0x01, *range(0xD0, 0xD9))
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


@dataclass(frozen=True, slots=True)
class MediaType:
    """A kind of image or audio."""

    kind: Literal["image", "audio"]
    #: A short name, such as ``png`` or ``mp3``.
    format: str
    #: As in a ``Content-Type``.
    mime: str
    #: With its dot.
    extension: str


PNG = MediaType("image", "png", "image/png", ".png")
JPEG = MediaType("image", "jpeg", "image/jpeg", ".jpg")
WEBP = MediaType("image", "webp", "image/webp", ".webp")
MP3 = MediaType("audio", "mp3", "audio/mpeg", ".mp3")
WAV = MediaType("audio", "wav", "audio/wav", ".wav")
OGG = MediaType("audio", "ogg", "audio/ogg", ".ogg")
FLAC = MediaType("audio", "flac", "audio/flac", ".flac")
AAC = MediaType("audio", "aac", "audio/aac", ".aac")
M4A = MediaType("audio", "m4a", "audio/mp4", ".m4a")
WEBM = MediaType("audio", "webm", "audio/webm", ".webm")


def detect_image_type(data: bytes) -> MediaType | None:
    """Return the type of a PNG, JPEG or WebP image, or None. Twelve bytes are enough."""
    if data.startswith(_PNG):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    return WEBP if _riff(data, b"WEBP") else None


def detect_audio_type(data: bytes) -> MediaType | None:
    """Return the type of audio, or None. ``SNIFF_BYTES`` bytes are enough.

    MP4 and WebM may hold a film, too; its sound is what a transcription takes.
    """
    if data.startswith(b"ID3") and _has_id3_header(data):
        return _type_after_id3(data)
    kind = next((kind for kind, fits in _AUDIO if fits(data)), None)
    if kind is None and not detect_image_type(data) and not describe_non_media(data):
        return MP3 if _has_mp3_frames(data[:SNIFF_BYTES]) else None
    return kind


def image_dimensions(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels, by the image's header, or None."""
    kind = detect_image_type(data)
    size = {PNG: _png_size, JPEG: _jpeg_size, WEBP: _webp_size}[kind](data) if kind else None
    return size if size and size[0] > 0 and size[1] > 0 else None


def is_complete_image(data: bytes) -> bool:
    """Return whether an image is complete, by its own markers."""
    kind = detect_image_type(data)
    if kind is PNG:
        return _png_is_complete(data)
    if kind is JPEG:
        return _jpeg_is_complete(data)
    return kind is WEBP and len(data) >= int.from_bytes(data[4:8], "little") + 8


def describe_non_media(data: bytes) -> str:
    """Describe content that `detect_image_type` and `detect_audio_type` do not know; empty if unknown.

    It is ``SVG``, ``HTML``, ``JSON``, ``text``, an image format such as ``HEIC`` …
    """
    other = next((mark for mark in _OTHERS if data.startswith(mark)), None)
    if other is not None:
        return _OTHERS[other]
    if image := detect_convertible_image(data):
        return image
    start = data[:2048].removeprefix(b"\xef\xbb\xbf").lstrip()
    bare = re.sub(rb"(?s)^(?:<\?.*?\?>|<!--.*?-->|\s)+", b"", start).lower()
    if bare.startswith((b"<svg", b"<!doctype svg")):
        return "SVG"
    if bare.startswith(b"<"):
        return "HTML" if re.match(rb"<(?:!doctype html|html|head|body|script)\b", bare) else "XML"
    if bare.startswith((b"{", b"[")):
        return "JSON"
    if start and not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", start) and _is_utf8(start):
        return "text"
    return ""


def detect_convertible_image(data: bytes) -> str:
    """Return the format of an image that models do not read: ``HEIC``, ``AVIF``, ``TIFF`` or ``BMP``; else ``""``."""
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), len(data), 512)
        brands = {data[8:12], *(data[n : n + 4] for n in range(16, end - 3, 4))}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else ""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    is_bmp = (
        data[:2] == b"BM"
        and data[6:10] == b"\0\0\0\0"
        and int.from_bytes(data[14:18], "little") in _BMP_HEADERS
    )
    return "BMP" if is_bmp else ""


_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes in bytes
_OTHERS = {
    b"GIF8": "GIF",
    b"%PDF-": "PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "Parquet",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old or encrypted Office document",
}


def _is_utf8(start: bytes) -> bool:
    try:
        start[: max(len(start) - 3, 1)].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 6  # a character that the cut went through
    return True


def _riff(data: bytes, kind: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RF64") and data[8:12] == kind


def _is_wav(data: bytes) -> bool:
    """Check for the format chunk, which may be beyond the bytes given, and not for the name alone."""
    offset = 12
    while _riff(data, b"WAVE") and offset + 8 <= len(data):
        if data[offset : offset + 4] == b"fmt ":
            return offset + 24 <= len(data)
        offset += 8 + int.from_bytes(data[offset + 4 : offset + 8], "little") + (data[offset + 4] & 1)
        if offset >= len(data):
            return True
    return False


def _is_mp3(data: bytes) -> bool:
    """Check for the header of a layer III frame with valid fields."""
    if len(data) < 3 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2 or data[1] & 0x18 == 0x08:
        return False
    return data[2] & 0xF0 not in (0x00, 0xF0) and data[2] & 0x0C != 0x0C


def _has_mp3_frames(data: bytes) -> bool:
    """Check for three frames in a row, or two at the end: in front there may be zeros, or the rest of a tag."""
    position = data.find(b"\xff")
    while position >= 0:
        if _are_frames(data, position):
            return True
        position = data.find(b"\xff", position + 1)
    return False


def _are_frames(data: bytes, position: int) -> bool:
    first = data[position + 1 : position + 2]  # version and layer
    for count in range(3):
        if position >= len(data) and count == 2:
            return True
        header = data[position : position + 4]
        frame = parse_mp3_frame(header) if len(header) == 4 and header[1:2] == first else None
        if frame is None or frame[0] <= 4:
            return False
        position += frame[0]
    return True


def _is_adts(data: bytes) -> bool:
    return len(data) >= 3 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0 and (data[2] >> 2) & 0xF < 13


_AUDIO: tuple[tuple[MediaType, Callable[[bytes], bool]], ...] = (
    (WAV, _is_wav),
    (OGG, lambda data: data.startswith(b"OggS")),
    (FLAC, lambda data: data.startswith(b"fLaC")),
    (M4A, lambda data: data[4:8] == b"ftyp" and not detect_convertible_image(data)),
    (WEBM, lambda data: data.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in data[:64]),
    (AAC, _is_adts),
    (MP3, _is_mp3),
)


def _has_id3_header(data: bytes) -> bool:
    """Check for a tag's header: a known version, known flags, a size in seven-bit bytes."""
    return len(data) >= 10 and data[3] <= 4 and not data[5] & 0x0F and max(data[6:10]) < 0x80


def _type_after_id3(data: bytes) -> MediaType:
    """Return the type after an ID3 tag: usually MP3, rarely FLAC or AAC."""
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    rest = data[10 + size :]
    return next((kind for kind in (FLAC, AAC) if rest and detect_audio_type(rest[:SNIFF_BYTES]) is kind), MP3)


def _png_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _png_is_complete(data: bytes) -> bool:
    """Return whether the chunks end with IEND."""
    offset = len(_PNG)
    while offset + 12 <= len(data):
        if data[offset + 4 : offset + 8] == b"IEND":
            return True
        offset += 12 + int.from_bytes(data[offset : offset + 4], "big")
    return False


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG up to its first scan, with their offsets."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # padding
            offset += 1
        elif marker in _ALONE:
            offset += 2
        else:
            yield marker, offset
            if marker in (_START_OF_SCAN, _END_OF_IMAGE):
                return
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, offset in _jpeg_markers(data):
        if marker in _FRAMES and offset + 9 <= len(data):
            return int.from_bytes(data[offset + 7 : offset + 9], "big"), int.from_bytes(
                data[offset + 5 : offset + 7], "big"
            )
    return None


def _jpeg_is_complete(data: bytes) -> bool:
    """Return whether the end marker is after a scan: a thumbnail before it has one of its own."""
    scan = next((offset for marker, offset in _jpeg_markers(data) if marker == _START_OF_SCAN), None)
    if scan is None:
        return False
    behind = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    return data.rfind(b"\xff\xd9", behind) >= 0


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if chunk == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
