"""Widgets: ``ModelChooser``, ``Recorder``; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from puq_magics.widgets.chooser import ModelChooser
    from puq_magics.widgets.recorder import Recorder

__all__ = ["ModelChooser", "Recorder"]

_MODULES = {"ModelChooser": "chooser", "Recorder": "recorder"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
