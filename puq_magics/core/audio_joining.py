"""Join parts of audio into one file, without the headers between them."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

_HEAD = struct.Struct("<4sBBqIIIB")
_END_OF_STREAM = 4  # of a page's flags
_NO_GRANULE = -1  # of a page on which no packet ends
_BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    flags: int
    #: Samples of 48 kHz until the end of the page.
    time: int
    serial: int
    lacing: bytes
    body: bytes

    def to_bytes(self, number: int) -> bytes:
        head = _HEAD.pack(b"OggS", 0, self.flags, self.time, self.serial, number, 0, len(self.lacing))
        page = head + self.lacing + self.body
        return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def join_opus(parts: Sequence[bytes]) -> bytes:
    """Join streams of one kind. Raises ValueError for parts that are not Opus, or differ."""
    streams = [_read_opus(part) for part in parts]
    head = streams[0][0]
    pages = list(streams[0][1])
    serial, time = pages[0].serial, 0
    for number, (other, rest) in enumerate(streams):
        if other != head:
            raise ValueError("these parts of ogg differ in channels")
        sound = [page for page in rest if page.time != 0]  # without its heads
        if number:
            pages += [replace(page, serial=serial, time=_shift_granule(page.time, time)) for page in sound]
        time += max((page.time for page in sound), default=0)
    last = len(pages) - 1
    flagged = (
        replace(page, flags=page.flags & ~_END_OF_STREAM | (_END_OF_STREAM if number == last else 0))
        for number, page in enumerate(pages)
    )
    return b"".join(page.to_bytes(number) for number, page in enumerate(flagged))


def _shift_granule(time: int, by: int) -> int:
    return time if time == _NO_GRANULE else time + by


def _read_opus(data: bytes) -> tuple[bytes, list[_Page]]:
    """Return the stream's format and its complete pages. Raises ValueError."""
    pages = list(_read_pages(data))
    if not pages or pages[0].body[:8] != b"OpusHead" or len({page.serial for page in pages}) != 1:
        raise ValueError("no Ogg stream of Opus")
    head = pages[0].body
    return head[8:10] + head[
        18:
    ], pages  # version, channels and how they are mapped; not the lead-in, nor the rate


def _read_pages(data: bytes) -> Iterator[_Page]:
    position = 0
    while position + _HEAD.size <= len(data):
        magic, version, flags, time, serial, _, _, count = _HEAD.unpack_from(data, position)
        if magic != b"OggS" or version != 0:
            raise ValueError("no Ogg page")
        start = position + _HEAD.size
        lacing = data[start : start + count]
        position = start + count + sum(lacing)
        if position > len(data):  # cut
            return
        yield _Page(flags, time, serial, lacing, data[start + count : position])


def _checksum(page: bytes) -> int:
    """Compute Ogg's CRC: not reflected as zlib's is, from 0 and without the final inversion."""
    other_way = zlib.crc32(page.translate(_BIT_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{other_way:032b}"[::-1], 2)


#: By the format of MediaType. FLAC and MP4 count their samples in a head of their own.
JOINABLE = ("wav", "mp3", "aac", "ogg")

#: Sizes from here on stand for an unknown one: writers use 0xFFFFFFFF, 2 GiB less a little, a billion. No answer is
#: that long: 256 MiB are an hour and a half of speech.
_UNKNOWN_SIZE = 0x10000000
_MP3_RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1; half of it in MPEG 2, a quarter in MPEG 2.5
_MP3_KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def join(parts: Sequence[bytes], kind: str) -> bytes:
    """Join the parts. Raises ValueError if they cannot be joined."""
    if kind == "wav":
        return _join_wav(parts)
    if len(parts) == 1:
        return parts[0]
    if not can_join(parts, kind):
        raise ValueError(f"these parts of {kind} do not go together")
    if kind == "ogg":
        return _join_ogg(parts)
    return b"".join(_STRIPPERS.get(kind, bytes)(part) for part in parts)


def can_join(parts: Sequence[bytes], kind: str) -> bool:
    """Return whether the last part can be joined to the others: same rate, channels and so on."""
    if kind not in JOINABLE:
        return len(parts) < 2
    parameters = _PARAMETERS.get(kind)
    if parameters is None or len(parts) < 2:
        return True
    try:
        return parameters(parts[-1]) == parameters(parts[0])
    except ValueError:
        return False


# --- WAV: one head for all ---------------------------------------------------------------------------------------


def _join_wav(parts: Sequence[bytes]) -> bytes:
    """With sizes that are true: who streams WAV does not know them when the head is written, and sends 0 or -1.

    One that is cut stays as it came: its head says how long it was.
    """
    if len(parts) == 1 and not _has_unknown_size(parts[0]):
        return parts[0]
    heads = [_read_wav(part) for part in parts]
    head = heads[0][0]
    if any(other != head for other, _ in heads):
        raise ValueError("these parts of wav differ in rate, channels or width")
    frames = [data for _, data in heads]
    length = sum(map(len, frames))
    padding = b"\0" * (length % 2)
    fmt = struct.pack("<4sI", b"fmt ", len(head)) + head
    size = 4 + len(fmt) + 8 + length + len(padding)
    if size >= 1 << 32:
        raise ValueError("a WAV file holds less than 4 GB")
    riff = struct.pack("<4sI4s", b"RIFF", size, b"WAVE")
    return b"".join((riff, fmt, struct.pack("<4sI", b"data", length), *frames, padding))


def _has_unknown_size(data: bytes) -> bool:
    """Return whether a WAV file was written without knowing its size."""
    try:
        _read_wav(data)
    except ValueError:
        return False
    start = _chunks(data)["data"][0]
    sizes = struct.unpack_from("<I", data, 4) + struct.unpack_from("<I", data, start - 4)
    return any(map(_is_unknown_size, sizes))


def _is_unknown_size(size: int) -> bool:
    """Return whether a size stands for an unknown one: 0, or one that no answer has."""
    return size == 0 or size >= _UNKNOWN_SIZE


def missing_bytes(data: bytes, kind: str) -> int:
    """Return the bytes of audio that the header announces and that are missing; 0 if unknown."""
    try:
        start, size = _chunks(data)["data"] if kind == "wav" else (0, 0)
    except (ValueError, KeyError):
        return 0
    declared: int = struct.unpack_from("<I", data, start - 4)[0] if start else 0
    missing = declared - size
    # Some writers count the head, too.
    return 0 if _is_unknown_size(declared) or missing in (start, start - 8) else missing


def has_no_audio(data: bytes, kind: str) -> bool:
    """Return whether the data is a WAV header alone."""
    try:
        return kind == "wav" and _chunks(data).get("data", (0, 0))[1] == 0
    except ValueError:
        return False


def _read_wav(data: bytes) -> tuple[bytes, memoryview]:
    """Return the format chunk, and the frames received. Raises ValueError."""
    chunks = _chunks(data)
    if "fmt " not in chunks or "data" not in chunks:
        raise ValueError("a WAV file without a format or data")
    start, size = chunks["fmt "]
    head = data[start : start + size]
    if len(head) < 16:
        raise ValueError("a WAV file whose format is cut")
    (frame,) = struct.unpack_from("<H", head, 12)
    start, size = chunks["data"]
    return head, memoryview(data)[start : start + size - size % max(1, frame)]


def _chunks(data: bytes) -> dict[str, tuple[int, int]]:
    """Return the offset and the received size of each chunk's content. Raises ValueError."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("no WAV file")
    found: dict[str, tuple[int, int]] = {}
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        left = len(data) - position
        if name == b"data" and _is_unknown_size(size):
            size = left
        found.setdefault(name.decode("latin-1"), (position, min(size, left)))
        position += size + size % 2
    return found


# --- Ogg: one stream, or a chain of them -------------------------------------------------------------------------


def _join_ogg(parts: Sequence[bytes]) -> bytes:
    try:
        return join_opus(parts)
    except (
        ValueError,
        struct.error,
    ):  # Vorbis, say, or two kinds of Opus: what follows may have heads of its own
        return b"".join(parts)


# --- MP3 and AAC: a row of frames, with tags around it -----------------------------------------------------------


def _strip_tags(data: bytes) -> bytes:
    while data[:3] == b"ID3" and len(data) >= 10:
        size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
        data = data[10 + size + (10 if data[5] & 0x10 else 0) :]
    return data[:-128] if data[-128:-125] == b"TAG" else data


def _strip_mp3_headers(data: bytes) -> bytes:
    """Return the audio frames alone: a frame that states its part's length would hide the parts after it."""
    data = _strip_tags(data)
    size = _mp3_frame_size(data)
    return data[size:] if size and re.search(rb"Xing|Info|VBRI", data[4 : min(size, 64)]) else data


def _mp3_frame_size(data: bytes) -> int:
    """Return the bytes of the first layer III frame; 0 without one."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return 0
    version = {3: 1, 2: 2, 0: 2}.get(data[1] >> 3 & 3)
    bits, rate = data[2] >> 4, data[2] >> 2 & 3
    if version is None or bits in (0, 15) or rate == 3:
        return 0
    hertz = _MP3_RATES[rate] // {3: 1, 2: 2, 0: 4}[data[1] >> 3 & 3]
    return (144 if version == 1 else 72) * _MP3_KBITS[version][bits] * 1000 // hertz + (data[2] >> 1 & 1)


def _mp3_parameters(data: bytes) -> object:
    """Return version, layer, rate and mono of a frame."""
    data = _strip_tags(data)
    if not _mp3_frame_size(data):
        raise ValueError("no MP3 frame")
    return data[1] & 0x1E, data[2] & 0x0C, data[3] >> 6 == 3


def _aac_parameters(data: bytes) -> object:
    """Return version, profile, rate and channels of a frame."""
    data = _strip_tags(data)
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        raise ValueError("no ADTS frame")
    return data[1] & 0x08, data[2] & 0xFD, data[3] & 0xC0


_PARAMETERS: dict[str, Callable[[bytes], object]] = {
    "wav": lambda data: _read_wav(data)[0],
    "mp3": _mp3_parameters,
    "aac": _aac_parameters,
}
_STRIPPERS: dict[str, Callable[[bytes], bytes]] = {"mp3": _strip_mp3_headers, "aac": _strip_tags}
