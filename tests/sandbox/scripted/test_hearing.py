from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from puq_magics.sandbox.scripted import hearing
from puq_magics.sandbox.scripted.hearing import SpeechMatcher, detect_audio_format, remember_speech
from puq_magics.sandbox.scripted.speech import PcmAudio, write_audio, write_wav

RATE = 22050
NOISE = np.random.default_rng(7).integers(-9000, 9000, RATE, dtype="<i2").tobytes()


def utterance(text: str, seconds: float = 1.0) -> bytes:
    """Speech that the sandbox made: noise of its own for each text."""
    random = np.random.default_rng(list(text.encode()))
    samples: bytes = random.integers(-9000, 9000, round(RATE * seconds), dtype="<i2").tobytes()
    remember_speech(samples, text)
    return samples


def wav(samples: bytes) -> bytes:
    """As anybody may write it: without a label."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples)
    return file.getvalue()


def hear(data: bytes, size: int = 64 * 1024) -> SpeechMatcher:
    matcher = SpeechMatcher()
    for start in range(0, len(data), size):
        matcher.feed(data[start : start + size])
    matcher.close()
    return matcher


def texts(data: bytes, size: int = 64 * 1024) -> list[str]:
    return [part.text for part in hear(data, size).spoken]


@pytest.mark.parametrize("size", [1, 999, 4096, 65536, 10_000_000])
def test_wherever_it_is_cut_it_hears_the_same(size: int) -> None:
    data = wav(utterance("One.") + utterance("Two, with more words: " + "word " * 200))
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


def test_a_label_is_enough() -> None:
    labelled, _ = write_audio(PcmAudio(RATE, NOISE), "One.", "tones", "wav")
    assert texts(labelled) == ["One."]
    moved_to_the_end = b"ID3" + NOISE + labelled[:4000]
    assert texts(moved_to_the_end) == ["One."]


@pytest.mark.parametrize("data", [wav(NOISE), wav(bytes(RATE)), b"ID3" + NOISE, b"OggS" + utterance("One.")])
def test_anything_else_it_does_not_know(data: bytes) -> None:
    assert texts(data) == []


@pytest.mark.parametrize("gain", [1.37, 3])
def test_at_another_volume(gain: float) -> None:
    numbers = np.frombuffer(utterance("One.") + utterance("Two."), "<i2") * gain
    assert texts(wav(numbers.astype("<i2").tobytes())) == ["One.", "Two."]


def test_what_only_begins_like_an_utterance() -> None:
    broken = bytearray(utterance("One."))
    broken[-8:] = bytes(byte ^ 0xFF for byte in broken[-8:])
    assert texts(wav(bytes(broken) + utterance("Two."))) == []
    assert texts(wav(utterance("Two.") + bytes(broken))) == ["Two."]
    assert texts(wav(utterance("Two.")[:-2])) == []


@pytest.mark.parametrize("size", [999, 65536])
def test_an_utterance_that_begins_with_another(size: int) -> None:
    one, more = utterance("One."), utterance("And more.")
    remember_speech(one + more[: len(more) // 2], "One and a half.")
    assert texts(wav(one + more), size) == ["One.", "And more."]
    assert texts(wav(one + more[: len(more) // 2] + one), size) == ["One and a half.", "One."]
    assert texts(wav(one), size) == ["One."]


def test_silence_and_clicks_are_not_remembered() -> None:
    for samples in (bytes(RATE * 2), utterance("One.")[:900]):
        remember_speech(samples, "Nothing.")
        assert texts(wav(samples)) == []


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "_MAX_UTTERANCES", 2)
    sounds = {text: utterance(text) for text in ("One.", "Two.", "Three.")}
    assert {text: texts(wav(sound)) for text, sound in sounds.items()} == {
        "One.": [],
        "Two.": ["Two."],
        "Three.": ["Three."],
    }


def test_how_long_it_lasts() -> None:
    assert hear(wav(NOISE)).seconds == 1
    other = hear(b"ID3" + bytes(31_997))
    assert (other.seconds, other.estimated_seconds) == (None, 2)


def test_it_keeps_next_to_nothing() -> None:
    matcher = SpeechMatcher()
    matcher.feed(wav(utterance("One.")))
    for _ in range(200):
        matcher.feed(NOISE)
    held = sum(len(value) for value in vars(matcher).values() if isinstance(value, bytes | bytearray))
    assert matcher.size > 8_000_000
    assert matcher._readings == {}
    assert held < 300_000


def test_a_wav_without_sound() -> None:
    assert hear(write_wav(PcmAudio(RATE, b""), "")).has_no_audio
    assert hear(wav(NOISE)[:30]).has_no_audio
    assert not hear(wav(NOISE)).has_no_audio


def test_a_wav_that_is_no_pcm() -> None:
    adpcm = bytearray(wav(NOISE))
    adpcm[20:36] = struct.pack("<HHIIHH", 0x11, 1, RATE, 11025, 512, 4)
    matcher = hear(bytes(adpcm))
    assert (matcher.kind, matcher.has_no_audio, matcher.seconds, matcher.spoken) == ("WAV", False, 4, ())


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
