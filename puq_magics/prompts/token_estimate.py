"""Roughly how many tokens a message has: the models' own counts differ, and come only with an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Tokens that an image, or another part that is not text, is taken to have.
IMAGE_TOKENS = 1_000
_FIRST_WIDE_CODE_POINT = 0x2E80  # from here on a character is a token of its own, or nearly so


def estimate_tokens(content: object) -> int:
    """Of a text four letters a token, but one for a Chinese or Japanese character; of parts, those of each."""
    if isinstance(content, list | tuple):
        return sum(map(_estimate_part_tokens, content))
    text = str(content)
    wide = 0 if text.isascii() else sum(ord(character) >= _FIRST_WIDE_CODE_POINT for character in text)
    return wide + -(-(len(text) - wide) // 4)


def estimate_message_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Of the contents of all these messages."""
    return sum(estimate_tokens(message.get("content") or "") for message in messages)


def _estimate_part_tokens(part: object) -> int:
    text = part.get("text") if isinstance(part, Mapping) else part
    return IMAGE_TOKENS if text is None else estimate_tokens(str(text))
