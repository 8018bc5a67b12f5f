"""Streaming Markdown sanitiser: model text, complete or still arriving, as Markdown that is safe to show live.

Front ends render live ``text/markdown`` without a sanitiser, and model text is untrusted: all of it passes through
this module. Control characters are removed (``control_chars``), lines are parsed into blocks (``blocks``), and
their running text is made harmless under any parser (``inline``).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from puq_magics.outputs.control_chars import ControlCharFilter, strip_control_chars
from puq_magics.outputs.markdown.blocks import BlockParser
from puq_magics.outputs.markdown.code import PUNCTUATION_ENTITIES
from puq_magics.outputs.markdown.inline import BACKSLASH, DOLLAR, BlockEnd, escape_open_brackets, render
from puq_magics.outputs.markdown.links import safe_url

__all__ = [
    "ControlCharFilter",
    "MarkdownFeed",
    "MarkdownSegment",
    "escape_inline",
    "list_links",
    "sanitize_markdown",
    "strip_control_chars",
]

_MAX_URL_CHARS = 2_000
#: Signs that could be Markdown: not a comma, nor what ends a word or stands within one, as in the name of a file.
_PUNCTUATION = re.compile(
    r"(?!,|(?<=[a-z])[.:?](?!\S))"
    r"(?:(?<![A-Za-z0-9])[!-/:-@\[-`{-~]|[!-+:-@\[-^`{-~]|[-_./](?![A-Za-z0-9])|(?<=[wW]{3})\.)"
)


class MarkdownSegment(NamedTuple):
    """Part of an answer that one output shows."""

    #: Safe, standing by itself.
    markdown: str
    #: The model's own words, but for control characters.
    text: str


class MarkdownFeed:
    """Model text in, safe Markdown out, as it comes.

    ``segment_size`` is about how many characters one output holds before the next begins; None for no end.
    """

    def __init__(self, *, segment_size: int | None = 8_000) -> None:
        self._size = segment_size
        self._filter = ControlCharFilter()
        self._blocks = BlockParser()
        self._line: list[str] = []  # the last line, of which more may come
        self._line_length = 0
        self._segment_text: list[str] = []  # what the segment holds, but for the last line
        self._frame: str | None = None

    @property
    def text(self) -> str:
        """Text of the segment in progress."""
        return "".join(self._segment_text) + "".join(self._line)

    def feed(self, text: str) -> list[MarkdownSegment]:
        """Process more of the answer; return the segments that this completed, oldest first.

        A segment never changes again. It ends at a block boundary once
        it holds about ``segment_size`` characters; at twice that at any line's end, with an open fence closed
        and opened again in the next, and a table's header repeated.
        """
        return self._take_new_text(self._filter.feed(text))

    @property
    def may_hold_key(self) -> bool:
        """True if what may be the beginning of a key is held back; ``release`` it in a pause."""
        return self._filter.may_hold_key

    def release(self) -> list[MarkdownSegment]:
        """Take what is held back into the text, as nothing more comes for a moment; return as ``feed``."""
        return self._take_new_text(self._filter.release())

    def _take_new_text(self, text: str) -> list[MarkdownSegment]:
        if not text:
            return []
        self._frame = None
        return self._take_text(text)

    def _take_text(self, text: str) -> list[MarkdownSegment]:
        segments: list[MarkdownSegment] = []
        first, *others = text.split("\n")
        self._extend_line(first, segments)
        for part in others:
            self._add_line("".join(self._line), segments, "\n")
            self._line, self._line_length = [], 0
            self._extend_line(part, segments)
        return segments

    def _extend_line(self, part: str, segments: list[MarkdownSegment]) -> None:
        """Extend the last line; one that is too long for an output is cut at a space."""
        if not part:
            return
        self._line.append(part)
        self._line_length += len(part)
        if self._size is None or self._blocks.buffered_size + self._line_length <= 2 * self._size:
            return
        line, limit = "".join(self._line), 2 * self._size
        self._start_segment_if_full(line, segments)
        while len(line) > limit:
            end = line.rfind(" ", limit // 2, limit) + 1 or limit
            self._add_line(line[:end], segments, "")
            line = line[end:]
            self._start_segment_if_full(line, segments)
        self._line, self._line_length = [line], len(line)

    def _add_line(self, line: str, segments: list[MarkdownSegment], end: str) -> None:
        blocks = self._blocks
        if self._size is not None and blocks.buffered_size >= self._size and blocks.is_clean_break(line):
            self._start_segment(line, segments, self._size)
        else:
            self._start_segment_if_full(line, segments)
        blocks.add(line)
        self._segment_text.append(line + end)

    def _start_segment(self, line: str, segments: list[MarkdownSegment], size: int) -> None:
        segments.append(
            MarkdownSegment(
                self._blocks.split_before(line, longest_header=size // 4), "".join(self._segment_text)
            )
        )
        self._segment_text = []

    def _start_segment_if_full(self, line: str, segments: list[MarkdownSegment]) -> None:
        """Cut before this line, of which more may come, if it does not fit any more."""
        blocks = self._blocks
        if (
            self._size is None
            or blocks.is_at_start
            or not line.strip()
            or self._size > 2 * blocks.buffered_size
        ):
            return
        if blocks.buffered_size + len(line) > 2 * self._size and not blocks.may_close(line):
            self._start_segment(line, segments, self._size)

    def frame(self) -> str:
        """Return safe Markdown of the growing segment, what is half there at its end completed or held back."""
        if self._frame is None:
            self._line = ["".join(self._line)]
            self._frame = self._blocks.preview(self._line[0])
        return self._frame

    def finish(self) -> MarkdownSegment:
        """Finish the text; return its last segment. Markdown can be appended to it safely."""
        self._size = None  # no more cuts
        self._take_text(self._filter.finish())
        text = self.text
        if line := "".join(self._line):
            self._blocks.add(line)
        self._line, self._line_length, self._frame, self._segment_text = [], 0, None, []
        self._blocks.close(BlockEnd.END_OF_TEXT)
        return MarkdownSegment(self._blocks.flush(), text)


def fold(summary: str, safe: str) -> str:
    """Return safe Markdown that is folded below a summary, which is plain words."""
    return f"<details><summary>{summary}</summary>\n\n{safe}\n\n</details>"


def sanitize_markdown(text: str) -> str:
    """Return model text that is complete as safe Markdown."""
    feed = MarkdownFeed(segment_size=None)
    feed.feed(text)
    return feed.finish().markdown


def sanitize_table_cell(text: str, limit: int) -> str:
    """Return model text on one line, as safe Markdown for a cell of a table.

    Longer texts are cut after ``limit`` characters and end in ….
    """
    line = " ".join(strip_control_chars(text).split())
    if len(line) <= limit:
        safe, end = render(line, in_table=True), ""
    else:
        safe, end = render(line[:limit], BlockEnd.STREAMING, in_table=True), "…"
    return escape_open_brackets(safe).replace("|", PUNCTUATION_ENTITIES[ord("|")]) + end


def list_links(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of a numbered list of titles and URLs, which are untrusted, as safe Markdown."""
    lines = []
    for number, (title, url) in enumerate(entries, 1):
        is_link = url.lower().startswith(("http://", "https://")) and len(url) < _MAX_URL_CHARS
        target = safe_url(url.strip()) if is_link else None
        words = escape_inline(title or url)
        if target is None and title and url:
            words += f" ({escape_inline(url)})"
        lines.append(f"{number}. {words}" if target is None else f"{number}. [{words}]({target})")
    return lines


def escape_inline(text: str, limit: int = 200) -> str:
    """Escape untrusted text (a name, a server's message) so that a line of Markdown or HTML shows it literally.

    Longer texts are cut after ``limit`` characters and end in ….
    """
    text = " ".join(strip_control_chars(text).split())
    if len(text) > limit:
        text = text[: max(0, limit - 1)].rstrip() + "…"
    return _PUNCTUATION.sub(_escape_sign, text)


def _escape_sign(match: re.Match[str]) -> str:
    sign = match[0]
    return {"$": DOLLAR, "\\": BACKSLASH}.get(sign) or PUNCTUATION_ENTITIES[ord(sign)]
