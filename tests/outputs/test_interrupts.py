from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from puq_magics.outputs.views.notebook import deferred


def test_an_interrupt_comes_behind_the_step() -> None:
    done = []

    def step() -> None:
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the step")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_passes_and_the_handler_is_back() -> None:
    with pytest.raises(ValueError, match="of the step"), deferred():
        raise ValueError("of the step")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_there_is_nothing_to_do() -> None:
    def step() -> bool:
        with deferred():
            return threading.current_thread() is threading.main_thread()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(step).result() is False
