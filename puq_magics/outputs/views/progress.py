"""Status of a pending call: a line with the seconds, or a progress bar of a transfer."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from threading import Lock
from time import monotonic

from puq_magics.api.request import Retry
from puq_magics.outputs.views.stdout import Stdout, Writer


class Ticker:
    """Calls ``tick(seconds)`` beside a blocking call: after half a second, then once a second.

    ``stop`` returns when no tick runs any more, so that what comes next is not painted over.
    ``setup`` is called once at the start: to make ready, beside the call, what will be needed after it.
    """

    def __init__(
        self,
        tick: Callable[[float], None],
        *,
        setup: Callable[[], None] = lambda: None,
        delay: float = 0.5,
        interval: float = 1.0,
    ) -> None:
        self._tick = tick
        self._setup = setup
        self._delay = delay
        self._interval = interval
        self._stopped = threading.Event()
        # ipykernel finds the cell that an output belongs to in the context.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="puq-ticker", daemon=True)

    def __enter__(self) -> Ticker:
        try:
            self._thread.start()
        except RuntimeError:  # a platform without threads
            self._setup()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop ticking."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        start = monotonic()
        self._setup()
        delay = self._delay
        while not self._stopped.wait(delay):
            self._tick(monotonic() - start)
            delay = self._interval


#: What takes back the line of a terminal that is being written.
ERASE_LINE = "\r\x1b[K"
_SHOW_AFTER_SECONDS = 1.0  # seconds
_REPAINT_INTERVAL = 1.0  # seconds between two paintings
_FRAME_INTERVAL = 0.2  # seconds between two paintings of words that grow
_BAR_WIDTH = 24  # signs of a bar in plain text


class ProgressBar:
    """A bar with the amounts beside it: bytes, or so many of a ``unit`` such as ``parts``."""

    def __init__(self, words: str, unit: str = "bytes", *, clock: Callable[[], float] = monotonic) -> None:
        #: What is done, such as ``sending talk.mp3``.
        self.label = words
        self._unit = unit
        self._clock = clock
        self._start = clock()
        self._done = self._total = 0

    def update(self, done: int, total: int) -> None:
        """Update the progress; a ``total`` of 0 is unknown."""
        self._done, self._total = max(0, done), max(0, total)

    @property
    def is_running(self) -> bool:
        """True if it is not complete, and enough time has passed to show it."""
        return self.is_worth_showing and not (self._total and self._done >= self._total)

    @property
    def is_worth_showing(self) -> bool:
        """True if it takes long enough to be shown."""
        return self._seconds >= _SHOW_AFTER_SECONDS

    @property
    def amounts(self) -> str:
        """``12.3 of 100.0 MB``, ``2 of 5 parts``."""
        if self._unit != "bytes":
            return (
                f"{self._done:,} of {self._total:,} {self._unit}"
                if self._total
                else f"{self._done:,} {self._unit}"
            )
        if not self._total:
            return f"{self._done / 1e6:,.1f} MB"
        return f"{self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB"

    @property
    def _seconds(self) -> float:
        return self._clock() - self._start

    @property
    def _fraction(self) -> float:
        return min(1.0, self._done / self._total) if self._total else 0.0

    def __str__(self) -> str:
        filled = round(self._fraction * _BAR_WIDTH)
        bar = f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] " if self._total else ""
        return f"{self.label} {bar}{self.amounts} · {self._seconds:.0f} s"

    def bundle(self) -> dict[str, str]:
        """Return it as a MIME bundle."""
        from puq_magics.outputs.markdown.feed import escape_inline, strip_control_chars

        words = f"{self.label} · {self.amounts} · {self._seconds:.0f} s"
        bar = f'<progress max="100" value="{self._fraction * 100:.0f}"></progress> ' if self._total else ""
        return {
            "text/html": f"<p>{bar}<em>{escape_inline(words)}</em></p>",
            "text/plain": strip_control_chars(str(self)),
        }


class CallStatus:
    """Status display of one call; to be used under its ``lock``, from any thread."""

    def __init__(self, activity: str, clock: Callable[[], float]) -> None:
        self._activity = activity
        self._clock = clock
        self._progress: ProgressBar | None = None
        self._note, self._note_until = "", 0.0
        self._painted_at = -_REPAINT_INTERVAL
        self.closed = False
        self.lock = Lock()

    def on_tick(self, seconds: float) -> ProgressBar | str:
        """Return the status text or the progress bar to show on a tick."""
        if self._clock() < self._note_until:
            return self._note
        if self._progress is not None and self._progress.is_running:
            return self._progress
        return f"{self._activity} · {seconds:.0f} s"

    def on_retry(self, retry: Retry) -> str:
        """Return the text to show for a retry, until its pause is over."""
        self._note, self._note_until = str(retry), self._clock() + retry.delay
        self._progress = None  # what was sent is sent again
        return self._note

    def on_progress(self, done: int, total: int, words: str, unit: str) -> ProgressBar | None:
        """Return the progress bar to show; None if it is too early."""
        if self._progress is None or self._progress.label != words:
            self._progress = ProgressBar(words, unit, clock=self._clock)
        self._progress.update(done, total)
        if not self._progress.is_worth_showing or self._clock() < self._painted_at + _REPAINT_INTERVAL:
            return None
        return self._progress

    def claim_frame(self) -> bool:
        """Return True, at most once per interval, if growing text may be painted again."""
        due = self._clock() >= self._painted_at + _FRAME_INTERVAL
        if due:
            self.mark_painted()
        return due

    def format_transcript_status(self, reached: float | None, length: float | None, seconds: float) -> str:
        """Format the progress of a transcript after so many ``seconds``, as in MediaView."""
        from puq_magics.outputs.results.media_html import format_duration

        position = ""
        if reached is not None:
            # What a head says can be too little: of an MP3 of no constant rate it is guessed.
            of_total = f" of {format_duration(length)}" if length and length >= reached else ""
            position = f" · {format_duration(reached)}{of_total}"
        return f"{self._activity}{position} · {seconds:.0f} s"

    def mark_painted(self) -> None:
        """Record the time of this repaint."""
        self._painted_at = self._clock()


def status_bundle(words: str) -> dict[str, str]:
    """Return a status line as a MIME bundle; safe for any text."""
    from puq_magics.outputs.markdown.feed import escape_inline, strip_control_chars

    return {"text/html": f"<p><em>{escape_inline(words)}</em></p>", "text/plain": strip_control_chars(words)}


class TransferView:
    """One display of a notebook, or one line of a terminal, that is updated about once a second."""

    def __init__(
        self,
        *,
        in_notebook: bool,
        live: bool = True,
        clock: Callable[[], float] = monotonic,
        out: Callable[[], Writer] | None = None,
    ) -> None:
        self._in_notebook = in_notebook
        self._out = out or Stdout
        self._live = live and (in_notebook or self._out().isatty())
        self._status = CallStatus("", clock)
        self._written = False
        if in_notebook:
            from puq_magics.outputs.views.notebook import UpdatableDisplay

            self._display = UpdatableDisplay()

    def report(self, words: str, done: int, total: int) -> None:
        """Report the number of bytes done."""
        if self._live and (progress := self._status.on_progress(done, total, words, "bytes")) is not None:
            self._status.mark_painted()
            self._paint(progress)

    def end(self, words: str) -> None:
        """Finish with a final status."""
        if self._in_notebook:
            self._display.update(status_bundle(words))
            return
        from puq_magics.outputs.markdown.feed import strip_control_chars

        erase = ERASE_LINE if self._written else ""
        self._write(f"{erase}{strip_control_chars(words)}\n")

    def _paint(self, progress: ProgressBar) -> None:
        if self._in_notebook:
            self._display.update(progress.bundle())
            return
        from puq_magics.outputs.markdown.feed import strip_control_chars

        self._written = True
        self._write(f"{ERASE_LINE}… {strip_control_chars(str(progress))}")

    def _write(self, text: str) -> None:
        out = self._out()
        out.write(text)
        out.flush()
