"""The running text of one block: escapes, code, formulas, links and HTML of an untrusted writer, made safe.

One pass from left to right, from one sign that could matter to the next. What is not code, a formula or a
checked link comes out such that no parser sees more in it than emphasis, whatever block it takes it for.
"""

import html
import re
from enum import Enum

from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown import code, links, math
from puq_magics.outputs.markdown.emphasis import close_emphasis

#: An element around them keeps MathJax, which reads the page's text again, from seeing formulas in these.
DOLLAR = "<span>&#36;</span>"
BACKSLASH = "<span>&#92;</span>"

_SIGN = re.compile(
    r"`+|\$\$?|\\|<|&|@(?=@)|!(?=[\[<])|\](?=[(:])|~{3,}|[hH][tT][tT][pP][sS]?://|[fF][tT][pP]:|[wW]{3}\."
)
_RUN = re.compile(r"\S*")
_TICKS = re.compile(r"`+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]{1,2000})>", re.I)
_BREAK = re.compile(r"<br[ ]?/?>", re.I)
_ALLOWED_TAG = re.compile(r"<(sub|sup|kbd)>([\w +\-.,()/=]{1,80})</\1>")
_BRACKETED_TEXT = re.compile(r"[A-Za-z]{2}[\w .,'-]*|\d+")
_ESCAPABLE = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

_PARTIAL_ENTITY = re.compile(r"&[#\w]{0,31}\Z")
_PARTIAL_TAG = re.compile(r"<(?:/?[A-Za-z][^\s<>]{0,200})?\Z")

#: Formulas that are held back while they are incomplete, at most so long: in a sentence, and on lines of their own.
_MAX_INLINE_CHARS = 1_000
_MAX_DISPLAY_CHARS = 4_000


class BlockEnd(Enum):
    """Text that may follow a block."""

    COMPLETE = 1  #: another block
    STREAMING = 2  #: more of this one: what is half there at its end is completed or held back
    END_OF_TEXT = 3  #: nothing any more: a display formula that was cut off ends here


def render(text: str, end: BlockEnd = BlockEnd.COMPLETE, *, in_table: bool = False) -> str:
    """Return the safe Markdown of a block's running text."""
    return _InlineRenderer(text, end, in_table).run()


def escape_open_brackets(text: str) -> str:
    """Return text without open brackets: for some parsers a definition's label goes on over blocks, into a fence."""
    closed = text.rfind("]") + 1
    return text[:closed] + text[closed:].replace("[", "&#91;")


class _InlineRenderer:
    def __init__(self, text: str, end: BlockEnd, in_table: bool) -> None:
        self.text = text
        self.is_streaming = end is BlockEnd.STREAMING
        self.is_last_block = end is BlockEnd.END_OF_TEXT
        self.in_table = in_table
        self.pieces: list[str] = []
        self.opaque: list[bool] = []  # which pieces hold no Markdown to complete
        self.url_end = 0  # up to here front ends may see a bare link
        self.missing_closers: set[str] = set()  # closers that do not come any more
        self.next_at: dict[str, int] = {}  # where a closer comes next
        self._closers: dict[int, int] | None = None
        self._environments: dict[int, int] | None = None

    def run(self) -> str:
        text, position = self.text, 0
        while (sign := _SIGN.search(text, position)) is not None:
            start = sign.start()
            if start > position:
                self.emit_markdown(text[position:start])
            position = _HANDLERS[text[start]](self, start, sign[0])
        if position < len(text):
            self.emit_markdown(text[position:])
        return close_emphasis(self.pieces, self.opaque) if self.is_streaming else "".join(self.pieces)

    # -- what comes out ---------------------------------------------------------------------------

    def emit_markdown(self, piece: str) -> None:
        self.pieces.append(piece)
        self.opaque.append(False)

    def emit(self, piece: str) -> None:
        self.pieces.append(piece)
        self.opaque.append(True)

    def hold_back_rest(self) -> int:
        return len(self.text)

    def last_character(self) -> str:
        return self.pieces[-1][-1:] if self.pieces else ""

    def emit_code(self, content: str) -> None:
        self.emit(
            code.inline_code(content, joined=self.last_character() in ("`", "$"), in_table=self.in_table)
        )

    def emit_formula(self, start: int, end: int, content: str, mark: str) -> int:
        """Put the formula that ``text[start:end]`` spells, or that spelling as code when it is not to be typeset."""
        tex = None if start < self.url_end else math.sanitize_tex(content, in_table=self.in_table)
        if tex is None:
            self.emit_code(self.text[start:end])
        else:
            if self.last_character() == "$":
                self.emit_markdown(" ")
            self.emit(f"{mark}{tex}{mark}")
        return end

    # -- one handler for each sign ----------------------------------------------------------------

    def find_closing_backticks(self, start: int) -> int | None:
        """Return the start of the backtick run that closes the one at ``start``."""
        if self._closers is None:
            self._closers = {}
            following: dict[int, int] = {}
            for run in reversed(list(_TICKS.finditer(self.text, start))):
                length = run.end() - run.start()
                if length in following:
                    self._closers[run.start()] = following[length]
                following[length] = run.start()
        return self._closers.get(start)

    def backticks(self, start: int, run: str) -> int:
        begin = start + len(run)
        closer = self.find_closing_backticks(start)
        if closer is not None and self.text.find("\n\n", begin, closer) < 0:
            self.emit_code(self.text[begin:closer])
            return closer + len(run)
        if closer is None and self.is_streaming and len(self.text) - start < 300:
            content = self.text[begin:].rstrip("`").strip()
            if content:
                self.emit_code(content)
            return self.hold_back_rest()
        self.emit("&#96;" * len(run))
        return begin

    def dollars(self, start: int, run: str) -> int:
        if start < self.url_end:
            self.emit("%24" * len(run))
            return start + len(run)
        return self.display(start, 2, "$$") if run == "$$" else self.inline_formula(start)

    def inline_formula(self, start: int) -> int:
        end = self.find("$", start + 1)
        if end < 0:
            if self.is_streaming and math.may_be_formula(self.text[start + 1 : start + 1_000]):
                return self.hold_back_rest()
        elif math.is_formula(self.text[start + 1 : min(end, start + 3_000)], self.text[end + 1 : end + 2]):
            return self.emit_formula(start, end + 1, self.text[start + 1 : end], "$")
        self.emit(DOLLAR)
        return start + 1

    def find(self, closer: str, position: int) -> int:
        """Return the next unescaped ``closer``, or -1. A search without a match is not repeated."""
        if closer in self.missing_closers:
            return -1
        found = self.text.find(closer, position)
        while found > 0 and self.text[found - 1] == "\\":
            found = self.text.find(closer, found + 1)
        if found < 0:
            self.missing_closers.add(closer)
        return found

    def display(self, start: int, width: int, closer: str) -> int:
        r"""``$$ … $$`` or ``\[ … \]``: ``width`` is the opener's length."""
        begin = start + width
        end = self.find(closer, begin) if closer == "$$" else self.find_closing_bracket(closer, begin)
        if end > begin:
            return self.emit_formula(start, end + 2, self.text[begin:end], "$$")
        if end < 0 and self.is_streaming and self.may_still_close(start):
            return self.hold_back_rest()
        if end < 0 and self.is_last_block and math.sanitize_tex(self.text[begin:]):
            return self.emit_formula(start, len(self.text), self.text[begin:], "$$")
        self.emit(DOLLAR * 2 if closer == "$$" else "&#91;")
        return begin

    def may_still_close(self, start: int) -> bool:
        """Return True while the display formula opened at ``start`` is not too long."""
        length = len(self.text) - start
        if length < _MAX_INLINE_CHARS or length >= _MAX_DISPLAY_CHARS:
            return length < _MAX_INLINE_CHARS
        line = self.text[:start].rpartition("\n")[2]
        return not line.strip(" -*+0123456789.)")

    def find_closing_bracket(self, closer: str, position: int) -> int:
        r"""Return the next ``\)`` or ``\]``, or -1; 0 if another opener precedes it."""
        if closer in self.missing_closers:
            return -1
        end = self.next_at.get(closer, -1)
        if end < position:  # else it is the one found for an opener before
            end = self.next_at[closer] = self.text.find(closer, position)
        if end < 0:
            self.missing_closers.add(closer)
            return -1
        opener = "\\(" if closer == "\\)" else "\\["
        # `\\[2pt]` is a line's end in TeX, not an opener.
        between = self.text.find(opener, position, end)
        while between > 0 and self.text[between - 1] == "\\":
            between = self.text.find(opener, between + 1, end)
        return end if between < 0 else 0

    def backslash(self, start: int, _: str) -> int:
        text = self.text
        following = text[start + 1 : start + 2]
        if following == "(":
            return self.parenthesis(start)
        if following == "[":
            bracketed = _BRACKETED_TEXT.match(text, start + 2)
            if bracketed is None or not text.startswith("\\]", bracketed.end()):
                return self.display(start, 2, "\\]")
        if following == "b" and text.startswith("begin{", start + 1):
            return self.environment(start)
        if following == "\n" and not self.in_table:
            self.emit("\\\n")
            return start + 2
        if following in _ESCAPABLE and following:
            self.emit({"$": DOLLAR, "\\": BACKSLASH}.get(following) or f"&#{ord(following)};")
            return start + 2
        if self.is_streaming and "\\begin{".startswith(text[start : start + 8]):
            return self.hold_back_rest()
        self.emit(BACKSLASH)
        return start + 1

    def parenthesis(self, start: int) -> int:
        end = self.find_closing_bracket("\\)", start + 2)
        if end > start + 2 and self.text.find("\n\n", start, end) < 0:
            return self.emit_formula(start, end + 2, self.text[start + 2 : end], "$")
        if end < 0 and self.is_streaming and len(self.text) - start < _MAX_INLINE_CHARS:
            return self.hold_back_rest()
        self.emit("&#40;")
        return start + 2

    def environment(self, start: int) -> int:
        if self._environments is None:
            self._environments = math.find_environments(self.text)
        end = self._environments.get(start)
        if end is not None:
            return self.emit_formula(start, end, self.text[start:end], "$$")
        name = self.text[start + 7 : start + 40].partition("}")
        known = math.is_environment(name[0]) if name[1] else True
        if self.is_streaming and known and self.may_still_close(start):
            return self.hold_back_rest()
        self.emit(BACKSLASH)
        return start + 1

    def less_than(self, start: int, _: str) -> int:
        text = self.text
        if (found := _BREAK.match(text, start)) is not None:
            # Alone on its line it would start a block of HTML, in which nothing is Markdown any more.
            self.emit("<br>" if self.last_character() not in ("", "\n") else "&#8203;<br>")
            return found.end()
        if (found := _ALLOWED_TAG.match(text, start)) is not None:
            self.emit(f"<{found[1]}>{found[2]}</{found[1]}>")
            return found.end()
        found = _AUTOLINK.match(text, start)
        if found is not None and (url := links.safe_url(found[1])) is not None:
            self.emit(f"[{found[1].translate(code.PUNCTUATION_ENTITIES)}]({url})")
            return found.end()
        if self.is_streaming and _PARTIAL_TAG.match(text, start):
            return self.hold_back_rest()
        self.emit("&lt;")
        return start + 1

    def ampersand(self, start: int, _: str) -> int:
        entity = _ENTITY.match(self.text, start)
        if entity is not None:
            meant = html.unescape(entity[0])
            if meant and meant != entity[0] and strip_control_chars(meant) == meant:
                self.emit({"$": DOLLAR, "\\": BACKSLASH}.get(meant, entity[0]))
                return entity.end()
        if self.is_streaming and _PARTIAL_ENTITY.match(self.text, start):
            return self.hold_back_rest()
        self.emit(
            "&" if self.text[start + 1 : start + 2] in (" ", "\n", "=") or start < self.url_end else "&amp;"
        )
        return start + 1

    def bracket(self, start: int, _: str) -> int:
        if self.text[start + 1] == ":":
            self.emit("]&#58;")
            return start + 2
        found = links.parse_target(self.text, start + 1)
        if found is not None:
            self.emit_markdown("]")
            self.emit(found[0])
            return found[1]
        if self.is_streaming and links.is_unfinished_target(self.text, start + 1):
            self.emit_markdown("]")
            return self.hold_back_rest()
        self.emit("]&#40;")
        return start + 2

    def bare_url(self, start: int, found: str) -> int:
        if start >= self.url_end:
            run = _RUN.match(self.text, start)
            self.url_end = run.end() if run else start
        self.emit(found.replace(":", "&#58;") if found[0] in "fF" else found)
        return start + len(found)

    def sign(self, start: int, found: str) -> int:
        self.emit(f"&#{ord(found[0])};" * len(found))
        return start + len(found)


_HANDLERS = {
    "`": _InlineRenderer.backticks,
    "$": _InlineRenderer.dollars,
    "\\": _InlineRenderer.backslash,
    "<": _InlineRenderer.less_than,
    "&": _InlineRenderer.ampersand,
    "]": _InlineRenderer.bracket,
    "@": _InlineRenderer.sign,
    "!": _InlineRenderer.sign,
    "~": _InlineRenderer.sign,
    **dict.fromkeys("hHfFwW", _InlineRenderer.bare_url),
}
