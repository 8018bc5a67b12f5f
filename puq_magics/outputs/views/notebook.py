"""The streaming view of a notebook: one display, updated no more often than it can bear.

The figures behind the pacing are measured in JupyterLab: math is what costs a browser, then characters; Jupyter
Server drops outputs above 1 MB/s.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from time import monotonic, sleep
from types import FrameType
from typing import TYPE_CHECKING, Any

from IPython.display import DisplayHandle, display

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.secret import redact_secrets
from puq_magics.core.text import pluralize
from puq_magics.outputs.plain_text import plain_text_bundle
from puq_magics.outputs.results.chat import ChatResult, append_media, append_media_text, collapsed_reasoning
from puq_magics.outputs.views.view import KEY_PAUSE

if TYPE_CHECKING:
    from puq_magics.outputs.markdown.feed import MarkdownFeed, MarkdownSegment


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Defer an interrupt until the end of the block.

    Python runs signal handlers in the main thread, and they can only be changed there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.getsignal(signal.SIGINT)
    received: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
        if received and callable(previous_handler):
            previous_handler(*received[0])


MimeBundle = dict[str, str]
_SILENCE_SHOWN_AFTER = (
    0.5,
    2.0,
)  # seconds after which to say that nothing comes: at first, and in mid-answer
_TICK_INTERVALS = (1.0, 5.0)  # seconds between the ticks of a short wait, and of a long one
_COALESCE_SECONDS = 0.01  # seconds for words to gather before they are read, when no frame is due
#: Characters that are still shown after an interrupt, which would otherwise wait for megabytes.
_MAX_CHARS_AFTER_INTERRUPT = 20_000
_APPENDED_CHARS = 300  # characters after which an output that is not updated ends, at the end of a block
_BURST_CHARS = 500  # characters in one reading after which there is nothing to wait for


class FrameRateLimiter:
    """Limit the frame rate by what a frame costs the browser and the connection."""

    def __init__(self) -> None:
        self._bytes_allowed = 1_000_000.0
        self._refilled_at = monotonic()

    @staticmethod
    def interval(markdown: str, size: int) -> float:
        """Seconds to leave between frames like this one, which is ``size`` bytes on the wire."""
        render = 0.003 + 2.5e-6 * len(markdown) + 0.001 * markdown.count("$")
        floor = 0.05 if size < 4_000 else 0.08
        return max(floor, render / 0.15, size / 55_000)

    def reserve_bytes(self, size: int) -> float:
        """Seconds to wait before a message of ``size`` bytes that must be sent, at 600 kB/s in the long run."""
        now = monotonic()
        self._bytes_allowed = (
            min(1_000_000.0, self._bytes_allowed + 600_000 * (now - self._refilled_at)) - size
        )
        self._refilled_at = now
        return max(0.0, -self._bytes_allowed / 600_000)


class UpdatableDisplay:
    """One output of a cell, published and then updated."""

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._last_bundle: MimeBundle = {}
        self._last_metadata: Mapping[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing was shown yet."""
        return self._handle is None

    def update(self, bundle: MimeBundle, metadata: Mapping[str, Any] | None = None) -> None:
        """Show this in place of what it shows now; ``metadata`` is saved with it."""
        if (bundle, metadata) == (self._last_bundle, self._last_metadata):
            return
        if self._handle is None:
            with defer_interrupts():  # shown, but with its handle lost, it would be shown a second time
                self._handle = display(bundle, raw=True, display_id=True, metadata=metadata)
        else:
            self._handle.update(bundle, raw=True, metadata=metadata)
        self._last_bundle, self._last_metadata = bundle, metadata


class NotebookView:
    """Shows an answer as Markdown with its plain text beside it; reasoning folded above it.

    Without ``live`` no output is updated: the answer is shown when it is complete, or, if it ``appends``, each part
    of it when that is complete.
    """

    is_quiet = False

    def __init__(self, *, footer: str = "full", live: bool = True, appends: bool = False) -> None:
        self._footer = footer
        self._live = live
        self._appends = appends
        self._rate_limiter = FrameRateLimiter()
        self._display = UpdatableDisplay()
        self._reasoning_display: UpdatableDisplay | None = None
        self._last: MarkdownSegment | None = None  # the last part of an answer that is complete
        self._shown_chars = 0  # characters of the answer that the feed has
        self._is_first_segment = True
        self._is_feeding = False
        self._reasoning = ""
        self._needs_repaint = False
        self._next_frame_at = 0.0
        self._last_delta_at = monotonic()
        self._last_tick = 0.0
        self._note, self._note_until = "", 0.0
        self._lock = Lock()  # a ticker and a retry can paint at the same time

    @cached_property
    def _feed(self) -> MarkdownFeed:
        from puq_magics.outputs.markdown.feed import MarkdownFeed

        if self._appends:
            return MarkdownFeed(segment_size=_APPENDED_CHARS)
        return MarkdownFeed() if self._live else MarkdownFeed(segment_size=None)

    def prepare(self) -> None:
        """Implement `ChatView`."""
        _ = self._feed  # the first one of a session takes its time to import

    def show_waiting(self, seconds: float) -> None:
        """Implement `ChatView`."""
        if self._live:
            note_is_current = monotonic() < self._note_until
            self._show_status(self._note if note_is_current else f"Waiting … {seconds:.0f} s")

    def show_retry(self, retry: Retry) -> None:
        """Implement `ChatView`."""
        if self._live:
            self._note, self._note_until = str(retry), monotonic() + retry.delay
            self._show_status(self._note)

    def show_delta(self, delta: Delta) -> None:
        """Implement `ChatView`."""
        self._last_delta_at, self._last_tick = monotonic(), 0.0
        self._reasoning += delta.reasoning
        if delta.text:
            if (self._live or self._appends) and not self._shown_chars:
                self._show_reasoning()
            self._append_text(delta.text)
        self._needs_repaint = True
        self._refresh()
        if self._needs_repaint and self._live and len(delta.text) < _BURST_CHARS:
            sleep(min(_COALESCE_SECONDS, max(0.0, self._next_frame_at - monotonic())))

    def idle_timeout(self) -> float | None:
        """Implement `ChatView`."""
        if not self._live:
            return None
        now = monotonic()
        if self._needs_repaint:
            return max(0.0, self._next_frame_at - now)
        silence = now - self._last_delta_at
        if self._feed.may_hold_key:
            return max(0.0, KEY_PAUSE - silence)
        if silence < self._silence_limit:
            return self._silence_limit - silence
        return max(0.0, self._last_tick + _TICK_INTERVALS[silence > 10] - silence)

    def show_idle(self) -> None:
        """Implement `ChatView`."""
        if self._needs_repaint:
            self._refresh()
            return
        silence = monotonic() - self._last_delta_at
        if self._feed.may_hold_key:
            if silence >= KEY_PAUSE:
                self._publish_segments(self._feed.release())
                self._needs_repaint = True
                self._refresh()
        elif self._live and silence >= self._silence_limit:
            self._last_tick = silence
            self._paint_frame(
                f"*… {silence:.0f} s without a word*" if self._shown_chars else f"*Waiting … {silence:.0f} s*"
            )

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        text = result.answer_text
        # Reasoning was taken for text, or a key was shown in parts.
        if self._is_first_segment and (len(text) < self._shown_chars or redact_secrets(text) != text):
            del self._feed
            self._shown_chars = 0
        self._reasoning = result.all_reasoning
        self._show_reasoning()
        if self._is_feeding:  # interrupted in the middle of it
            del self._feed
            self._display = UpdatableDisplay()
        rest = text[self._shown_chars :]
        if result.interrupted and len(rest) > _MAX_CHARS_AFTER_INTERRUPT:
            left_out = len(rest) - _MAX_CHARS_AFTER_INTERRUPT
            result.add_note(f"{left_out:,} characters more are in _puq.text")
            rest = rest[:_MAX_CHARS_AFTER_INTERRUPT]
        self._append_text(rest)
        self._last = self._feed.finish()
        self.show_calls(result)

    def show_calls(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        if (
            result.is_intermediate
            and not self._live
            and not all(call.is_settled for call in result.own_calls)
        ):
            return  # one display holds all of it
        text, safe = (self._last.text, self._last.markdown) if self._last is not None else ("", "")
        markdown, plain = append_media(safe, result), append_media_text(text, result)
        if not result.is_intermediate:
            footer = result.footer.with_style(self._footer)
            markdown, plain = footer.append_to_markdown(markdown), footer.append_to_text(plain)
        self._publish(markdown, plain, result.display_metadata)

    def abandon(self) -> None:
        """Implement `ChatView`."""
        if not self._display.is_empty:
            self._show_status("No answer.")

    @property
    def _silence_limit(self) -> float:
        return _SILENCE_SHOWN_AFTER[bool(self._shown_chars)]

    def _append_text(self, text: str) -> None:
        self._is_feeding = True
        segments = self._feed.feed(text)
        self._shown_chars += len(text)
        self._is_feeding = False
        self._publish_segments(segments)

    def _publish_segments(self, segments: Sequence[MarkdownSegment]) -> None:
        for segment in segments:
            self._publish(segment.markdown, segment.text)
            self._display, self._is_first_segment = UpdatableDisplay(), False

    def _refresh(self) -> None:
        """Paint a frame, if one is due."""
        if self._live and monotonic() >= self._next_frame_at:
            self._paint_frame()

    def _paint_frame(self, note: str = "") -> None:
        markdown = self._feed.frame()
        if not self._shown_chars:
            note = note or f"*Reasoning … {len(self._reasoning):,} characters*"
        shown = "\n\n".join(part for part in (markdown, note) if part)
        if not shown and self._display.is_empty:
            return  # all that came is held back
        size = self._publish(shown, self._feed.text)
        self._needs_repaint = False
        self._next_frame_at = monotonic() + self._rate_limiter.interval(markdown, size)

    def _publish(self, markdown: str, text: str, metadata: Mapping[str, Any] | None = None) -> int:
        """Paint it; give its size on the wire."""
        size = (
            len(markdown.encode()) + len(text.encode()) + 700
        )  # and a message's frame: close enough for a limit
        if wait := self._rate_limiter.reserve_bytes(size):
            sleep(wait)
        self._display.update(self._bundle(markdown, text), metadata)
        return size

    def _bundle(self, markdown: str, text: str) -> MimeBundle:
        return {"text/markdown": markdown, "text/plain": text}

    def _show_status(self, words: str) -> None:
        from puq_magics.outputs.markdown.feed import escape_inline, strip_control_chars

        with self._lock:
            self._display.update(
                {"text/markdown": f"*{escape_inline(words)}*", "text/plain": strip_control_chars(words)}
            )

    def _show_reasoning(self) -> None:
        """Show the reasoning in the output that announced it, as soon as text follows."""
        if not self._reasoning:
            return
        if self._reasoning_display is None:
            self._reasoning_display = self._display
            self._display = UpdatableDisplay()
        self._reasoning_display.update(reasoning_bundle(self._reasoning))


def reasoning_bundle(reasoning: str) -> MimeBundle:
    """A model's reasoning, folded."""
    from puq_magics.outputs.markdown.feed import strip_control_chars

    return {
        "text/markdown": collapsed_reasoning(reasoning),
        "text/plain": f"[Reasoning]\n{strip_control_chars(reasoning)}",
    }


class PlainNotebookView(NotebookView):
    """Shows the model's own words, and no Markdown."""

    def _bundle(self, _: str, text: str) -> MimeBundle:
        return plain_text_bundle(text)


_COUNT_INTERVAL = 0.25  # seconds between two counts of characters


class BufferedNotebookView(NotebookView):
    """Counts the characters of an answer as they come, and shows it as its format says at its end."""

    _characters = 0

    def show_delta(self, delta: Delta) -> None:
        """Implement `ChatView`."""
        self._last_delta_at, self._last_tick = monotonic(), 0.0
        self._characters += len(delta.text) + len(delta.reasoning)
        if self._live and monotonic() >= self._next_frame_at:
            self._show_status(f"… {pluralize(self._characters, 'character')}")
            self._next_frame_at = monotonic() + _COUNT_INTERVAL

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        if result.is_intermediate:
            super().show_result(result)
        else:
            bundle = result.bundle(result.footer.with_style(self._footer))
            self._display.update(bundle, result.display_metadata)
