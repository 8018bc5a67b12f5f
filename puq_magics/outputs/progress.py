"""Showing that something is going on while a call blocks."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from time import monotonic


class Ticker:
    """Calls ``tick(seconds)`` beside a blocking call: after half a second, then once a second.

    ``stop`` returns when no tick runs any more, so that what comes next is not painted over.
    ``first`` is called once at the start: to make ready, beside the call, what will be needed after it.
    """

    def __init__(
        self,
        tick: Callable[[float], None],
        *,
        first: Callable[[], None] = lambda: None,
        delay: float = 0.5,
        every: float = 1.0,
    ) -> None:
        self._tick = tick
        self._first = first
        self._delay = delay
        self._every = every
        self._stopped = threading.Event()
        # ipykernel finds the cell that an output belongs to in the context.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="puq-ticker", daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop ticking."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        start = monotonic()
        self._first()
        pause = self._delay
        while not self._stopped.wait(pause):
            self._tick(monotonic() - start)
            pause = self._every
