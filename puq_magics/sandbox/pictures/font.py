"""A small bitmap font of the sandbox's own, for the stamp on its images: ASCII, and a box for the rest."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final, TypeAlias

#: Rows from top to bottom, each a string of ``#`` and ``.``; below the seventh they hang under the line.
Glyph: TypeAlias = tuple[str, ...]

#: Rows of the tallest letter with what hangs under the line, and of a capital.
HEIGHT: Final = 9
CAPITAL: Final = 7
_SPACE: Final[Glyph] = ("...",)
_BOX: Final = "□"
#: Accents, and signs that only say how others are to be shown.
_INVISIBLE: Final = frozenset({"Mn", "Me", "Cf"})
#: For typographer's signs that have a plain one beside them.
_PLAIN: Final = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "ß": "ss",
        "æ": "ae",
        "ø": "o",
    }
)


def plain(text: str) -> str:
    """The text in the font's own letters: accents taken off, white space as one blank, the rest as boxes."""
    line = " ".join(unicodedata.normalize("NFKD", text.translate(_PLAIN)).split())
    return "".join(
        letter if letter == " " or letter in _glyphs() else _BOX
        for letter in line
        if unicodedata.category(letter) not in _INVISIBLE
    )


def width(text: str) -> int:
    """How wide a line is, in pixels of the font."""
    return max(0, sum(len(_glyph(letter)[0]) + 1 for letter in text) - 1)


def pixels(text: str) -> Iterator[tuple[int, int, int]]:
    """The black of a line: where each stroke begins (x, y), and how wide it is."""
    left = 0
    for letter in text:
        glyph = _glyph(letter)
        for y, row in enumerate(glyph):
            for x, dot in enumerate(row):
                if dot == "#" and (x == 0 or row[x - 1] != "#"):
                    yield left + x, y, len(row[x:]) - len(row[x:].lstrip("#"))
        left += len(glyph[0]) + 1


def wrap(text: str, most: int) -> list[str]:
    """Break a text into lines that are at most so wide; a word that is too wide alone is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if width(longer) <= most:
            line = longer
            continue
        if line:
            lines.append(line)
        line = _cut(word, most)
    return [*lines, line] if line else lines


def shorten(text: str, most: int) -> str:
    """The text as far as it goes into so much room; with dots where it is cut."""
    if width(text) <= most:
        return text
    kept = _cut(text, most - width(" ..."))
    return kept.rstrip(" ,.;:") + " ..." if kept else ""


def _cut(text: str, most: int) -> str:
    while text and width(text) > most:
        text = text[:-1]
    return text


def _glyph(letter: str) -> Glyph:
    return _SPACE if letter == " " else _glyphs().get(letter) or _glyphs()[_BOX]


@cache
def _glyphs() -> dict[str, Glyph]:
    sheet = (files("puq_magics.sandbox") / "texts" / "font.txt").read_text(encoding="utf-8")
    return {line[0]: tuple(line[2:].split()) for line in sheet.splitlines()}
