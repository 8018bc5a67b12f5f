from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.prompts.text_split import split_text


@given(
    st.text(alphabet=st.sampled_from("ab .!?。\n,;'\"” \u0301\u200d👩🏽1"), max_size=300), st.integers(1, 60)
)
def test_no_character_is_lost_and_no_piece_too_long(text: str, limit: int) -> None:
    pieces = split_text(text, limit)
    assert "".join(pieces) == text
    assert max(len(piece) for piece in pieces) <= limit
    assert all(pieces) or pieces == [""]


@given(st.text(max_size=300), st.integers(1, 60))
def test_whatever_the_text_is(text: str, limit: int) -> None:
    assert "".join(split_text(text, limit)) == text


def test_a_short_text_is_one_piece() -> None:
    assert split_text("One. Two.", 9) == ["One. Two."]
    assert split_text("", 9) == [""]


def test_pieces_are_as_full_as_sentences_allow() -> None:
    assert split_text("One is here. Two is here. Three is here.", 26) == [
        "One is here. Two is here. ",
        "Three is here.",
    ]


def test_paragraphs_come_before_sentences_when_the_piece_is_half_full_by_then() -> None:
    text = "A first paragraph. It has two.\n\nAnd another one. It goes on and on."
    assert split_text(text, 50) == [
        "A first paragraph. It has two.\n\n",
        "And another one. It goes on and on.",
    ]
    text = "Title\n\nA sentence here. And one more sentence."
    assert split_text(text, 30) == ["Title\n\nA sentence here. ", "And one more sentence."]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("It rains today. We met Dr. Smith in the park.", "It rains today. "),
        ("It rains today. It was J. S. Bach who wrote it.", "It rains today. "),
        ("It rains today. Costs, e.g. Rent, went up a lot.", "It rains today. "),
        ("Es regnet heute. Wir kamen am 3. Mai in Wien an.", "Es regnet heute. "),
        ("Es regnet heute. Das war z.B. Anna oder Otto dort.", "Es regnet heute. "),
        ("It rains today. Pages, etc. and so on were lost.", "It rains today. "),
        ("It rained in 1990. Then it was dry for a long while.", "It rained in 1990. "),
        ("“It rains today!” She said that it was over now.", "“It rains today!” "),
        ("So did I. Then came others, and the rest of it all.", "So did I. "),
        ("今天下雨。我们去公园散步，然后回家吃饭看书睡觉休息一会儿再出门买菜做饭吃。", "今天下雨。"),
        (
            "「雨だ。」彼は言った。それからみんなで長い長い道を歩いて家に帰りましたとさ",
            "「雨だ。」彼は言った。",
        ),
        ("क्या हुआ। हम बाहर गए और फिर घर वापस आए थे।", "क्या हुआ। "),
        ("Pi is 3.14 today. Or version 2.0.1 of something.", "Pi is 3.14 today. "),
    ],
)
def test_where_a_sentence_ends(text: str, first: str) -> None:
    assert split_text(text, 34)[0] == first


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("first line\nsecond line", 15, ["first line\n", "second line"]),
        ("one two three, four five six", 20, ["one two three, ", "four five six"]),
        ("one two three four", 9, ["one two ", "three ", "four"]),
        ("Donaudampfschiff", 5, ["Donau", "dampf", "schif", "f"]),
        ("All is well. Yes.", 12, ["All is well.", " Yes."]),
    ],
)
def test_what_has_no_sentences_is_cut_at_lines_clauses_words_and_letters(
    text: str, limit: int, pieces: list[str]
) -> None:
    assert split_text(text, limit) == pieces


@pytest.mark.parametrize("sign", ["e\u0301", "👩🏽", "👩\u200d💻"])
def test_a_sign_of_several_characters_stays_whole(sign: str) -> None:
    assert split_text("x" + sign * 6, 2 * len(sign))[0] in ("x" + sign, sign * 2)


def test_a_limit_must_leave_room() -> None:
    with pytest.raises(ValueError, match="limit must be at least 1"):
        split_text("text", 0)
