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
def engine_client(connect, engine_sandbox: Sandbox) -> Any:
    return connect(engine_sandbox)


def speak(engine_client: Any, *lines: str, **fields: Any) -> requests.Response:
    body = {"model": HIBARI, "input": "\n".join(["Do", *lines]), **fields}
    answer: requests.Response = engine_client.post("/v1/audio/speech", json=body, stream=True)
    return answer


def test_the_order_and_what_came_of_it(engine_client, engine_sandbox: Sandbox) -> None:
    answer = speak(engine_client, "order")
    usual = {"text": "Do\norder", "voice": "alloy", "speed": 1.0, "format": "mp3"}
    assert answer.json() == usual
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert answer.headers["x-sandbox-engine"] == "hibari"
    assert engine_sandbox.balance == pytest.approx(100 - 8 * 15 / 1e6, abs=1e-9)
    answer = speak(engine_client, "order", voice="emma", speed=2, response_format="opus")
    assert answer.json() == usual | {"voice": "emma", "speed": 2, "format": "opus"}
    assert answer.headers["Content-Type"] == "audio/ogg"


def test_what_is_spoken_leaves_before_the_rest_is(engine_client, engine_listener: socket.socket) -> None:
    answer = speak(engine_client, "say one", f"meet {engine_listener.getsockname()[1]}", "say three")
    pieces = answer.iter_content(None)
    assert next(pieces) == b"one"
    engine, _ = engine_listener.accept()
    with engine:
        engine.sendall(b"two")
        assert next(pieces) == b"two"
    assert b"".join(pieces) == b"three"


def test_the_engine_stops_when_the_client_goes(engine_client, engine_listener: socket.socket) -> None:
    answer = speak(engine_client, "say one", f"meet {engine_listener.getsockname()[1]}")
    pieces = answer.iter_content(None)  # which closes the connection when it is forgotten
    assert next(pieces) == b"one"
    engine, _ = engine_listener.accept()
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
    assert speak(engine_client, "say again").content == b"again"


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
def test_refusals(
    engine_client, engine_sandbox: Sandbox, fields: dict[str, Any], status: int, words: str
) -> None:
    answer = speak(engine_client, **fields)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert engine_sandbox.balance == 100
    assert speak(engine_client, "say again").content == b"again"


@pytest.mark.parametrize("end", ["die", "fail"])
def test_sound_that_ends_too_early_is_seen_to(engine_client, end: str) -> None:
    answer = speak(engine_client, "say one", end)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content
    assert speak(engine_client, "say again").content == b"again"


def test_the_connection_is_dropped_where_it_is_to_be(engine_client, engine_sandbox: Sandbox) -> None:
    engine_sandbox.configure(drop_after=1)
    answer = speak(engine_client, "say one", "say two")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content


def test_the_scripts_speak_beside_it(engine_client) -> None:
    answer = speak(engine_client, model="sandbox/tts")
    assert answer.headers["Content-Type"] == "audio/wav"
    assert json.loads(speak(engine_client, "order").text)["text"] == "Do\norder"
