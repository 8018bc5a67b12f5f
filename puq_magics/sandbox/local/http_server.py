"""In an engine's process: orders that come by HTTP, done one after another, and answered piece by piece.

An order is a JSON object; what comes of it are bytes, sent as soon as they are there.  When the connection closes,
the work on its order ends with the piece that it is at.
"""

from __future__ import annotations

import asyncio
import ctypes
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeAlias

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from puq_magics.sandbox.local.child_main import Parent

#: Does an order: gives the pieces of its answer.
JobFunction: TypeAlias = Callable[[Mapping[str, Any]], Iterator[bytes]]

_ADDRESS: Final = "127.0.0.1"
#: glibc's names for from how many bytes on memory is had of the system itself, and given back there at once, and for
#: how much of the rest may lie idle; and both sizes.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _LARGE = -3, -1, 1_000_000


class InvalidRequestError(Exception):
    """Invalid request to an engine; raised before the first piece of the answer. The message is for the user."""


def trim_memory() -> None:
    """Return large freed arrays to the system; call before a model is loaded.

    Otherwise the freed memory is kept in pieces, some 40 MB per engine.  Does nothing without glibc.
    """
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def serve(parent: Parent, path: str, work: JobFunction) -> None:
    """Answer ``POST path`` until the process ends."""
    # A selector loop by name: Tornado needs one, also where it is not the usual.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_serve(parent, path, work))


async def _serve(parent: Parent, path: str, work: JobFunction) -> None:
    given = {"key": parent.key, "work": work, "worker": ThreadPoolExecutor(1, "work")}
    server = HTTPServer(Application([(path, JobHandler, given)], log_function=lambda _handler: None))
    (listener,) = bind_sockets(0, _ADDRESS)
    server.add_socket(listener)
    parent.announce(f"http://{_ADDRESS}:{listener.getsockname()[1]}")
    await asyncio.Event().wait()


class JobHandler(RequestHandler):
    """Has an order done in the one thread that works."""

    def initialize(self, key: str, work: JobFunction, worker: ThreadPoolExecutor) -> None:
        """Store what the application's route passes."""
        self._key = key
        self._work = work
        self._worker = worker
        self._gone = False

    def prepare(self) -> None:
        """Refuse who does not know the key."""
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode()):
            self._refuse(401, "Unauthorized")

    def on_connection_close(self) -> None:
        """Note that the client has disconnected."""
        self._gone = True

    async def post(self) -> None:
        """Do the order; 400 when it is refused, a cut connection when it fails behind its first piece."""
        try:
            order = json.loads(self.request.body)
        except ValueError:
            self._refuse(400, "The order is not JSON")
            return
        pieces = self._work(order)
        try:
            await self._send(pieces)
        except InvalidRequestError as error:
            self._refuse(400, str(error))
        except StreamClosedError:
            pass
        except Exception:
            if self._headers_written:
                self._cut()
            raise
        finally:
            # In its own thread: it may be at work there for the last time.
            close = getattr(pieces, "close", None)
            if close is not None:
                await asyncio.get_running_loop().run_in_executor(self._worker, close)

    async def _send(self, pieces: Iterator[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.set_header("Content-Type", "application/octet-stream")
        while not self._gone:
            piece = await loop.run_in_executor(self._worker, next, pieces, None)
            if piece is None:
                return
            self.write(piece)
            await self.flush()

    def _refuse(self, status: int, words: str) -> None:
        self.set_status(status)
        self.finish({"error": words})

    def _cut(self) -> None:
        connection = self.request.connection
        # For the type checker: this server speaks nothing else.
        assert isinstance(connection, HTTP1Connection)  # noqa: S101
        connection.close()
