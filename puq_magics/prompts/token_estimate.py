"""Estimate the number of tokens of messages; exact counts differ by model and come only with an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Estimated tokens of an image, or of another part that is not text.
IMAGE_TOKENS = 1_000
_FIRST_WIDE_CODE_POINT = 0x2E80  # from here on, a character is about one token


def estimate_tokens(content: object) -> int:
    """Estimate the tokens of a text or content parts: four characters a token, one if Chinese or Japanese."""
    if isinstance(content, list | tuple):
        return sum(map(_estimate_part_tokens, content))
    text = str(content)
    wide = 0 if text.isascii() else sum(ord(character) >= _FIRST_WIDE_CODE_POINT for character in text)
    return wide + -(-(len(text) - wide) // 4)


def estimate_message_tokens(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the estimated tokens of all contents and tool calls."""
    return sum(
        estimate_tokens(message.get("content") or "") + estimate_tokens(message.get("tool_calls") or "")
        for message in messages
    )


def _estimate_part_tokens(part: object) -> int:
    text = part.get("text") if isinstance(part, Mapping) else part
    if isinstance(part, Mapping) and "function" in part:
        text = part["function"]
    return IMAGE_TOKENS if text is None else estimate_tokens(str(text))
