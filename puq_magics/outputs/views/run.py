"""View of a run of many calls: one line or a small panel that is updated, and a summary that stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.display import display

from puq_magics.core.text import wrap_for_terminal
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.views.notebook import UpdatableDisplay
from puq_magics.outputs.views.progress import ERASE_LINE
from puq_magics.outputs.views.stdout import Stdout
from puq_magics.outputs.views.terminal_text import format_for_terminal

_TERMINAL_COLUMNS = 80


class RunView:
    """Shows a run in the cell or the terminal that started it; to be used from the main thread alone."""

    def __init__(self, *, in_notebook: bool, live: bool, quiet: bool = False) -> None:
        self._in_notebook = in_notebook
        self._is_quiet = quiet
        self._live = live and not quiet and (in_notebook or Stdout().isatty())
        self._display = UpdatableDisplay()
        self._has_line = False

    def show_progress(self, done: int, total: int, text: str) -> None:
        """Show the state of the run; ``text`` says more than the numbers."""
        if not self._live:
            return
        if self._in_notebook:
            self._display.update(
                {
                    "text/html": f'<p><progress max="{total}" value="{done}"></progress> '
                    f"<em>{escape_inline(text)}</em></p>",
                    "text/plain": strip_control_chars(text),
                }
            )
            return
        line = strip_control_chars(text)[: _TERMINAL_COLUMNS - 3]
        self._has_line = True
        self._write(f"{ERASE_LINE}… {line}")

    def show_frame(self, bundle: dict[str, str], text: str) -> None:
        """Show what has come so far; a terminal, which cannot take back more than a line, gets the text alone."""
        if not self._live:
            return
        if self._in_notebook:
            self._display.update(bundle)
        else:
            self._has_line = True
            self._write(f"{ERASE_LINE}… {strip_control_chars(text)}")

    def show_summary(
        self,
        bundle: dict[str, str],
        *,
        is_markdown: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Show the end of the run for good; ``is_markdown`` if its plain text is, ``metadata`` is saved with it."""
        if self._is_quiet:
            return
        if not self._in_notebook:
            plain = bundle["text/plain"]
            text = format_for_terminal(plain) if is_markdown else "\n".join(wrap_for_terminal([plain]))
            self._write(f"{ERASE_LINE if self._has_line else ''}{text}\n")
        elif self._live:
            self._display.update(bundle, metadata)
        else:
            display(bundle, raw=True, metadata=metadata)

    def _write(self, text: str) -> None:
        out = Stdout()
        out.write(text)
        out.flush()
