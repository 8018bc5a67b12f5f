"""The band under each image: that no model made it, and what it was drawn from."""

from __future__ import annotations

from typing import Final

from puq_magics.sandbox.pictures import font
from puq_magics.sandbox.pictures.canvas import Canvas, Colour

WORDS: Final = "SANDBOX · not made by a model"
_BACK: Final[Colour] = (20, 22, 28)
_WORDS_COLOUR: Final[Colour] = (255, 255, 255)
_PROMPT_COLOUR: Final[Colour] = (196, 200, 210)
#: Pixels of the font between two lines, and around them.
_LEADING: Final = 3
_MARGIN: Final = 4
#: A dot of a letter is a pixel in an image about so wide or high, two in one of twice that, and so on.
_PER_DOT: Final = 320
#: How much of the image the band may cover before the prompt is left out.
_MOST: Final = 0.25


def band_height(width: int, height: int) -> int:
    """How many rows the band takes."""
    return len(_lines(width, height, "x")) * _line(width, height) + _around(width, height)


def stamp(canvas: Canvas, prompt: str) -> None:
    """Draw the band over the lowest rows."""
    width, height = canvas.width, canvas.height
    dot = _dot(width, height)
    top = height - band_height(width, height)
    for y in range(max(0, top), height):
        canvas.veil(y, 0, width, _BACK, 0.8)
    top += _around(width, height) // 2
    for text, colour in _lines(width, height, font.plain(prompt)):
        _write(canvas, _margin(width) * dot, top, text, colour, dot)
        top += _line(width, height)


def _lines(width: int, height: int, prompt: str) -> list[tuple[str, Colour]]:
    dot = _dot(width, height)
    room = width // dot - 2 * _margin(width)
    words = [(line.removesuffix(" ·"), _WORDS_COLOUR) for line in font.wrap(WORDS, room)]
    with_prompt = (len(words) + 1) * _line(width, height) + _around(width, height)
    if with_prompt > height * _MOST:
        return words
    return [*words, (font.shorten(prompt, room), _PROMPT_COLOUR)]


def _write(canvas: Canvas, left: int, top: int, text: str, colour: Colour, dot: int) -> None:
    for x, y, length in font.pixels(text):
        for row in range(dot):
            canvas.span(top + y * dot + row, left + x * dot, left + (x + length) * dot, colour)


def _dot(width: int, height: int) -> int:
    """The pixels of the image that are one of the font."""
    return max(1, round(min(width, height) / _PER_DOT))


def _line(width: int, height: int) -> int:
    return _dot(width, height) * (font.HEIGHT + _LEADING)


def _around(width: int, height: int) -> int:
    return _dot(width, height) * 2 * (_MARGIN if height > 128 else 1)


def _margin(width: int) -> int:
    return _MARGIN if width > 128 else 2
