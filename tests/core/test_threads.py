"""Background work where no thread can be started."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from puq_magics.core.threads import start_daemon


@pytest.mark.parametrize("has_threads", [True, False])
def test_background_work_is_done_with_and_without_threads(monkeypatch: Any, has_threads: bool) -> None:
    def _refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not has_threads:
        monkeypatch.setattr(threading.Thread, "start", _refuse)
    done: list[str] = []
    thread = start_daemon(done.append, "work", name="puq-test")
    if thread.is_alive():
        thread.join()
    assert done == ["work"]
