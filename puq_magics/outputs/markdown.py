"""Model text as Markdown that is safe to show live, and looks as it was meant, while it comes and when it is there.

Front ends render live ``text/markdown`` without a sanitiser, and model text is untrusted: nothing of it reaches
them but through here. Control characters go (``markdown_controls``), lines become blocks (``markdown_blocks``),
and their running text is made harmless under any parse (``markdown_inline``).
"""

import re

from puq_magics.outputs.markdown_blocks import Blocks
from puq_magics.outputs.markdown_code import PUNCTUATION
from puq_magics.outputs.markdown_controls import PlainFeed, plain
from puq_magics.outputs.markdown_inline import BACKSLASH, DOLLAR, End

__all__ = ["MarkdownFeed", "PlainFeed", "inline", "plain", "safe_markdown"]

#: A sign that means nothing between two letters or digits, as in a model's or a file's name.
_SIGN = re.compile(r"(?<![A-Za-z0-9])[!-/:-@\[-`{-~]|[!-+:-@\[-^`{-~]|[-_,./](?![A-Za-z0-9])|(?<=[wW]{3})\.")


class MarkdownFeed:
    """Model text in, safe Markdown out, as it comes.

    ``segment_size`` is about how many characters one output holds before the next begins; None for no end.
    """

    def __init__(self, *, segment_size: int | None = 8_000) -> None:
        self._size = segment_size
        self._controls = PlainFeed()
        self._blocks = Blocks()
        self._line: list[str] = []  # the last line, of which more may come
        self._line_length = 0
        self._frame: str | None = None

    def feed(self, text: str) -> list[str]:
        """Take more of the answer; return the segments that this completed, oldest first.

        A segment is safe Markdown that stands by itself and never changes again. It ends at a block boundary once
        it holds about ``segment_size`` characters; at twice that at any line's end, with an open fence closed
        and opened again in the next, and a table's header repeated.
        """
        text = self._controls.feed(text)
        if not text:
            return []
        self._frame = None
        return self._take(text)

    def _take(self, text: str) -> list[str]:
        segments: list[str] = []
        first, *others = text.split("\n")
        self._grow(first, segments)
        for part in others:
            self._add("".join(self._line), segments)
            self._line, self._line_length = [], 0
            self._grow(part, segments)
        return segments

    def _grow(self, part: str, segments: list[str]) -> None:
        """Add to the last line; one that is too long for an output is cut at a space."""
        if not part:
            return
        self._line.append(part)
        self._line_length += len(part)
        if self._size is None or self._line_length <= 2 * self._size:
            return
        line, start, limit = "".join(self._line), 0, 2 * self._size
        while len(line) - start > limit:
            end = line.rfind(" ", start + limit // 2, start + limit) + 1 or start + limit
            self._add(line[start:end], segments)
            start = end
        self._line, self._line_length = [line[start:]], len(line) - start

    def _add(self, line: str, segments: list[str]) -> None:
        blocks, size = self._blocks, self._size
        if size is not None and (held := blocks.size + blocks.length) >= size // 2:
            clean = held >= size and blocks.is_clean_cut(line)
            if clean or held + len(line) > 2 * size:
                segments.append(blocks.cut(line))
        blocks.add(line)

    def frame(self) -> str:
        """Return safe Markdown of the segment that is growing, what is half there at its end completed or held back."""
        if self._frame is None:
            self._frame = self._blocks.ended_by("".join(self._line))
        return self._frame

    def finish(self) -> str:
        """Return safe Markdown of the last segment, to the text's very end; what is appended to it stands by itself."""
        self._size = None  # no more cuts
        self._take(self._controls.finish())
        if self._line:
            self._blocks.add("".join(self._line))
        self._line, self._line_length, self._frame = [], 0, None
        self._blocks.close(End.NOTHING)
        return self._blocks.take()


def safe_markdown(text: str) -> str:
    """Return model text that is complete as safe Markdown."""
    feed = MarkdownFeed(segment_size=None)
    feed.feed(text)
    return feed.finish()


def inline(text: str, limit: int = 200) -> str:
    """Return untrusted words (a name, a server's message) so that they stand literally in one line of Markdown or HTML.

    Longer texts end in … after ``limit`` characters of their own.
    """
    text = " ".join(plain(text).split())
    if len(text) > limit:
        text = text[: max(0, limit - 1)].rstrip() + "…"
    return _SIGN.sub(_literally, text)


def _literally(match: re.Match[str]) -> str:
    sign = match[0]
    return {"$": DOLLAR, "\\": BACKSLASH}.get(sign) or PUNCTUATION[ord(sign)]
