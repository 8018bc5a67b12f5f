"""The streaming view of a notebook: one display, updated no more often than it can bear.

The figures behind the pacing are measured in JupyterLab: math is what costs a browser, then characters; Jupyter
Server drops outputs above 1 MB/s.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from time import monotonic, sleep
from types import FrameType
from typing import TYPE_CHECKING

from IPython.display import DisplayHandle, display

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.outputs.results.chat import ChatResult, folded_reasoning

if TYPE_CHECKING:
    from puq_magics.outputs.markdown.feed import MarkdownFeed


@contextmanager
def deferred() -> Iterator[None]:
    """Let an interrupt come behind these few lines, not in them.

    Python runs its signal handlers in the main thread, and there alone can they be changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


Bundle = dict[str, str]
_PAUSE_SHOWN = (0.5, 2.0)  # seconds after which to say that nothing comes: at first, and in mid-answer
_TICKS = (1.0, 5.0)  # seconds between the ticks of a short wait, and of a long one
_LINGER = 0.01  # seconds for words to gather before they are read, when no frame is due
_BURST = 500  # characters in one reading after which there is nothing to wait for


class Pace:
    """When the next frame may come, by what frames cost the browser and the connection."""

    def __init__(self) -> None:
        self._bytes_allowed = 1_000_000.0
        self._looked = monotonic()

    @staticmethod
    def interval(markdown: str, size: int) -> float:
        """Seconds to leave between frames like this one, which is ``size`` bytes on the wire."""
        render = 0.003 + 2.5e-6 * len(markdown) + 0.001 * markdown.count("$")
        floor = 0.05 if size < 4_000 else 0.08
        return max(floor, render / 0.15, size / 55_000)

    def spend(self, size: int) -> float:
        """Seconds to wait before a message of ``size`` bytes that must be sent, at 600 kB/s in the long run."""
        now = monotonic()
        self._bytes_allowed = min(1_000_000.0, self._bytes_allowed + 600_000 * (now - self._looked)) - size
        self._looked = now
        return max(0.0, -self._bytes_allowed / 600_000)


class Screen:
    """One output of a cell, published and then updated."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._last: Bundle = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was shown yet."""
        return self._handle is None

    def paint(self, bundle: Bundle) -> None:
        """Show this in place of what it shows now."""
        if bundle == self._last:
            return
        if self._handle is None:
            with deferred():  # shown, but with its handle lost, it would be shown a second time
                self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        self._last = bundle


class NotebookView:
    """Shows an answer as Markdown with its plain text beside it; reasoning folded above it."""

    def __init__(self, *, footer: str = "full", live: bool = True) -> None:
        self._footer = footer
        self._live = live
        self._pace = Pace()
        self._screen = Screen()
        self._reasoning_screen: Screen | None = None
        self._shown = 0  # characters of the answer that the feed has
        self._reasoning = ""
        self._dirty = False
        self._due = 0.0
        self._heard = monotonic()
        self._ticked = 0.0
        self._note, self._note_until = "", 0.0
        self._lock = Lock()  # a ticker and a retry can paint at the same time

    @cached_property
    def _feed(self) -> MarkdownFeed:
        from puq_magics.outputs.markdown.feed import MarkdownFeed

        return MarkdownFeed() if self._live else MarkdownFeed(segment_size=None)

    def prepare(self) -> None:
        """See View."""
        _ = self._feed  # the first one of a session takes its time to import

    def waiting(self, seconds: float) -> None:
        """See View."""
        if self._live:
            again = monotonic() < self._note_until
            self._status(self._note if again else f"Waiting … {seconds:.0f} s")

    def retrying(self, retry: Retry) -> None:
        """See View."""
        if self._live:
            self._note, self._note_until = str(retry), monotonic() + retry.delay
            self._status(self._note)

    def show(self, delta: Delta) -> None:
        """See View."""
        self._heard, self._ticked = monotonic(), 0.0
        self._reasoning += delta.reasoning
        if delta.text:
            if self._live and not self._shown:
                self._fold_reasoning()
            self._take(delta.text)
        self._dirty = True
        self._refresh()
        if self._dirty and self._live and len(delta.text) < _BURST:
            sleep(min(_LINGER, max(0.0, self._due - monotonic())))

    def patience(self) -> float | None:
        """See View."""
        if not self._live:
            return None
        now = monotonic()
        if self._dirty:
            return max(0.0, self._due - now)
        silence = now - self._heard
        if silence < self._quiet:
            return self._quiet - silence
        return max(0.0, self._ticked + _TICKS[silence > 10] - silence)

    def idle(self) -> None:
        """See View."""
        if self._dirty:
            self._refresh()
            return
        silence = monotonic() - self._heard
        if self._live and silence >= self._quiet:
            self._ticked = silence
            self._paint(
                f"*… {silence:.0f} s without a word*" if self._shown else f"*Waiting … {silence:.0f} s*"
            )

    def end(self, result: ChatResult) -> None:
        """See View."""
        self._reasoning = result.reasoning
        self._fold_reasoning()
        self._take(result.text[self._shown :])
        footer = result.footer.shortened(self._footer)
        last = self._feed.finish()
        self._publish(footer.below_markdown(last.markdown), footer.below_plain(last.text))

    def abandon(self) -> None:
        """See View."""
        if not self._screen.is_empty:
            self._status("No answer.")

    @property
    def _quiet(self) -> float:
        return _PAUSE_SHOWN[bool(self._shown)]

    def _take(self, text: str) -> None:
        segments = self._feed.feed(text)
        self._shown += len(text)
        for segment in segments:
            self._publish(segment.markdown, segment.text)
            self._screen = Screen()

    def _refresh(self) -> None:
        """Paint a frame, if one is due."""
        if self._live and monotonic() >= self._due:
            self._paint()

    def _paint(self, note: str = "") -> None:
        markdown = self._feed.frame()
        if not self._shown:
            note = note or f"*Reasoning … {len(self._reasoning):,} characters*"
        shown = "\n\n".join(part for part in (markdown, note) if part)
        if not shown and self._screen.is_empty:
            return  # all that came is held back
        size = self._publish(shown, self._feed.text)
        self._dirty = False
        self._due = monotonic() + self._pace.interval(markdown, size)

    def _publish(self, markdown: str, text: str) -> int:
        """Paint it; give its size on the wire."""
        size = (
            len(markdown.encode()) + len(text.encode()) + 700
        )  # and a message's frame: close enough for a limit
        if wait := self._pace.spend(size):
            sleep(wait)
        self._screen.paint({"text/markdown": markdown, "text/plain": text})
        return size

    def _status(self, words: str) -> None:
        from puq_magics.outputs.markdown.feed import inline, plain

        with self._lock:
            self._screen.paint({"text/markdown": f"*{inline(words)}*", "text/plain": plain(words)})

    def _fold_reasoning(self) -> None:
        """Show the reasoning, once words follow it: in the output that said that there is some."""
        if not self._reasoning:
            return
        if self._reasoning_screen is None:
            self._reasoning_screen = self._screen
            self._screen = Screen()
        self._reasoning_screen.paint(reasoning_bundle(self._reasoning))


def reasoning_bundle(reasoning: str) -> Bundle:
    """A model's reasoning, folded."""
    from puq_magics.outputs.markdown.feed import plain

    return {"text/markdown": folded_reasoning(reasoning), "text/plain": f"[Reasoning]\n{plain(reasoning)}"}


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
