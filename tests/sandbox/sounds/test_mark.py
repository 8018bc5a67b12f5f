from array import array

import pytest

from puq_magics.sandbox.scripted import hearing as mark


def read(sound: bytes, signs: tuple[bytes, ...]) -> str | None:
    place = min(place for sign in signs if (place := sound.find(sign)) >= 0)
    length = mark.length_at(sound, place)
    assert length is not None
    return mark.text_at(sound, place, length)


@pytest.mark.parametrize("text", ["", "Hello", "Größe – 日本 🦊", "word " * 819, "\ud800"])
def test_a_text_comes_back(text: str) -> None:
    sound = mark.mark(text)
    assert read(sound, mark.beginnings(sound[:1024])) == text.encode("utf-8", "replace").decode()


def test_it_can_hardly_be_heard_and_is_short() -> None:
    numbers = array("h", mark.mark("Hello there. How are you?"))
    assert max(map(abs, numbers)) == 8
    assert len(numbers) / 22050 < 0.03


@pytest.mark.parametrize("gain", [0.3, 1.37, 4, 100.5])
def test_amplified_as_a_whole_it_is_still_there(gain: float) -> None:
    numbers = array("h", mark.mark("Hello"))
    louder = array("h", [int(number * gain) for number in numbers]).tobytes()
    assert read(louder, mark.beginnings(louder)) == "Hello"


def test_damage_is_noticed() -> None:
    sound = bytearray(mark.mark("Hello"))
    sound[-8:] = bytes(byte ^ 0xFF for byte in sound[-8:])
    assert mark.text_at(sound, 0, len(sound)) is None
    assert mark.length_at(sound[:140], 0) is None


def test_the_beginning_of_silence() -> None:
    assert mark.beginnings(b"") == mark.beginnings(bytes(1024))
