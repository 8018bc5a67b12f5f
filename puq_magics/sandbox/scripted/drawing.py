"""A quiet landscape, made of nothing but a prompt's words: sky, a sun or a moon, hills, sometimes water."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from puq_magics.sandbox.pictures.canvas import Canvas, Colour, mix
from puq_magics.sandbox.pictures.png import write_png
from puq_magics.sandbox.pictures.stamp import WORDS, band_height, stamp

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
