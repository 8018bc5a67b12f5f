"""Requests to a RawServer, and a search for what must not be shown."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from puq_magics.api import ChatStream, Router

KEY = "sk-test-0123456789abcdefghij"
MODEL = "maker/model"


def router_for(server: Any, **settings: Any) -> Router:
    """A router that gives up in a time that a failing test can wait for."""
    return Router(KEY, server.base_url, **({"timeout": 15, "max_retries": 0} | settings))


def ask(router: Router, **params: Any) -> ChatStream:
    return router.stream_chat("Hello", model=MODEL, **params)


def words(stream: ChatStream) -> str:
    """All deltas' text, the stream closed."""
    with stream:
        return "".join(delta.text for delta in stream)


def record_retry_delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    retry_delays: list[float] = []
    clock = SimpleNamespace(sleep=retry_delays.append, time=time.time)
    monkeypatch.setattr("puq_magics.api.transport.time", clock)
    return retry_delays


def shown(error: BaseException) -> Iterator[str]:
    """Everything that a traceback viewer, however curious, can show of an exception."""
    queue: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while queue:
        exc = queue.pop()
        if exc is None or exc in seen:
            continue
        seen.append(exc)
        queue += [exc.__cause__, exc.__context__]
        yield repr(exc)
        yield str(exc)
        yield from traceback.format_exception(exc)
        yield from _iter_contents(vars(exc), 3)
        for frame, _ in traceback.walk_tb(exc.__traceback__):
            if "tests" not in frame.f_code.co_filename:
                yield from _iter_contents(dict(frame.f_locals), 6)


def _iter_contents(value: Any, depth: int) -> Iterator[str]:
    try:
        yield repr(value)
    except AttributeError:  # half made
        yield object.__repr__(value)
    if depth == 0:
        return
    if isinstance(value, dict):
        parts: list[Any] = list(value.values())
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    else:
        parts = list(getattr(value, "__dict__", {}).values())
        parts += [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    for part in parts:
        yield from _iter_contents(part, depth - 1)
