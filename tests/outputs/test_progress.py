from __future__ import annotations

import contextvars
import threading
from queue import Queue

import pytest

from puq_magics.outputs.views.progress import Ticker

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def test_it_ticks_beside_the_call_in_the_calls_context() -> None:
    ticks: Queue[tuple[float, str, str]] = Queue()
    WHO.set("the cell")
    with Ticker(
        lambda s: ticks.put((s, WHO.get(), threading.current_thread().name)), delay=0.001, every=0.001
    ):
        first, second = ticks.get(timeout=30), ticks.get(timeout=30)
    assert 0 < first[0] < second[0]
    assert first[1:] == ("the cell", "puq-ticker")


def test_nothing_ticks_after_the_end() -> None:
    ticks: Queue[float] = Queue()
    with Ticker(ticks.put, delay=0.001, every=0.001):
        ticks.get(timeout=30)
    seen = ticks.qsize()
    assert "puq-ticker" not in [thread.name for thread in threading.enumerate()]
    assert ticks.qsize() == seen


def test_the_end_waits_for_a_tick_that_runs() -> None:
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def _tick(_: float) -> None:
        entered.set()
        leave.wait(30)
        left.set()

    ticker = Ticker(_tick, delay=0.0)
    with ticker:
        entered.wait(30)
        stopping = threading.Thread(target=ticker.stop)
        stopping.start()
        assert stopping.is_alive()
        leave.set()
        stopping.join(30)
        assert left.is_set()


def test_a_quick_call_sees_no_tick() -> None:
    ticks: Queue[float] = Queue()
    with Ticker(ticks.put, delay=3600):
        pass
    assert ticks.empty()


def test_it_ends_when_the_call_fails() -> None:
    with pytest.raises(KeyboardInterrupt), Ticker(lambda _: None, delay=3600):
        raise KeyboardInterrupt
    assert "puq-ticker" not in [thread.name for thread in threading.enumerate()]
