"""Answering with server-sent events, each in a write of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from puq_magics.sandbox.handlers import AccountHandler
from puq_magics.sandbox.validation import RATE_LIMIT, ErrorResponse, as_json, error_object

#: A comment that clients take for a sign of life.
KEEP_ALIVE: Final = b": PROCESSING\n\n"
#: Seconds without an event after which there is one.
_KEEP_ALIVE_INTERVAL: Final = 5.0


class SSEHandler(AccountHandler):
    """An endpoint that can answer with a stream of events."""

    #: Whether the answer has begun as a stream: from then on an error can only be an event of it.
    streaming = False
    #: Events that went out.
    _sent = 0
    _drop_after: int | None = None
    _flushing = False
    #: When something last went out, in the loop's time.
    _last = 0.0

    async def start_stream(self) -> None:
        """Send the headers of a stream, unless they are sent already."""
        if not self.streaming:
            self._begin()
            await self._push()

    async def send_event(self, data: bytes) -> None:
        """Send one event, in a write of its own; or cut the connection where it is to be dropped."""
        await self.start_stream()
        if self._sent == self._drop_after:
            self.drop_connection()
        self.write(b"data: " + data + b"\n\n")
        await self._push()
        self._sent += 1

    async def send_comment(self) -> None:
        """Send a sign of life."""
        await self.start_stream()
        self.write(KEEP_ALIVE)
        await self._push()

    @asynccontextmanager
    async def send_keep_alives(self) -> AsyncIterator[None]:
        """Send signs of life whenever there was nothing to send for a while; the first one begins the stream."""
        ticking = asyncio.ensure_future(self._tick())
        try:
            yield
        finally:
            ticking.cancel()

    @asynccontextmanager
    async def errors_as_events(self) -> AsyncIterator[None]:
        """Send an ErrorResponse as the last event if the stream has begun; raise it otherwise."""
        try:
            yield
        except ErrorResponse as error:
            if not self.streaming:
                raise
            code = RATE_LIMIT if error.status == HTTPStatus.TOO_MANY_REQUESTS else error.code
            await self.send_event(as_json(error_object(error.message, code)))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        while True:
            await asyncio.sleep(self._last + _KEEP_ALIVE_INTERVAL - loop.time())
            if not self._flushing and loop.time() >= self._last + _KEEP_ALIVE_INTERVAL:
                self._begin()
                self.write(KEEP_ALIVE)
                self.flush()  # not awaited: it would be in the way of an event's own
                self._last = loop.time()
            elif self._flushing:
                self._last = loop.time()  # the client is slow: it has something to read

    def _begin(self) -> None:
        if not self.streaming:
            self.streaming = True
            self._drop_after = self.state.settings.drop_after
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            self.set_header("Cache-Control", "no-cache")

    async def _push(self) -> None:
        self._flushing = True
        try:
            await self.flush()
        finally:
            self._flushing = False
            self._last = asyncio.get_running_loop().time()
