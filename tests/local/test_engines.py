"""The engine of the chat as it is, with the real model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from puq_magics.sandbox.local import Engine, EngineError, RunningEngine, engines
from puq_magics.sandbox.local.weights import CHAT_WEIGHTS

TIMEOUT = 300.0


@pytest.fixture(scope="session")
def weights() -> Path:
    path = CHAT_WEIGHTS.path
    assert path.exists(), "fetch them first: python -m puq_magics.sandbox fetch"
    return path


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def _make(*arguments: object) -> Engine:
        module = "puq_magics.sandbox.local.chat_engine"
        made.append(Engine("chat", module, [str(argument) for argument in arguments]))
        return made[-1]

    yield _make
    for engine in made:
        engine.stop()


def chat(running: RunningEngine, words: str, **fields: Any) -> requests.Response:
    body = {"messages": [{"role": "user", "content": words}], "temperature": 0, **fields}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{running.url}/v1/chat/completions",
            json=body,
            headers={"Authorization": f"Bearer {running.key}", "Origin": "http://example.org"},
            timeout=TIMEOUT,
            stream=bool(fields.get("stream")),
        )


def in_turn(engine: Engine, *work: Callable[[RunningEngine], None]) -> None:
    """Do each thing in a turn of its own."""

    async def _scene() -> None:
        for thing in work:
            async with engine.acquire(asyncio.get_running_loop().create_future()) as running:
                await asyncio.to_thread(thing, running)

    asyncio.run(_scene())


def test_the_model_that_we_bring_answers(weights: Path) -> None:
    engine = engines(weights)["chat"]

    def scene(running: RunningEngine) -> None:
        response = chat(running, "Name the capital of France.", max_tokens=40)
        assert "Paris" in response.json()["choices"][0]["message"]["content"]
        assert not response.headers.get("Access-Control-Allow-Origin")
        assert chat(RunningEngine(running.url, "another"), "Hello").status_code == 401

    in_turn(engine, scene)
    engine.stop()


def test_an_answer_fits_its_schema(make_engine: Callable[..., Engine], weights: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "inhabitants": {"type": "integer"}},
        "required": ["city", "inhabitants"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}

    def scene(running: RunningEngine) -> None:
        answer = chat(running, "Describe Rome.", max_tokens=100, response_format=form).json()
        value = json.loads(answer["choices"][0]["message"]["content"])
        assert isinstance(value["city"], str)
        assert isinstance(value["inhabitants"], int)

    in_turn(make_engine(weights), scene)


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(
    make_engine: Callable[..., Engine], weights: Path
) -> None:
    def scene(running: RunningEngine) -> None:
        error = chat(running, "again and " * 200).json()["error"]
        assert error["type"] == "exceed_context_size_error"
        assert error["n_ctx"] == 256 < error["n_prompt_tokens"]

    in_turn(make_engine(weights, "--context", 256), scene)


def test_no_more_is_read_than_the_model_can(make_engine: Callable[..., Engine], weights: Path) -> None:
    def scene(running: RunningEngine) -> None:
        assert chat(running, "again and " * 5000).json()["error"]["n_ctx"] == 8192

    in_turn(make_engine(weights, "--context", 1_000_000), scene)


def test_who_hangs_up_does_not_let_it_go_on(make_engine: Callable[..., Engine], weights: Path) -> None:
    """Else its one slot would be busy for minutes with an answer that is as long as the context."""

    def hang_up(running: RunningEngine) -> None:
        endless = chat(running, "Count.", stream=True, ignore_eos=True)
        assert next(endless.iter_lines()).startswith(b"data: ")
        endless.close()

    def ask(running: RunningEngine) -> None:
        answer = chat(running, "Count.", max_tokens=5).json()
        assert answer["usage"]["completion_tokens"] == 5

    # Both in the time that a test may take; the first alone would take several times that.
    in_turn(make_engine(weights, "--context", 8192), hang_up, ask)


def test_what_is_killed_in_mid_answer_starts_again(make_engine: Callable[..., Engine], weights: Path) -> None:
    engine = make_engine(weights)

    def kill(running: RunningEngine) -> None:
        answer = chat(running, "Count.", stream=True, ignore_eos=True)
        lines = answer.iter_lines()
        next(lines)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(requests.RequestException):
            list(lines)
        answer.close()
        told = asyncio.run(engine.exit_description())
        assert told == "ended by signal 9 (SIGKILL)"

    in_turn(engine, kill, lambda running: chat(running, "Count.", max_tokens=5).raise_for_status())


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (40_000_000, "cut.gguf is cut short or damaged: fetch it again"),
        (1, "cut.gguf cannot be loaded: tensor '.+' data is not within the file bounds"),
    ],
)
def test_a_model_that_is_cut_is_told_so(
    make_engine: Callable[..., Engine], weights: Path, tmp_path: Path, missing: int, words: str
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(weights.read_bytes()[:-missing])
    with pytest.raises(EngineError, match=f"^The chat engine cannot start: {words}"):
        in_turn(make_engine(cut), print)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:  # refused; or reset, if the system closed it just then
        return False
    return True


def test_it_ends_when_its_parent_is_killed(weights: Path) -> None:
    program = (
        "import sys\n"
        "from puq_magics.sandbox.local.process import EngineProcess\n"
        "child = EngineProcess('puq_magics.sandbox.local.chat_engine', [sys.argv[1]])\n"
        "child.ready.result()\n"
        "print(child.running().url, flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, weights], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        url = urlsplit(parent.stdout.readline().decode().strip())
        assert url.port is not None
        with socket.create_connection(("127.0.0.1", url.port), timeout=TIMEOUT) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\n")  # and no more: it waits for the rest
            parent.kill()
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        while listens(url.port):  # the system closes the one a moment before the other
            pass
