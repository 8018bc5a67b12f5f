"""Fenced code blocks of Markdown, line by line: opening lines, closing lines, and fences inside fences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: Languages in which models write fences inside a fence of the same length.
_NESTING_LANGUAGES = frozenset({"markdown", "md", "mdx", "myst", "qmd", "rmd"})
# Backticks in the info string would make the line a span of code.
_OPENING_LINE = re.compile(
    r"(?P<prefix>\s*(?:(?:>|[-+*]\s|\d{1,9}[.)]\s)\s*)*)"
    r"(?P<marker>`{3,}(?=[^`]*\Z)|~{3,})[ \t]*(?P<info>.*)\Z"
)
_CLOSING_LINE = re.compile(r"(?P<indent>[ \t]*)(?P<marker>`{3,}|~{3,})[ \t]*\Z")
_NESTED_OPENING_LINE = re.compile(r"[ \t]*(?P<marker>`{3,}|~{3,})[ \t]*[A-Za-z]")
_LANGUAGE = re.compile(r"[\s{.]*([^\s{},;:=]{1,40})")
_BACKTICKS = re.compile(r"`{3,}")


@dataclass
class OpenFence:
    """A fenced block whose closing line has not been read yet."""

    #: Three or more backticks or tildes.
    marker: str
    #: The rest of the opening line; without one, fences inside the block are not counted.
    info: str = ""
    #: Spaces and marks of lists and quotations before the marker.
    prefix: str = ""
    _nested: int = field(default=0, repr=False)

    @classmethod
    def from_line(cls, line: str) -> OpenFence | None:
        """Return the fence that the line opens, or None."""
        match = _OPENING_LINE.match(line)
        return cls(match["marker"], match["info"], match["prefix"]) if match else None

    @property
    def language(self) -> str:
        """The language named in the info string, in lower case; empty without one."""
        match = _LANGUAGE.match(self.info)
        return match[1].lower() if match else ""

    def closed_by(self, line: str) -> bool:
        """Return whether the block's next line, without the prefix of its container, closes it.

        Call it with each line once: fences inside a block of Markdown are counted.
        """
        closing = _CLOSING_LINE.match(line)
        if closing and closing["marker"].startswith(self.marker):
            if not self._nested:
                return True
            self._nested -= 1
        elif self.language in _NESTING_LANGUAGES:
            nested = _NESTED_OPENING_LINE.match(line)
            self._nested += nested is not None and nested["marker"].startswith(self.marker)
        return False

    def strip_prefix(self, line: str) -> str:
        """Return the line without the quotation marks and the indentation of the block's container."""
        depth = self.prefix.count(">")
        for _ in range(depth):
            line = re.sub(r"^[ ]{0,3}>[ ]?", "", line)
        indent = len(self.prefix.rpartition(">")[2].removeprefix(" " if depth else ""))
        spaces = len(line) - len(line.lstrip(" \t"))
        return line[min(indent, spaces) :]


def ends_in_fence(text: str) -> bool:
    """Return whether the end of a text is within a fenced block."""
    fence: OpenFence | None = None
    for line in text.split("\n"):
        if fence is None:
            fence = OpenFence.from_line(line)
        elif fence.closed_by(fence.strip_prefix(line)):
            fence = None
    return fence is not None


def make_fence(text: str) -> str:
    """Return a fence of backticks that nothing in the text can close."""
    return "`" * max(3, max(map(len, _BACKTICKS.findall(text)), default=2) + 1)


def format_code_block(text: str, language: str = "") -> str:
    """Return text as a code block whose fence is longer than any in the text."""
    fence = make_fence(text)
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}{language}\n{text}{end}{fence}"
