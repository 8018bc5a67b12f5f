import struct
import zlib

import pytest

from puq_magics.sandbox.scripted.drawing import draw


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
