"""IPython magics for puq.ai's AI router: ``%load_ext puq_magics``, then ``%%puq_chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from puq_magics.api.client import Router
    from puq_magics.core.errors import PuqError
    from puq_magics.core.version import __version__
    from puq_magics.prompts.conversation.conversation import Conversation

__all__ = [
    "Conversation",
    "PuqError",
    "Router",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics."""
    from puq_magics.magics.extension import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Take them away again."""
    from puq_magics.magics.extension import unload

    unload(ipython)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "Conversation":
        from puq_magics.prompts.conversation.conversation import Conversation

        return Conversation
    if name == "__version__":
        from puq_magics.core.version import __version__

        return __version__
    if name not in ("PuqError", "Router"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from puq_magics import api

    return getattr(api, name)
