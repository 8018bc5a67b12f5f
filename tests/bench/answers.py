"""What the server sends: the shape of an answer and its text, the same for both ends of a run."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

Body = Literal["chunked", "close", "gzip"]
Profile = Literal["words", "formulas"]

SIX_KILOBYTES = 1362  # chunks of 4.4 characters, about what a tokenizer gives
_SYLLABLES = ("a", "be", "ci", "do", "fu", "ga", "he", "li", "mo", "nu", "pe", "ra", "si", "to", "ve", "xyl")
_PARAGRAPH = 50  # words
_FORMULAS = 50


@dataclass(frozen=True)
class Shape:
    """One streamed answer: how much, how fast and how it is framed."""

    chunks: int = 2000
    rate: float = 0.0  # chunks a second; 0 sends as fast as the socket takes them
    body: Body = "chunked"
    profile: Profile = "words"  # "formulas" is one fixed document of 6 kB, whatever `chunks` says
    lead: float = 0.05  # seconds between the head of the response and the first chunk
    pause_after: int = 0  # chunks; 0: no pause
    pause: float = 0.0  # seconds

    def pieces(self) -> tuple[str, ...]:
        """The text of each chunk, in order; joined they are the answer."""
        return _words(self.chunks) if self.profile == "words" else _document()

    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces())

    def as_json(self) -> dict[str, Any]:
        """The fields by name, for the control request that orders this shape."""
        return asdict(self)


@lru_cache(maxsize=8)
def _words(count: int) -> tuple[str, ...]:
    """`count` chunks of one word each, 4.4 characters on average, in paragraphs."""
    source = random.Random(7)
    return tuple(
        _word(source) + (".\n\n" if index % _PARAGRAPH == 0 else " ") for index in range(1, count + 1)
    )


def _word(source: random.Random) -> str:
    return "".join(source.choices(_SYLLABLES, k=source.choice((1, 1, 2, 2, 2, 2))))


@lru_cache(maxsize=1)
def _document() -> tuple[str, ...]:
    """A lesson of 6 kB with 50 formulas, cut into tokens of two to seven characters."""
    source = random.Random(11)
    parts = ["# Oscillations\n\n"]
    parts += [_step(number, source) for number in range(1, _FORMULAS + 1)]
    parts.append("\n```python\nfor step in range(50):\n    print(step)\n```\n\nThe last word is zebra.\n")
    text = "".join(parts)
    pieces, start = [], 0
    while start < len(text):
        length = source.randint(2, 7)
        pieces.append(text[start : start + length])
        start += length
    return tuple(pieces)


def _step(number: int, source: random.Random) -> str:
    """A paragraph, a list item or a section of its own, with one formula."""
    prose = " ".join(_word(source) for _ in range(12))
    if number % 5 == 0:
        formula = rf"$$\sum_{{k=1}}^{{{number}}} \frac{{a_k}}{{k^2 + {number}}} = S_{{{number}}}$$"
        return f"\n## Step {number}\n\n{prose}\n\n{formula}\n\n"
    if number % 5 > 2:
        return f"- **{prose}** gives $\\omega_{{{number}}} = \\sqrt{{k/m_{{{number}}}}}$\n"
    return f"{prose} where $x_{{{number}}}(t) = A e^{{-\\gamma t}}$ holds, and {prose[::-1]}.\n\n"
