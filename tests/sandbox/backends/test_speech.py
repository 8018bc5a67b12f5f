"""Speech by an engine in a process of its own, which does here what it is told."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox

HIBARI = "local/hibari"


@pytest.fixture
def speaker(connect, engine_sandbox: Sandbox) -> Any:
    return connect(engine_sandbox)


def speak(speaker: Any, *lines: str, **fields: Any) -> requests.Response:
    body = {"model": HIBARI, "input": "\n".join(["Do", *lines]), **fields}
    answer: requests.Response = speaker.post("/v1/audio/speech", json=body, stream=True)
    return answer


def test_the_order_and_what_came_of_it(speaker, engine_sandbox: Sandbox) -> None:
    answer = speak(speaker, "order")
    usual = {"text": "Do\norder", "voice": "alloy", "speed": 1.0, "format": "mp3"}
    assert answer.json() == usual
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert answer.headers["x-sandbox-engine"] == "hibari"
    assert engine_sandbox.balance == pytest.approx(100 - 8 * 15 / 1e6, abs=1e-9)
    answer = speak(speaker, "order", voice="emma", speed=2, response_format="opus")
    assert answer.json() == usual | {"voice": "emma", "speed": 2, "format": "opus"}
    assert answer.headers["Content-Type"] == "audio/ogg"


def test_what_is_spoken_leaves_before_the_rest_is(speaker, rendezvous: socket.socket) -> None:
    answer = speak(speaker, "say one", f"meet {rendezvous.getsockname()[1]}", "say three")
    pieces = answer.iter_content(None)
    assert next(pieces) == b"one"
    engine, _ = rendezvous.accept()
    with engine:
        engine.sendall(b"two")
        assert next(pieces) == b"two"
    assert b"".join(pieces) == b"three"


def test_the_engine_stops_when_the_client_goes(speaker, rendezvous: socket.socket) -> None:
    answer = speak(speaker, "say one", f"meet {rendezvous.getsockname()[1]}")
    pieces = answer.iter_content(None)  # which closes the connection when it is forgotten
    assert next(pieces) == b"one"
    engine, _ = rendezvous.accept()
    engine.settimeout(60)
    with engine:
        answer.close()
        heard = b""
        while not heard:
            engine.sendall(b"x")  # a piece of work, after each of which it may notice
            engine.setblocking(False)
            with suppress(BlockingIOError):
                heard = engine.recv(4)
            engine.settimeout(60)
    assert heard == b"gone"
    assert speak(speaker, "say again").content == b"again"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"input": ""}, 400, "'input' is empty"),
        ({"input": None}, 422, "'input' is required"),
        ({"input": "x" * 4097}, 400, "4,096 is the most"),
        ({"voice": 5}, 400, "'voice' must be a string"),
        ({"speed": 0.2}, 400, "0.25 to 4"),
        ({"response_format": "aac"}, 400, "mp3, opus, flac, wav; it is 'aac'"),
        ({"input": "Do\nrefuse 'voice' must be one of a, b"}, 400, "'voice' must be one of a, b"),
        ({"input": "Do\nfail"}, 502, "The engine failed, with status 500"),
        ({"input": "Do\ndie"}, 503, "before it answered; the next request starts it again"),
    ],
)
def test_refusals(speaker, engine_sandbox: Sandbox, fields: dict[str, Any], status: int, words: str) -> None:
    answer = speak(speaker, **fields)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert engine_sandbox.balance == 100
    assert speak(speaker, "say again").content == b"again"


@pytest.mark.parametrize("end", ["die", "fail"])
def test_sound_that_ends_too_early_is_seen_to(speaker, end: str) -> None:
    answer = speak(speaker, "say one", end)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content
    assert speak(speaker, "say again").content == b"again"


def test_the_connection_is_dropped_where_it_is_to_be(speaker, engine_sandbox: Sandbox) -> None:
    engine_sandbox.configure(drop_after=1)
    answer = speak(speaker, "say one", "say two")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content


def test_the_scripts_speak_beside_it(speaker) -> None:
    answer = speak(speaker, model="sandbox/tts")
    assert answer.headers["Content-Type"] == "audio/wav"
    assert json.loads(speak(speaker, "order").text)["text"] == "Do\norder"
