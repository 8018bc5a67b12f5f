"""Backends of a proxied request: a local engine or an upstream server."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from puq_magics.sandbox.backends.http_client import Endpoint
from puq_magics.sandbox.validation import ErrorResponse

if TYPE_CHECKING:
    from puq_magics.sandbox.local.engine import Engine


class Backend(ABC):
    """Something that speaks the OpenAI API."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name at the beginning of a sentence."""

    @abstractmethod
    def acquire(self, disconnected: asyncio.Future[None]) -> AbstractAsyncContextManager[Endpoint]:
        """Wait for the backend's turn and yield its endpoint; raises ErrorResponse if it is not available.

        Raises StreamClosedError as soon as ``gone`` is done.
        """

    async def unreachable_message(self, why: str) -> str:
        """Error message for a backend that sent no answer."""
        return f"{self.name} cannot be reached: {why}"

    async def truncated_message(self, how: str) -> str:
        """Error message for an answer that ended too early."""
        return f"{self.name} broke off in mid-answer: {how}"

    def redact(self, words: str) -> str:
        """Words of its own without what is not for others."""
        return words


class EngineBackend(Backend):
    """A model on this machine, in a process that is started when it is first asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """Name at the beginning of a sentence."""
        return "The engine"

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[Endpoint]:
        """Wait until it is free, and start it if it does not run."""
        from puq_magics.sandbox.local.engine import EngineError

        try:
            async with self._engine.acquire(disconnected) as running:
                yield Endpoint(f"{running.url}/v1", running.key)
        except EngineError as error:
            # Not a 503: who asks again at once, as clients do then, would only wait for the same once more.
            raise ErrorResponse(500, str(error)) from None

    async def unreachable_message(self, why: str) -> str:  # noqa: ARG002 - there is more to say
        """Error message for a process that ended before it answered."""
        ended = await self._engine.exit_description()
        return f"The engine {ended} before it answered; the next request starts it again"

    async def truncated_message(self, how: str) -> str:  # noqa: ARG002
        """Error message for a process that ended in mid-answer."""
        return f"The engine {await self._engine.exit_description()} in mid-answer; the next request starts it again"
