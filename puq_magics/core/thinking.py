"""Reasoning that a model writes into its answer, in ``<think>`` tags at the beginning."""

from __future__ import annotations

import re

_OPENING_TAG = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
#: Some servers send the tag that opens the reasoning as a part of the prompt, and only the one that closes it.
_LONE_CLOSING_TAG = re.compile(r"(?<!`)</think(?:ing)?>(?!`)", re.IGNORECASE)
_TAG_BEGINNINGS = tuple(f"<{name}>" for name in ("thinking", "think", "thought", "reasoning"))


def split_thinking(text: str) -> tuple[str, str]:
    r"""Return the reasoning at the beginning of an answer, without its tags, and the rest.

    >>> split_thinking("<think>Two and two</think>\n\n4")
    ('Two and two', '4')
    """
    opening = _OPENING_TAG.match(text)
    if opening is None:
        closing = _LONE_CLOSING_TAG.search(text)
        is_lone = closing is not None and "<think" not in text[: closing.start()].lower()
        return _split_at(text, 0, closing) if closing is not None and is_lone else ("", text)
    closing = re.compile(rf"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
    return (text[opening.end() :].strip(), "") if closing is None else _split_at(text, opening.end(), closing)


def _split_at(text: str, start: int, closing: re.Match[str]) -> tuple[str, str]:
    return text[start : closing.start()].strip(), text[closing.end() :].lstrip()


class ThinkingSplitter:
    """Splits a streamed answer into its reasoning in tags and the rest; a lone closing tag stays in the rest."""

    def __init__(self) -> None:
        self._held_back = ""
        self._closing_tag = ""  # while reasoning comes
        self._is_text = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the text and the reasoning that the next part of the answer holds."""
        if self._is_text:
            return text, ""
        text, self._held_back = self._held_back + text, ""
        if not self._closing_tag:
            opening = _OPENING_TAG.match(text)
            if opening is None:
                return self._wait_for_tag(text)
            self._closing_tag, text = f"</{opening[1].lower()}>", text[opening.end() :]
        reasoning, tag, rest = self._partition(text)
        if not tag:
            return "", reasoning
        if rest.strip():
            self._is_text = True
            return rest.lstrip(), reasoning
        self._held_back = tag
        return "", reasoning

    def _wait_for_tag(self, text: str) -> tuple[str, str]:
        start = text.lstrip().lower()
        if any(tag.startswith(start) for tag in _TAG_BEGINNINGS):
            self._held_back = text
            return "", ""
        self._is_text = True
        return text, ""

    def _partition(self, text: str) -> tuple[str, str, str]:
        """Return the reasoning, the closing tag if it is there, and the rest; hold back what may be half a tag."""
        position = text.lower().find(self._closing_tag)
        if position >= 0:
            end = position + len(self._closing_tag)
            return text[:position], text[position:end], text[end:]
        start = text.rfind("<")
        if start >= 0 and self._closing_tag.startswith(text[start:].lower()):
            self._held_back = text[start:]
            text = text[:start]
        return text, "", ""
