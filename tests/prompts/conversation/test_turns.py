from __future__ import annotations

from typing import Any

import pytest

from puq_magics.api.types import Usage, add_usage
from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation.turns import Branch, Turn, validate_content, validate_key
from puq_magics.prompts.token_estimate import IMAGE_TOKENS

PARTS = (
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    {"type": "text", "text": "And why?"},
)


def test_a_turn_of_parts() -> None:
    turn = Turn(None, PARTS, "A cat.")
    assert turn.question == "What is this?\n\nAnd why?"
    assert turn.messages == [
        {"role": "user", "content": list(PARTS)},
        {"role": "assistant", "content": "A cat."},
    ]
    assert turn.tokens == 4 + IMAGE_TOKENS + 2 + 2


def test_a_turn_in_a_line() -> None:
    turn = Turn(("cell", 0), PARTS, "A cat, " * 1_000, "m/1", truncated=True)
    assert repr(turn).startswith("<Turn 'What is this? And why?' → 'A cat, A cat, ")
    assert repr(turn).endswith("…', m/1, truncated>")
    assert len(repr(turn)) < 200


def test_what_is_sent_is_a_copy() -> None:
    turn = Turn(None, validate_content(PARTS), "A cat.")
    turn.messages[0]["content"][1]["image_url"]["url"] = "x"
    assert turn.content == PARTS


@pytest.mark.parametrize(
    ("facts", "whole"), [({}, True), ({"interrupted": True}, False), ({"truncated": True}, False)]
)
def test_an_answer_is_whole_unless_something_ended_it(facts: Any, whole: bool) -> None:
    assert Turn(None, "?", "!", **facts).is_complete is whole


def test_a_branch_has_its_number_in_its_name() -> None:
    assert Branch("a~b~12", ()).number == 12


@pytest.mark.parametrize("content", ["", " \n", (), [{"type": "text"}], [{"text": "x"}], b"x", 5, None])
def test_what_is_no_question(content: Any) -> None:
    with pytest.raises(InputError, match=r"the question (is empty|must be text)"):
        validate_content(content)


@pytest.mark.parametrize("key", ["a", ("a",), ("", 0), ("a", -1), ("a", True), (1, 0)])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InputError, match="is not a turn's key"):
        validate_key(key)


def test_tokens_add_up_as_far_as_they_are_known() -> None:
    one, other = Usage(1, 2, 3), Usage(10, 20, 30)
    assert add_usage(one, other) == Usage(11, 22, 33)
    assert add_usage(one, None) == add_usage(None, one) == one
    assert add_usage(None, None) is None
