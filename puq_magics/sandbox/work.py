"""Work of requests that takes a while, done in threads so that the server goes on answering others."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any, Final, TypeVar

from puq_magics.sandbox.state import TokenAccount

T = TypeVar("T")

_MAX_THREADS: Final = 8
_TIME_TO_END: Final = 2.0  # seconds


class WorkQueue:
    """Threads that do one piece of work at a time for each account: a busy one delays no other."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="puq-work")
        self._turns: defaultdict[TokenAccount, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, account: TokenAccount, work: Callable[[], T]) -> T:
        """Do the work when it is the account's turn; a cancelled one still takes its turn to the end."""
        turn = self._turns[account]
        await turn.acquire()
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._running.add(future)

        def _end(future: asyncio.Future[T]) -> None:
            self._running.discard(future)
            turn.release()
            if not future.cancelled():
                future.exception()  # read here: after a cancellation nobody else does

        future.add_done_callback(_end)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Start nothing more, and wait a little for what is being done."""
        for future in self._running:
            future.cancel()
        ending = Thread(target=self._threads.shutdown, kwargs={"cancel_futures": True}, daemon=True)
        ending.start()
        ending.join(_TIME_TO_END)
