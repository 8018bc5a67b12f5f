"""Background work, also on platforms without threads, such as Pyodide."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def start_daemon(target: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """Run ``target(*args)`` in a daemon thread; where no thread can be started, run it now.

    Returns the thread, which is not alive in that case.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        target(*args)
    return thread
