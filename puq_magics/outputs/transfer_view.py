"""How far a download is, shown while it lasts; and in its place, what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import TextIO

from puq_magics.outputs.views.progress import ERASE_LINE, Progress, Status, status_bundle


class TransferView:
    """One display of a notebook, or one line of a terminal, that is updated about once a second."""

    def __init__(
        self,
        *,
        in_notebook: bool,
        live: bool = True,
        clock: Callable[[], float] = monotonic,
        out: Callable[[], TextIO] | None = None,
    ) -> None:
        self._in_notebook = in_notebook
        self._out = out or (lambda: sys.stdout)
        self._live = live and (in_notebook or self._out().isatty())
        self._status = Status("", clock)
        self._written = False
        if in_notebook:
            from puq_magics.outputs.views.notebook import Screen

            self._screen = Screen()

    def report(self, words: str, done: int, total: int) -> None:
        """So many bytes of something are done."""
        if self._live and (progress := self._status.goes_on(done, total, words, "bytes")) is not None:
            self._status.mark()
            self._paint(progress)

    def end(self, words: str) -> None:
        """Nothing goes on any more; this is how it went."""
        if self._in_notebook:
            self._screen.paint(status_bundle(words))
            return
        from puq_magics.outputs.markdown.feed import plain

        erase = ERASE_LINE if self._written else ""
        self._write(f"{erase}{plain(words)}\n")

    def _paint(self, progress: Progress) -> None:
        if self._in_notebook:
            self._screen.paint(progress.bundle())
            return
        from puq_magics.outputs.markdown.feed import plain

        self._written = True
        self._write(f"{ERASE_LINE}… {plain(str(progress))}")

    def _write(self, text: str) -> None:
        out = self._out()
        out.write(text)
        out.flush()
