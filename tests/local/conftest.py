"""Real models on this machine: the sandbox's own, and llama.cpp with SmolLM2 behind its own server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, fetch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("local")


@pytest.fixture(scope="session")
def weights() -> Path:
    """The chat model's weights, downloaded where they are missing."""
    return fetch(CHAT_WEIGHTS)


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[str]:
    log = tmp_path_factory.mktemp("llama") / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, HERE / "llama_server.py", weights],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), log.read_text()
        yield url
        server.stdin.close()
