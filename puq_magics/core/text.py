"""Short plain text for messages."""

from __future__ import annotations


def one_line(text: str, limit: int = 300) -> str:
    """Return the text on one line, without characters that do not print, of at most ``limit`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 10]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
