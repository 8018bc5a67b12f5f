"""A real model on this machine: llama.cpp with SmolLM2, behind its own OpenAI-compatible server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("local")


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = subprocess.run(
        [sys.executable, HERE / "weights.py"], check=True, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path_factory.mktemp("llama") / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, HERE / "llama_server.py", found.stdout.strip()],
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
