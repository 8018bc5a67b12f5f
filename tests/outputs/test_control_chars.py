"""Escape sequences, controls and halves of characters go; what they wrap stays, however the text was split."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.outputs.markdown.feed import ControlCharFilter, escape_inline, strip_control_chars

ESC = "\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        (f"{ESC}[31mred{ESC}[0m", "red"),
        (f"{ESC}[38;2;1;2;3mx{ESC}[?25l{ESC}[2J", "x"),
        ("\x9b31mred\x9b0m", "red"),
        (f"{ESC}]8;;http://x.org{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}]0;title\x07x", "x"),
        ("\x9d0;title\x9cx", "x"),
        (f"{ESC}P1$qm{ESC}\\x{ESC}_apc{ESC}\\{ESC}^pm{ESC}\\{ESC}Xsos{ESC}\\y", "xy"),
        (f"{ESC}c{ESC}(Bx{ESC}7", "x"),
        (f"{ESC}]never ends\nx", "never ends\nx"),
        (f"{ESC}[12é", "12é"),
        (f"x{ESC}", "x"),
        (f"{ESC}{ESC}[31mx", "x"),
        ("a\r\nb\rc\x85d\u2028e\u2029f", "a\nb\nc\nd\ne\nf"),
        ("\x00a\x07b\x08c\x7fd\x80e", "abcde"),
        ("\u202eabc\u202c\u2066d\u2069\u200e\u200f\u061c", "abcd"),
        ("\ud83d\ude42 \ud83d \ude42", "🙂 \ufffd \ufffd"),
        ("👩‍👩‍👧 é", "👩‍👩‍👧 é"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert strip_control_chars(text) == shown
    feed = ControlCharFilter()
    assert "".join(map(feed.feed, text)) + feed.finish() == shown


def test_words_in_a_sequence_that_never_ends_are_not_swallowed() -> None:
    text = "word " * 2_000
    assert strip_control_chars(f"{ESC}]{text}") == text


fragments = st.lists(
    st.one_of(
        st.sampled_from([ESC, "[", "]", "31m", "\\", "\x07", "\x9b", "\x9d", "\x9c", "P", "8;;", "\r", "\n"]),
        st.sampled_from(["\ud83d", "\ude42", "\u202e", "a"]),
        st.characters(),
    ),
    max_size=30,
)


@given(fragments, st.integers(1, 5))
def test_the_split_does_not_matter_and_nothing_leaks(parts: list[str], step: int) -> None:
    text = "".join(parts)
    feed = ControlCharFilter()
    split = (
        "".join(feed.feed(text[start : start + step]) for start in range(0, len(text), step)) + feed.finish()
    )
    assert split == strip_control_chars(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", split)
    assert strip_control_chars(split) == split


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
        ("my_file v1.2.txt", "my_file v1.2.txt"),
        ("a\n b\tc", "a b c"),
        ("<b>", "&#60;b&#62;"),
        ("$5", "<span>&#36;</span>5"),
        ("a\\b", "a<span>&#92;</span>b"),
        ("- x", "&#45; x"),
        ("Yes, 1,000: a. Why? No.", "Yes, 1,000&#58; a. Why? No."),
        ("1. x", "1&#46; x"),
        ("www.x.org", "www&#46;x.org"),
        ("http://x", "http&#58;&#47;&#47;x"),
        ("a@b.c", "a&#64;b.c"),
        ("**a** _b_", "&#42;&#42;a&#42;&#42; &#95;b&#95;"),
        (f"{ESC}[31mx", "x"),
        ("", ""),
    ],
)
def test_inline(text: str, shown: str) -> None:
    assert escape_inline(text) == shown


def test_inline_cuts() -> None:
    assert escape_inline("x" * 300) == "x" * 199 + "…"
    assert escape_inline("x" * 200) == "x" * 200
    assert escape_inline("ab cd", limit=4) == "ab…"
