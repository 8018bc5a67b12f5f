"""Routers for runs: the sandbox, and a fake one that answers each prompt as a test says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from puq_magics import Router
from puq_magics.experiments import map_rows

Reply = Callable[[str], str | tuple[int, str]]


def completion(text: str) -> bytes:
    """Return a chat answer as a router sends it."""
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "model": "a/b-2026",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        }
    ).encode()


@pytest.fixture(autouse=True)
def _main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes be spawned: a shell of tests before these may have taken its place, or cleared it."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)


@pytest.fixture
def replies(serve: Any) -> Callable[[Reply], Any]:
    """Start a server that answers the last message of each request with a text, or with a status and a message."""

    def _replies(reply: Reply) -> Any:
        def _answer(connection: Any) -> None:
            answered = reply(connection.request.json["messages"][-1]["content"])
            if isinstance(answered, tuple):
                connection.send_head(f"{answered[0]} Said", "application/json")
                connection.send(json.dumps({"error": {"message": answered[1]}}).encode())
            else:
                connection.send_head(kind="application/json")
                connection.send(completion(answered))

        return serve(_answer)

    return _replies


@pytest.fixture
def ask_rows(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Run `map_rows` against a server, with the journal in the test's folder."""
    routers: list[Router] = []

    def _ask(server: Any, rows: Any, template: str = "{{text}}", **options: Any) -> Any:
        routers.append(Router("pk_secret_of_the_test", server.url))
        defaults = {"model": "a/b", "journal": tmp_path / "run"}
        return map_rows(rows, template, router=routers[-1], **(defaults | options))

    yield _ask
    for router in routers:
        router.close()
