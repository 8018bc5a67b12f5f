"""Estimates of tokens."""

from __future__ import annotations

from puq_magics.prompts.token_estimate import IMAGE_TOKENS, estimate_message_tokens, estimate_tokens


def test_tokens_of_a_text() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == 1
    assert estimate_tokens("éé é") == 1
    assert estimate_tokens("細胞とは何ですか") == 8


def test_tokens_of_parts_are_those_of_each() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert estimate_tokens([{"type": "text", "text": "a word or so"}, image]) == 3 + IMAGE_TOKENS


def test_tokens_of_messages_add_up_and_nothing_has_none() -> None:
    assert (
        estimate_message_tokens([{"content": "four"}, {"content": None}, {"content": ["plain words"]}, {}])
        == 1 + 3
    )
