"""Split a long text for a speech model, at places where a reader would pause."""

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

# Words that end with a full stop within a sentence, whatever follows.
_ABBREVIATIONS = re.compile(
    r"mr|mrs|ms|dr|prof|st|sr|jr|mme|mlle|gen|col|sgt|capt|lt|rev|hon|pres|gov|vs|cf|e\.?g|i\.?e|no|vol|pp|fig|approx"
    r"|z\.b|d\.h|u\.a|bzw|ca|nr|abb|inkl|evtl|p\.ex|av",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"[^\s(\[“„«\"']*$")
_LOOKAHEAD_CHARS = 80


def split_text(text: str, limit: int) -> list[str]:
    """Split a text into pieces of at most ``limit`` characters; joined, they are the text again.

    The text is split between paragraphs if the piece is then at least half full, else between sentences, lines,
    clauses or words, and within a word only if it is longer than ``limit``. Spaces stay with the piece before them if
    there is room. An empty text is one empty piece. Raises ValueError for a limit below 1.
    """
    if limit < 1:
        raise ValueError("limit must be at least 1")
    pieces: list[str] = []
    start = 0
    while len(text) - start > limit:
        end = _find_cut(text, start, limit)
        pieces.append(text[start:end])
        start = end
    pieces.append(text[start:])
    return pieces


def _find_cut(text: str, start: int, limit: int) -> int:
    """Return the end of the piece that starts at ``start``."""
    # The text after the piece shows whether its last full stop ends a sentence.
    window = text[start : start + limit + _LOOKAHEAD_CHARS]
    for find, least in _BREAKS:
        ends = (_break_end(match, limit) for match in find(window))
        best = max((end for end in ends if limit * least <= end <= limit), default=0)
        if window[:best].strip():
            return start + best
    return start + _cut_inside_word(text, start, limit)


def _break_end(match: re.Match[str], limit: int) -> int:
    """Return the end of a break, including its spaces if there is room."""
    if match.end() <= limit:
        return match.end()
    return max(match.start() + len(match.group().rstrip()), min(match.start() + 1, limit))


def _sentence_ends(text: str) -> Iterator[re.Match[str]]:
    for match in _SENTENCE.finditer(text):
        if not (match.group().rstrip() == "." and _is_abbreviation(text, match)):
            yield match


#: Places to split, the best first, and the least share of the limit that the piece must fill.
_BREAKS: tuple[tuple[Callable[[str], Iterator[re.Match[str]]], float], ...] = (
    (_PARAGRAPH.finditer, 0.5),
    (_sentence_ends, 0.0),
    (_LINE.finditer, 0.0),
    (_CLAUSE.finditer, 0.5),
    (_WHITESPACE.finditer, 0.0),
)


def _is_abbreviation(text: str, stop: re.Match[str]) -> bool:
    """Return whether a full stop belongs to an abbreviation, an initial or an ordinal."""
    after = text[stop.end() : stop.end() + 1]
    if after.islower():
        return True
    match = _LAST_WORD.search(text, max(0, stop.start() - 40), stop.start())
    word = match.group() if match else ""
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    is_ordinal = word.isdigit() and len(word) <= 2
    return is_initial or is_ordinal or _ABBREVIATIONS.fullmatch(word) is not None


def _cut_inside_word(text: str, start: int, limit: int) -> int:
    """Return the largest length up to ``limit`` that does not split a character and its combining marks."""
    for size in range(limit, max(0, limit - 32), -1):
        if not _is_same_character(text[start + size - 1], text[start + size]):
            return size
    return limit


def _is_same_character(before: str, after: str) -> bool:
    """Return whether two code points belong to one visible character."""
    joiner = "\u200d"
    return (
        joiner in (before, after)
        or unicodedata.combining(after) != 0
        or unicodedata.category(after) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
