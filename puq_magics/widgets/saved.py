"""HTML that a saved notebook shows in place of a widget."""

from __future__ import annotations

_OUTPUT = ".jp-OutputArea-child"


def hide_missing_widget(*, saved: str, widget: str) -> str:
    """Return a style that hides the output before an element of class ``saved`` unless ``widget`` is in it.

    In a trusted notebook that is opened again that output says 'Error displaying widget: model not found'.
    """
    is_followed = f":has(+ {_OUTPUT} .{saved})"
    return f"<style>{_OUTPUT}:not(:has(.{widget})){is_followed} {{ display: none }}</style>"


def hidden_marker(name: str) -> str:
    """Return an element of this class whose output takes no place."""
    return f'<span class="{name}"></span><style>{_OUTPUT}:has(.{name}) {{ display: none }}</style>'
