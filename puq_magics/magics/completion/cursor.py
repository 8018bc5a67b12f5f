"""Position of the cursor: in the line or the body of a magic, or at a setting; and the word it is in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: ``%time`` and similar magics run another line.
_PREFIX = r"\s*(?:%(?:time|timeit|prun|memit)\s+)?(?:[^%\"'#=]*=\s*)?"
_CELL_LINE = re.compile(r"\s*%%(?P<name>\w+)(?P<rest>(?:\s.*)?)", re.DOTALL)
_SETTING = re.compile(r"\s*%config\s+PuqMagics\.(?P<name>\w+)\s*=\s*(?P<value>.*)", re.DOTALL)
# A shell word; its quotes may be open at the cursor.
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|\\\Z|"(?:[^"\\]|\\.)*(?:"|\\?\Z)|'[^']*(?:'|\Z))+""", re.DOTALL)
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """Position of the cursor within one magic, with the text before and after it.

    ``part`` is ``line`` (of a line magic), ``head`` (the line of a cell magic), ``body``, or ``setting`` of
    ``%config PuqMagics``; then ``name`` is the setting, and ``before`` the text after its ``=``.
    """

    part: str
    name: str
    before: str
    after: str = ""
    #: The line of the cell magic, where the cursor is in its body.
    head: str = ""


@dataclass(frozen=True, slots=True)
class PartialLine:
    """A line parsed up to the cursor, and the word at it."""

    fragment: str
    #: The option whose value the word is; else empty.
    option: str = ""
    #: The flags before it.
    flags: tuple[str, ...] = ()
    #: The words before it that are neither options nor their values.
    words: tuple[str, ...] = ()
    #: True if no options can follow: the prompt has begun, or ``--`` came before.
    options_ended: bool = False


def locate_cursor(
    text: str, offset: int, lines: Collection[str], cells: Collection[str]
) -> CursorPosition | None:
    """Locate the cursor in a cell; None outside of the named magics.

    ``lines`` and ``cells`` name the line and the cell magics; ``offset`` counts characters of ``text``.
    """
    start = len(text) - len(text.lstrip())
    while (head := _CELL_LINE.match(first := text[start:].partition("\n")[0])) is not None:
        end = start + len(first)
        if head["name"] in cells:
            return _cursor_in_cell(text, offset, head["name"], start + head.start("rest"), end)
        if offset <= end:
            return None
        start = end + 1  # the body of another magic, such as %%time
        if not text.startswith("%%", start):
            break
    return _cursor_in_line(text, offset, lines)


def _cursor_in_cell(text: str, offset: int, name: str, rest: int, end: int) -> CursorPosition | None:
    if offset > end:
        return CursorPosition("body", name, text[end + 1 : offset], text[offset:], text[rest:end])
    if offset <= rest:  # the name itself is IPython's to complete
        return None
    return CursorPosition("head", name, text[rest:offset], text[offset:end])


def _cursor_in_line(text: str, offset: int, lines: Collection[str]) -> CursorPosition | None:
    start = text.rfind("\n", 0, offset) + 1
    while start > 1 and text[start - 2] == "\\":  # continued from the line above
        start = text.rfind("\n", 0, start - 1) + 1
    before = text[start:offset].replace("\\\n", "  ")
    after = text[offset:].split("\n", 1)[0]
    if setting := _SETTING.fullmatch(before):
        return CursorPosition("setting", setting["name"], setting["value"], after)
    names = "|".join(sorted(map(re.escape, lines), key=len, reverse=True))
    found = re.match(rf"{_PREFIX}%(?P<name>{names})(?P<rest>\s.*)", before, re.DOTALL) if names else None
    if found is None and names and "\n" not in text.strip():  # IPython's automagic
        found = re.match(rf"\s*(?P<name>{names})(?P<rest>\s+(?![=.,(\s]).*|\s+)$", before, re.DOTALL)
    return CursorPosition("line", found["name"], found["rest"], after) if found else None


def parse_partial_line(before: str, takes_value: Callable[[str], bool], *, prompt: bool) -> PartialLine:
    """Parse the words of a line up to the cursor; with ``prompt`` the first that is no option begins the prompt."""
    flags: list[str] = []
    words: list[str] = []
    option, options_ended, position = "", False, 0
    while True:
        start = _match_end(_SPACE, before, position)
        position = _match_end(_WORD, before, start)
        raw = before[start:position]
        is_last = position == len(before)
        is_option = raw.startswith("-") and raw != "-" and not option and not options_ended
        if is_last and not is_option:
            return PartialLine(raw, option, tuple(flags), tuple(words), options_ended)
        if option:
            option = ""
        elif raw == "--" and is_option and not is_last:
            options_ended = True
        elif is_option:
            flag, attached = _split_option(raw, takes_value)
            if is_last:
                fragment, option = (raw, "") if attached is None else (attached, flag)
                return PartialLine(fragment, option, tuple(flags), tuple(words))
            flags.append(flag)
            option = flag if attached is None and takes_value(flag) else ""
        else:
            words.append(raw)
            options_ended = options_ended or prompt


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _split_option(raw: str, takes_value: Callable[[str], bool]) -> tuple[str, str | None]:
    """Split ``--size=1024x1024`` or ``-mfast`` into flag and value; ``-q`` has none."""
    flag, equals, value = raw.partition("=")
    if equals:
        return flag, value
    if not raw.startswith("--") and len(raw) > 2 and takes_value(raw[:2]):
        return raw[:2], raw[2:]
    return raw, None


def split_quote(fragment: str) -> tuple[str, str]:
    """Return the quote that a word begins with, if any, and the unquoted text."""
    quote = fragment[:1] if fragment[:1] in ("'", '"') else ""
    text = fragment[len(quote) :]
    return quote, text if quote == "'" else re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def quote_word(text: str, quote: str, *, is_open: bool = False, after: str = "") -> str:
    """Return a value as one word of the line, in the quote that was typed.

    The closing quote is left out with ``is_open``, for a folder, or when it is in the text ``after`` the cursor.
    """
    if not quote:
        return re.sub(r"""([\s"'\\])""", r"\\\1", text)
    inner = re.sub(r'(["\\])', r"\\\1", text) if quote == '"' else text
    closing = "" if is_open or after.startswith(quote) else quote
    return f"{quote}{inner}{closing}"
