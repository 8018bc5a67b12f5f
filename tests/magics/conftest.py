"""Fixtures of the tests of images, speech and transcription."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODEL_VARIABLES = {
    "PUQ_IMAGE_MODEL": "sandbox/image",
    "PUQ_SPEECH_MODEL": "sandbox/tts",
    "PUQ_TRANSCRIBE_MODEL": "sandbox/whisper",
}


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder of the test; temporary files go to the folder ``kept`` beside it."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))
    return tmp_path / "work"


@pytest.fixture
def media_shell(sandbox_shell: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Shell whose image, speech and transcription models are the sandbox's."""
    for variable, model in MODEL_VARIABLES.items():
        monkeypatch.setenv(variable, model)
    return sandbox_shell


@pytest.fixture
def use_responses(shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Connect the shell to a fake router that sends these bodies in turn, the last one from then on.

    A body is bytes, or a value that is sent as JSON; a tuple is a status and a body. ``before`` is called when a
    request has arrived. Returns the server; the models are ``a/b``.
    """

    def _use_responses(
        *bodies: object, kind: str = "application/json", before: Callable[[], object] = lambda: None
    ) -> Any:
        remaining = list(bodies)

        def _answer(connection: Any) -> None:
            before()
            body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            status, body = body if isinstance(body, tuple) else ("200 OK", body)
            connection.send_head(status, kind)
            connection.send(body if isinstance(body, bytes) else json.dumps(body).encode())

        server = serve(_answer)
        monkeypatch.setenv("PUQ_BASE_URL", server.url)
        for variable in MODEL_VARIABLES:
            monkeypatch.setenv(variable, "a/b")
        return server

    return _use_responses
