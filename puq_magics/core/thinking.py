"""Reasoning that a model writes into its answer, in ``<think>`` tags at the beginning."""

from __future__ import annotations

import re

from puq_magics.core.fences import OpenFence, ends_in_fence

_TAG_NAMES = ("thinking", "think", "thought", "reasoning")
_NAME = rf"(?:{'|'.join(_TAG_NAMES)})"
_OPENING_TAG = re.compile(rf"\s*<({_NAME})(?:\s[^<>]{{0,100}})?>", re.IGNORECASE)
#: Some servers send the tag that opens the reasoning as a part of the prompt, and only the one that closes it. One
#: between words, quotes or backticks is a part of the text.
_LONE_CLOSING_TAG = re.compile(r"(?<![`'\"])</think(?:ing)?>(?![`'\"])", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[ \t]\S+[ \t]+\S")
_CLOSING_TAG = re.compile(rf"</{_NAME}>", re.IGNORECASE)
_HALF_TAG = re.compile(rf"<{_NAME}\s[^<>]{{0,100}}")
#: Characters, such as blanks, that may stand before the first tag of a stream.
_MAX_HELD_BACK = 1_000


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
    if (
        not found
        and (closing := _LONE_CLOSING_TAG.search(text)) is not None
        and _ends_reasoning(text, closing)
    ):
        found, text = [text[: closing.start()].strip()], text[closing.end() :].lstrip()
    return "\n\n".join(filter(None, found)), text


def _ends_reasoning(text: str, closing: re.Match[str]) -> bool:
    """Return whether a closing tag without an opening one ends reasoning, and is not a part of prose or code."""
    before, after = text[: closing.start()], text[closing.end() :]
    if not after.strip() or "<think" in before.lower() or ends_in_fence(before):
        return False
    return _BETWEEN_WORDS.match(text, max(closing.start() - 1, 0)) is None


def strip_thinking(text: str) -> str:
    """Return an answer without its reasoning, also that in tags between its lines; code is left as it is."""
    lines = split_thinking(text)[1].split("\n")
    last_end = max((n for n, line in enumerate(lines) if _CLOSING_TAG.search(line)), default=-1)
    kept: list[str] = []
    fence: OpenFence | None = None
    in_block = False
    for n, line in enumerate(lines):
        if fence is not None:
            fence = None if fence.closed_by(fence.strip_prefix(line)) else fence
        elif in_block or (n <= last_end and _OPENING_TAG.match(line)):
            end = _CLOSING_TAG.search(line)
            in_block = end is None
            if end is None or not (line := line[end.end() :]).strip():
                continue
        else:
            fence = OpenFence.from_line(line)
        kept.append(line)
    return "\n".join(kept)


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
        is_half = any(f"<{name}>".startswith(start) for name in _TAG_NAMES) or _HALF_TAG.fullmatch(start)
        if len(text) < _MAX_HELD_BACK and is_half:
            self._held_back = text
            return ""
        self._is_text = True
        return text.lstrip() if self._has_reasoning else text

    def _partition(self, text: str) -> tuple[str, str, str]:
        """Return the reasoning, the closing tag if it is there, and the rest; hold back what may be half a tag."""
        closing = re.search(re.escape(self._closing_tag), text, re.IGNORECASE)
        if closing is not None:
            return text[: closing.start()], closing[0], text[closing.end() :]
        start = text.rfind("<")
        if start >= 0 and self._closing_tag.startswith(text[start:].lower()):
            self._held_back = text[start:]
            text = text[:start]
        return text, "", ""
