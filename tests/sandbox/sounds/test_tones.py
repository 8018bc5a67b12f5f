from array import array

from puq_magics.sandbox.scripted.speech import RATE, tones


def test_other_words_sound_otherwise() -> None:
    assert tones("fox", pitch=220, speed=1) == tones("FOX", pitch=220, speed=1)
    assert tones("fox", pitch=220, speed=1) != tones("hen", pitch=220, speed=1)
    assert tones("fox", pitch=220, speed=1) != tones("fox", pitch=330, speed=1)


def test_speed() -> None:
    usual, fast, slow = (len(tones("A quick brown fox.", pitch=220, speed=speed)) for speed in (1, 4, 0.25))
    assert abs(usual / fast - 4) < 0.01
    assert abs(slow / usual - 4) < 0.01


def test_it_is_heard_and_does_not_clip() -> None:
    numbers = array("h", tones("A quick brown fox.", pitch=220, speed=1))
    assert 5000 < max(map(abs, numbers)) < 20000
    assert 1 < len(numbers) / RATE < 3


def test_signs_alone_are_a_silence() -> None:
    sound = tones("?!", pitch=220, speed=1)
    assert sound == bytes(len(sound))
    assert sound
