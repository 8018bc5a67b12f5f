from __future__ import annotations

import io
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.models import MODELS

MP3 = b"ID3" + bytes(15_997)


def samples(wav: bytes) -> bytes:
    with wave.open(io.BytesIO(wav)) as file:
        return file.readframes(file.getnframes())


def rewritten(data: bytes, rate: int = 22050) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(data)
    return file.getvalue()


def test_its_own_speech_comes_back(client, sandbox: Sandbox) -> None:
    text = "Hello there – naïve 日本. How are you?"
    speech = client.speak(text).content
    before = sandbox.balance
    answer = client.hear(speech).json()
    assert answer["text"] == text
    heard = answer["usage"]["input_tokens"]
    assert heard == round(len(samples(speech)) / 2 / 22050 * 10)
    assert sandbox.balance == pytest.approx(before - MODELS["sandbox/whisper"].price(prompt=heard), abs=1e-9)


def test_another_sandbox_knows_it_too(client, connect: Callable[[Sandbox], Any]) -> None:
    speech = client.speak("Hello there.").content
    with Sandbox(pace=0) as other:
        assert connect(other).hear(speech).json()["text"] == "Hello there."
        assert connect(other).hear(rewritten(samples(speech))).json()["text"] == "Hello there."


def test_several_in_one(client) -> None:
    parts = [client.speak(text).content for text in ("One.", "Two two.", "Three.")]
    joined = rewritten(b"".join(samples(part) for part in parts))
    answer = client.hear(joined, response_format="verbose_json").json()
    assert answer["text"] == "One. Two two. Three."
    assert [segment["text"] for segment in answer["segments"]] == ["One.", "Two two.", "Three."]
    lengths = [len(samples(part)) / 2 / 22050 for part in parts]
    assert answer["segments"][2]["start"] == pytest.approx(sum(lengths[:2]), abs=0.002)
    assert answer["segments"][2]["end"] == pytest.approx(answer["duration"], abs=0.002)
    assert answer["duration"] == pytest.approx(sum(lengths), abs=0.002)


def test_through_numpy(client) -> None:
    numbers = np.frombuffer(samples(client.speak("Hello there.").content), "<i2")
    assert client.hear(rewritten(numbers.tobytes())).json()["text"] == "Hello there."
    as_ipython_does = (numbers / int(np.abs(numbers).max()) * 32767).astype("<i2")
    assert client.hear(rewritten(as_ipython_does.tobytes())).json()["text"] == "Hello there."


@pytest.mark.parametrize("data", [MP3, rewritten(bytes(44100))])
def test_any_other_audio_is_not_recognised(client, data: bytes) -> None:
    answer = client.hear(data, "meeting.mp3")
    assert answer.status_code == 200
    assert "sandbox has no speech recogniser" in answer.json()["text"]
    assert "meeting.mp3" in answer.json()["text"]


def test_as_text(client) -> None:
    answer = client.hear(client.speak("Grüße!").content, response_format="text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "Grüße!\n"


def test_the_language_is_echoed(client) -> None:
    speech = client.speak("Hello.").content
    assert client.hear(speech, language="de").json()["language"] == "de"
    assert client.hear(speech, language="pt-BR", response_format="verbose_json").json()["language"] == "pt-BR"
    assert "language" not in client.hear(speech).json()
    assert client.hear(speech, response_format="verbose_json").json()["language"] == "en"


def test_as_events(client, sandbox: Sandbox, events) -> None:
    speech = client.speak("Hello there. How are you?").content
    whole = client.hear(speech, response_format="verbose_json").json()
    before = sandbox.balance
    answer = client.post(
        "/v1/audio/transcriptions",
        data={"model": "sandbox/whisper", "stream": "true"},
        files={"file": ("talk.wav", speech)},
        stream=True,
    )
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *parts, done = events(answer)
    assert [part["delta"] for part in parts[::2]] == ["Hello there.", " How are you?"]
    assert [part["type"] for part in parts[1::2]] == ["transcript.text.segment"] * 2
    for part, segment in zip(parts[1::2], whole["segments"], strict=True):
        assert [part[name] for name in ("start", "end", "text")] == [
            segment[name] for name in ("start", "end", "text")
        ]
    assert done == {"type": "transcript.text.done", "text": whole["text"], "usage": whole["usage"]}
    price = MODELS["sandbox/whisper"].price(prompt=whole["usage"]["input_tokens"])
    assert sandbox.balance == pytest.approx(before - price, abs=1e-9)


def test_events_are_dropped_where_they_are_to_be(client, sandbox: Sandbox) -> None:
    speech = client.speak("One. Two. Three.").content
    sandbox.configure(drop_after=2)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.hear(speech, stream="true")


@pytest.mark.parametrize("value", ["false", "False", ""])
def test_no_events_unless_they_are_asked_for(client, value: str) -> None:
    assert client.hear(client.speak("Hello.").content, stream=value).json()["text"] == "Hello."


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"", "talk.wav", "'talk.wav' is empty"),
        (b"Just words.", "talk.mp3", "'talk.mp3' is no audio, whatever its name says"),
        (b"<html></html>", "x.wav", "is no audio"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "x.wav", "without any sound"),
    ],
)
def test_what_is_no_audio(client, sandbox: Sandbox, data: bytes, name: str, words: str) -> None:
    answer = client.hear(data, name)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert words in answer.json()["error"]
    assert sandbox.balance == 100


@pytest.mark.parametrize(
    ("request_parts", "status", "words"),
    [
        (
            {"data": {"model": "sandbox/whisper"}, "files": {"other": ("x.mp3", MP3)}},
            422,
            "'file' is required",
        ),
        ({"files": {"file": ("x.mp3", MP3)}}, 422, "'model' is required"),
        (
            {"files": {"file": (None, "words"), "model": (None, "sandbox/whisper")}},
            400,
            "without a file name",
        ),
        ({"json": {"model": "sandbox/whisper"}}, 422, "not multipart/form-data"),
        (
            {"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            422,
            "last boundary",
        ),
    ],
)
def test_forms_that_do_not_do(client, request_parts: dict[str, Any], status: int, words: str) -> None:
    answer = client.post("/v1/audio/transcriptions", **request_parts)
    assert answer.status_code == status
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "sandbox/nothing"}, 404, "does not exist"),
        ({"model": "sandbox/tts"}, 400, "does not transcribe"),
        ({"response_format": "srt"}, 400, "json, text, verbose_json"),
        ({"language": "Klingon, please"}, 400, "'language'"),
        ({"stream": "perhaps"}, 400, "'stream' must be true or false"),
    ],
)
def test_wrong_fields(client, fields: dict[str, str], status: int, words: str) -> None:
    answer = client.hear(MP3, **fields)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_limit_of_ones_own(connect: Callable[[Sandbox], Any]) -> None:
    with Sandbox(pace=0, max_upload_bytes=10_000) as small:
        client = connect(small)
        answer = client.hear(MP3)
        assert answer.status_code == 413
        assert answer.json() == {"error": "Payload Too Large: this endpoint takes 10,000 bytes at most"}
        assert client.hear(MP3[:8000]).status_code == 200


def test_more_than_the_limit_of_json_is_taken(client) -> None:
    """Streamed: the sandbox is in this process, whose memory must not grow with the file."""
    boundary = b"--b\r\nContent-Disposition: form-data; "
    piece = bytes(1024 * 1024)

    def body():
        yield boundary + b'name="model"\r\n\r\nsandbox/whisper\r\n'
        yield boundary + b'name="file"; filename="long.mp3"\r\n\r\nID3'
        yield from (piece for _ in range(120))
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/audio/transcriptions", data=body(), headers=headers)
    assert answer.status_code == 200
    assert f"{120 * 1024**2 + 3:,} bytes of MP3" in answer.json()["text"]
