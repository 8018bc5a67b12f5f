"""A picture as rows of RGB bytes, and what can be drawn on it quickly without a library: spans of one colour."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor, sqrt
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

#: Lines within a row of pixels at which the edge of a disc is looked up.
_FINE = 4


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """A colour between two; ``share`` 0 is all the one, 1 all the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Canvas:
    """So many rows of so many pixels; what is drawn outside of them is lost."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.rows = [bytearray(3 * width) for _ in range(height)]

    def span(self, y: int, left: int, right: int, colour: Colour) -> None:
        """Fill from ``left`` up to and without ``right``."""
        left, right = max(0, left), min(self.width, right)
        if left < right and 0 <= y < self.height:
            self.rows[y][3 * left : 3 * right] = bytes(colour) * (right - left)

    def blend(self, x: int, y: int, colour: Colour, share: float) -> None:
        """Mix so much of a colour into one pixel."""
        if 0 <= x < self.width and 0 <= y < self.height:
            row, place = self.rows[y], 3 * x
            row[place : place + 3] = bytes(mix((row[place], row[place + 1], row[place + 2]), colour, share))

    def veil(self, y: int, left: int, right: int, colour: Colour, share: float) -> None:
        """Mix so much of a colour into all pixels of a span, few of whose colours differ."""
        left, right = max(0, left), min(self.width, right)
        if left >= right or not 0 <= y < self.height:
            return
        row = self.rows[y]
        # One table for each channel turns all of its bytes at once.
        for channel, value in enumerate(colour):
            table = _table(value, share)
            part = slice(3 * left + channel, 3 * right, 3)
            row[part] = row[part].translate(table)

    def disc(self, x: float, y: float, radius: float, colour: Colour, share: float = 1) -> None:
        """A disc with soft edges."""
        for line in range(max(0, floor(y - radius)), min(self.height, ceil(y + radius))):
            reaches = [
                sqrt(max(0.0, radius**2 - (line + (part + 0.5) / _FINE - y) ** 2)) for part in range(_FINE)
            ]
            left, right = ceil(x - min(reaches)), floor(x + min(reaches))
            if left > right:
                left = right = round(x)
            if share == 1:
                self.span(line, left, right, colour)
            else:
                self.veil(line, left, right, colour, share)
            for pixel in (*range(floor(x - max(reaches)), left), *range(right, ceil(x + max(reaches)))):
                covered = sum(
                    max(0.0, min(pixel + 1, x + reach) - max(pixel, x - reach)) for reach in reaches
                )
                self.blend(pixel, line, colour, covered / _FINE * share)

    def below(self, heights: Sequence[float], colours: Sequence[Colour]) -> None:
        """Fill all that is below a line (its y for each x), in a colour for each row of the canvas."""
        # For each row, the places where it goes under the line and comes out again, from left to right.
        crossings: list[list[int]] = [[] for _ in range(self.height)]
        last = self.height
        for x, height in enumerate(heights):
            edge = ceil(height)
            top = min(max(edge, 0), self.height)
            for y in range(min(top, last), max(top, last)):
                crossings[y].append(x)
            last = top
            if 0 < edge <= self.height:
                self.blend(x, edge - 1, colours[edge - 1], edge - height)
        for y, places in enumerate(crossings):
            edges = [*places, self.width]
            for left, right in zip(edges[::2], edges[1::2], strict=False):
                self.span(y, left, right, colours[y])


@lru_cache(maxsize=64)
def _table(value: int, share: float) -> bytes:
    return bytes(round(old + (value - old) * share) for old in range(256))
