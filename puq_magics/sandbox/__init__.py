"""A local router that speaks the vendor's API, for learning, teaching and tests.

An island: nothing here knows of the rest of the package, and only ``session/`` starts it.

    with Sandbox() as sandbox:
        requests.get(f"{sandbox.base_url}/v1/models", headers={"Authorization": f"Token {sandbox.token}"})

The answers of its ``sandbox/…`` models are scripted and say so; its images are drawn by a program and say so; its
voice is espeak-ng where that is installed, else tones; it transcribes its own speech, and no other.  With
``Sandbox(local=True)`` small models on this machine answer beside them, and with ``upstream=`` those of another
server.  It listens on 127.0.0.1 only and has a token of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from puq_magics.sandbox.server import Sandbox
    from puq_magics.sandbox.state import RequestRecord, Settings

__all__ = ["RequestRecord", "Sandbox", "Settings"]


def __getattr__(name: str) -> Any:
    # On first use: the processes of the engines are of this package, too, and need none of it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "server" if name == "Sandbox" else "state"
    return getattr(import_module(f"{__name__}.{module}"), name)
