"""Hiding of what a saved notebook shows in place of a widget that is no longer there."""

from __future__ import annotations

import json

from IPython.display import display

_OUTPUT = ".jp-OutputArea-child"


def hide_missing_widget(widget: str) -> None:
    """Hide the output before this one, unless an element of class ``widget`` is in it.

    In a trusted notebook that is opened again that output says 'Error displaying widget: model not found'. The style
    is brought by a script, which converters to Markdown and LaTeX leave out.
    """
    mark = f"{widget}-mark"
    missing = f"{_OUTPUT}:not(:has(.{widget})):has(+ {_OUTPUT} .{mark})"
    html = f"<i class={mark}></i><style>{missing}, {_OUTPUT}:has(.{mark}) {{ display: none }}</style>"
    display({"application/javascript": f"element.innerHTML = {json.dumps(html)};"}, raw=True)
