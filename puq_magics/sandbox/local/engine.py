"""An engine as the router sees it: asked in turn, loaded when first asked, unloaded after idling."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox.local.process import EngineError, EngineProcess, RunningEngine

__all__ = ["Engine", "EngineError", "RunningEngine"]

#: Seconds without a request until an engine is unloaded.
IDLE_TIMEOUT: Final = 300.0
#: Seconds to wait for the end of a process whose connection has ended.
_DYING: Final = 1.0


class Engine:
    """A model in a process of its own, for one request at a time.

    Turns are taken in an event loop, one loop at a time (a sandbox that is started again has another one); `stop`
    may come from any thread.  The process ends with the engine, and with the interpreter.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str] = (), idle: float = IDLE_TIMEOUT
    ) -> None:
        """Start nothing yet; ``module`` serves as `watching` tells, ``idle`` is in seconds."""
        self.name = name
        self._module = module
        self._arguments = tuple(arguments)
        self._idle = idle
        self._child: EngineProcess | None = None
        self._finalizer: weakref.finalize[[], Engine] | None = None
        self._lock = Lock()
        self._line = _FairQueue()
        #: Turns that are taken or waited for.
        self._asking = 0
        self._resting: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Its process's id, while there is one."""
        child = self._child
        return child.pid if child is not None else None

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[RunningEngine]:
        """Start the engine if needed and reserve it for this context; requests are served in order.

        Raises StreamClosedError once ``gone`` is done (the client went) while it waits, in line or for the engine to
        load, and EngineError where that cannot be loaded; the next turn tries again.
        """
        self._asking += 1
        if self._resting is not None:
            self._resting.cancel()
        try:
            async with self._line.wait_turn(disconnected):
                yield await self._loaded(disconnected)
        finally:
            self._asking -= 1
            if not self._asking:
                self._resting = asyncio.get_running_loop().call_later(self._idle, self._unload)

    async def exit_description(self) -> str:
        """Describe how the process ended, after its connection closed too early.

        For use after its name: "ended by signal 9 (SIGKILL)".
        """
        child = self._child
        if child is None:
            return "was stopped"
        ended = asyncio.wrap_future(child.ended)
        try:
            await asyncio.wait(
                {ended}, timeout=_DYING
            )  # the connection ends a moment before the process does
        finally:
            ended.cancel()
        return child.exit_description()

    def stop(self) -> None:
        """End the process and wait for its exit; the next request starts a new one."""
        child = self._take_child()
        if child is not None:
            child.stop()

    async def _loaded(self, disconnected: asyncio.Future[None]) -> RunningEngine:
        child = self._usable_process()
        ready = asyncio.wrap_future(child.ready)
        try:
            await asyncio.wait({ready, disconnected}, return_when=asyncio.FIRST_COMPLETED)
            if disconnected.done():
                raise StreamClosedError  # it goes on loading: who was too impatient may ask again
        finally:
            ready.cancel()
        try:
            return child.running()
        except EngineError as error:
            raise EngineError(f"The {self.name} engine cannot start: {error}") from None

    def _usable_process(self) -> EngineProcess:
        """The process that there is, or a new one."""
        with self._lock:
            if self._child is None or not self._child.is_usable:
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._child = EngineProcess(self._module, self._arguments)
                self._finalizer = weakref.finalize(self, self._child.stop)  # also run at exit
            return self._child

    def _unload(self) -> None:
        child = self._take_child()
        if child is not None:
            child.kill()

    def _take_child(self) -> EngineProcess | None:
        with self._lock:
            child, self._child = self._child, None
        return child


class _FairQueue:
    """Queue of waiting requests: first come, first served."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def wait_turn(self, disconnected: asyncio.Future[None]) -> AsyncIterator[None]:
        """Wait until first in line; raises StreamClosedError, and leaves the queue, as soon as ``gone`` is done."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # whoever was in line there went with that loop
            self._loop, self._lock = loop, asyncio.Lock()
        lock = self._lock
        taking = asyncio.ensure_future(lock.acquire())
        try:
            either: set[asyncio.Future[Any]] = {taking, disconnected}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if disconnected.done():
                raise StreamClosedError
            yield
        finally:
            # Too late, unless the loop ends and has cancelled it already: the place was taken.
            if not taking.cancel() and not taking.cancelled():
                lock.release()
