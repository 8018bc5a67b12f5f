"""Plain text in a notebook, with its lines broken between words.

Front ends break the lines of standard output and of ``text/plain`` in the middle of words.
"""

from __future__ import annotations

from html import escape

from IPython.display import display

from puq_magics.outputs.control_chars import strip_control_chars

_STYLE = "margin: 0; padding: 0; white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"


def plain_text_bundle(text: str) -> dict[str, str]:
    """Return the MIME bundle of a text that is shown as it is."""
    text = strip_control_chars(text)
    html = f'<pre class="tex2jax_ignore mathjax_ignore" style="{_STYLE}">{escape(text, quote=False)}</pre>'
    return {"text/plain": text, "text/html": html}


def show_text(text: str, *, in_notebook: bool) -> None:
    """Print a text, without control characters; in a notebook display it."""
    if in_notebook:
        display(plain_text_bundle(text), raw=True)
    else:
        print(strip_control_chars(text))  # noqa: T201 - the requested output
