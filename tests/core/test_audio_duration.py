"""How long audio is, of headers made by hand; the layouts are those of the formats' specifications."""

from __future__ import annotations

import struct

import pytest
from media_samples import wav

from puq_magics.core.audio_duration import audio_duration


def ogg(head: bytes, samples: int) -> bytes:
    """Two pages: the codec's head, and the last one."""

    def _page(position: int, body: bytes) -> bytes:
        return b"OggS\0\0" + struct.pack("<qIII", position, 1, 0, 0) + bytes([1, len(body)]) + body

    return _page(0, head) + _page(samples, b"data")


def flac(rate: int, samples: int) -> bytes:
    packed = rate << 44 | 1 << 41 | 15 << 36 | samples
    return b"fLaC\0\0\0\x22" + bytes(10) + struct.pack(">Q", packed) + bytes(16)


def mp3(frames: int, header: bytes, size: int) -> bytes:
    return (header + bytes(size - 4)) * frames


@pytest.mark.parametrize("seconds", [0.25, 3.7])
def test_wav(seconds: float) -> None:
    data = wav(seconds)
    assert audio_duration(data, "wav") == pytest.approx(seconds)
    streamed = data[:40] + b"\xff\xff\xff\xff" + data[44:]  # by a writer who could not know
    assert audio_duration(streamed, "wav") == pytest.approx(seconds)
    listed = data[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[12:]
    assert audio_duration(listed, "wav") == pytest.approx(seconds)
    assert audio_duration(data[: 44 + 8_000], "wav") == pytest.approx(min(seconds, 0.5))


def test_flac() -> None:
    assert audio_duration(flac(44_100, 44_100 * 5), "flac") == 5.0
    assert audio_duration(flac(8_000, 1 << 33), "flac") == pytest.approx((1 << 33) / 8_000)


def test_ogg() -> None:
    opus = b"OpusHead\1\1" + struct.pack("<HI", 312, 16_000) + b"\0\0\0"
    assert audio_duration(ogg(opus, 48_000 * 3 + 312), "ogg") == 3.0
    vorbis = b"\x01vorbis" + struct.pack("<IBI", 0, 1, 22_050)
    assert audio_duration(ogg(vorbis, 22_050 * 3), "ogg") == 3.0


@pytest.mark.parametrize(
    ("header", "size", "samples", "rate"),
    [
        (b"\xff\xfb\x90\x00", 417, 1152, 44_100),  # MPEG 1, 128 kbit/s
        (b"\xff\xfb\x92\x00", 418, 1152, 44_100),  # the same, padded
        (b"\xff\xf3\x44\x00", 96, 576, 24_000),  # MPEG 2, 32 kbit/s
        (b"\xff\xe3\x48\x00", 288, 576, 8_000),  # MPEG 2.5, 32 kbit/s
    ],
)
def test_mp3(header: bytes, size: int, samples: int, rate: int) -> None:
    data = mp3(100, header, size)
    seconds = 100 * samples / rate
    assert audio_duration(data, "mp3") == pytest.approx(seconds)
    tagged = b"ID3\4\0\0\0\0\2\1" + bytes(257) + data + b"TAG" + bytes(125)
    assert audio_duration(tagged, "mp3") == pytest.approx(seconds)
    two = data + b"\0\xff\0junk" + data  # two that were joined
    assert audio_duration(two, "mp3") == pytest.approx(2 * seconds)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"\xff", b"\xff\xfb", b"OggS", b"fLaC", bytes(100), b"\xff" * 100]
)
def test_what_does_not_tell(kind: str, data: bytes) -> None:
    assert audio_duration(data, kind) is None


def test_formats_that_are_not_read() -> None:
    assert audio_duration(wav(1), "aac") is None


def test_no_header_has_it_fail() -> None:
    """Cut anywhere, or with any byte changed."""
    samples = {
        "wav": wav(0.05),
        "flac": flac(44_100, 100),
        "ogg": ogg(b"OpusHead" + bytes(11), 480),
        "mp3": mp3(3, b"\xff\xfb\x90\x00", 417),
    }
    for kind, data in samples.items():
        for at in range(min(len(data), 120)):
            for changed in (
                data[:at],
                data[:at] + b"\0" + data[at + 1 :],
                data[:at] + b"\xff" + data[at + 1 :],
            ):
                seconds = audio_duration(changed, kind)
                assert seconds is None or isinstance(seconds, float)
