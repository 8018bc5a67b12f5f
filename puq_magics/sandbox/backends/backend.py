"""Backends of a request: a local engine or an upstream server."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Final

from puq_magics.sandbox.backends.http_client import (
    Endpoint,
    HttpResponse,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from puq_magics.sandbox.local.engine import Engine, EngineError
from puq_magics.sandbox.validation import ErrorResponse, as_json, bad_gateway, invalid

#: Bytes of an error response that are read.
MAX_ERROR_BYTES: Final = 64 * 1024


class Backend(ABC):
    """Server that speaks the OpenAI API."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name at the beginning of a sentence."""

    @abstractmethod
    def acquire(self, disconnected: asyncio.Future[None]) -> AbstractAsyncContextManager[Endpoint]:
        """Wait for the backend's turn and yield its endpoint; raises ErrorResponse if it is not available.

        Raises StreamClosedError as soon as ``disconnected`` is done.
        """

    @asynccontextmanager
    async def open(
        self, disconnected: asyncio.Future[None], path: str, body: Mapping[str, object]
    ) -> AsyncIterator[HttpResponse]:
        """Post JSON and yield the response, whatever its status.

        Raises ErrorResponse if the backend is not available (500, 503) or its response ends early (502), and
        StreamClosedError as soon as ``disconnected`` is done while it waits for its turn.
        """
        async with self.acquire(disconnected) as endpoint:
            try:
                async with send_request(endpoint, "POST", path, as_json(body)) as response:
                    if response.status != HTTPStatus.UNAUTHORIZED or not self.change_auth_scheme(endpoint):
                        yield response
                        return
                async with (
                    self.acquire(disconnected) as other,
                    send_request(other, "POST", path, as_json(body)) as response,
                ):
                    yield response
            except UnreachableError as error:
                raise ErrorResponse(503, await self.unreachable_message(str(error))) from None
            except IncompleteResponseError as error:
                raise bad_gateway(await self.truncated_message(str(error))) from None

    async def unreachable_message(self, reason: str) -> str:
        """Error message for a backend that sent no response."""
        return f"{self.name} cannot be reached: {reason}"

    async def truncated_message(self, reason: str) -> str:
        """Error message for a response that ended early."""
        return f"{self.name} failed in mid-answer: {reason}"

    def change_auth_scheme(self, rejected: Endpoint) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether to ask again, after status 401, with another word before the key."""
        return False

    def redact(self, text: str) -> str:
        """Remove from the backend's own text what clients must not see."""
        return text


class EngineBackend(Backend):
    """Model on this machine, in a process that is started on first use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """Name at the beginning of a sentence."""
        return "The engine"

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[Endpoint]:
        """Wait for the engine's turn and start it if necessary."""
        try:
            async with self._engine.acquire(disconnected) as running:
                yield Endpoint(f"{running.url}/v1", running.key)
        except EngineError as error:
            # Not a 503: clients retry that at once, and would wait for the same failure again.
            raise ErrorResponse(500, str(error)) from None

    @asynccontextmanager
    async def open_job(
        self, disconnected: asyncio.Future[None], path: str, job: Mapping[str, object]
    ) -> AsyncIterator[HttpResponse]:
        """Send a job to an engine of ours and yield its response of status 200; raises ErrorResponse as `open`.

        A job that the engine rejects raises ErrorResponse (400) with the engine's message.
        """
        async with self.open(disconnected, path, job) as response:
            if response.status == HTTPStatus.BAD_REQUEST:
                raise invalid(json.loads(await response.read_all(MAX_ERROR_BYTES))["error"])
            if response.status != HTTPStatus.OK:
                raise bad_gateway(f"{self.name} failed, with status {response.status}")
            yield response

    async def unreachable_message(self, reason: str) -> str:  # noqa: ARG002 - the process's end says more
        """Error message for a process that ended before its response."""
        ended = await self._engine.exit_description()
        return f"The engine {ended} before it answered; the next request starts it again"

    async def truncated_message(self, reason: str) -> str:  # noqa: ARG002
        """Error message for a process that ended during its response."""
        return f"The engine {await self._engine.exit_description()} in mid-answer; the next request starts it again"
