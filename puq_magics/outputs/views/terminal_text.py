"""Text that streams into a terminal: words wrapped at the margin, and Markdown with light styling.

Each character is written at once. A word that reaches the margin is taken back and begins the next line. Of
Markdown, headings, emphasis and code get a style in place of their marks; all else stays as the model wrote it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import deque
from unicodedata import combining, east_asian_width

#: Turns all styles off.
RESET = "\x1b[0m"
_BOLD, _ITALIC = "\x1b[1m", "\x1b[3m"
_FAINT, _CODE, _HEADING = "\x1b[2m", "\x1b[36m", "\x1b[1;4m"
#: Columns that stay free at the right: what the terminal writes on ``^C``.
_MARGIN = 2
_TAB = 8

#: What a line begins with, while it may still become a heading or a fence.
_UNDECIDED = re.compile(r" {0,3}(?:#{1,6}|`{1,2}|~{1,2})?\Z")
_HEADING_MARK = re.compile(r" {0,3}#{1,6} ")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
#: The marks of lists and quotes: the lines below a wrapped one begin under its words, with the marks of quotes.
_INDENT = re.compile(r"\s*(?:(?:[-*+>]|\d{1,3}[.)])\s+)*")
_MAX_INDENT = 16
#: The emphasis that a mark stands for.
_EMPHASIS = {"*": frozenset({"*"}), "**": frozenset({"**"}), "***": frozenset({"*", "**"})}


def has_styles() -> bool:
    """Return whether a terminal is to get colours and weights: not with ``NO_COLOR``, nor in a simple one."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def char_width(char: str) -> int:
    """Return the columns of a terminal that a character takes."""
    if char.isascii():
        return 1
    return 0 if combining(char) or char in "\u200d\ufe0f" else 2 if east_asian_width(char) in "WF" else 1


def format_for_terminal(markdown: str) -> str:
    """Return a whole text wrapped and styled, if standard output is a terminal; else as it is."""
    if not sys.stdout.isatty():
        return markdown
    text = TerminalText(shutil.get_terminal_size().columns, styles=has_styles())
    return text.feed(markdown) + text.finish()


class TerminalText:
    """Turns text, as it comes, into what is written to a terminal of ``width`` columns."""

    def __init__(self, width: int, *, markdown: bool = True, wraps: bool = True, styles: bool = True) -> None:
        self._limit = max(width - _MARGIN, 10)
        self._markdown = markdown
        self._wraps = wraps
        self._styles = styles and markdown
        #: Column of the cursor, from 0.
        self.column = 0
        #: False where a terminal may count the columns of the line otherwise, as with some emoji.
        self.is_column_exact = True
        self._out: list[str] = []
        self._todo: deque[str] = deque()  # an interrupt may leave some, which come with the next
        self._held = ""  # marks that the next character decides on
        self._line_start = True
        self._line = ""  # the line so far, without what was taken for a style
        self._fence = ""
        self._style = ""  # of the line
        self._stars: frozenset[str] = frozenset()  # the marks of emphasis that are open: ``*``, ``**``
        self._code = 0  # backticks that the span of code began with
        self._last = " "
        self._first = ""  # the first character of the line that is no space
        self._begin_word()

    def feed(self, text: str) -> str:
        """Process more text; return what to write now."""
        self._todo.extend(text)
        while self._todo:
            self._feed_char(self._todo.popleft())
        return self._take()

    def finish(self) -> str:
        """Return what was held back, as the text ends here."""
        self._release()
        if self.codes:
            self._out.append(RESET)
        return self._take()

    def _take(self) -> str:
        out, self._out = "".join(self._out), []
        return out

    # Marks -------------------------------------------------------------------------------------------------------

    def _feed_char(self, char: str) -> None:
        if not self._markdown:
            self._put(char)
        elif char == "\n":
            self._end_line()
        elif self._line_start:
            self._held += char
            if not _UNDECIDED.match(self._held):
                self._begin_line()
        elif self._fence or self._style:
            self._put(char)
        else:
            self._feed_inline(char)

    def _begin_line(self) -> None:
        """Decide on the line by its first characters."""
        start, self._held, self._line_start = self._held, "", False
        if fence := _FENCE.match(start):
            if not self._fence:
                self._fence = fence[1]
            elif start.strip().startswith(self._fence):
                self._fence = ""
            self._set_style(_FAINT)
        elif self._fence:
            self._set_style(_CODE)
        elif self._styles and _HEADING_MARK.match(start):
            self._stars, self._code = frozenset(), 0
            self._set_style(_HEADING)
            return
        for char in start:
            if self._style or self._fence:
                self._put(char)
            else:
                self._feed_inline(char)

    def _end_line(self) -> None:
        self._release()
        if not self._line.strip():  # a paragraph ends, and so does what it left open
            self._set_inline(frozenset(), 0)
        self._set_style("")
        self._out.append("\n")
        self._line_start, self._line, self._last, self._first = True, "", " ", ""
        self.column, self.is_column_exact = 0, True
        self._begin_word()

    def _release(self) -> None:
        """Write what was held back."""
        if self._line_start and self._held:
            self._begin_line()
        held, self._held = self._held, ""
        if self._code and held == "`" * self._code:
            self._mark_code(held)
        elif _EMPHASIS.get(held, {held}) <= self._stars and self._is_mark(held, "\n"):
            self._set_inline(self._stars - _EMPHASIS[held], 0)
        else:
            for char in held:
                self._put(char)

    def _feed_inline(self, char: str) -> None:
        """Take the marks of bold words and of code for styles."""
        if self._held and (char != self._held[0] or self._held == "***"):
            held, self._held = self._held, ""
            if held.startswith("`"):
                self._mark_code(held)
            elif self._is_mark(held, char):
                self._set_inline(self._stars ^ _EMPHASIS[held], 0)
            else:
                for each in held:
                    self._put(each)
        if self._styles and (char == "`" or (char == "*" and not self._code)):
            self._held += char
        else:
            self._put(char)

    def _is_mark(self, stars: str, following: str) -> bool:
        """Return whether stars begin or end emphasis, as seen by what is beside them."""
        if _EMPHASIS[stars] <= self._stars:
            return not self._last.isspace()
        return (
            not _EMPHASIS[stars] & self._stars
            and not following.isspace()
            and following != "*"
            and not self._last.isalnum()
        )

    def _mark_code(self, ticks: str) -> None:
        if self._code in (0, len(ticks)):
            self._set_inline(self._stars, 0 if self._code else len(ticks))
        else:
            for char in ticks:
                self._put(char)

    # Styles ------------------------------------------------------------------------------------------------------

    @property
    def codes(self) -> str:
        """The sequences of the styles that are on now; empty for none."""
        emphasis = f"{_BOLD if '**' in self._stars else ''}{_ITALIC if '*' in self._stars else ''}"
        return self._style or f"{emphasis}{_CODE if self._code else ''}"

    def _set_style(self, style: str) -> None:
        before = self.codes
        self._style = style if self._styles else ""
        self._show_codes(before)

    def _set_inline(self, stars: frozenset[str], code: int) -> None:
        before = self.codes
        self._stars, self._code = stars, code
        self._show_codes(before)

    def _show_codes(self, before: str) -> None:
        if self.codes != before:
            self._write(f"{RESET if before else ''}{self.codes}")

    # Lines -------------------------------------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        self._out.append(text)
        self._word.append(text)

    def _begin_word(self) -> None:
        self._word: list[str] = []
        self._word_width = 0
        self._is_word_exact = True
        self._word_codes = self.codes  # at its start

    def _put(self, char: str) -> None:
        """Write one character; wrap the line before it, if there is no room."""
        self._last = char
        if char == "\n":
            self._end_line()
            return
        self._line += char
        if not self._first and char != " ":
            self._first = char
        size = _TAB - self.column % _TAB if char == "\t" else char_width(char)
        if char == "\ufe0f":  # makes the sign before it an emoji, which some terminals show wider
            size = 1
        if self.column + size > self._limit:
            # Code and the rows of tables stay as they are: the terminal breaks them.
            if not self._wraps or self._fence or (self._markdown and self._first == "|"):
                self.is_column_exact = False
            elif char == " ":
                self._break_line()
                return
            else:
                self._wrap_word()
        if not char.isascii() and (size != 1 or char == "\ufe0f"):
            self.is_column_exact = self._is_word_exact = False
        self.column += size
        if char.isspace():
            self._out.append(char)
            self._begin_word()
        else:
            self._write(char)
            self._word_width += size

    def _wrap_word(self) -> None:
        """Take the word that reaches the margin to the next line, if it is not the only one on this."""
        word, width = "".join(self._word), self._word_width
        room = self._limit - len(self._indent)
        if not self._is_word_exact or width >= room or self.column <= width + len(self._indent):
            self._break_line()
            return
        if width:
            self._out.append(f"\x1b[{width}D\x1b[K")
        codes = self._word_codes
        self._break_line(codes)
        self._word, self._word_width, self._word_codes = [word], width, codes
        self._out.append(word)
        self.column += width

    def _break_line(self, codes: str | None = None) -> None:
        """Begin a new line within a paragraph, in the style of these codes; else in the present one."""
        codes = self.codes if codes is None else codes
        reset = RESET if codes or self.codes else ""
        self._out.append(f"{reset}\n{self._indent}{codes}")
        self.column, self.is_column_exact = len(self._indent), True
        self._begin_word()

    @property
    def _indent(self) -> str:
        found = _INDENT.match(self._line)
        return re.sub(r"[^>]", " ", found[0].expandtabs(_TAB) if found else "")[:_MAX_INDENT]
