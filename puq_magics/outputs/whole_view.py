"""The view of an answer that is shown only once it is whole, such as JSON."""

from __future__ import annotations

from time import monotonic

from puq_magics.api.types import Delta
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.views.notebook import NotebookView

_BETWEEN = 0.25  # seconds between two counts of characters


class WholeView(NotebookView):
    """Counts the characters of an answer as they come, and shows it as its format says at its end."""

    _characters = 0

    def show(self, delta: Delta) -> None:
        """See View."""
        self._heard, self._ticked = monotonic(), 0.0
        self._characters += len(delta.text) + len(delta.reasoning)
        if self._live and monotonic() >= self._due:
            self._status(f"… {self._characters:,} characters")
            self._due = monotonic() + _BETWEEN

    def end(self, result: ChatResult) -> None:
        """See View."""
        self._screen.paint(result.bundle(result.footer.shortened(self._footer)))
