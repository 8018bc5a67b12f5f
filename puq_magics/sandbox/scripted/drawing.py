"""A PNG drawn from a prompt: sky, sun and ground in colours of its own, stamped as not made by a model."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Colour: TypeAlias = tuple[int, int, int]

STAMP: Final = "SANDBOX · not made by a model"
#: The same, for an image that is too narrow for one line.
_STAMP_LINES: Final = ("SANDBOX", "not made", "by a model")
_MAX_DESCRIPTION_CHARS: Final = 1000
#: Letters have one dot per so many pixels of the image's shorter side.
_PIXELS_PER_DOT: Final = 320
#: Dots around a line of the stamp.
_PADDING: Final = 3
_BAND_COLOUR: Final = bytes((20, 22, 28))
_WHITE: Final = b"\xff\xff\xff"

#: Words in a prompt, and their colours: top of the sky, horizon, ground, sun. The last is the default.
_PALETTES: Final[tuple[tuple[frozenset[str], tuple[Colour, Colour, Colour, Colour]], ...]] = (
    (
        frozenset({"night", "moon", "star", "stars", "dark", "space", "winter"}),
        ((12, 18, 42), (84, 110, 150), (8, 14, 30), (244, 244, 230)),
    ),
    (
        frozenset({"sunset", "evening", "autumn", "dawn", "morning", "desert"}),
        ((84, 70, 120), (250, 190, 120), (58, 38, 60), (255, 226, 160)),
    ),
    (frozenset(), ((70, 136, 190), (226, 238, 236), (38, 84, 72), (255, 250, 228))),
)

_GLYPHS: Final[Mapping[str, tuple[str, ...]]] = {
    line[0]: tuple(line[2:].split())
    for line in """\
A .###. #...# #...# ##### #...# #...# #...#
B ####. #...# #...# ####. #...# #...# ####.
D ####. #...# #...# #...# #...# #...# ####.
N #...# ##..# ##..# #.#.# #..## #..## #...#
O .###. #...# #...# #...# #...# #...# .###.
S .###. #...# #.... .###. ....# #...# .###.
X #...# #...# .#.#. ..#.. .#.#. #...# #...#
a .... .... .##. ...# .### #..# .###
b #... #... ###. #..# #..# #..# ###.
d ...# ...# .### #..# #..# #..# .###
e .... .... .##. #..# #### #... .###
l #. #. #. #. #. #. .#
m ..... ..... ##.#. #.#.# #.#.# #.#.# #.#.#
n .... .... ###. #..# #..# #..# #..#
o .... .... .##. #..# #..# #..# .##.
t #.. #.. ### #.. #.. #.. .##
y .... .... #..# #..# .### ...# .##.
· . . . # . . .""".splitlines()
} | {" ": ("...",) * 7}


def draw(prompt: str, width: int, height: int, number: int = 0, seed: bytes = b"") -> bytes:
    """Return a PNG of ``width`` × ``height`` pixels, always the same for the same prompt, number and seed."""
    seed = hashlib.sha256(f"{number}\0{prompt}".encode("utf-8", "replace") + seed).digest()
    rows = _landscape(prompt, width, height, seed)
    _stamp(rows, width)
    texts = {"Software": "puq-sandbox", "Comment": STAMP, "Description": prompt[:_MAX_DESCRIPTION_CHARS]}
    return write_png(width, height, rows, texts)


def _landscape(prompt: str, width: int, height: int, seed: bytes) -> list[bytearray]:
    words = set(prompt.lower().replace(",", " ").split())
    colours = next(colours for asks, colours in _PALETTES if not asks or asks & words)
    tint = [shift % 33 - 16 for shift in seed[:3]]
    top, bottom, ground, sun = (
        tuple(min(255, max(0, value + shift)) for value, shift in zip(colour, tint, strict=True))
        for colour in colours
    )
    horizon = round(height * (0.5 + seed[3] / 1280))
    radius = max(2.0, min(width, height) * (0.06 + seed[4] / 5120))
    sun_x, sun_y = width * (0.2 + seed[5] / 427), horizon * (0.3 + seed[6] / 640)
    rows = []
    for y in range(height):
        share = min(1.0, y / horizon)
        sky = (round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        row = bytearray(bytes(sky if y < horizon else ground) * width)
        half = max(0.0, radius**2 - (y - sun_y) ** 2) ** 0.5
        left, right = max(0, round(sun_x - half)), min(width, round(sun_x + half))
        if y < horizon and left < right:
            row[3 * left : 3 * right] = bytes(sun) * (right - left)
        rows.append(row)
    return rows


def _stamp(rows: list[bytearray], width: int) -> None:
    """Write the stamp in white on a dark band over the lowest rows."""
    dot = max(1, round(min(width, len(rows)) / _PIXELS_PER_DOT))
    fits = (len(text_rows(STAMP)[0]) + 2 * _PADDING) * dot <= width
    lines = [STAMP] if fits else list(_STAMP_LINES)
    line_height = (len(_GLYPHS["A"]) + _PADDING) * dot
    top = len(rows) - len(lines) * line_height - _PADDING * dot
    for y in range(max(0, top), len(rows)):
        rows[y][:] = _BAND_COLOUR * width
    for number, line in enumerate(lines):
        for y, dots in enumerate(text_rows(line)):
            for x in (x for x, is_set in enumerate(dots) if is_set):
                start = (_PADDING + x) * dot
                for row in range(dot):
                    place = top + number * line_height + (_PADDING + y) * dot + row
                    rows[place][3 * start : 3 * (start + dot)] = _WHITE * dot


def text_rows(text: str) -> list[list[bool]]:
    """Return the dots of a text that the stamp's letters can write, row by row."""
    glyphs = [_GLYPHS[letter] for letter in text]
    return [[dot == "#" for dot in ".".join(glyph[y] for glyph in glyphs)] for y in range(7)]


def write_png(width: int, height: int, rows: Iterable[bytes | bytearray], texts: Mapping[str, str]) -> bytes:
    """Encode rows of ``3 * width`` bytes as a PNG; ``texts`` (keyword to UTF-8 text) are stored in it."""
    header = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)  # 8-bit RGB, not interlaced
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))  # each row without a filter
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            *(_chunk(b"iTXt", _text_chunk(keyword, text)) for keyword, text in texts.items()),
            _chunk(b"IDAT", pixels),
            _chunk(b"IEND", b""),
        ]
    )


def _text_chunk(keyword: str, text: str) -> bytes:
    # Not compressed, in no language, the keyword not translated.
    return keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace").replace(b"\0", b" ")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
