"""A conversation for people to read: as Markdown, or as a notebook of Markdown cells.

Whatever was asked or answered, the file keeps its shape. Questions stand there to the letter; answers are Markdown,
within a quotation or a cell of their own, where an open fence ends with it, and tags of HTML are shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation.storage import encode_json, expand_path, write_file
from puq_magics.prompts.conversation.turns import ConversationData, Turn, is_text_part

_CONTROL_CHARS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\ud800-\udfff]")
# What means something at the beginning of a line of Markdown, and what does anywhere; within words `_` means nothing.
_MARKDOWN_SYNTAX = re.compile(
    r"\A(?P<number>[0-9]{1,9})(?=[.)])|\A[-+#>]|[*<\[\\\]`~$]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_BACKTICKS = re.compile(r"`+")
_IMAGE_DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")
# In a line: list and quotation marks, then a fence; ticks in what follows make it a span of code.
_FENCE_LINE = re.compile(r"\s*(?:(?:>|[-+*]\s|\d{1,9}[.)]\s)\s*)*(`{3,}(?=[^`]*$)|~{3,})")
_LIST_ITEM = re.compile(r"\s*(?:[-+*]|\d{1,9}[.)])\s")
_BLOCK_START = re.compile(r"\n\s*(?:[-+*>#|<]|\d{1,9}[.)])")
# Mathematics, what is let be, or a `<` that may begin a tag, a comment or the like.
_MATH_CODE_OR_TAG = re.compile(
    r"\\\((?P<inline>[^\n$]{1,500}?)\\\)|\\\[(?P<display>[^$]{1,2000}?)\\\]"
    r"|(?:\\.|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|<https?://[^\s<>]+>)"
    r"|(?P<tag><)(?=[!?]|/?[A-Za-z][A-Za-z0-9-]*(?:[\s/>]|\Z))",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Section:
    """A heading, and Markdown under it."""

    id: str
    heading: str
    text: str
    #: Images that the text names, by name: MIME type and base64.
    images: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def export(conversation: ConversationData, path: str | Path, force: bool = False) -> Path:
    """Write the line of a conversation as its path's ending says; return the path. Raises InputError."""
    suffix = expand_path(path).suffix.lower()
    if suffix not in (".md", ".markdown", ".ipynb"):
        raise InputError(
            f"{path} ends in neither .md nor .ipynb.", hint="Name the file main.md or main.ipynb."
        )
    if not conversation.turns:
        raise InputError("the conversation has no turns to export.", hint="Ask something first.")
    if suffix == ".ipynb":
        return write_file(path, encode_json(to_notebook(conversation)), force)
    return write_file(path, to_markdown(conversation).encode(), force)


def to_markdown(conversation: ConversationData, *, headings: bool = True) -> str:
    """The line as a Markdown document; of images it says that they were there.

    Without ``headings``, as a part of another document, whose table of contents is its own, bold words stand there.
    """
    title, heading = ("# {}", "## {}") if headings else ("**{}**", "**{}**")
    parts = [f"{title.format(_title(conversation))}\n"]
    for section in _sections(conversation, embed=False):
        body = blockquote(section.text) if section.id.startswith("answer") else section.text
        parts.append(f"{heading.format(section.heading)}\n\n{body}\n")
    return "\n".join(parts)


def to_notebook(conversation: ConversationData) -> dict[str, Any]:
    """The line as a notebook's JSON (nbformat 4.5), a cell for each question and each answer, images included."""
    cells = [
        _markdown_cell(section.id, f"## {section.heading}\n\n{section.text}", section.images)
        for section in _sections(conversation, embed=True)
    ]
    title = _markdown_cell("title", f"# {_title(conversation)}", {})
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [title, *cells]}


def _markdown_cell(cell_id: str, source: str, images: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    attachments = {"attachments": images} if images else {}
    return {"cell_type": "markdown", "id": cell_id, "metadata": {}, "source": source} | attachments


def _title(conversation: ConversationData) -> str:
    return f"Conversation {_code_span(conversation.name)}" if conversation.name else "Conversation"


def _sections(conversation: ConversationData, *, embed: bool) -> Iterator[_Section]:
    system = ""
    for number, turn in enumerate(conversation.turns, 1):
        if turn.system != system:
            system = turn.system
            yield _system_section(system, number)
        yield _question_section(turn, number, embed)
        continue_sections = [
            f"*Gone on with, when told:*\n\n{_format_verbatim(words)}" for words in turn.continue_prompts
        ]
        text = "\n\n".join([_metadata_line(turn), *continue_sections, escape_active_markdown(turn.answer)])
        yield _Section(f"answer-{number}", f"Answer {number}", text)
    if conversation.system and conversation.system != system:
        yield _system_section(conversation.system, len(conversation.turns) + 1)


def _system_section(system: str, number: int) -> _Section:
    """The system prompt of a question and those after it."""
    if number == 1:
        return _Section("system", "System prompt", _format_verbatim(system))
    words = _format_verbatim(system) if system else "*None.*"
    return _Section(f"system-{number}", f"System prompt, from question {number} on", words)


def _question_section(turn: Turn, number: int, embed: bool) -> _Section:
    parts = turn.content if not isinstance(turn.content, str) else ({"type": "text", "text": turn.content},)
    texts: list[str] = []
    images: dict[str, Mapping[str, str]] = {}
    for part in parts:
        if is_text_part(part):
            texts.append(_format_verbatim(part["text"]))
        elif embed and (found := _IMAGE_DATA_URL.fullmatch(_image_url(part))):
            kind, data = found.groups()
            name = f"image-{len(images) + 1}.{kind}"
            images[name] = {f"image/{kind}": data}
            texts.append(f"![Attached image](attachment:{name})")
        else:
            texts.append(f"*Attached: {describe_part(part)}*")
    return _Section(f"question-{number}", f"Question {number}", "\n\n".join(texts), images)


def _image_url(part: Mapping[str, Any]) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if isinstance(url, str) else ""


def describe_part(part: Mapping[str, Any]) -> str:
    """A part of a message that is not text, in a few words of Markdown."""
    if picture := _IMAGE_DATA_URL.fullmatch(_image_url(part)):
        kilobytes = len(picture[2]) * 3 / 4 / 1_000
        return f"an image ({picture[1].upper()}, {max(1, round(kilobytes)):,} kB)"
    url = _image_url(part)
    if url and not url.startswith("data:"):
        return f"an image at {_code_span(url)}"
    return "an image" if part["type"] == "image_url" else f"a part of type {_code_span(part['type'])}"


def _metadata_line(turn: Turn) -> str:
    """Who answered and when, as one line of Markdown."""
    facts = [_code_span(turn.model)] if turn.model.strip() else []
    facts.append(f"{turn.at:%Y-%m-%d %H:%M} UTC")
    if turn.usage is not None:
        facts.append(f"{turn.usage.prompt_tokens:,} + {turn.usage.completion_tokens:,} tokens")
    if turn.interrupted:
        facts.append("**interrupted: this is as far as the answer came**")
    elif turn.truncated:
        facts.append("**cut off at the token limit: this is as far as the answer came**")
    return " · ".join(facts)


def blockquote(markdown: str) -> str:
    """Markdown as a quotation."""
    return "\n".join(
        f"> {line}".rstrip() if not line.strip() else f"> {line}" for line in markdown.split("\n")
    )


def escape_active_markdown(markdown: str) -> str:
    """Markdown whose tags of HTML are text, and whose mathematics is between dollars; code stays as it is."""
    done: list[str] = []
    paragraph: list[str] = []  # lines that a span of code may go on over
    fence: _OpenFence | None = None
    in_list = False
    for line in [*_normalize(markdown).split("\n"), ""]:  # an empty line ends what is open
        if fence is not None and fence.contains(line):
            done.append(line)
            fence = None if fence.is_closed_by(line) else fence
            continue
        fence = _OpenFence.from_line(line, in_list)
        if line.strip():
            in_list = bool(_LIST_ITEM.match(line)) or (in_list and line[0].isspace())
        if line.strip() and fence is None:
            paragraph.append(line)
            continue
        if paragraph:
            done.append(_MATH_CODE_OR_TAG.sub(_escape_active, "\n".join(paragraph)))
            paragraph.clear()
        done.append(line)
    return "\n".join(done[:-1])


def _escape_active(found: re.Match[str]) -> str:
    """What ``_MEANT`` found: a tag as text, and mathematics between dollars, which notebooks and GitHub know.

    A block that begins within a span of code ends it, so that it is none.
    """
    for name, marker in (("inline", "$"), ("display", "$$")):
        if found[name] and (formula := " ".join(found[name].split())):
            return f"{marker}{formula}{marker}".replace("<", "\\lt ")
    if found["tag"] or _BLOCK_START.search(found[0]):
        return found[0].replace("<", "\\<")
    return found[0]


@dataclass(frozen=True)
class _OpenFence:
    """A block of code that is open."""

    marker: str
    #: What stands before it in its line: spaces, marks of lists and quotations.
    prefix: str

    @classmethod
    def from_line(cls, line: str, in_list: bool) -> _OpenFence | None:
        found = _FENCE_LINE.match(line)
        if not found:
            return None
        prefix = line[: found.start(1)]
        margin = prefix.expandtabs(4)
        is_indented = len(margin) - len(margin.lstrip()) > 3  # as code is, outside of lists
        return None if is_indented and not in_list else cls(found[1], prefix)

    def contains(self, line: str) -> bool:
        """Whether a line is still in the quotation or the item of a list that the block began in."""
        if not line.strip():
            return ">" not in self.prefix
        if ">" in self.prefix and not line.lstrip().startswith(">"):
            return False
        line = line.expandtabs(4)
        margin = len(line) - len(line.lstrip(" >"))
        return not self.prefix.strip(" \t>") or margin >= len(self.prefix.expandtabs(4))

    def is_closed_by(self, line: str) -> bool:
        marker = line.strip(" \t>")
        return len(marker) >= len(self.marker) and set(marker) == {self.marker[0]}


def _format_verbatim(text: str) -> str:
    """A text as Markdown that shows it to the letter: one line as a quotation, several as a block of code."""
    text = _normalize(text)
    line = text.strip()
    if "\n" not in line:
        return f"> {_MARKDOWN_SYNTAX.sub(_escape_match, line)}"
    return f"{_fence_for(text)}text\n{text}\n{_fence_for(text)}"


def _escape_match(sign: re.Match[str]) -> str:
    """A sign that has no meaning in Markdown any more; a number as it is, with the sign behind it."""
    return f"{sign[0]}\\" if sign["number"] else f"\\{sign[0]}"


def _fence_for(text: str) -> str:
    return "`" * (max((len(run) for run in _BACKTICKS.findall(text)), default=0) + 1 if "```" in text else 3)


def _code_span(words: str) -> str:
    """A name as a span of code."""
    return f"`{' '.join(_normalize(words[:200]).replace('`', '').split())}`"


def _normalize(text: str) -> str:
    """A text with lines that end as they do here, and control characters shown instead of obeyed."""
    return _CONTROL_CHARS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))
