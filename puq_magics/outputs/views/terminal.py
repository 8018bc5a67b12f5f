"""Terminal view: prints text as it streams, without the model's control characters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.text import wrap_for_terminal
from puq_magics.outputs.markdown.feed import ControlCharFilter, strip_control_chars
from puq_magics.outputs.results.chat import ChatResult, append_media_text
from puq_magics.outputs.results.tool_calls import FunctionCall, call_lines
from puq_magics.outputs.views.progress import ERASE_LINE
from puq_magics.outputs.views.stdout import Stdout, Writer
from puq_magics.outputs.views.terminal_text import RESET, TerminalText, has_styles
from puq_magics.outputs.views.view import KEY_PAUSE

_SILENCE_LIMIT = 3.0  # seconds without a word, until it is said
_TICK_INTERVAL = 1.0  # seconds between two such statements


class TerminalView:
    """Prints to standard output: Markdown with wrapped words and light styling, if that is a terminal.

    With ``markdown=False`` all marks stay, with ``wraps=False`` all lines as well.
    """

    is_quiet = False

    def __init__(
        self,
        *,
        footer: str = "full",
        live: bool = True,
        markdown: bool = True,
        wraps: bool = True,
        out: Callable[[], Writer] | None = None,
    ) -> None:
        self._footer = footer
        self._live = live
        self._markdown = markdown
        self._wraps = wraps
        self._out = out or Stdout
        self._filter = ControlCharFilter()
        self._text: TerminalText | None = None
        self._column: int | None = None  # the column where what is written ends, if that is known
        self._shown_chars = 0  # characters of the answer
        self._calls: dict[int, FunctionCall] = {}  # as they were shown
        self._reasoning_chars = 0
        self._status_shown = False
        self._note = ""
        self._note_until = 0.0
        self._last_delta_at = monotonic()

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
        self._last_delta_at = monotonic()
        if not self._live:
            return
        self._reasoning_chars += len(delta.reasoning)
        if delta.text:
            self._print(self._filter.feed(delta.text), len(delta.text))
        else:
            self._show_status(f"… reasoning, {self._reasoning_chars:,} characters")

    def idle_timeout(self) -> float | None:
        """Implement `ChatView`."""
        if self._filter.may_hold_key:
            return KEY_PAUSE
        if not self._live or not self._out().isatty():
            return None
        silence = monotonic() - self._last_delta_at
        return max(_TICK_INTERVAL, _SILENCE_LIMIT - silence)

    def show_idle(self) -> None:
        """Implement `ChatView`."""
        silence = monotonic() - self._last_delta_at
        if self._filter.may_hold_key:
            self._print(self._filter.release(), 0)
        elif silence >= _SILENCE_LIMIT:
            if self._shown_chars:
                self._show_status(f"… {silence:.0f} s without a word", in_answer=True)
            else:
                self._show_status(f"… waiting {silence:.0f} s")

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        rest = self._filter.feed(result.answer_text[self._shown_chars :]) + self._filter.finish()
        out = self._out()
        moves_caret = result.interrupted and self._column is not None
        if moves_caret:
            self._clear_status()
            out.write(f"{self._reset}\r{_move_right(self._column or 0)}\x1b[K{self._codes}")
        self._print(rest, 0)
        out.write(self._text.finish() if self._text is not None else "")
        out.write("\n^C" if moves_caret else "")  # the terminal wrote it into the text
        if result.is_intermediate:
            out.write("\n" if result.text else "")
            return
        self._write_footer(result)

    def show_calls(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        self._clear_status()
        out = self._out()
        out.write("\n" if result.interrupted else "")  # below ^C
        for number, call in enumerate(result.own_calls):
            before = self._calls.get(number)
            if before is not call and (before is not None or call.status != "not run"):
                words = "\n".join(wrap_for_terminal(call_lines(call, before), 2))
                out.write(f"{words}\n" if words else "")
            self._calls[number] = call
        if all(call.is_settled for call in result.own_calls):
            out.write("\n")
        if not result.is_intermediate:
            self._write_footer(result)
        out.flush()

    def _write_footer(self, result: ChatResult) -> None:
        out = self._out()
        footer = result.footer.with_style(self._footer).to_text()
        line = "\n".join(wrap_for_terminal([f"[{footer}]"])) if footer else ""
        below = "" if self._calls else append_media_text("", result)
        if below:
            out.write(f"\n\n{below}\n" if result.text else f"{below}\n")
        if result.images:
            from puq_magics.outputs.views.media import MEDIA_FOLDER, save_unsaved_files

            saved = save_unsaved_files(result.to_images(), Path.cwd() / MEDIA_FOLDER)
            out.write("\n".join([*(["", ""] if result.text else []), *wrap_for_terminal(saved)]))
        is_below = self._shown_chars or self._calls or below or result.text or result.images
        out.write("\n" if is_below or not line else "")
        out.write(f"{line}\n" if line else "")
        out.flush()

    def abandon(self) -> None:
        """Implement `ChatView`."""
        self._clear_status()

    def _print(self, text: str, size: int) -> None:
        self._clear_status()
        self._shown_chars += size
        out = self._out()
        if self._text is None and out.isatty():
            width = shutil.get_terminal_size().columns
            self._text = TerminalText(width, markdown=self._markdown, wraps=self._wraps, styles=has_styles())
        out.write(text if self._text is None else self._text.feed(text))
        if self._text is not None:
            self._column = self._text.column if self._text.is_column_exact else None
        out.flush()

    def _show_status(self, words: str, *, in_answer: bool = False) -> None:
        """Show a line that the next one takes the place of; only where that can be.

        It stands in place of the answer, or ``in_answer`` below what is there of it.
        """
        out = self._out()
        if self._live and in_answer == bool(self._shown_chars) and out.isatty():
            below = f"{self._reset}\n" if in_answer and not self._status_shown else ""
            self._status_shown = True
            out.write(below + ERASE_LINE + strip_control_chars(words))
            out.flush()

    def _clear_status(self) -> None:
        """Erase the status, and go back to the end of the text."""
        if self._status_shown:
            self._status_shown = False
            out = self._out()
            out.write(ERASE_LINE)
            if self._shown_chars and self._column is not None:
                out.write(f"\x1b[A{_move_right(self._column)}")
            out.write(self._codes if self._shown_chars else "")
            out.flush()

    @property
    def _codes(self) -> str:
        return "" if self._text is None else self._text.codes

    @property
    def _reset(self) -> str:
        return RESET if self._codes else ""


def _move_right(columns: int) -> str:
    return f"\x1b[{columns}C" if columns else ""
