"""The magics in a kernel that can start no thread, as in Pyodide; the sandbox is in the test's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

NO_THREADS = """
import threading

def _refuse(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = _refuse
%load_ext puq_magics
"""
CELLS = {
    "%puq_chat Hello": ("_puq.status", ""),
    "%%puq_compare -m sandbox/chat -m sandbox/short\nHello": ("[a.error for a in _puq]", ["", ""]),
    "rows = [{'a': 1}, {'a': 2}]": ("len(rows)", 2),
    "%%puq_map rows\nHello {{a}}": ("len(_puq.failed)", 0),
    "%%puq_grid -m sandbox/clever --repeat 2\nHello": ("len(_puq.to_frame())", 2),
    "%puq_image -m sandbox/image a cat": ("len(_puq.images)", 1),
    "%puq_speak -m sandbox/tts hello": ("_puq.duration > 0", True),
    "%puq": ("1", 1),
}


@pytest.mark.slow
def test_magics_work_without_threads(make_kernel: Callable[..., Any], sandbox: Any) -> None:
    kernel = make_kernel(
        PUQ_BASE_URL=sandbox.base_url, PUQ_API_KEY=sandbox.token, PUQ_CHAT_MODEL="sandbox/chat"
    )
    assert kernel.run(NO_THREADS).reply["status"] == "ok"
    for cell, (expression, value) in CELLS.items():
        assert kernel.run(cell).reply["status"] == "ok", cell
        assert kernel.value(expression) == value
