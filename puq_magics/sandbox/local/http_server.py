"""HTTP server of an engine's process: one job at a time, answered piece by piece.

A job is a JSON object; its result is bytes, sent as soon as they are there.  When the connection closes, the work
ends after the current piece.
"""

from __future__ import annotations

import asyncio
import ctypes
import hmac
import json
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeAlias

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from puq_magics.sandbox.local.child_main import Parent

#: Does a job and yields the pieces of its result; raises InvalidRequestError before the first one.
JobFunction: TypeAlias = Callable[[Mapping[str, Any]], Generator[bytes, None, None]]

_ADDRESS: Final = "127.0.0.1"
#: glibc's parameters: larger allocations are mapped, and returned one by one; less than this stays idle. In bytes.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _LARGE = -3, -1, 1_000_000


class InvalidRequestError(Exception):
    """A job is invalid; raised before the first piece of the result. The message is for the user."""


def trim_memory() -> None:
    """Return large freed arrays to the system; call before a model is loaded.

    Otherwise freed memory is kept in pieces, some 40 MB per engine.  Does nothing without glibc.
    """
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def serve(parent: Parent, path: str, work: JobFunction) -> None:
    """Answer ``POST path`` until the process ends."""
    # Tornado needs a selector loop, which is not the default on Windows.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_serve(parent, path, work))


async def _serve(parent: Parent, path: str, work: JobFunction) -> None:
    options = {"key": parent.key, "work": work, "worker": ThreadPoolExecutor(1, "work")}
    server = HTTPServer(Application([(path, JobHandler, options)], log_function=lambda _handler: None))
    (listener,) = bind_sockets(0, _ADDRESS)
    server.add_socket(listener)
    parent.announce(f"http://{_ADDRESS}:{listener.getsockname()[1]}")
    await asyncio.Event().wait()


class JobHandler(RequestHandler):
    """Handler that does each job in the one worker thread."""

    def initialize(self, key: str, work: JobFunction, worker: ThreadPoolExecutor) -> None:
        """Store the route's options."""
        self._key = key
        self._work = work
        self._worker = worker
        self._disconnected = False

    def prepare(self) -> None:
        """Refuse a request without the key."""
        authorization = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._key}".encode()):
            self._refuse(401, "Unauthorized")

    def on_connection_close(self) -> None:
        """Note that the client has disconnected."""
        self._disconnected = True

    async def post(self) -> None:
        """Do the job; 400 if it is invalid, a cut connection if it fails after its first piece."""
        try:
            job = json.loads(self.request.body)
        except ValueError:
            self._refuse(400, "The request is not JSON")
            return
        pieces = self._work(job)
        try:
            await self._send(pieces)
        except InvalidRequestError as error:
            self._refuse(400, str(error))
        except StreamClosedError:
            pass
        except Exception:
            if self._headers_written:
                connection = self.request.connection
                assert isinstance(connection, HTTP1Connection)  # noqa: S101 - for the type checker
                connection.close()
            raise
        finally:
            # In the worker thread, which may still be at work on the last piece.
            await asyncio.get_running_loop().run_in_executor(self._worker, pieces.close)

    async def _send(self, pieces: Generator[bytes, None, None]) -> None:
        loop = asyncio.get_running_loop()
        self.set_header("Content-Type", "application/octet-stream")
        while not self._disconnected:
            piece = await loop.run_in_executor(self._worker, next, pieces, None)
            if piece is None:
                return
            self.write(piece)
            await self.flush()

    def _refuse(self, status: int, message: str) -> None:
        self.set_status(status)
        self.finish({"error": message})
