"""A long text in pieces that a speech model takes, cut where a reader would pause."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

_CLOSING_MARKS = "\"'”’»›)\\]}」』）】》〉"
# Full stops of scripts that put no space behind them, and those of scripts that do.
_UNSPACED_STOPS, _SPACED_STOPS = "。！？｡．", ".!?…؟۔।॥։።"
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(
    rf"[{_UNSPACED_STOPS}]+[{_CLOSING_MARKS}]*\s*|[{_SPACED_STOPS}]+[{_CLOSING_MARKS}]*\s+"
)
_LINE = re.compile(r"\n\s*")
_CLAUSE = re.compile(rf"[,;:–—][{_CLOSING_MARKS}]*\s+|[、，；：]\s*")
_WHITESPACE = re.compile(r"\s+")

# Words that end with a full stop in the middle of a sentence, whatever follows.
_ABBREVIATIONS = re.compile(
    r"mr|mrs|ms|dr|prof|st|sr|jr|mme|mlle|gen|col|sgt|capt|lt|rev|hon|pres|gov|vs|cf|e\.?g|i\.?e|no|vol|pp|fig|approx"
    r"|z\.b|d\.h|u\.a|bzw|ca|nr|abb|inkl|evtl|p\.ex|av",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"[^\s(\[“„«\"']*$")
_LOOKAHEAD_CHARS = 80  # characters


def split_text(text: str, limit: int) -> list[str]:
    """Cut a text into pieces of at most ``limit`` characters, which are the text again when joined.

    Cuts come between paragraphs where the piece is half full by then, else between sentences, else between lines,
    clauses or words, and in the middle of a word only where it is longer than a piece. Space stays with the piece
    before it, where there is room. An empty text is one empty piece.
    """
    if limit < 1:
        raise ValueError("a piece has at least one character")
    pieces: list[str] = []
    start = 0
    while len(text) - start > limit:
        end = _find_cut(text, start, limit)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return pieces


def _find_cut(text: str, start: int, limit: int) -> int:
    """Where the piece ends that begins at ``start``."""
    # What follows the piece says whether its last full stop ends a sentence.
    window = text[start : start + limit + _LOOKAHEAD_CHARS]
    for find, least in _BREAKS:
        ends = (_break_end(match, limit) for match in find(window))
        best = max((end for end in ends if limit * least <= end <= limit), default=0)
        if window[:best].strip():
            return start + best
    return start + _cut_inside_word(text, start, limit)


def _break_end(match: re.Match[str], limit: int) -> int:
    """The end of a break: with its space where there is room for that."""
    if match.end() <= limit:
        return match.end()
    return max(match.start() + len(match.group().rstrip()), min(match.start() + 1, limit))


def _sentence_ends(text: str) -> Iterator[re.Match[str]]:
    for match in _SENTENCE.finditer(text):
        if not (match.group().rstrip() == "." and _is_abbreviation(text, match)):
            yield match


#: Where to cut, the best first; and how full a piece must be for that.
_BREAKS: tuple[tuple[Callable[[str], Iterator[re.Match[str]]], float], ...] = (
    (_PARAGRAPH.finditer, 0.5),
    (_sentence_ends, 0.0),
    (_LINE.finditer, 0.0),
    (_CLAUSE.finditer, 0.5),
    (_WHITESPACE.finditer, 0.0),
)


def _is_abbreviation(text: str, stop: re.Match[str]) -> bool:
    """Whether a full stop is one of an abbreviation, an initial or an ordinal."""
    after = text[stop.end() : stop.end() + 1]
    if after.islower():
        return True
    found = _LAST_WORD.search(text, max(0, stop.start() - 40), stop.start())
    word = found.group() if found else ""
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_ordinal = word.isdigit() and len(word) <= 2
    return is_initial or is_ordinal or _ABBREVIATIONS.fullmatch(word) is not None


def _cut_inside_word(text: str, start: int, limit: int) -> int:
    """The whole window, but for the beginning of a character that goes on behind it."""
    for size in range(limit, max(0, limit - 32), -1):
        if not _is_same_character(text[start + size - 1], text[start + size]):
            return size
    return limit


def _is_same_character(before: str, after: str) -> bool:
    """Whether two characters are parts of one that people see."""
    joiner = "\u200d"
    return (
        joiner in (before, after)
        or unicodedata.combining(after) != 0
        or unicodedata.category(after) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
