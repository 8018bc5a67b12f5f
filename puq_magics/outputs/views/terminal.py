"""The same for a terminal: the text as it comes, without the model's control characters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import TextIO

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.outputs.markdown.feed import PlainFeed, plain
from puq_magics.outputs.results.chat import ChatResult

_ERASE_LINE = "\r\x1b[K"


class TerminalView:
    """Prints to standard output."""

    def __init__(
        self, *, footer: str = "full", live: bool = True, out: Callable[[], TextIO] | None = None
    ) -> None:
        self._footer = footer
        self._live = live
        self._out = out or (lambda: sys.stdout)
        self._text = PlainFeed()
        self._shown = 0  # characters of the answer
        self._reasoning = 0
        self._status = False
        self._note = ""
        self._note_until = 0.0

    def prepare(self) -> None:
        """See View."""

    def waiting(self, seconds: float) -> None:
        """See View."""
        noted = monotonic() < self._note_until
        self._say(self._note if noted else f"… waiting {seconds:.0f} s")

    def retrying(self, retry: Retry) -> None:
        """See View."""
        self._note, self._note_until = f"… {retry}", monotonic() + retry.delay
        self._say(self._note)

    def show(self, delta: Delta) -> None:
        """See View."""
        if not self._live:
            return
        self._reasoning += len(delta.reasoning)
        if delta.text:
            self._print(self._text.feed(delta.text), len(delta.text))
        else:
            self._say(f"… reasoning, {self._reasoning:,} characters")

    def patience(self) -> float | None:
        """See View."""
        return None

    def idle(self) -> None:
        """See View."""

    def end(self, result: ChatResult) -> None:
        """See View."""
        self._print(self._text.feed(result.text[self._shown :]) + self._text.finish(), 0)
        line = result.footer.shortened(self._footer).plain()
        out = self._out()
        out.write(f"\n[{line}]\n" if line else "\n")
        out.flush()

    def abandon(self) -> None:
        """See View."""
        self._clear()

    def _print(self, text: str, size: int) -> None:
        self._clear()
        self._shown += size
        out = self._out()
        out.write(text)
        out.flush()

    def _say(self, words: str) -> None:
        """A line that the next one takes the place of; only where that can be."""
        out = self._out()
        if self._live and not self._shown and out.isatty():
            self._status = True
            out.write(_ERASE_LINE + plain(words))
            out.flush()

    def _clear(self) -> None:
        if self._status:
            self._status = False
            out = self._out()
            out.write(_ERASE_LINE)
            out.flush()
