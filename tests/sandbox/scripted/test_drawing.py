import string
import struct
import zlib

import pytest

from puq_magics.sandbox.scripted import drawing as font
from puq_magics.sandbox.scripted.drawing import WORDS, Canvas, band_height, draw, mix, stamp, write_png


def notes(png: bytes) -> dict[bytes, bytes]:
    place, found = 8, {}
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        if png[place + 4 : place + 8] == b"iTXt":
            name, _, rest = png[place + 8 : place + 8 + length].partition(b"\0")
            found[name] = rest[4:]
        place += 12 + length
    return found


def pixels(png: bytes) -> bytes:
    start = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, start - 4)
    return zlib.decompress(png[start + 4 : start + 4 + length])


@pytest.mark.parametrize(("width", "height"), [(64, 64), (2048, 64), (64, 2048), (321, 123)])
def test_it_is_as_large_as_it_should_be(width: int, height: int) -> None:
    png = draw("A fox", width, height)
    assert struct.unpack_from(">II", png, 16) == (width, height)
    assert len(pixels(png)) == height * (3 * width + 1)


def test_the_same_words_are_the_same_picture_and_others_are_not() -> None:
    assert draw("A fox", 64, 64) == draw("A fox", 64, 64)
    assert len({pixels(draw("A fox", 64, 64, number)) for number in range(4)}) == 4
    assert pixels(draw("A fox", 64, 64)) != pixels(draw("A hen", 64, 64))


def test_words_choose_the_time_of_day() -> None:
    night, day = (pixels(draw(f"A fox at {time}", 64, 64)) for time in ("night", "noon"))
    assert sum(night) < 0.6 * sum(day)


@pytest.mark.parametrize("prompt", ["", "\0", "\ud800", "日本語", "word " * 5000])
def test_any_words_will_do(prompt: str) -> None:
    assert draw(prompt, 64, 64).startswith(b"\x89PNG")


def test_the_file_itself_says_what_it_is() -> None:
    found = notes(draw("Ein Bär", 64, 64))
    assert found[b"Software"] == b"puq-sandbox"
    assert found[b"Comment"] == "SANDBOX · not made by a model".encode()
    assert found[b"Description"] == "Ein Bär".encode()


def test_a_notebook_can_hold_it() -> None:
    assert len(draw("A lighthouse by the sea", 1024, 1024)) < 150_000


WHITE = (255, 255, 255)


def red(canvas: Canvas) -> list[list[int]]:
    return [list(row[::3]) for row in canvas.rows]


def test_mixing() -> None:
    assert mix((0, 100, 200), (100, 0, 200), 0) == (0, 100, 200)
    assert mix((0, 100, 200), (100, 0, 200), 0.5) == (50, 50, 200)
    assert mix((0, 100, 200), (100, 0, 200), 1) == (100, 0, 200)


def test_spans_are_cut_at_the_edges() -> None:
    canvas = Canvas(4, 2)
    canvas.span(0, -5, 2, (1, 2, 3))
    canvas.span(1, 3, 9, (1, 2, 3))
    for y in (-1, 2):
        canvas.span(y, 0, 4, WHITE)
    assert red(canvas) == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert bytes(canvas.rows[0][:6]) == bytes([1, 2, 3, 1, 2, 3])


def test_a_veil_and_a_blend() -> None:
    canvas = Canvas(3, 1)
    canvas.veil(0, 1, 9, (100, 200, 50), 0.5)
    canvas.blend(0, 0, (100, 200, 50), 0.1)
    canvas.blend(7, 0, WHITE, 1)
    assert list(canvas.rows[0]) == [10, 20, 5, 50, 100, 25, 50, 100, 25]


def test_a_disc_covers_its_area_and_is_round() -> None:
    canvas = Canvas(40, 40)
    canvas.disc(20, 20, 10, WHITE)
    covered = sum(map(sum, red(canvas))) / 255
    assert abs(covered - 314.16) < 3
    rows = red(canvas)
    assert rows[20][20] == 255
    assert rows == rows[::-1] == [row[::-1] for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert (
        max(
            abs(a - b)
            for row, column in zip(rows, columns, strict=True)
            for a, b in zip(row, column, strict=True)
        )
        < 80
    )


def test_a_disc_over_the_edge() -> None:
    canvas = Canvas(10, 10)
    canvas.disc(0, 0, 5, WHITE, 0.5)
    assert red(canvas)[0][0] == 128
    canvas.disc(100, 100, 5, WHITE)
    assert red(canvas)[9][9] == 0


def test_what_is_below_a_line() -> None:
    canvas = Canvas(5, 4)
    colours = [(10, 0, 0), (20, 0, 0), (30, 0, 0), (40, 0, 0)]
    canvas.below([2, 2.5, 0, -3, 9], colours)
    assert red(canvas) == [
        [0, 0, 10, 10, 0],
        [0, 0, 20, 20, 0],
        [30, 15, 30, 30, 0],
        [40, 40, 40, 40, 0],
    ]


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


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, []
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", png, place + 8 + length)
        assert check == zlib.crc32(kind + data)
        found.append((kind, data))
        place += 12 + length
    return found


def test_what_is_in_it() -> None:
    rows = [bytes([255, 0, 0, 0, 255, 0]), bytearray([0, 0, 255, 9, 8, 7]), bytes(6)]
    found = chunks(write_png(2, 3, rows, {"Description": "Grüße\0!"}))
    assert [kind for kind, _ in found] == [b"IHDR", b"iTXt", b"IDAT", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 2, 3, 8, 2, 0, 0, 0)
    assert found[1][1] == b"Description\0\0\0\0\0" + "Grüße !".encode()
    assert zlib.decompress(found[2][1]) == b"".join(b"\0" + row for row in rows)
    assert found[3][1] == b""


STAMP_WHITE = b"\xff\xff\xff"


def stamped(width: int, height: int, prompt: str) -> Canvas:
    canvas = Canvas(width, height)
    stamp(canvas, prompt)
    return canvas


def has(canvas: Canvas, text: str, dot: int) -> bool:
    """Whether these words stand in white somewhere on the canvas, to the last dot."""
    strokes = list(font.pixels(text))
    across, down = font.width(text) * dot, font.CAPITAL * dot
    return any(
        all(
            canvas.rows[y + dy * dot][3 * (x + dx * dot) : 3 * (x + (dx + n) * dot)] == STAMP_WHITE * n * dot
            for dx, dy, n in strokes
        )
        for y in range(canvas.height - down)
        for x in range(min(20, canvas.width - across + 1))
    )


@pytest.mark.parametrize(
    ("width", "height", "dot"), [(256, 256, 1), (512, 512, 2), (1024, 768, 2), (1024, 1024, 3), (2048, 64, 1)]
)
def test_the_words_are_there_in_one_line(width: int, height: int, dot: int) -> None:
    assert has(stamped(width, height, "A fox"), WORDS, dot)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 2048), (100, 80)])
def test_in_a_narrow_image_they_are_all_there_in_lines(width: int, height: int) -> None:
    canvas = stamped(width, height, "A fox")
    for line in ("SANDBOX", "model"):
        assert any(has(canvas, words, 1) for words in (line, f"a {line}", f"by a {line}", "made by a model"))
    assert band_height(width, height) <= height


def test_the_prompt_is_in_the_band() -> None:
    one, other = stamped(256, 256, "A fox"), stamped(256, 256, "A hen")
    assert one.rows != other.rows
    assert one.rows[: 256 - band_height(256, 256)] == [bytes(3 * 256)] * (256 - band_height(256, 256))
