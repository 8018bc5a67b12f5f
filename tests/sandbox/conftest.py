from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox import Sandbox


class Client:
    """requests with a sandbox's key, and no proxy in between."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Token {sandbox.token}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.sandbox.base_url + path, timeout=30, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.sandbox.base_url + path, timeout=30, **options)

    def chat(
        self, model: str = "sandbox/short", prompt: str = "Why is the sky blue?", **fields: Any
    ) -> requests.Response:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return self.post("/v1/chat/completions", json=body, stream=bool(fields.get("stream")))

    def draw(self, prompt: str = "A fox", **fields: Any) -> requests.Response:
        body = {"model": "sandbox/image", "prompt": prompt, "size": "64x64", **fields}
        return self.post("/v1/images/generations", json=body)

    def speak(self, text: str = "Hello there. How are you?", **fields: Any) -> requests.Response:
        body = {"model": "sandbox/tts", "input": text, **fields}
        return self.post("/v1/audio/speech", json=body)

    def hear(self, audio: bytes, name: str = "talk.wav", **fields: str) -> requests.Response:
        form = {"model": "sandbox/whisper", **fields}
        return self.post("/v1/audio/transcriptions", data=form, files={"file": (name, audio)})


@pytest.fixture(autouse=True)
def _quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a client does may end up in a notebook's log, not even when the server stops."""
    yield
    records = caplog.get_records("call") + caplog.get_records("teardown")
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []


@pytest.fixture
def sandbox(_quiet_log: None) -> Iterator[Sandbox]:
    with Sandbox(pace=0) as running:
        yield running


@pytest.fixture
def no_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a speech engine."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def connect() -> Iterator[Callable[[Sandbox], Client]]:
    clients: list[Client] = []

    def _connect(sandbox: Sandbox) -> Client:
        clients.append(Client(sandbox))
        return clients[-1]

    yield _connect
    for client in clients:
        client.session.close()


@pytest.fixture
def client(sandbox: Sandbox, connect: Callable[[Sandbox], Client]) -> Client:
    return connect(sandbox)


@pytest.fixture
def events() -> Callable[[requests.Response], Iterator[Any]]:
    """The events of a stream as JSON; also checks that each left in a write of its own."""

    def _events(response: requests.Response) -> Iterator[Any]:
        for chunk in response.raw.read_chunked():
            data = chunk.decode()
            assert data.startswith("data: ")
            assert data.endswith("\n\n")
            assert data.count("\n") == 2
            payload = data.removeprefix("data: ").strip()
            yield payload if payload == "[DONE]" else json.loads(payload)

    return _events
