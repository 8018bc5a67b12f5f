"""What the speech engine makes of a text before its model comes to it."""

from __future__ import annotations

import numpy as np
import pytest

from puq_magics.sandbox.local.http_server import InvalidRequestError
from puq_magics.sandbox.local.speech_engine import (
    BUILT_IN_VOICE,
    VOICES,
    shift_pitch,
    split_phonemes,
    strip_unpronounceable,
)
from puq_magics.sandbox.scripted.speech import VOICES as SCRIPTED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello there.", "Hello there."),
        ("Café Zoë, naïve Grüße", "Café Zoë, naïve Grüße"),
        ("It is called 東京 in Japan", "It is called    in Japan"),
        ("12 + 3 = 15 🙂", "12 + 3 = 15 🙂"),
        ("...", "..."),
    ],
)
def test_letters_that_have_no_sound_are_left_out(text: str, said: str) -> None:
    assert strip_unpronounceable(text) == said


@pytest.mark.parametrize("text", ["你好,世界。", "Здравствуй, мир", "مرحبا", "OK, こんにちは"])
def test_a_text_in_other_letters_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="letters that the voice cannot say"):
        strip_unpronounceable(text)


def test_what_is_long_is_cut_where_one_takes_breath() -> None:
    clauses = "həlˈO ðˈɛɹ, hˌW ɑɹ jˈu, ænd sˌO ˈɔn, "
    parts = list(split_phonemes(clauses * 10, 60))
    assert all(len(part) <= 60 for part in parts)
    assert all(part.endswith(",") for part in parts[:-1])
    assert " ".join(parts).split() == (clauses * 10).split()
    words = list(split_phonemes("wˈɜɹd " * 30, 50))
    assert all(0 < len(word) <= 50 for word in words)
    assert " ".join(words).split() == ["wˈɜɹd"] * 30
    assert list(split_phonemes("a" * 25, 10)) == ["a" * 10, "a" * 10, "a" * 5]
    assert list(split_phonemes("short", 10)) == ["short"]


def test_pitch_is_changed_with_the_length() -> None:
    sound = np.sin(np.arange(24_000) / 10).astype("float32")
    assert shift_pitch(sound, 1.0) is sound
    deep = shift_pitch(sound, 0.8)
    assert len(deep) == 30_000
    assert deep.dtype == sound.dtype
    assert len(shift_pitch(sound[:0], 0.8)) == 0


def test_the_voices_that_the_scripts_know_are_there() -> None:
    assert set(VOICES) == set(SCRIPTED)
    assert VOICES["alloy"].name == BUILT_IN_VOICE
