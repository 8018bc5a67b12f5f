"""Reasoning that a model writes into its answer, at the beginning: in tags, or in a channel of its own (Harmony)."""

from __future__ import annotations

import re

from puq_magics.core.fences import OpenFence, ends_in_fence

_TAG_NAMES = ("thinking", "think", "thought", "reasoning", "seed:think")
#: Further tags of models, in lower case, and what ends them; nothing ends one that begins the answer itself.
_TAG_PAIRS = {
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    "<|start_response|>": "",
    "<|begin_of_solution|>": "",
}
_NAME = rf"(?:{'|'.join(_TAG_NAMES)})"
#: The heads of gpt-oss' channels: what is not ``final`` is reasoning, or for tools.
_CHANNEL = (
    r"(?:<\|start\|>assistant)?<\|channel\|>\s*(?P<channel>analysis|commentary|final)\b"
    r"(?:[^<]|<\|constrain\|>){0,200}<\|message\|>"
)
_OPENING_TAG = re.compile(
    rf"[\s\ufeff]*(?:<(?P<name>{_NAME})(?:\s[^<>]{{0,100}}?)?(?P<empty>/)?>|(?-i:\[THINK\])|{_CHANNEL}"
    rf"|(?P<pair>{'|'.join(map(re.escape, _TAG_PAIRS))}))",
    re.IGNORECASE,
)
#: What ends a channel, and what also begins the next one.
_CHANNEL_ENDS, _NEXT_CHANNEL = ("<|end|>", "<|call|>"), ("<|start|>", "<|channel|>")
_END_OF_ANSWER = re.compile(r"\s*<\|(?:end|return|end_response|end_of_solution)\|>\s*\Z", re.IGNORECASE)
#: Some servers send the tag that opens the reasoning as a part of the prompt, and only the one that closes it. One
#: between words, quotes or backticks is a part of the text.
_LONE_CLOSING_TAG = re.compile(rf"(?<![`'\"])(?:</{_NAME}\s*>|(?-i:\[/THINK\]))(?![`'\"])", re.IGNORECASE)
_ANY_OPENING_TAG = re.compile(rf"<{_NAME}|\[THINK\]", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"[ \t]\S+[ \t]+\S")
_CLOSING_TAG = re.compile(
    rf"</{_NAME}\s*>|(?-i:\[/THINK\])|{'|'.join(re.escape(end) for end in _TAG_PAIRS.values() if end)}",
    re.IGNORECASE,
)
_WHOLE_TAGS = (
    *(f"<{name}{end}" for name in _TAG_NAMES for end in (">", "/>")),
    *_TAG_PAIRS,
    "[think]",
    "<|start|>assistant<|channel|>",
    "<|channel|>",
)
_HALF_TAG = re.compile(
    rf"<{_NAME}\s[^<>]{{0,100}}"
    r"|(?:<\|start\|>assistant)?<\|channel\|>(?:[^<]|<\|constrain\|>){0,200}(?:<(?:\|[a-z]{0,9}\|?)?)?"
)
#: Characters, such as blanks, that may stand before the first tag of a stream.
_MAX_HELD_BACK = 1_000


def split_thinking(text: str) -> tuple[str, str]:
    r"""Return the reasoning at the beginning of an answer, without its tags, and the rest.

    >>> split_thinking("<think>Two and two</think>\n\n4")
    ('Two and two', '4')
    """
    found: list[str] = []
    while (opening := _OPENING_TAG.match(text)) is not None:
        text = text[opening.end() :]
        part, tag, rest = _partition(text, _closing_tags(opening))
        if not tag and opening["name"] and not opening["empty"]:  # some models end it with another name
            part, _, rest = _partition(text, tuple(f"</{name}>" for name in _TAG_NAMES))
        found.append(part.strip())
        text = rest.lstrip()
        if opening["channel"] or opening["pair"]:
            text = _END_OF_ANSWER.sub("", text)
    if (
        not found
        and (closing := _LONE_CLOSING_TAG.search(text)) is not None
        and _ends_reasoning(text, closing)
    ):
        found, text = [text[: closing.start()].strip()], text[closing.end() :].lstrip()
    return "\n\n".join(filter(None, found)), text


def _closing_tags(opening: re.Match[str]) -> tuple[str, ...]:
    """Return the tags that end what an opening one begins, in lower case; none if that is no reasoning."""
    if opening["channel"]:
        return () if opening["channel"].lower() == "final" else (*_CHANNEL_ENDS, *_NEXT_CHANNEL)
    if opening["empty"]:
        return ()
    if opening["pair"]:
        return tuple(filter(None, (_TAG_PAIRS[opening["pair"].lower()],)))
    return (f"</{opening['name'].lower()}>" if opening["name"] else "[/think]",)


def _partition(text: str, closing_tags: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the reasoning, the tag that closes it if it is there, and the rest."""
    if not closing_tags:
        return "", "", text
    pattern = "|".join(map(re.escape, closing_tags))
    closing = re.search(re.sub(r"(</[^|]+)>", r"\1\\s*>", pattern), text, re.IGNORECASE)
    if closing is None:
        return text, "", ""
    is_next = closing[0].lower() in _NEXT_CHANNEL
    return text[: closing.start()], closing[0], text[closing.start() if is_next else closing.end() :]


def _ends_reasoning(text: str, closing: re.Match[str]) -> bool:
    """Return whether a closing tag without an opening one ends reasoning, and is not a part of prose or code."""
    before, after = text[: closing.start()], text[closing.end() :]
    if not after.strip() or _ANY_OPENING_TAG.search(before) or ends_in_fence(before):
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
        elif in_block or (n <= last_end and (opening := _OPENING_TAG.match(line)) and _closing_tags(opening)):
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
        self._closing_tags: tuple[str, ...] = ()  # while reasoning comes
        self._has_reasoning = False
        self._is_text = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the text and the reasoning that the next part of the answer holds."""
        if self._is_text:
            return text, ""
        text, self._held_back = self._held_back + text, ""
        reasoning = ""
        while True:
            if not self._closing_tags:
                opening = _OPENING_TAG.match(text)
                if opening is None:
                    return self._wait_for_tag(text), reasoning
                self._has_reasoning = True
                self._closing_tags, text = _closing_tags(opening), text[opening.end() :]
                continue
            part, tag, text = _partition(text, self._closing_tags)
            if not tag:
                return "", reasoning + self._hold_back_half_tag(part)
            reasoning += part
            self._closing_tags = ()

    def _wait_for_tag(self, text: str) -> str:
        """Return the text if it does not begin with a tag, or half of one."""
        start = text.lstrip().lstrip("\ufeff").lstrip().lower()
        is_half = any(tag.startswith(start) for tag in _WHOLE_TAGS) or _HALF_TAG.fullmatch(start)
        if len(text) < _MAX_HELD_BACK and is_half:
            self._held_back = text
            return ""
        self._is_text = True
        return text.lstrip() if self._has_reasoning else text

    def _hold_back_half_tag(self, reasoning: str) -> str:
        """Return the reasoning without what may be half of the tag that closes it, which is held back."""
        start = max(reasoning.rfind("<"), reasoning.rfind("["))
        start = max(start, reasoning.rfind("◁"))
        half = reasoning[start:].lower()
        half = half.rstrip() if half.startswith("</") else half
        if start >= 0 and any(tag.startswith(half) for tag in self._closing_tags):
            self._held_back = reasoning[start:]
            return reasoning[:start]
        return reasoning
