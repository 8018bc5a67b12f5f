"""Parts of an answer that are made of the words of its question: a table, code, a formula."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from puq_magics.sandbox.scripted.coding import code

_ROWS = 6


def parts_asked_for(question: str, told: str = "") -> Iterator[str]:
    """A sentence on the question's words, and the parts that it, or what the model was told, asks for by name."""
    asked = [make for pattern, make in _PARTS if re.search(pattern, f"{question}\n{told}", re.IGNORECASE)]
    yield _sentence(_words(question))
    for make in asked:
        yield make(question)


def _words(question: str) -> list[str]:
    return re.findall(r"\w+", question)


def _sentence(words: list[str]) -> str:
    if not words:
        return "There is not a single word in it.\n\n"
    longest = max(words, key=len)
    number = "**1 word**" if len(words) == 1 else f"**{len(words)} words**"
    return f"That is {number}; the longest is *{longest}*, with {len(longest)} letters.\n\n"


def _table(question: str) -> str:
    counts = {word.lower(): len(word) for word in _words(question)}
    longest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_ROWS]
    rows = "".join(f"| {word} | {length} | {'▇' * length} |\n" for word, length in longest)
    return f"## A table of its words\n\n| Word | Letters | |\n| :-- | --: | :-- |\n{rows}\n"


def _formula(question: str) -> str:
    lengths = [len(word) for word in _words(question)] or [0]
    mean = sum(lengths) / len(lengths)
    return (
        "## A formula for their mean length\n\n"
        f"With \\(n = {len(lengths)}\\) words of lengths \\(x_i\\):\n\n"
        f"\\[\n\\bar x = \\frac{{1}}{{n}} \\sum_{{i=1}}^{{n}} x_i "
        f"= \\frac{{{sum(lengths)}}}{{{len(lengths)}}} \\approx {mean:.2f}\n\\]\n\n"
    )


_PARTS: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    (r"\btable", _table),
    (r"\bcode|\bpython|\bprogram|\bfunction", code),
    (r"\bformula|\bequation|\bmath", _formula),
)
