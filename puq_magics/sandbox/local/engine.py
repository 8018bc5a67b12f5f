"""An engine process that serves one request at a time: started on first use, stopped when idle."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Lock
from typing import Final

from puq_magics.sandbox.disconnect import until_disconnected
from puq_magics.sandbox.local.process import EngineError, EngineProcess, RunningEngine

__all__ = ["Engine", "EngineError", "RunningEngine"]

#: Seconds without a request until an engine is stopped.
IDLE_TIMEOUT: Final = 300.0
#: Seconds to wait for the exit of a process whose connection has ended.
_EXIT_TIMEOUT: Final = 5.0


class Engine:
    """A model in its own process, for one request at a time.

    Requests belong to one event loop at a time; a sandbox that is started again has another one. `stop` may be called
    from any thread. The process ends with this object, and with the interpreter.
    """

    def __init__(
        self, name: str, module: str, arguments: Sequence[str] = (), idle: float = IDLE_TIMEOUT
    ) -> None:
        """Start nothing yet; ``module`` runs `child_main.run`, ``idle`` is in seconds."""
        self.name = name
        self._module = module
        self._arguments = tuple(arguments)
        self._idle = idle
        self._process: EngineProcess | None = None
        self._finalizer: weakref.finalize[[], Engine] | None = None
        self._process_lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        #: Requests that are served or waiting.
        self._requests = 0
        self._idle_timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Id of its process; None if it does not run."""
        process = self._process
        return process.pid if process is not None else None

    @asynccontextmanager
    async def acquire(self, disconnected: asyncio.Future[None]) -> AsyncIterator[RunningEngine]:
        """Start the engine if needed and reserve it for this context; requests are served in order.

        Raises StreamClosedError once ``disconnected`` is done while this waits, and EngineError if the engine cannot
        start; the next request tries again.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # requests of an earlier loop ended with it
            self._loop, self._turn = loop, asyncio.Lock()
        lock = self._turn
        self._requests += 1
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        acquiring = asyncio.ensure_future(lock.acquire())
        try:
            await until_disconnected(acquiring, disconnected)
            yield await self._start(disconnected)
        finally:
            # It may have been acquired just when the client disconnected.
            if not acquiring.cancel() and not acquiring.cancelled():
                lock.release()
            self._requests -= 1
            if not self._requests:
                self._idle_timer = loop.call_later(self._idle, self._kill)

    async def exit_description(self) -> str:
        """Describe how the process ended, after its connection closed too early.

        For use after its name: "ended by signal 9 (SIGKILL)".
        """
        process = self._process
        if process is None:
            return "was stopped"
        ended = asyncio.wrap_future(process.ended)
        try:
            await asyncio.wait({ended}, timeout=_EXIT_TIMEOUT)  # it ends a moment after the connection
        finally:
            ended.cancel()
        return process.exit_description()

    def stop(self) -> None:
        """End the process and wait for its exit; the next request starts a new one."""
        process = self._detach_process()
        if process is not None:
            process.stop()

    async def _start(self, disconnected: asyncio.Future[None]) -> RunningEngine:
        """Wait until the process is ready; it continues to load if the client disconnects."""
        process = self._usable_process()
        await until_disconnected(asyncio.wrap_future(process.ready), disconnected)
        try:
            return process.running()
        except EngineError as error:
            raise EngineError(f"The {self.name} engine cannot start: {error}") from None

    def _usable_process(self) -> EngineProcess:
        """Return the current process, or a new one."""
        with self._process_lock:
            if self._process is None or not self._process.is_usable:
                if self._finalizer is not None:
                    self._finalizer.detach()
                self._process = EngineProcess(self._module, self._arguments)
                self._finalizer = weakref.finalize(self, self._process.stop)  # also run at exit
            return self._process

    def _kill(self) -> None:
        process = self._detach_process()
        if process is not None:
            process.kill()

    def _detach_process(self) -> EngineProcess | None:
        with self._process_lock:
            process, self._process = self._process, None
        return process
