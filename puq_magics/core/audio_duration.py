"""Duration of audio by its headers: WAV, FLAC, Ogg and MP3 are read without decoding them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap

# MPEG audio, layer III: bit rates (kbit/s) and sampling rates by the indices in a frame's header.
_MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG1_SAMPLE_RATES = (44_100, 48_000, 32_000)


def audio_duration(data: bytes | mmap, audio_format: str) -> float | None:
    """Return the seconds of audio of a format such as ``wav``, or None if unknown."""
    reader = _READERS.get(audio_format)
    try:
        seconds = reader(data) if reader is not None else None
    except (struct.error, IndexError, ZeroDivisionError):  # cut, or not what it seems
        return None
    return seconds if seconds and seconds > 0 else None


def _wav_duration(data: bytes | mmap) -> float | None:
    """Use the bytes present if the header was written without knowing the size."""
    position, rate = 12, 0
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"fmt ":
            (rate,) = struct.unpack_from("<I", data, position + 16)  # bytes a second
        if name == b"data":
            return float(min(size, len(data) - position - 8) / rate)
        position += 8 + size + size % 2
    return None


def _flac_duration(data: bytes | mmap) -> float | None:
    """STREAMINFO, the first block: 20 bits of sampling rate, 8 of format, 36 of samples."""
    if data[:4] != b"fLaC":
        return None
    (packed,) = struct.unpack_from(">Q", data, 18)
    return float((packed & (1 << 36) - 1) / (packed >> 44))


def _ogg_duration(data: bytes | mmap) -> float | None:
    """The position of the last page, in samples: of Opus always 48,000 a second, less what is skipped first."""
    last_page = data.rfind(b"OggS")
    (samples,) = struct.unpack_from("<q", data, last_page + 6)
    if (head := data.find(b"OpusHead", 0, 200)) >= 0:
        (skipped,) = struct.unpack_from("<H", data, head + 10)
        return float((samples - skipped) / 48_000)
    if (head := data.find(b"\x01vorbis", 0, 200)) >= 0:
        (rate,) = struct.unpack_from("<I", data, head + 12)
        return float(samples / rate)
    return None


def _mp3_duration(data: bytes | mmap) -> float | None:
    """Sum the lengths of all frames."""
    position = _id3_size(data)
    seconds, end = 0.0, len(data) - 4
    while position <= end:
        frame = parse_mp3_frame(data[position : position + 4])
        if frame is None:
            position = data.find(b"\xff", position + 1)
            if position < 0:
                break
            continue
        size, length = frame
        seconds += length
        position += size
    return seconds


def _id3_size(data: bytes | mmap) -> int:
    if data[:3] != b"ID3":
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def parse_mp3_frame(header: bytes) -> tuple[int, float] | None:
    """Return a layer III frame's bytes and seconds, by its first four bytes, or None."""
    if header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version = header[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    bits, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return None
    hertz = _MPEG1_SAMPLE_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    kilobits = (_MPEG1_KBITS if version == 3 else _MPEG2_KBITS)[bits]
    samples = 1152 if version == 3 else 576
    return samples // 8 * kilobits * 1000 // hertz + (header[2] >> 1 & 1), samples / hertz


_READERS: dict[str, Callable[[bytes | mmap], float | None]] = {
    "wav": _wav_duration,
    "flac": _flac_duration,
    "ogg": _ogg_duration,
    "mp3": _mp3_duration,
}
