"""Limit on the calls under way: lower while the router says that there are too many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

#: Calls under way at the start; more are tried as long as answers come.
START = 20
_CUT = 0.8
#: Seconds after a cut without another one, and without growth.
_COOL_DOWN = 15.0


class AdaptiveLimiter:
    """Admits calls of several threads, at most ``ceiling`` at once.

    The limit starts at 20, and doubles with each round of answers until the router first says 429; from then on a
    round of answers adds one call. A 429 cuts the limit by a fifth, at most once in 15 seconds, in which the limit
    does not grow; ``Retry-After`` stops all calls for that time. A 5xx only stops the growth.
    """

    def __init__(self, ceiling: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._ceiling = ceiling
        self._clock = clock
        self._limit = float(min(START, ceiling))
        self._running = 0
        self._was_cut = False
        self._quiet_until = self._paused_until = 0.0
        self._stopped = threading.Event()
        self._condition = threading.Condition()

    @property
    def limit(self) -> int:
        """The number of calls that may be under way."""
        return max(1, int(self._limit))

    @property
    def running(self) -> int:
        """The number of calls that are under way."""
        return self._running

    @property
    def is_stopped(self) -> bool:
        """True after ``stop``."""
        return self._stopped.is_set()

    def acquire(self) -> bool:
        """Wait for a place; return False if the run was stopped."""
        with self._condition:
            while not self._stopped.is_set():
                pause = self._paused_until - self._clock()
                if pause <= 0 and self._running < self.limit:
                    self._running += 1
                    return True
                self._condition.wait(pause if pause > 0 else None)
            return False

    def release(self, *, answered: bool = False) -> None:
        """Give a place back; ``answered`` if an answer came."""
        with self._condition:
            self._running -= 1
            if answered and self._clock() >= self._quiet_until:
                growth = 1 / self._limit if self._was_cut else 1.0
                self._limit = min(float(self._ceiling), self._limit + growth)
                self._condition.notify(2)
            else:
                self._condition.notify()

    def record_rate_limit(self, retry_after: float | None) -> None:
        """Lower the limit after a 429; with ``retry_after`` (seconds) admit nothing for that time."""
        with self._condition:
            now = self._clock()
            if retry_after:
                self._paused_until = max(self._paused_until, now + retry_after)
            if now >= self._quiet_until or not self._was_cut:
                self._limit = max(1.0, min(self._limit, self._running) * _CUT)
                self._was_cut = True
                self._quiet_until = now + _COOL_DOWN

    def record_server_error(self) -> None:
        """Stop growing for a while after a 5xx."""
        with self._condition:
            self._quiet_until = max(self._quiet_until, self._clock() + _COOL_DOWN)

    def wait(self, seconds: float) -> bool:
        """Wait before another attempt; return False if the run was stopped."""
        return not self._stopped.wait(seconds)

    def stop(self) -> None:
        """Admit nothing any more."""
        self._stopped.set()
        with self._condition:
            self._condition.notify_all()
