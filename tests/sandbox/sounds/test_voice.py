from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from puq_magics.sandbox.scripted import speech as voice
from puq_magics.sandbox.scripted.speech import VOICES, EspeakProcess, EspeakVoice

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
