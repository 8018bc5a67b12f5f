"""Terminal view: prints text as it streams, without the model's control characters."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.outputs.markdown.feed import ControlCharFilter, strip_control_chars
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.views.stdout import Stdout, Writer

_ERASE_LINE = "\r\x1b[K"


class TerminalView:
    """Prints to standard output."""

    is_quiet = False

    def __init__(
        self, *, footer: str = "full", live: bool = True, out: Callable[[], Writer] | None = None
    ) -> None:
        self._footer = footer
        self._live = live
        self._out = out or Stdout
        self._filter = ControlCharFilter()
        self._shown_chars = 0  # characters of the answer
        self._reasoning_chars = 0
        self._status_shown = False
        self._note = ""
        self._note_until = 0.0

    def prepare(self) -> None:
        """Implement `ChatView`."""

    def show_waiting(self, seconds: float) -> None:
        """Implement `ChatView`."""
        note_is_current = monotonic() < self._note_until
        self._show_status(self._note if note_is_current else f"… waiting {seconds:.0f} s")

    def show_retry(self, retry: Retry) -> None:
        """Implement `ChatView`."""
        self._note, self._note_until = f"… {retry}", monotonic() + retry.delay
        self._show_status(self._note)

    def show_delta(self, delta: Delta) -> None:
        """Implement `ChatView`."""
        if not self._live:
            return
        self._reasoning_chars += len(delta.reasoning)
        if delta.text:
            self._print(self._filter.feed(delta.text), len(delta.text))
        else:
            self._show_status(f"… reasoning, {self._reasoning_chars:,} characters")

    def idle_timeout(self) -> float | None:
        """Implement `ChatView`."""
        return None

    def show_idle(self) -> None:
        """Implement `ChatView`."""

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        self._print(self._filter.feed(result.answer_text[self._shown_chars :]) + self._filter.finish(), 0)
        line = result.footer.with_style(self._footer).to_text()
        out = self._out()
        out.write(f"\n[{line}]\n" if line else "\n")
        out.flush()

    def abandon(self) -> None:
        """Implement `ChatView`."""
        self._clear_status()

    def _print(self, text: str, size: int) -> None:
        self._clear_status()
        self._shown_chars += size
        out = self._out()
        out.write(text)
        out.flush()

    def _show_status(self, words: str) -> None:
        """A line that the next one takes the place of; only where that can be."""
        out = self._out()
        if self._live and not self._shown_chars and out.isatty():
            self._status_shown = True
            out.write(_ERASE_LINE + strip_control_chars(words))
            out.flush()

    def _clear_status(self) -> None:
        if self._status_shown:
            self._status_shown = False
            out = self._out()
            out.write(_ERASE_LINE)
            out.flush()
