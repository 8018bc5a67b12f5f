import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.sandbox.looking import count, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, world!", ["Hello", ",", " world", "!"]),
        ("conversation", ["conversa", "tion"]),
        ("a\n\n  b \n", ["a", "\n\n  b", " \n"]),
        ("日本語 🚀", ["日本語", " 🚀"]),
    ],
)
def test_words_signs_and_white_space(text: str, expected: list[str]) -> None:
    assert list(tokens(text)) == expected


@given(st.text())
def test_the_tokens_are_the_text(text: str) -> None:
    pieces = list(tokens(text))
    assert "".join(pieces) == text
    assert len(pieces) == count(text)
    assert all(pieces)
