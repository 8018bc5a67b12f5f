"""The router's HTTP API as plain Python; knows nothing of IPython.

>>> from puq_magics.api import Router
>>> with Router(api_key=…) as router, router.stream_chat("Hello", model="openai/gpt-4o-mini") as stream:
...     for delta in stream:
...         print(delta.text, end="")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.errors import APIError, PuqError
    from puq_magics.api.stream import ChatStream
    from puq_magics.api.transport import Response, Transport
    from puq_magics.api.wire import Completion, Delta, Model, Usage

_HOMES = {
    "APIError": "errors",
    "ChatStream": "stream",
    "Completion": "wire",
    "Delta": "wire",
    "Model": "wire",
    "PuqError": "errors",
    "Response": "transport",
    "Router": "client",
    "Transport": "transport",
    "Usage": "wire",
}

__all__ = [
    "APIError",
    "ChatStream",
    "Completion",
    "Delta",
    "Model",
    "PuqError",
    "Response",
    "Router",
    "Transport",
    "Usage",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that `%load_ext` does not wait for requests.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
