from __future__ import annotations

import importlib.util
import io
import shutil
import struct
import sys
import wave
from array import array
from pathlib import Path

import pytest

from puq_magics.sandbox.scripted import speech as voice
from puq_magics.sandbox.scripted.hearing import detect_audio_format
from puq_magics.sandbox.scripted.speech import (
    FORMATS,
    RATE,
    VOICES,
    EncoderMissingError,
    EspeakProcess,
    EspeakVoice,
    PcmAudio,
    WavHeader,
    parse_wav_header,
    text_from_label,
    tones,
    write_audio,
    write_wav,
)

SOUND = PcmAudio(22050, bytes(22050))
KINDS = {"wav": "WAV", "mp3": "MP3", "opus": "Ogg", "flac": "FLAC"}


def test_a_wav_needs_nothing() -> None:
    data, mime = write_audio(SOUND, "Hällo", "tones", "wav")
    assert mime == "audio/wav"
    assert b"Spoken by the sandbox (tones), not by a model." in data
    assert text_from_label(data) == "Hällo"


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_others_need_soundfile(kind: str) -> None:
    if importlib.util.find_spec("soundfile") is None:
        with pytest.raises(EncoderMissingError):
            write_audio(SOUND, "Hello", "tones", kind)
        return
    data, mime = write_audio(SOUND, "Hello", "tones", kind)
    assert detect_audio_format(data) == KINDS[kind]
    assert mime.startswith("audio/")
    assert text_from_label(data) == "Hello"


@pytest.mark.parametrize(
    "label", [b"", b"puq-sandbox:;", b"puq-sandbox:/w==;", b"puq-sandbox:A;", b"puq-sandbox:SGVsbG8"]
)
def test_what_is_no_label(label: bytes) -> None:
    assert text_from_label(b"RIFF...." + label) is None


@pytest.mark.parametrize("text", ["Hello", "Größe – 日本 🦊", "word " * 10_000, "a;b"])
def test_a_label_holds_any_text(text: str) -> None:
    assert text_from_label(write_audio(SOUND, text, "tones", "wav")[0]) == text


def test_other_words_sound_otherwise() -> None:
    assert tones("fox", pitch=220, speed=1) == tones("FOX", pitch=220, speed=1)
    assert tones("fox", pitch=220, speed=1) != tones("hen", pitch=220, speed=1)
    assert tones("fox", pitch=220, speed=1) != tones("fox", pitch=330, speed=1)


def test_speed() -> None:
    usual, fast, slow = (len(tones("A quick brown fox.", pitch=220, speed=speed)) for speed in (1, 4, 0.25))
    assert abs(usual / fast - 4) < 0.01
    assert abs(slow / usual - 4) < 0.01


def test_it_is_heard_and_does_not_clip() -> None:
    numbers = array("h", tones("A quick brown fox.", pitch=220, speed=1))
    assert 5000 < max(map(abs, numbers)) < 20000
    assert 1 < len(numbers) / RATE < 3


def test_signs_alone_are_a_silence() -> None:
    sound = tones("?!", pitch=220, speed=1)
    assert sound == bytes(len(sound))
    assert sound


INSTALLED = shutil.which("espeak-ng") is not None


def speak(text: str, name: str = "alloy", speed: float = 1) -> float | None:
    """Seconds of what is said; None where nothing is."""
    try:
        said = EspeakProcess(text, VOICES[name], speed).wait()
    except OSError:
        return None
    return None if said is None else said.seconds


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of ours in the engine's place."""

    def _engine(code: str) -> None:
        program = tmp_path / "espeak-ng"
        program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return _engine


@pytest.mark.parametrize("name", VOICES)
def test_every_voice_speaks_where_the_engine_is(name: str) -> None:
    assert (speak("Hello there.", name) is not None) is INSTALLED


def test_it_speaks_faster_and_slower() -> None:
    fast, usual, slow = (speak("A quick brown fox jumps.", speed=speed) or 0 for speed in (2, 1, 0.5))
    assert (fast < usual < slow) is INSTALLED


@pytest.mark.parametrize(
    "text", ["--help", "-w /tmp/file", "$(touch x) `id`; | &", "a\0b\x07c", "<speak>hi", "[[x"]
)
def test_odd_texts_are_only_spoken(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (speak(text) is not None) is INSTALLED
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_not_installed(no_espeak: None) -> None:
    with pytest.raises(OSError, match="not installed"):
        EspeakProcess("Hello", VOICES["alloy"], 1)


def test_the_text_is_on_no_command_line(engine, tmp_path: Path) -> None:
    engine(f"open({str(tmp_path / 'heard')!r}, 'w').write(repr((sys.argv[1:], sys.stdin.buffer.read())))")
    assert EspeakProcess("Grüße\0!", EspeakVoice("en+f2", 60, 220), 100).wait() is None
    arguments = ["-v", "en+f2", "-p", "60", "-s", "450", "-b", "1", "--stdin", "--stdout"]
    assert (tmp_path / "heard").read_text() == repr((arguments, "Grüße !".encode()))


@pytest.mark.parametrize(
    "code", ["sys.exit(1)", "", "sys.stdout.buffer.write(b'RIFF')", "sys.stdin.close(); sys.exit(2)"]
)
def test_an_engine_that_fails_says_nothing(engine, code: str) -> None:
    engine(code)
    assert EspeakProcess("Hello", VOICES["alloy"], 1).wait() is None


def test_an_engine_that_hangs_is_ended(engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine("sys.stdin.read(); sys.stdin.close(); import signal; signal.pause()")
    monkeypatch.setattr(voice, "_TIMEOUT", 0.2)
    assert EspeakProcess("Hello", VOICES["alloy"], 1).wait() is None


def test_an_utterance_can_be_stopped(engine) -> None:
    engine("import signal; signal.pause()")
    utterance = EspeakProcess("Hello", VOICES["alloy"], 1)
    utterance.stop()
    assert utterance.wait() is None


SAMPLES = struct.pack("<5h", 0, 1, -1, 32767, -32768)


def test_others_can_read_it() -> None:
    data = write_wav(PcmAudio(22050, SAMPLES), "odd")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, 22050, 5)
        assert file.readframes(9) == SAMPLES
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert b"LIST\x10\x00\x00\x00INFOICMT\x04\x00\x00\x00odd\0" in data


def test_it_reads_its_own_head() -> None:
    data = write_wav(PcmAudio(22050, SAMPLES), "A comment.")
    head = parse_wav_header(data)
    assert head == WavHeader(22050, 1, 16, 1, len(data) - 10, 10, 44100)
    assert head.is_pcm16
    assert head.seconds(len(data)) == PcmAudio(22050, SAMPLES).seconds == 5 / 22050


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_stream_of_unknown_length_goes_on_until_its_end(length: int) -> None:
    data = write_wav(PcmAudio(8000, bytes(16000)), "")
    start = len(data) - 16000
    data = data[: start - 4] + struct.pack("<I", length) + data[start:]
    head = parse_wav_header(data)
    assert head is not None
    assert head.length is None
    assert head.seconds(len(data)) == 1


def test_what_was_cut_off_is_not_counted() -> None:
    head = WavHeader(8000, 2, 16, 1, 44, 32000, 32000)
    assert head.seconds(44 + 16000) == 0.5
    assert head.seconds(20) == 0
    assert not head.is_pcm16


def test_what_is_no_wav() -> None:
    good = write_wav(PcmAudio(8000, SAMPLES), "")
    assert parse_wav_header(b"") is None
    assert parse_wav_header(b"RIFF") is None
    assert parse_wav_header(good[:40]) is None
    assert parse_wav_header(b"RIFX" + good[4:]) is None
    assert parse_wav_header(good.replace(b"fmt ", b"junk")) is None
    no_rate = good.replace(struct.pack("<II", 8000, 16000), bytes(8))
    assert parse_wav_header(no_rate) is None
