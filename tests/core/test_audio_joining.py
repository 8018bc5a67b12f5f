from __future__ import annotations

import struct
import wave
from io import BytesIO

import pytest

from puq_magics.core.audio_joining import can_join, has_no_audio, join, join_opus, missing_bytes


def wav(frames: bytes, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(frames)
    return file.getvalue()


def as_streamed_wav(data: bytes, size: int) -> bytes:
    """As servers send it that do not know the length when they begin."""
    return data[:4] + struct.pack("<I", size) + data[8:40] + struct.pack("<I", size) + data[44:]


def read(data: bytes) -> tuple[int, int, int, bytes]:
    with wave.open(BytesIO(data)) as file:
        assert file.getnframes() * file.getsampwidth() * file.getnchannels() + 44 <= len(data)
        return file.getframerate(), file.getnchannels(), file.getsampwidth(), file.readframes(1 << 30)


ONE, TWO = struct.pack("<4h", 1, 2, 3, 4), struct.pack("<3h", 5, 6, 7)


@pytest.mark.parametrize(
    "size", [0xFFFFFFFF, 0, 0x7FFFFFFF, 0x7FFFFFFF - 36, 2_000_000_000, 1_000_000_000, 1 << 28]
)
def test_a_streamed_wav_gets_a_head_that_is_true(size: int) -> None:
    whole = wav(ONE)
    assert join([as_streamed_wav(whole, size)], "wav") == whole


def test_a_whole_wav_stays_as_it_came() -> None:
    with_more = wav(ONE) + struct.pack("<4sI4s", b"LIST", 4, b"INFO")
    with_more = with_more[:4] + struct.pack("<I", len(with_more) - 8) + with_more[8:]
    for data in (wav(ONE), wav(b"\1\2\3", width=1), with_more, b"RIFF", b"no wav at all", b""):
        assert join([data], "wav") == data


@pytest.mark.parametrize("size", [None, 0xFFFFFFFF, 0])
def test_wavs_are_one(size: int | None) -> None:
    parts = [wav(ONE, 22_050, 1), wav(TWO, 22_050, 1)]
    if size is not None:
        parts = [as_streamed_wav(part, size) for part in parts]
    assert can_join(parts, "wav")
    assert join(parts, "wav") == wav(ONE + TWO, 22_050, 1)
    assert read(join(parts, "wav")) == (22_050, 1, 2, ONE + TWO)


def test_a_wav_that_was_cut_stays_as_it_came_and_says_what_is_missing() -> None:
    cut = wav(ONE * 2, channels=2)[:-3]
    assert join([cut], "wav") == cut
    assert missing_bytes(cut, "wav") == 3
    assert missing_bytes(wav(ONE), "wav") == missing_bytes(as_streamed_wav(wav(ONE), 0xFFFFFFFF), "wav") == 0
    assert missing_bytes(b"RIFF", "wav") == missing_bytes(cut, "mp3") == 0
    assert read(join([cut, wav(ONE, channels=2)], "wav"))[3] == (ONE * 2)[:12] + ONE


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 100])
def test_a_head_alone_is_silent(size: int) -> None:
    assert has_no_audio(as_streamed_wav(wav(b""), size), "wav")
    assert has_no_audio(wav(ONE)[:36], "wav")
    assert not has_no_audio(as_streamed_wav(wav(ONE), size), "wav")
    assert not has_no_audio(b"no wav at all", "wav")
    assert not has_no_audio(b"", "mp3")


def test_odd_frames_are_padded() -> None:
    joined = join([wav(b"\1", width=1), wav(b"\2\3", width=1)], "wav")
    assert read(joined) == (8000, 1, 1, b"\1\2\3")
    assert len(joined) % 2 == 0


@pytest.mark.parametrize(
    "other", [wav(TWO, 16_000), wav(TWO * 2, channels=2), wav(ONE, width=1), b"RIFF", b""]
)
def test_wavs_that_differ_do_not_follow(other: bytes) -> None:
    parts = [wav(ONE), other]
    assert not can_join(parts, "wav")
    with pytest.raises(ValueError, match=r"wav|WAV"):
        join(parts, "wav")


def frame(fill: int, head: int = 0xFFFB9000, size: int = 417) -> bytes:
    """An MP3 frame: by itself of MPEG 1, 128 kbit/s, 44.1 kHz, stereo."""
    return struct.pack(">I", head) + bytes([fill]) * (size - 4)


def told(kind: bytes) -> bytes:
    """A frame that tells a player how many there are."""
    return frame(0)[:36] + kind + frame(0)[36 + len(kind) :]


ID3 = b"ID3\x04\x00\x00\x00\x00\x01\x01" + b"t" * 129


@pytest.mark.parametrize("kind", [b"Xing", b"Info", b"VBRI"])
def test_mp3s_are_one_row_of_frames(kind: bytes) -> None:
    parts = [ID3 + told(kind) + frame(1) + b"TAG" + b" " * 125, told(kind) + frame(2), frame(3)]
    assert can_join(parts[:2], "mp3")
    assert join(parts, "mp3") == frame(1) + frame(2) + frame(3)
    assert join(parts[:1], "mp3") == parts[0]


@pytest.mark.parametrize(
    ("head", "size"), [(0xFFF364C0, 144), (0xFFE344C0, 192), (0xFFFB9200, 418), (0xFFF384C4, 192)]
)
def test_frames_of_all_versions_are_measured(head: int, size: int) -> None:
    sign = struct.pack(">I", head) + b"\0" * 9 + b"Info" + b"\0" * (size - 17)
    one, two = frame(1, head, size), frame(2, head, size)
    assert join([sign + one, sign + two], "mp3") == one + two


@pytest.mark.parametrize(
    "other", [frame(2, 0xFFFB9400), frame(2, 0xFFFB90C0), frame(2, 0xFFF39000), b"", b"words"]
)
def test_mp3s_that_differ_do_not_follow(other: bytes) -> None:
    assert not can_join([frame(1), other], "mp3")
    with pytest.raises(ValueError, match="do not go together"):
        join([frame(1), other], "mp3")


def test_aac_is_a_row_of_frames_too() -> None:
    one, two = b"\xff\xf1\x50\x80\x01\x00\x00one", b"\xff\xf1\x50\x80\x01\x00\x00two"
    assert join([one, ID3 + two], "aac") == one + two
    assert not can_join([one, b"\xff\xf1\x50\x40\x01\x00\x00mono"], "aac")


def test_ogg_is_a_chain() -> None:
    assert join([b"OggS 1", b"OggS 2"], "ogg") == b"OggS 1OggS 2"


@pytest.mark.parametrize("kind", ["flac", "m4a", "webm"])
def test_formats_with_a_head_of_their_own_stand_alone(kind: str) -> None:
    assert can_join([b"one"], kind)
    assert join([b"one"], kind) == b"one"
    assert not can_join([b"one", b"two"], kind)
    with pytest.raises(ValueError, match="do not go together"):
        join([b"one", b"two"], kind)


HEAD = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00"
TAGS = b"OpusTags\x00\x00\x00\x00\x00\x00\x00\x00"


def checksum(page: bytes) -> int:
    """Ogg's, bit by bit as the standard has it."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def page(flags: int, time: int, number: int, body: bytes, serial: int = 7) -> bytes:
    lacing = bytes([255] * (len(body) // 255) + [len(body) % 255])
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, time, serial, number, 0, len(lacing)) + lacing
    whole = head + body
    return whole[:22] + struct.pack("<I", checksum(whole)) + whole[26:]


def stream(*sound: tuple[int, bytes], serial: int = 7, head: bytes = HEAD, tags: bytes = TAGS) -> bytes:
    """An Ogg stream of pages with their times."""
    pages = [page(2, 0, 0, head, serial), page(0, 0, 1, tags, serial)]
    last = len(sound) - 1
    pages += [page(4 if n == last else 0, time, n + 2, body, serial) for n, (time, body) in enumerate(sound)]
    return b"".join(pages)


OGG_JOINING_ONE = stream((960, b"one"), (1920, b"two" * 100))


def test_parts_are_one_stream() -> None:
    other = stream((480, b"three"), (-1, b"four"), (700, b"five"), serial=99, tags=TAGS + b"of others")
    assert join_opus([OGG_JOINING_ONE, other]) == stream(
        (960, b"one"), (1920, b"two" * 100), (2400, b"three"), (-1, b"four"), (2620, b"five")
    )
    assert join([OGG_JOINING_ONE, other], "ogg") == join_opus([OGG_JOINING_ONE, other])


def test_a_lone_stream_stays_as_it_is() -> None:
    assert join_opus([OGG_JOINING_ONE]) == OGG_JOINING_ONE
    assert join([OGG_JOINING_ONE], "ogg") is OGG_JOINING_ONE


def test_of_a_cut_part_whole_pages_are_kept() -> None:
    assert join_opus([OGG_JOINING_ONE, OGG_JOINING_ONE[:-9]]) == stream(
        (960, b"one"), (1920, b"two" * 100), (2880, b"one")
    )
    assert join_opus([OGG_JOINING_ONE, OGG_JOINING_ONE[:50]]) == OGG_JOINING_ONE


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"OggS",
        b"no pages at all, and quite some of them too",
        stream((10, b"x"), head=b"\x01vorbis" + bytes(23)),
        stream((10, b"x"), head=HEAD[:9] + b"\x02" + HEAD[10:]),
        OGG_JOINING_ONE + stream((10, b"x"), serial=8),
        stream((1 << 62, b"x")) + page(4, (1 << 63) - 1, 3, b"y"),
    ],
)
def test_what_is_not_of_one_kind_is_chained(other: bytes) -> None:
    assert join([OGG_JOINING_ONE, other], "ogg") == OGG_JOINING_ONE + other


def test_what_is_played_first_does_not_count() -> None:
    later = HEAD[:10] + struct.pack("<HI", 3840, 24_000) + HEAD[16:]
    assert join_opus([OGG_JOINING_ONE, stream((10, b"x"), head=later)]).count(b"OpusHead") == 1
