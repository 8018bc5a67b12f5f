"""The running text of one block: escapes, code, formulas, links and HTML of an untrusted writer, made safe.

One pass from left to right, from one sign that could matter to the next. What is not code, a formula or a
checked link comes out such that no parser sees more in it than emphasis, whatever block it takes it for.
"""

import html
import re
from enum import Enum

from puq_magics.outputs.control_chars import plain
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
_SMALL_TAG = re.compile(r"<(sub|sup|kbd)>([\w +\-.,()/=]{1,80})</\1>")
_BRACKETED_WORDS = re.compile(r"[A-Za-z]{2}[\w .,'-]*|\d+")
_ESCAPABLE = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")

_TAIL_ENTITY = re.compile(r"&[#\w]{0,31}\Z")
_TAIL_TAG = re.compile(r"<(?:/?[A-Za-z][^\s<>]{0,200})?\Z")

#: Formulas that are held back while they are incomplete, at most so long: in a sentence, and on lines of their own.
_LONGEST_INLINE = 1_000
_LONGEST_DISPLAY = 4_000


class End(Enum):
    """What comes after a block's text."""

    BLOCK = 1  #: another block
    MORE = 2  #: more of this one: what is half there at its end is completed or held back
    NOTHING = 3  #: nothing any more: a display formula that was cut off ends here


def render(text: str, end: End = End.BLOCK, *, in_table: bool = False) -> str:
    """Return the safe Markdown of a block's running text."""
    return _Inline(text, end, in_table).run()


class _Inline:
    def __init__(self, text: str, end: End, in_table: bool) -> None:
        self.text = text
        self.tail = end is End.MORE
        self.last = end is End.NOTHING
        self.in_table = in_table
        self.pieces: list[str] = []
        self.opaque: list[bool] = []  # which pieces hold no Markdown to complete
        self.url_end = 0  # up to here front ends may see a bare link
        self.held = False  # the rest of the text is held back
        self.exhausted: set[str] = set()  # closers that do not come any more
        self.next_at: dict[str, int] = {}  # where a closer comes next
        self._closers: dict[int, int] | None = None
        self._environments: dict[int, int] | None = None

    def run(self) -> str:
        text, position = self.text, 0
        while not self.held and (sign := _SIGN.search(text, position)) is not None:
            start = sign.start()
            if start > position:
                self.plain(text[position:start])
            position = _HANDLERS[text[start]](self, start, sign[0])
        if not self.held and position < len(text):
            self.plain(text[position:])
        return close_emphasis(self.pieces, self.opaque) if self.tail else "".join(self.pieces)

    # -- what comes out ---------------------------------------------------------------------------

    def plain(self, piece: str) -> None:
        self.pieces.append(piece)
        self.opaque.append(False)

    def put(self, piece: str) -> None:
        self.pieces.append(piece)
        self.opaque.append(True)

    def hold(self) -> int:
        self.held = True
        return len(self.text)

    def last_character(self) -> str:
        return self.pieces[-1][-1:] if self.pieces else ""

    def put_code(self, content: str) -> None:
        self.put(code.span(content, joined=self.last_character() in ("`", "$"), in_table=self.in_table))

    def put_formula(self, start: int, end: int, content: str, mark: str) -> int:
        """Put the formula that ``text[start:end]`` spells, or that spelling as code when it is not to be typeset."""
        tex = None if start < self.url_end else math.typeset(content, in_table=self.in_table)
        if tex is None:
            self.put_code(self.text[start:end])
        else:
            if self.last_character() == "$":
                self.plain(" ")
            self.put(f"{mark}{tex}{mark}")
        return end

    # -- one handler for each sign ----------------------------------------------------------------

    def closer_of(self, start: int) -> int | None:
        """Where the run of backticks that closes the one at ``start`` begins."""
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
        closer = self.closer_of(start)
        if closer is not None and self.text.find("\n\n", begin, closer) < 0:
            self.put_code(self.text[begin:closer])
            return closer + len(run)
        if closer is None and self.tail and len(self.text) - start < 300:
            content = self.text[begin:].rstrip("`").strip()
            if content:
                self.put_code(content)
            return self.hold()
        self.put("&#96;" * len(run))
        return begin

    def dollars(self, start: int, run: str) -> int:
        if start < self.url_end:
            self.put("%24" * len(run))
            return start + len(run)
        return self.display(start, 2, "$$") if run == "$$" else self.inline_formula(start)

    def inline_formula(self, start: int) -> int:
        end = self.find("$", start + 1)
        if end < 0:
            if self.tail and math.may_be_formula(self.text[start + 1 : start + 1_000]):
                return self.hold()
        elif math.is_formula(self.text[start + 1 : min(end, start + 3_000)], self.text[end + 1 : end + 2]):
            return self.put_formula(start, end + 1, self.text[start + 1 : end], "$")
        self.put(DOLLAR)
        return start + 1

    def find(self, closer: str, position: int) -> int:
        """Where ``closer`` comes next, not escaped; -1 if nowhere. A search in vain is not made again."""
        if closer in self.exhausted:
            return -1
        found = self.text.find(closer, position)
        while found > 0 and self.text[found - 1] == "\\":
            found = self.text.find(closer, found + 1)
        if found < 0:
            self.exhausted.add(closer)
        return found

    def display(self, start: int, width: int, closer: str) -> int:
        r"""``$$ … $$`` or ``\[ … \]``: ``width`` is the opener's length."""
        begin = start + width
        end = self.find(closer, begin) if closer == "$$" else self.next_bracket(closer, begin)
        if end > begin:
            return self.put_formula(start, end + 2, self.text[begin:end], "$$")
        if end < 0 and self.tail and self.may_still_close(start):
            return self.hold()
        if end < 0 and self.last and math.typeset(self.text[begin:]):
            return self.put_formula(start, len(self.text), self.text[begin:], "$$")
        self.put(DOLLAR * 2 if closer == "$$" else "&#91;")
        return begin

    def may_still_close(self, start: int) -> bool:
        """Say whether a display formula that is open since ``start`` is not too long yet."""
        length = len(self.text) - start
        if length < _LONGEST_INLINE or length >= _LONGEST_DISPLAY:
            return length < _LONGEST_INLINE
        line = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        return not line.strip(" -*+0123456789.)")

    def next_bracket(self, closer: str, position: int) -> int:
        r"""Where ``\)`` or ``\]`` comes next, -1 if nowhere; 0 if another opener comes before it."""
        if closer in self.exhausted:
            return -1
        end = self.next_at.get(closer, -1)
        if end < position:  # else it is the one found for an opener before
            end = self.next_at[closer] = self.text.find(closer, position)
        if end < 0:
            self.exhausted.add(closer)
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
            bracketed = _BRACKETED_WORDS.match(text, start + 2)
            if bracketed is None or not text.startswith("\\]", bracketed.end()):
                return self.display(start, 2, "\\]")
        if following == "b" and text.startswith("begin{", start + 1):
            return self.environment(start)
        if following == "\n" and not self.in_table:
            self.put("\\\n")
            return start + 2
        if following in _ESCAPABLE and following:
            self.put({"$": DOLLAR, "\\": BACKSLASH}.get(following) or f"&#{ord(following)};")
            return start + 2
        if self.tail and "\\begin{".startswith(text[start : start + 8]):
            return self.hold()
        self.put(BACKSLASH)
        return start + 1

    def parenthesis(self, start: int) -> int:
        end = self.next_bracket("\\)", start + 2)
        if end > start + 2 and self.text.find("\n\n", start, end) < 0:
            return self.put_formula(start, end + 2, self.text[start + 2 : end], "$")
        if end < 0 and self.tail and len(self.text) - start < _LONGEST_INLINE:
            return self.hold()
        self.put("&#40;")
        return start + 2

    def environment(self, start: int) -> int:
        if self._environments is None:
            self._environments = math.environments(self.text)
        end = self._environments.get(start)
        if end is not None:
            return self.put_formula(start, end, self.text[start:end], "$$")
        name = self.text[start + 7 : start + 40].partition("}")
        known = math.is_environment(name[0]) if name[1] else True
        if self.tail and known and self.may_still_close(start):
            return self.hold()
        self.put(BACKSLASH)
        return start + 1

    def less(self, start: int, _: str) -> int:
        text = self.text
        if (found := _BREAK.match(text, start)) is not None:
            # Alone on its line it would start a block of HTML, in which nothing is Markdown any more.
            self.put("<br>" if self.last_character() not in ("", "\n") else "&#8203;<br>")
            return found.end()
        if (found := _SMALL_TAG.match(text, start)) is not None:
            self.put(f"<{found[1]}>{found[2]}</{found[1]}>")
            return found.end()
        found = _AUTOLINK.match(text, start)
        if found is not None and (url := links.target(found[1])) is not None:
            self.put(f"[{found[1].translate(code.PUNCTUATION)}]({url})")
            return found.end()
        if self.tail and _TAIL_TAG.match(text, start):
            return self.hold()
        self.put("&lt;")
        return start + 1

    def ampersand(self, start: int, _: str) -> int:
        entity = _ENTITY.match(self.text, start)
        if entity is not None:
            meant = html.unescape(entity[0])
            if meant and meant != entity[0] and plain(meant) == meant:
                self.put({"$": DOLLAR, "\\": BACKSLASH}.get(meant, entity[0]))
                return entity.end()
        if self.tail and _TAIL_ENTITY.match(self.text, start):
            return self.hold()
        self.put(
            "&" if self.text[start + 1 : start + 2] in (" ", "\n", "=") or start < self.url_end else "&amp;"
        )
        return start + 1

    def bracket(self, start: int, _: str) -> int:
        if self.text[start + 1] == ":":
            self.put("]&#58;")
            return start + 2
        found = links.inline_target(self.text, start + 1)
        if found is not None:
            self.plain("]")
            self.put(found[0])
            return found[1]
        if self.tail and links.is_unfinished_target(self.text, start + 1):
            self.plain("]")
            return self.hold()
        self.put("]&#40;")
        return start + 2

    def address(self, start: int, found: str) -> int:
        if start >= self.url_end:
            run = _RUN.match(self.text, start)
            self.url_end = run.end() if run else start
        self.put(found.replace(":", "&#58;") if found[0] in "fF" else found)
        return start + len(found)

    def sign(self, start: int, found: str) -> int:
        self.put(f"&#{ord(found[0])};" * len(found))
        return start + len(found)


_HANDLERS = {
    "`": _Inline.backticks,
    "$": _Inline.dollars,
    "\\": _Inline.backslash,
    "<": _Inline.less,
    "&": _Inline.ampersand,
    "]": _Inline.bracket,
    "@": _Inline.sign,
    "!": _Inline.sign,
    "~": _Inline.sign,
    **dict.fromkeys("hHfFwW", _Inline.address),
}
