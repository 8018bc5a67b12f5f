"""Reasoning that a model writes into its answer, in ``<think>`` tags at the beginning."""

from __future__ import annotations

import re

_OPENING_TAG = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
#: Some servers send the tag that opens the reasoning as a part of the prompt, and only the one that closes it.
_LONE_CLOSING_TAG = re.compile(r"(?<!`)</think(?:ing)?>(?!`)", re.IGNORECASE)
_BLOCK = re.compile(
    r"^[ \t]*<(think|thinking|thought|reasoning)>.*?</\1>[ \t]*\n?", re.IGNORECASE | re.DOTALL | re.MULTILINE
)
_TAG_BEGINNINGS = tuple(f"<{name}>" for name in ("thinking", "think", "thought", "reasoning"))


def split_thinking(text: str) -> tuple[str, str]:
    r"""Return the reasoning at the beginning of an answer, without its tags, and the rest.

    >>> split_thinking("<think>Two and two</think>\n\n4")
    ('Two and two', '4')
    """
    found: list[str] = []
    while (opening := _OPENING_TAG.match(text)) is not None:
        closing = re.compile(rf"</{opening[1]}>", re.IGNORECASE).search(text, opening.end())
        end, start_of_rest = (len(text), len(text)) if closing is None else closing.span()
        found.append(text[opening.end() : end].strip())
        text = text[start_of_rest:].lstrip()
    if not found:
        closing = _LONE_CLOSING_TAG.search(text)
        if closing is not None and "<think" not in text[: closing.start()].lower():
            found, text = [text[: closing.start()].strip()], text[closing.end() :].lstrip()
    return "\n\n".join(filter(None, found)), text


def strip_thinking(text: str) -> str:
    """Return an answer without its reasoning, also that in tags between its lines."""
    return _BLOCK.sub("", split_thinking(text)[1])


class ThinkingSplitter:
    """Splits a streamed answer into its reasoning in tags and the rest; a lone closing tag stays in the rest."""

    def __init__(self) -> None:
        self._held_back = ""
        self._closing_tag = ""  # while reasoning comes
        self._has_reasoning = False
        self._is_text = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the text and the reasoning that the next part of the answer holds."""
        if self._is_text:
            return text, ""
        text, self._held_back = self._held_back + text, ""
        reasoning = ""
        while True:
            if not self._closing_tag:
                opening = _OPENING_TAG.match(text)
                if opening is None:
                    return self._wait_for_tag(text), reasoning
                self._closing_tag, text = f"</{opening[1].lower()}>", text[opening.end() :]
            part, tag, text = self._partition(text)
            reasoning += part
            if not tag:
                return "", reasoning
            self._closing_tag, self._has_reasoning = "", True

    def _wait_for_tag(self, text: str) -> str:
        """Return the text if it does not begin with a tag, or half of one."""
        start = text.lstrip().lower()
        if any(tag.startswith(start) for tag in _TAG_BEGINNINGS):
            self._held_back = text
            return ""
        self._is_text = True
        return text.lstrip() if self._has_reasoning else text

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
