import struct
import zlib

import pytest

from puq_magics.sandbox.scripted.drawing import STAMP, draw, text_rows, write_png


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


WHITE = b"\xff\xff\xff"


def pixel_rows(png: bytes, width: int) -> list[bytes]:
    data, size = pixels(png), 3 * width + 1
    return [data[start + 1 : start + size] for start in range(0, len(data), size)]


def shows(rows: list[bytes], text: str, dot: int) -> bool:
    """Check whether the text is written in white somewhere, to the last dot, and nothing else is in its place."""
    wanted = [[is_set for is_set in line for _ in range(dot)] for line in text_rows(text) for _ in range(dot)]
    written = [[row[3 * x : 3 * x + 3] == WHITE for x in range(len(row) // 3)] for row in rows]
    return any(
        all(written[y + dy][x : x + len(line)] == line for dy, line in enumerate(wanted))
        for y in range(len(rows) - len(wanted) + 1)
        for x in range(min(20, len(written[0]) - len(wanted[0]) + 1))
    )


@pytest.mark.parametrize(
    ("width", "height", "dot"), [(256, 256, 1), (512, 512, 2), (1024, 768, 2), (1024, 1024, 3), (2048, 64, 1)]
)
def test_the_stamp_is_in_one_line(width: int, height: int, dot: int) -> None:
    assert shows(pixel_rows(draw("A fox", width, height), width), STAMP, dot)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 2048), (100, 80)])
def test_in_a_narrow_image_the_stamp_takes_several_lines(width: int, height: int) -> None:
    rows = pixel_rows(draw("A fox", width, height), width)
    assert all(shows(rows, line, 1) for line in ("SANDBOX", "not made", "by a model"))
