from __future__ import annotations

import importlib.util
import io
import shutil
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.models import MODELS
from puq_magics.sandbox.scripted.speech import VOICES

ENGINE = "tones" if shutil.which("espeak-ng") is None else "espeak-ng"


def seconds(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getnframes() / file.getframerate()


def test_a_text_is_spoken(client, sandbox: Sandbox) -> None:
    answer = client.speak("Hello there.")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert answer.headers["x-sandbox-engine"] == ENGINE
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert 0.4 < seconds(answer.content) < 3
    assert sandbox.balance == pytest.approx(100 - MODELS["sandbox/tts"].price(prompt=12), abs=1e-9)


def test_without_an_engine_there_are_tones(no_espeak: None, client) -> None:
    answer = client.speak("Hello there.")
    assert answer.headers["x-sandbox-engine"] == "tones"
    assert 0.4 < seconds(answer.content) < 3
    assert b"Spoken by the sandbox (tones)" in answer.content
    assert client.hear(answer.content).json()["text"] == "Hello there."


def test_voices_and_speeds_differ(client) -> None:
    said = {name: client.speak("Hello there.", voice=name).content for name in VOICES}
    assert len(set(said.values())) == 6
    assert client.speak("Hello there.").content == said["alloy"]
    fast, slow = (seconds(client.speak("Hello there.", speed=speed).content) for speed in (4, 0.25))
    assert fast < seconds(said["alloy"]) < slow


def test_the_longest_input(client, no_espeak: None) -> None:
    text = "word " * 819 + "."
    assert len(text) == 4096
    assert client.hear(client.speak(text, speed=4).content).json()["text"] == text


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"input": ""}, 400, "'input' is empty"),
        ({"input": " \n"}, 400, "'input' is empty"),
        ({"input": None}, 422, "'input' is required"),
        ({"input": 7}, 400, "'input' must be a string"),
        ({"input": "x" * 4097}, 400, "4,097 characters; 4,096 is the most"),
        ({"voice": "nobody"}, 400, "alloy, echo, fable, onyx, nova, shimmer; it is 'nobody'"),
        ({"speed": 0.2}, 400, "0.25 to 4"),
        ({"speed": 4.5}, 400, "0.25 to 4"),
        ({"response_format": "aac"}, 400, "wav, mp3, opus, flac; it is 'aac'"),
        ({"model": "sandbox/image"}, 400, "does not speak"),
    ],
)
def test_refusals(client, sandbox: Sandbox, fields: dict[str, Any], status: int, words: str) -> None:
    body = {"model": "sandbox/tts", "input": "Hello", **fields}
    response = client.post("/v1/audio/speech", json=body)
    assert response.status_code == status
    assert words in response.json()["error"]
    assert response.json().get("code") == ("VALIDATION_ERROR" if status == 400 else None)
    assert sandbox.balance == 100


@pytest.mark.parametrize(
    ("kind", "beginning"), [("mp3", (b"ID3", b"\xff")), ("flac", (b"fLaC",)), ("opus", (b"OggS",))]
)
def test_other_formats_need_a_package(client, kind: str, beginning: tuple[bytes, ...]) -> None:
    answer = client.speak(response_format=kind)
    if importlib.util.find_spec("soundfile") is None:
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
        assert (
            f"{kind} needs a package where the sandbox runs: pip install -U soundfile"
            in answer.json()["error"]
        )
    else:
        assert answer.content.startswith(beginning)
        assert client.hear(answer.content, f"talk.{kind}").json()["text"] == "Hello there. How are you?"


def test_it_comes_in_pieces_and_can_be_cut(client, sandbox: Sandbox) -> None:
    pieces = list(
        client.post(
            "/v1/audio/speech", json={"model": "sandbox/tts", "input": "Hello there."}, stream=True
        ).raw.read_chunked()
    )
    assert len(pieces) > 2
    assert set(map(len, pieces[:-1])) == {16 * 1024}
    sandbox.configure(drop_after=2)
    cut = client.post("/v1/audio/speech", json={"model": "sandbox/tts", "input": "Hello there."}, stream=True)
    stream = cut.raw.read_chunked()
    assert [next(stream), next(stream)] == pieces[:2]
    with pytest.raises(requests.packages.urllib3.exceptions.ProtocolError):
        next(stream)


def test_an_engine_is_ended_when_its_client_goes(
    client, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    body = {"model": "sandbox/tts", "input": "Hello"}
    with pytest.raises(requests.ReadTimeout):
        client.session.post(sandbox.base_url + "/v1/audio/speech", json=body, timeout=(30, 0.2))
    sandbox.stop()  # which waits for the thread that waits for the engine
    assert sandbox.balance == 100
