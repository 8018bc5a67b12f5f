"""The server in a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread, current_thread
from typing import Any, Final, TypeAlias, TypeVar

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from puq_magics.sandbox.app import make_app
from puq_magics.sandbox.state import State

T = TypeVar("T")

#: What a server that is up tells: its loop, and how to ask it to stop.
_Ready: TypeAlias = tuple[asyncio.AbstractEventLoop, Callable[[], object]]

ADDRESS: Final = "127.0.0.1"
#: The handlers set limits of their own, and refuse in the API's words; Tornado is not to come before them.
_LARGEST_BODY: Final = 1024**4


@dataclass(frozen=True)
class Service:
    """A server that is running.

    Knows nothing of its owner: neither the thread nor a finalizer that stops it may keep the owner alive.
    """

    port: int
    thread: Thread
    loop: asyncio.AbstractEventLoop
    _ask_to_stop: Callable[[], object]

    def run(self, work: Coroutine[Any, Any, T], seconds: float) -> T | None:
        """Have something done in the server's loop, and wait for it; None where that takes longer."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:  # it has just been stopped
            work.close()
            return None
        try:
            return future.result(seconds)
        except (TimeoutError, CancelledError):
            future.cancel()
            return None

    def stop(self) -> None:
        """Close every connection, streams in mid-answer too, and wait for the thread to end."""
        with suppress(RuntimeError):  # the loop is closed already
            self._ask_to_stop()
        # The garbage collector runs finalizers in whatever thread it is in, the server's own not excepted.
        if self.thread is not current_thread():
            self.thread.join()


def start_service(state: State, port: int) -> Service:
    """Serve on 127.0.0.1; returns once it accepts connections.  Raises OSError for a port that is taken."""
    listener = socket.create_server((ADDRESS, port))
    listener.setblocking(False)
    ready: Future[_Ready] = Future()
    thread = Thread(target=_run, args=(state, listener, ready), name="puq-sandbox", daemon=True)
    thread.start()
    loop, ask_to_stop = ready.result()
    return Service(listener.getsockname()[1], thread, loop, ask_to_stop)


def _run(state: State, listener: socket.socket, ready: Future[_Ready]) -> None:
    # A selector loop by name: whatever policy the kernel has set is for the kernel's loop.
    with listener, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        try:
            runner.run(_serve(state, listener, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)


async def _serve(state: State, listener: socket.socket, ready: Future[_Ready]) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    server = _Server(make_app(state), max_body_size=_LARGEST_BODY)
    server.add_socket(listener)
    ready.set_result((loop, lambda: loop.call_soon_threadsafe(stopping.set)))
    await stopping.wait()
    server.stop()
    await server.close_all_connections()
    # The handlers have been told that their clients are gone; let them end by themselves.
    handlers = asyncio.all_tasks() - {asyncio.current_task()}
    if handlers:
        await asyncio.wait(handlers, timeout=1)


class _Server(HTTPServer):
    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        stream.set_nodelay(True)  # each event of a stream leaves at once
        super().handle_stream(stream, address)
