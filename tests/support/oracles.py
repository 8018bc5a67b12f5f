"""What a sanitised text is checked against: a CommonMark parser, and readers that get Markdown wrong on purpose."""

import re
from functools import lru_cache
from html.parser import HTMLParser
from urllib.parse import unquote

from markdown_it import MarkdownIt

_ATTRIBUTES = {"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}, "td": {"style"}, "th": {"style"}}
_NAMES = (
    "p br hr h1 h2 h3 h4 h5 h6 blockquote ul ol li pre code em strong s a table thead tbody tr th td span"
)
_TAGS = {*_NAMES.split(), "sub", "sup", "kbd"}
_STYLE = re.compile(r"text-align:(left|right|center)")
_HREF = re.compile(r"(https?://|mailto:|#)", re.I)
_OWN_TAGS = re.compile(r"</?(?:span|code|pre|sub|sup|kbd)>|<br>|<code class=\"language-[A-Za-z0-9&#;_]+\">")
_TAG_START = re.compile(r"<[A-Za-z/!?]")
_TARGET = re.compile(r"(?:\]\(|^[\s>]*\[[^\[\]]*\]:\s*+)(?!https?://|mailto:|#)[^\n]{0,20}", re.I | re.M)
_DEFINITION = re.compile(r"^[ >]*\[[^\[\]]+\]:[^\n]*\n[ >]*[\"'(]", re.M)
_LEFT_FENCE = re.compile(r"^(`{3,})[A-Za-z0-9+#._-]*\n(?:[\s\S]*?\n)??\1$", re.M)

_parser = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])


@lru_cache(maxsize=4096)
def html_of(markdown: str) -> str:
    """Return what a CommonMark parser with tables makes of the text, HTML let through."""
    return str(_parser.render(markdown))


class _SafetyChecker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.text: list[str] = []
        self.code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.faults.append(f"tag {tag}")
        self.code += tag in ("code", "pre")
        for name, value in attrs:
            if name not in _ATTRIBUTES.get(tag, set()):
                self.faults.append(f"attribute {tag} {name}")
            if name == "href" and not _HREF.match(value or ""):
                self.faults.append(f"href {value}")
            if name == "class" and (
                not (value or "").startswith("language-") or "mermaid" in (value or "").lower()
            ):
                self.faults.append(f"class {value}")
            if name == "style" and not _STYLE.fullmatch(value or ""):
                self.faults.append(f"style {value}")

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "pre")

    def handle_data(self, data: str) -> None:
        if not self.code:
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.faults.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.faults.append(f"instruction {data}")


def check_safety(markdown: str) -> _SafetyChecker:
    """Return a walker that has been through the rendered text: its faults, and its words outside code."""
    walker = _SafetyChecker()
    walker.feed(html_of(markdown))
    walker.close()
    return walker


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rendered_text(markdown: str) -> str:
    """Return all words of the rendered text, those of code too."""
    parser = _Text()
    parser.feed(html_of(markdown))
    parser.close()
    return "".join(parser.text)


class _Shape(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.events: list[str] = []
        self.in_pre = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_pre = self.in_pre or tag == "pre"
        if tag not in ("span", "p"):
            self.events.append(f"<{tag} {sorted((name, unquote(value or '')) for name, value in attrs)}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self.in_pre = False
        if tag == "p":
            self.events.append("\0")
        elif tag != "span":
            self.events.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        text = data.rstrip("\n") if self.in_pre else re.sub(r"\s+", " ", data)
        if self.events and self.events[-1][:1] not in ("<", "\0"):
            self.events[-1] += text
        else:
            self.events.append(text)


def rendered_structure(markdown: str) -> list[str]:
    """Return the elements and words of the rendered text, one after the other, but for what does not show."""
    parser = _Shape()
    parser.feed(html_of(markdown))
    parser.close()
    return [event for event in parser.events if event.strip(" \0")]


def without_unindented_fences(markdown: str) -> str:
    """Return the text without the fenced blocks that every reader agrees on: those at the very left."""
    return _LEFT_FENCE.sub("", markdown)


def label_faults(markdown: str) -> list[str]:
    """Return what a parser falls for whose definitions' labels and titles go on over blocks, even into fences."""
    faults = []
    end = 0
    for fence in [*_LEFT_FENCE.finditer(markdown), None]:
        text = markdown[end : fence.start() if fence else None]
        end = fence.end() if fence else end
        if "[" in text[text.rfind("]") + 1 :]:
            faults.append(f"open bracket in {text[-80:]!r}")
        faults += [f"title after {found[0]!r}" for found in _DEFINITION.finditer(text)]
    return faults


def naive_reader_faults(markdown: str) -> list[str]:
    """Return what a reader who knows no code, no lists and no formulas would fall for outside fences at the left."""
    text = _OWN_TAGS.sub("", without_unindented_fences(markdown))
    faults = [f"tag at {text[m.start() : m.start() + 30]!r}" for m in _TAG_START.finditer(text)]
    faults += ["image"] * text.count("![")
    faults += ["placeholder"] * len(re.findall(r"@@", text))
    faults += [f"target {m[0]!r}" for m in _TARGET.finditer(text)]
    faults += [f"fence {m[0]!r}" for m in re.finditer(r"^~~~.*|^```.*", text, re.M)]
    return faults


_MATH_SPLIT = re.compile(
    r"(\$\$?|\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]|(?:\n\s*)+|@@\d+@@|\\\\[()\[\]])", re.I
)


_CLOSERS = {"$": "$", "$$": "$$", "\\\\(": "\\\\)", "\\\\[": "\\\\]"}


def _closer(part: str) -> str | None:
    return "\\end" + part[6:] if part.startswith("\\begin") else _CLOSERS.get(part)


def _end_of_formula(parts: list[str], start: int, closer: str) -> tuple[int, bool]:
    """Where the formula that starts at this part ends, and whether that is its end and not just a blank line."""
    braces, last = 0, -1
    for index in range(start + 2, len(parts), 2):
        part = parts[index]
        if part == closer:
            if not braces:
                return index, True
            last = index
        elif part.count("\n") > 1:
            return (last, True) if last >= 0 else (index, False)
        elif part == "{":
            braces += 1
        elif part == "}" and braces:
            braces -= 1
    return (last, True) if last >= 0 else (len(parts) - 1, False)


def formulas(markdown: str) -> list[str]:
    """Return the formulas that a notebook front end cuts out before it reads Markdown, as its rules are known."""
    text = re.sub(r"^(`{3,})[^`\n]*\n[\s\S]*?^\1`*$", lambda m: m[0].replace("$", "~"), markdown, flags=re.M)
    text = re.sub(r"(^|[^\\])(`+)([^\n]*?[^`\n])\2(?!`)", lambda m: m[0].replace("$", "~"), text, flags=re.M)
    parts = _MATH_SPLIT.split(text)
    found: list[str] = []
    index = 1
    while index < len(parts):
        closer = _closer(parts[index])
        if closer is not None:
            start = index
            index, closed = _end_of_formula(parts, start, closer)
            found.append(("" if closed else "OPEN ") + "".join(parts[start : index + 1]))
            index += index % 2 == 0  # the last part is no sign
        index += 2
    return found


_OUR_FORMULA = re.compile(r"(\$\$?)[^$\n]*(?:\\\$[^$\n]*)*\1")
_FORBIDDEN = re.compile(
    r"\\(?:href|style|class|cssId|require|includegraphics|def|newcommand|let|url|data|unicode)\b"
)


def formula_faults(markdown: str) -> list[str]:
    """Return formulas that are none of ours: open ones, ones that swallow structure, ones with forbidden commands."""
    faults = []
    for formula in formulas(markdown):
        if not _OUR_FORMULA.fullmatch(formula):
            faults.append(f"formula {formula[:80]!r}")
        if _FORBIDDEN.search(formula):
            faults.append(f"command {formula[:80]!r}")
    return faults


def faults(markdown: str) -> list[str]:
    """Return everything that any of the readers finds wrong with a sanitised text."""
    return (
        check_safety(markdown).faults
        + naive_reader_faults(markdown)
        + label_faults(markdown)
        + formula_faults(markdown)
    )
