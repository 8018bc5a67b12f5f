"""A few facts, one a line: a quiet table in a notebook, lines in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from IPython.display import display

from puq_magics.outputs.control_chars import plain


def show_panel(rows: Sequence[tuple[str, str]], *, in_notebook: bool) -> None:
    """Show labels and what they stand for."""
    rows = [(label, plain(words).replace("\n", " ")) for label, words in rows]
    width = max(len(label) for label, _ in rows)
    text = "\n".join(f"{label:<{width}}  {words}" for label, words in rows)
    if not in_notebook:
        print(text)  # noqa: T201 - what was asked for
        return
    lines = "".join(
        f"<tr><th style='text-align: left'>{escape(label)}</th>"
        f"<td style='text-align: left'>{escape(words)}</td></tr>"
        for label, words in rows
    )
    display({"text/plain": text, "text/html": f"<table>{lines}</table>"}, raw=True)
