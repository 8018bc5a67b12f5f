"""Orders to a process of its own, over HTTP as the router sends them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox.local.engine import Engine
from puq_magics.sandbox.local.process import RunningEngine


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEngine]:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    engine = Engine("told", "scripted_engine", ["/v1/do"])

    async def start() -> RunningEngine:
        async with engine.acquire(asyncio.get_running_loop().create_future()) as running:
            return running

    yield asyncio.run(start())
    engine.stop()


def order(running: RunningEngine, key: str = "", **fields: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {key or running.key}"}
        return session.post(f"{running.url}/v1/do", headers=headers, timeout=60, **fields)


def test_pieces_come_in_order(running: RunningEngine) -> None:
    answer = order(running, json={"text": "Do\nsay one\nsay two"})
    assert (answer.status_code, answer.content) == (200, b"onetwo")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"json": {}, "key": "another"}, 401, "Unauthorized"),
        ({"data": b"{oops"}, 400, "not JSON"),
        ({"json": {"text": "Do\nrefuse so it is"}}, 400, "so it is"),
    ],
)
def test_refusals(running: RunningEngine, fields: dict[str, Any], status: int, words: str) -> None:
    answer = order(running, **fields)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True)


def test_what_fails_is_cut(running: RunningEngine) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        order(running, json={"text": "Do\nsay one\nfail"})
    assert order(running, json={"text": "Do\nfail"}).status_code == 500
    assert order(running, json={"text": "Do\nsay one"}).content == b"one"


def test_it_listens_on_this_machine_alone(running: RunningEngine) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    with socket.socket() as another:
        another.settimeout(60)
        assert another.connect_ex(("127.0.0.2", int(port))) != 0
