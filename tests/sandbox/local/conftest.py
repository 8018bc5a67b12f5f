from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from puq_magics.sandbox.local.process import RunningEngine

TIMEOUT = 60.0  # seconds until a test that waits for something gives up


@pytest.fixture(autouse=True)
def _stub_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def engine_info() -> Callable[[RunningEngine], dict[str, Any]]:
    """What a stub engine knows of itself."""

    def _engine_info(running: RunningEngine) -> dict[str, Any]:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {running.key}"}
            response = session.get(running.url, headers=headers, timeout=TIMEOUT)
        response.raise_for_status()
        known: dict[str, Any] = response.json()
        return known

    return _engine_info


@pytest.fixture
def wait_for_end() -> Iterator[Callable[[str], Callable[[], None]]]:
    """Call it with an engine's URL; what comes back waits for the end of the engine's process."""
    with ExitStack() as stack:

        def _connect(url: str) -> Callable[[], None]:
            at = urlsplit(url)
            connection = socket.create_connection((at.hostname, at.port or 0), timeout=TIMEOUT)
            stack.enter_context(connection)

            def _wait() -> None:
                with suppress(ConnectionResetError):
                    # It waits for a request: nothing but its end closes the connection.
                    assert connection.recv(1) == b""

            return _wait

        yield _connect


class ParentProcess:
    """A process with a stub engine; ``code`` runs in it: may `tell` the test something, `ask` the engine."""

    def __init__(self, code: str) -> None:
        program = (
            "import json, os, sys, urllib.request\n"
            "from puq_magics.sandbox.local.process import EngineProcess\n"
            "child = EngineProcess('stub_engine')\n"
            "child.ready.result()\n"
            "def tell(value):\n"
            "    print(json.dumps(value), flush=True)\n"
            "def ask():\n"
            "    running = child.running()\n"
            "    request = urllib.request.Request(running.url)\n"
            "    request.add_header('Authorization', f'Bearer {running.key}')\n"
            "    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
            "    with opener.open(request) as answer:\n"
            "        return answer.status\n"
            "tell(child.running().url)\n"
        )
        path = os.pathsep.join([str(Path(__file__).parent), *(folder for folder in sys.path if folder)])
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", "-c", program + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.url = self.next_message()

    def next_message(self) -> Any:
        """The next value that it tells."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        with self.process:  # closes the pipes, and waits
            self.process.kill()


@pytest.fixture
def start_parent() -> Iterator[Callable[[str], ParentProcess]]:
    with ExitStack() as stack:

        def _start_parent(code: str) -> ParentProcess:
            parent_process = ParentProcess(code)
            stack.callback(parent_process.close)
            return parent_process

        yield _start_parent
