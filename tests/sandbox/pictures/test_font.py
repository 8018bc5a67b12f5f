import string

import pytest

from puq_magics.sandbox.scripted import drawing as font


def dots(text: str) -> set[tuple[int, int]]:
    return {(x + more, y) for x, y, length in font.pixels(text) for more in range(length)}


def test_every_sign_of_ascii_has_a_shape_of_its_own() -> None:
    signs = [sign for sign in string.printable if not sign.isspace()] + ["·", "□"]
    shapes = {frozenset(dots(sign)) for sign in signs}
    assert len(shapes) == len(signs) == 96
    for sign in signs:
        assert font.plain(sign) == sign
        assert all(0 <= x < font.width(sign) and 0 <= y < font.HEIGHT for x, y in dots(sign))


def test_rows_of_a_sign_are_all_as_wide() -> None:
    for sign, glyph in font._glyphs().items():
        assert len({len(row) for row in glyph}) == 1, sign
        assert font.CAPITAL <= len(glyph) <= font.HEIGHT
        assert set("".join(glyph)) <= {"#", "."}


def test_signs_stand_side_by_side() -> None:
    assert dots("Hi") == dots("H") | {(x + font.width("H") + 1, y) for x, y in dots("i")}
    assert font.width("Hi") == font.width("H") + 1 + font.width("i")
    assert font.width("") == 0


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("A  fox\n and\t a hen", "A fox and a hen"),
        ("Größe, café – “naïve”…", 'Grosse, cafe - "naive"...'),
        ("日本 🦊", "□□ □"),
        ("e\u0301a\u200db", "eab"),
        ("", ""),
    ],
)
def test_other_signs_become_plain_ones_or_boxes(text: str, result: str) -> None:
    assert font.plain(text) == result


def test_wrapping() -> None:
    text = "SANDBOX · not made by a model"
    for room in (50, 80, 200):
        lines = font.wrap(text, room)
        assert all(font.width(line) <= room for line in lines)
        assert " ".join(lines) == text
    assert font.wrap("incomprehensibilities", 20) != []
    assert font.wrap("", 20) == []


def test_shortening() -> None:
    text = "a quick brown fox jumps over the lazy dog"
    assert font.shorten(text, 1000) == text
    short = font.shorten(text, 100)
    assert short.endswith(" ...")
    assert font.width(short) <= 100
    assert font.shorten(text, 3) == ""
