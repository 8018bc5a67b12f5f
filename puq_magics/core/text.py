"""Short plain text for messages, and text that people paste."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from textwrap import wrap

_ERROR_COLUMNS = 70  # of a notebook of 700 pixels
_QUOTES = "\"'`,;\u201c\u201d\u2018\u2019\u200b\ufeff"
_ASSIGNMENT = re.compile(
    r"(?:(?P<command>(?:export|setx?|%(?:set_)?env)\s+)|\$env:|os\.environ\[|(?:-H|--header)[\s=]*)?"
    r"[\"']?[\w-]*(?:key|token|secret|url|authorization)[\"']?\]?"
    r"(?:\s*(?:=(?!=)|:(?=[\s\"']))\s*|(?(command)\s+|(?!)))(?=\S)",
    re.IGNORECASE,
)
# A comment, or the full stop of a sentence.
_END = re.compile(r"\s+#.*|(?<!\.)\.\Z", re.DOTALL)


def one_line(text: str, limit: int = 300) -> str:
    """Return the text on one line, without characters that do not print, of at most ``limit`` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 10]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def pluralize(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun: ``1 turn``, ``2,000 turns``, ``2 branches``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_size(size: float) -> str:
    """Return a number of bytes for people: ``980 bytes``, ``51 kB``, ``2.7 MB``."""
    if size < 1000:
        return f"{size:.0f} bytes"
    if size < 999_500:
        return f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:,.1f} MB"


def wrap_for_terminal(lines: Iterable[str], indent: int = 0) -> list[str]:
    """Return the lines wrapped between words, if standard output is a terminal; else as they are.

    ``indent`` is that of what is continued on a line of its own.
    """
    if not sys.stdout.isatty():
        return list(lines)
    width = shutil.get_terminal_size().columns
    return [part for line in lines for part in _wrap_words(line, width, " " * indent)]


def _wrap_words(text: str, width: int, indent: str = "") -> list[str]:
    return [
        part
        for line in text.split("\n")
        for part in wrap(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]


def wrap_error(lines: Iterable[str]) -> list[str]:
    """Return the lines of an error wrapped between words, in a terminal and in a notebook.

    Front ends break the lines of errors in the middle of words, and nothing but a shorter line prevents it.
    """
    if not type(sys.stdout).__module__.startswith("ipykernel"):
        return wrap_for_terminal(lines)
    return [part for line in lines for part in _wrap_words(line, _ERROR_COLUMNS)]


def unwrap_pasted(text: str) -> str:
    """Return a pasted word without what was copied with it: quotes, ``NAME=``, a comma or comment at the end."""
    while True:
        bare = _END.sub("", text.strip().strip(_QUOTES)).strip()
        if assignment := _ASSIGNMENT.match(bare):
            bare = bare[assignment.end() :]
        if bare == text:
            return text
        text = bare
