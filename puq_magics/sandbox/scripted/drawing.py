"""A quiet landscape, made of nothing but a prompt's words: sky, a sun or a moon, hills, sometimes water."""

from __future__ import annotations

import hashlib
import math
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from math import ceil, floor, sqrt
from random import Random
from typing import Final, TypeAlias

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


_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB8: Final = (8, 2, 0, 0, 0)  # bits, colour type, compression, filter, no interlace
_NO_FILTER: Final = b"\0"


def write_png(width: int, height: int, rows: Iterable[bytes | bytearray], notes: Mapping[str, str]) -> bytes:
    """A PNG of so many rows of ``3 * width`` bytes; ``notes`` (keyword to text) are kept in it, in UTF-8."""
    packer = zlib.compressobj(6)
    packed = bytearray()
    for row in rows:
        packed += packer.compress(_NO_FILTER + row)
    packed += packer.flush()
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II5B", width, height, *_RGB8)),
            *(_chunk(b"iTXt", _note(keyword, text)) for keyword, text in notes.items()),
            _chunk(b"IDAT", packed),
            _chunk(b"IEND", b""),
        ]
    )


def _note(keyword: str, text: str) -> bytes:
    # Not compressed, in no language, the keyword not translated.
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace").replace(b"\0", b" ")


def _chunk(kind: bytes, data: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


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
    for text, colour in _lines(width, height, plain(prompt)):
        _write(canvas, _margin(width) * dot, top, text, colour, dot)
        top += _line(width, height)


def _lines(width: int, height: int, prompt: str) -> list[tuple[str, Colour]]:
    dot = _dot(width, height)
    room = width // dot - 2 * _margin(width)
    words = [(line.removesuffix(" ·"), _WORDS_COLOUR) for line in wrap(WORDS, room)]
    with_prompt = (len(words) + 1) * _line(width, height) + _around(width, height)
    if with_prompt > height * _MOST:
        return words
    return [*words, (shorten(prompt, room), _PROMPT_COLOUR)]


def _write(canvas: Canvas, left: int, top: int, text: str, colour: Colour, dot: int) -> None:
    for x, y, length in pixels(text):
        for row in range(dot):
            canvas.span(top + y * dot + row, left + x * dot, left + (x + length) * dot, colour)


def _dot(width: int, height: int) -> int:
    """The pixels of the image that are one of the font."""
    return max(1, round(min(width, height) / _PER_DOT))


def _line(width: int, height: int) -> int:
    return _dot(width, height) * (HEIGHT + _LEADING)


def _around(width: int, height: int) -> int:
    return _dot(width, height) * 2 * (_MARGIN if height > 128 else 1)


def _margin(width: int) -> int:
    return _MARGIN if width > 128 else 2


#: Characters of the prompt that are kept in the file.
_LONGEST_NOTE: Final = 1000
#: Discs, one on the other, that make the light around the sun.
_RINGS: Final = 16


@dataclass(frozen=True)
class Palette:
    """The colours of a time of day."""

    #: Words in a prompt that ask for it.
    words: tuple[str, ...]
    #: The sky from top to horizon.
    sky: tuple[Colour, Colour, Colour]
    light: Colour
    #: The hills, far away and near.
    far: Colour
    near: Colour
    stars: bool = False


#: Where two are asked for alike, the first of them is taken.
_PALETTES: Final = (
    Palette(
        ("night", "moon", "star", "stars", "dark", "winter", "snow", "space"),
        ((12, 18, 42), (30, 48, 88), (84, 110, 150)),
        (244, 244, 230),
        (62, 86, 126),
        (8, 14, 30),
        stars=True,
    ),
    Palette(
        ("sunset", "evening", "autumn", "fire", "desert", "red", "orange", "warm"),
        ((70, 56, 100), (206, 106, 98), (250, 190, 120)),
        (255, 226, 160),
        (190, 108, 104),
        (52, 32, 56),
    ),
    Palette(
        ("dawn", "morning", "spring", "rose", "pink"),
        ((96, 125, 173), (222, 178, 190), (252, 226, 200)),
        (255, 244, 224),
        (196, 168, 188),
        (66, 62, 96),
    ),
    Palette(
        ("fog", "mist", "cloud", "clouds", "rain", "grey", "gray", "quiet"),
        ((134, 146, 162), (186, 192, 200), (226, 224, 220)),
        (250, 246, 238),
        (174, 180, 190),
        (58, 66, 82),
    ),
    Palette(
        ("forest", "green", "wood", "woods", "tree", "trees", "garden", "field", "meadow", "leaves"),
        ((130, 168, 170), (196, 214, 196), (240, 236, 208)),
        (255, 248, 214),
        (156, 184, 164),
        (26, 60, 52),
    ),
    Palette(
        ("day", "noon", "summer", "blue", "sea", "ocean", "lake", "river", "water"),
        ((70, 136, 190), (142, 190, 218), (226, 238, 236)),
        (255, 250, 228),
        (150, 186, 196),
        (24, 74, 92),
    ),
)


def draw(prompt: str, width: int, height: int, number: int = 0) -> bytes:
    """A PNG of that size; always the same for the same prompt and number."""
    seed = hashlib.sha256(f"{number}\0{prompt}".encode("utf-8", "replace")).digest()
    random = Random(seed)  # noqa: S311 - a drawing, not a secret
    canvas = Canvas(width, height)
    # The band covers the lowest rows: the landscape is composed for what is left.
    _landscape(canvas, height - band_height(width, height) // 2, _palette(prompt, random), random)
    stamp(canvas, prompt)
    notes = {"Software": "puq-sandbox", "Comment": WORDS, "Description": prompt[:_LONGEST_NOTE]}
    return write_png(width, height, canvas.rows, notes)


def _palette(prompt: str, random: Random) -> Palette:
    """The palette that the prompt's words ask for most; any where they ask for none."""
    words = "".join(letter if letter.isalpha() else " " for letter in prompt.lower()).split()
    asked = [sum(word in palette.words for word in words) for palette in _PALETTES]
    any_of_them = random.choice(_PALETTES)
    return _PALETTES[asked.index(max(asked))] if max(asked) else any_of_them


def _landscape(canvas: Canvas, floor: int, palette: Palette, random: Random) -> None:
    size = math.sqrt(canvas.width * floor)
    horizon = floor * random.uniform(0.52, 0.64)
    sky = _sky(palette, canvas.height, horizon)
    for y, colour in enumerate(sky):
        canvas.span(y, 0, canvas.width, colour)
    if palette.stars:
        _stars(canvas, horizon, random)
    _sun(canvas, horizon, size, palette, random)
    _hills(canvas, horizon, floor, palette, random)


def _sky(palette: Palette, height: int, horizon: float) -> list[Colour]:
    top, middle, bottom = palette.sky
    colours = []
    for y in range(height):
        share = min(1.0, y / horizon)
        colours.append(
            mix(top, middle, share / 0.6) if share < 0.6 else mix(middle, bottom, (share - 0.6) / 0.4)
        )
    return colours


def _stars(canvas: Canvas, horizon: float, random: Random) -> None:
    for _ in range(round(60 * (canvas.width / canvas.height) ** 0.5)):
        x, height = random.random() * canvas.width, random.random() ** 1.4
        radius = max(0.6, random.uniform(0.4, 1.3) * min(canvas.width, canvas.height) / 600)
        canvas.disc(
            x, height * horizon * 0.9, radius, (255, 252, 240), random.uniform(0.3, 0.9) * (1 - height / 2)
        )


def _sun(canvas: Canvas, horizon: float, size: float, palette: Palette, random: Random) -> None:
    x = canvas.width * random.uniform(0.2, 0.8)
    y = horizon * random.uniform(0.35, 0.8)
    radius = size * random.uniform(0.05, 0.09)
    for ring in range(_RINGS, 0, -1):
        canvas.disc(x, y, radius * (1 + 2.4 * (ring / _RINGS) ** 1.3), palette.light, 0.4 / _RINGS)
    canvas.disc(x, y, radius, palette.light)


def _hills(canvas: Canvas, horizon: float, floor: int, palette: Palette, random: Random) -> None:
    layers = random.randint(5, 7)
    for layer in range(layers):
        depth = layer / (layers - 1)
        base = horizon + (floor - horizon) * 0.86 * depth**1.25
        rough = (floor * 0.035) * (1 + 1.6 * depth) * random.uniform(0.8, 1.3)
        colour = mix(palette.far, palette.near, depth**0.9)
        mist = mix(colour, palette.sky[2], 0.42 * (1 - depth) + 0.06)
        heights = _ridge(canvas.width, base, rough, random)
        canvas.below(heights, _slope(canvas.height, min(heights), rough * 3.2, colour, mist))


def _ridge(width: int, base: float, rough: float, random: Random) -> list[float]:
    """The y of a hill's line for each x: some waves, each shorter than the one before."""
    waves = [
        (
            rough * 0.62**octave,
            2 * math.pi * 0.8 * 1.9**octave * random.uniform(0.8, 1.25),
            random.uniform(0, 7),
        )
        for octave in range(5)
    ]
    return [
        base + sum(height * math.sin(turns * x / width + start) for height, turns, start in waves)
        for x in range(width)
    ]


def _slope(height: int, top: float, fade: float, colour: Colour, mist: Colour) -> Sequence[Colour]:
    """A hill's colour for each row: clear at its top, misty at its foot."""
    return [mix(colour, mist, min(1.0, max(0.0, (y - top) / fade)) ** 1.3) for y in range(height)]
