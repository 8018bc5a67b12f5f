"""Waiting that ends when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from tornado.iostream import StreamClosedError

T = TypeVar("T")


async def until_disconnected(work: Awaitable[T], disconnected: asyncio.Future[None]) -> T:
    """Await ``work``; if the client disconnects first, cancel it and raise StreamClosedError."""
    task = asyncio.ensure_future(work)
    try:
        either: set[asyncio.Future[Any]] = {task, disconnected}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StreamClosedError
        return task.result()
    finally:
        task.cancel()
