"""A shell as far as cells are concerned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from IPython.core.events import EventManager, available_events
from IPython.utils.ipstruct import Struct


class FakeShell:
    """Begins and ends cells as a shell does; runs nothing."""

    def __init__(self) -> None:
        self.events = EventManager(self, available_events)
        self.displayhook = SimpleNamespace(prompt_count=1)
        self.meta = Struct()

    def begin(self, cell_id: str | None = None) -> Any:
        info = SimpleNamespace(cell_id=cell_id)
        self.events.trigger("pre_run_cell", info)
        return info

    def end(self, info: Any) -> None:
        self.displayhook.prompt_count += 1
        self.events.trigger("post_run_cell", SimpleNamespace(info=info))
