from __future__ import annotations

import io
import struct
import wave
from array import array

import numpy as np
import pytest

from puq_magics.sandbox.scripted import hearing
from puq_magics.sandbox.scripted.hearing import SpeechMatcher, detect_audio_format
from puq_magics.sandbox.scripted.speech import PcmAudio, write_audio, write_wav

RATE = 22050
NOISE = np.random.default_rng(7).integers(-9000, 9000, RATE, dtype="<i2").tobytes()


def utterance(text: str) -> bytes:
    return hearing.mark(text) + NOISE


def wav(samples: bytes) -> bytes:
    """As anybody may write it: without a label."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples)
    return file.getvalue()


def hear(data: bytes, size: int = 64 * 1024) -> SpeechMatcher:
    hearing = SpeechMatcher()
    for start in range(0, len(data), size):
        hearing.feed(data[start : start + size])
    hearing.close()
    return hearing


def texts(data: bytes, size: int = 64 * 1024) -> list[str]:
    return [part.text for part in hear(data, size).spoken]


@pytest.mark.parametrize("size", [1, 999, 4096, 65536, 10_000_000])
def test_wherever_it_is_cut_it_hears_the_same(size: int) -> None:
    data = wav(utterance("One.") + bytes(3000) + utterance("Two, with more words: " + "word " * 200))
    if size == 1:
        data = data[: len(data) // 2 + 2]
        assert texts(data, 1) == texts(data)
        return
    assert texts(data, size) == ["One.", "Two, with more words: " + "word " * 200]


def test_when_it_was_said() -> None:
    one, two = utterance("One."), utterance("Two.")
    first, second = hear(wav(one + two)).spoken
    assert first.start == 0
    assert first.end == second.start == len(one) / 2 / RATE
    assert second.end == (len(one) + len(two)) / 2 / RATE


def test_through_numpy() -> None:
    numbers = np.frombuffer(utterance("One.") + utterance("Two."), "<i2")
    assert texts(wav(numbers.tobytes())) == ["One.", "Two."]
    peak = int(np.abs(numbers).max())
    louder = (numbers / peak * 32767).astype("<i2")  # what IPython's Audio makes of an array
    assert texts(wav(louder.tobytes())) == ["One.", "Two."]


def test_after_something_else() -> None:
    assert texts(wav(NOISE + utterance("One.") + NOISE)) == ["One."]


def test_a_label_is_enough() -> None:
    labelled, _ = write_audio(PcmAudio(RATE, NOISE), "One.", "tones", "wav")
    assert texts(labelled) == ["One."]
    moved_to_the_end = b"ID3" + NOISE + labelled[:4000]
    assert texts(moved_to_the_end) == ["One."]


@pytest.mark.parametrize("data", [wav(NOISE), wav(bytes(RATE)), b"ID3" + NOISE, b"OggS" + utterance("One.")])
def test_anything_else_it_does_not_know(data: bytes) -> None:
    assert texts(data) == []


def test_what_only_begins_like_a_mark() -> None:
    broken = bytearray(hearing.mark("One."))
    broken[200:] = bytes(len(broken) - 200)
    assert texts(wav(bytes(broken) + NOISE + utterance("Two."))) == ["Two."]
    for length in (145, 150, 161, 200):  # cut in mid-mark, in mid-sample too
        assert texts(wav(NOISE)[:-1] + hearing.mark("One.")[:length]) == []


def test_how_long_it_lasts() -> None:
    assert hear(wav(NOISE)).seconds == 1
    other = hear(b"ID3" + bytes(31_997))
    assert (other.seconds, other.estimated_seconds) == (None, 2)


def test_it_keeps_next_to_nothing() -> None:
    hearing = SpeechMatcher()
    hearing.feed(wav(utterance("One.")))
    for _ in range(200):
        hearing.feed(NOISE)
    held = sum(len(value) for value in vars(hearing).values() if isinstance(value, bytes | bytearray))
    assert hearing.size > 8_000_000
    assert held < 300_000


def test_a_wav_without_sound() -> None:
    assert hear(write_wav(PcmAudio(RATE, b""), "")).has_no_audio
    assert hear(wav(NOISE)[:30]).has_no_audio
    assert not hear(wav(NOISE)).has_no_audio


def test_a_wav_that_is_no_pcm() -> None:
    adpcm = bytearray(wav(NOISE))
    adpcm[20:36] = struct.pack("<HHIIHH", 0x11, 1, RATE, 11025, 512, 4)
    hearing = hear(bytes(adpcm))
    assert (hearing.kind, hearing.has_no_audio, hearing.seconds, hearing.spoken) == ("WAV", False, 4, ())


def test_a_wav_whose_sound_begins_late() -> None:
    data = wav(utterance("One."))
    late = data[:36] + b"JUNK" + struct.pack("<I", 100_000) + bytes(100_000) + data[36:]
    assert (hear(late).has_no_audio, hear(late).seconds) == (False, None)


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"ID3\x04", "MP3"),
        (b"\xff\xfb\x90\x00", "MP3"),
        (b"\xff\xf3\x84\xc4", "MP3"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"OggS\0", "Ogg"),
        (b"fLaC\0", "FLAC"),
        (b"\0\0\0\x20ftypM4A ", "M4A"),
        (b"\x1aE\xdf\xa3\x01", "WebM"),
        (b"", None),
        (b"Just words.", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"\xff\xfe\x41\x00", None),
        (b"RIFF\0\0\0\0WEBPVP8 ", None),
        (b"%PDF-1.7", None),
    ],
)
def test_kinds(beginning: bytes, kind: str | None) -> None:
    assert detect_audio_format(beginning) == kind


def read(sound: bytes, signs: tuple[bytes, ...]) -> str | None:
    place = min(place for sign in signs if (place := sound.find(sign)) >= 0)
    length = hearing.length_at(sound, place)
    assert length is not None
    return hearing.text_at(sound, place, length)


@pytest.mark.parametrize("text", ["", "Hello", "Größe – 日本 🦊", "word " * 819, "\ud800"])
def test_a_text_comes_back(text: str) -> None:
    sound = hearing.mark(text)
    assert read(sound, hearing.beginnings(sound[:1024])) == text.encode("utf-8", "replace").decode()


def test_it_can_hardly_be_heard_and_is_short() -> None:
    numbers = array("h", hearing.mark("Hello there. How are you?"))
    assert max(map(abs, numbers)) == 8
    assert len(numbers) / 22050 < 0.03


@pytest.mark.parametrize("gain", [0.3, 1.37, 4, 100.5])
def test_amplified_as_a_whole_it_is_still_there(gain: float) -> None:
    numbers = array("h", hearing.mark("Hello"))
    louder = array("h", [int(number * gain) for number in numbers]).tobytes()
    assert read(louder, hearing.beginnings(louder)) == "Hello"


def test_damage_is_noticed() -> None:
    sound = bytearray(hearing.mark("Hello"))
    sound[-8:] = bytes(byte ^ 0xFF for byte in sound[-8:])
    assert hearing.text_at(sound, 0, len(sound)) is None
    assert hearing.length_at(sound[:140], 0) is None


def test_the_beginning_of_silence() -> None:
    assert hearing.beginnings(b"") == hearing.beginnings(bytes(1024))
