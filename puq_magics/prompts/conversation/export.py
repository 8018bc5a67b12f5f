"""Export of conversations as readable documents: Markdown, or a notebook of Markdown cells.

Whatever the texts contain, the document keeps its structure, and loads nothing when it is opened. Questions are shown
literally. Answers are Markdown that has passed the sanitiser of the displays, in a quotation or a cell of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puq_magics.api.tool_calls import read_tool_calls
from puq_magics.core.errors import InputError
from puq_magics.core.fences import make_fence
from puq_magics.core.files import expand_path, save_bytes
from puq_magics.core.thinking import split_thinking
from puq_magics.outputs.markdown.feed import list_links, sanitize_markdown
from puq_magics.prompts.conversation.storage import encode_json
from puq_magics.prompts.conversation.turns import NO_TIME, ConversationData, Turn, is_text_part

_CONTROL_CHARS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\ud800-\udfff]")
# Markdown syntax at the beginning of a line, and anywhere; `_` within a word is plain text.
_MARKDOWN_SYNTAX = re.compile(
    r"\A(?P<number>[0-9]{1,9})(?=[.)])|\A[-+#>]|[*<\[\\\]`~$]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
_IMAGE_DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class _Section:
    """A heading and its Markdown text."""

    id: str
    heading: str
    text: str
    #: Images by their names in the text, each as {MIME type: base64}.
    images: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def export(conversation: ConversationData, path: str | Path, force: bool = False) -> Path:
    """Write a conversation in the format of the path's extension and return the path. Raises InputError."""
    suffix = expand_path(path).suffix.lower()
    if suffix not in (".md", ".markdown", ".ipynb"):
        raise InputError(
            f"{path} does not end in .md or .ipynb.", hint="Name the file main.md or main.ipynb."
        )
    if not conversation.turns:
        raise InputError("the conversation has no turns to export.", hint="Ask something first.")
    if suffix == ".ipynb":
        return save_bytes(encode_json(to_notebook(conversation)), path, force=force)
    return save_bytes(to_markdown(conversation).encode(), path, force=force)


def to_markdown(conversation: ConversationData, *, headings: bool = True) -> str:
    """Return the conversation as Markdown, with images described in text.

    Without ``headings`` the titles are bold text, so that they stay out of another document's table of contents.
    """
    title, heading = ("# {}", "## {}") if headings else ("**{}**", "**{}**")
    parts = [f"{title.format(_title(conversation))}\n"]
    for section in _sections(conversation, embed=False):
        body = blockquote(section.text) if section.id.startswith("answer") else section.text
        parts.append(f"{heading.format(section.heading)}\n\n{body}\n")
    return "\n".join(parts)


def to_notebook(conversation: ConversationData) -> dict[str, Any]:
    """Return the conversation as a notebook (nbformat 4.5), with a cell for each question and answer, and images."""
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
            f"*Continued after:*\n\n{_format_verbatim(prompt)}" for prompt in turn.continue_prompts
        ]
        reasoning, answer = split_thinking(turn.answer)
        folded = [f"*Reasoning:*\n\n{blockquote(sanitize_markdown(reasoning))}"] if reasoning else []
        tools = [_format_tool_message(message) for message in turn.tool_messages]
        sources = ["*Sources:*", "\n".join(list_links(turn.sources))] if turn.sources else []
        answered = [*continue_sections, *folded, sanitize_markdown(answer), *sources]
        parts = [_metadata_line(turn), *tools, *answered]
        text = "\n\n".join(filter(None, parts))
        yield _Section(f"answer-{number}", f"Answer {number}", text)
    if conversation.system and conversation.system != system:
        yield _system_section(conversation.system, len(conversation.turns) + 1)


def _system_section(system: str, number: int) -> _Section:
    """Return the section of a system prompt that applies from a question on."""
    if number == 1:
        return _Section("system", "System prompt", _format_verbatim(system))
    text = _format_verbatim(system) if system else "*None.*"
    return _Section(f"system-{number}", f"System prompt, from question {number} on", text)


def _question_section(turn: Turn, number: int, embed: bool) -> _Section:
    parts = turn.content if not isinstance(turn.content, str) else ({"type": "text", "text": turn.content},)
    texts: list[str] = []
    images: dict[str, Mapping[str, str]] = {}
    for part in parts:
        if is_text_part(part):
            texts.append(_format_verbatim(part["text"]))
        elif embed and (match := _IMAGE_DATA_URL.fullmatch(_image_url(part))):
            kind, data = match.groups()
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
    """Describe a part of a message that is not text, in Markdown."""
    if match := _IMAGE_DATA_URL.fullmatch(_image_url(part)):
        kilobytes = len(match[2]) * 3 / 4 / 1_000
        return f"an image ({match[1].upper()}, {max(1, round(kilobytes)):,} kB)"
    url = _image_url(part)
    if url and not url.startswith("data:"):
        return f"an image at {_code_span(url)}"
    return "an image" if part["type"] == "image_url" else f"a part of type {_code_span(part['type'])}"


def _format_tool_message(message: Mapping[str, Any]) -> str:
    """Return the calls that a model asked for, or the result of one, as Markdown."""
    content = message.get("content")
    if message["role"] == "tool":
        return f"*Result:*\n\n{_format_verbatim(str(content or ''))}"
    text = [sanitize_markdown(content)] if isinstance(content, str) else []
    calls = [
        f"*Called:*\n\n{_format_verbatim(f'{call.name}({call.arguments})')}"
        for call in read_tool_calls(message)
    ]
    return "\n\n".join([*text, *calls])


def _metadata_line(turn: Turn) -> str:
    """Return the model, the time and the usage as one line of Markdown."""
    facts = [_code_span(turn.model)] if turn.model.strip() else []
    if turn.at != NO_TIME:
        facts.append(f"{turn.at:%Y-%m-%d %H:%M} UTC")
    if turn.usage is not None:
        facts.append(f"{turn.usage.prompt_tokens:,} + {turn.usage.completion_tokens:,} tokens")
    if turn.interrupted:
        facts.append("**interrupted: the answer is incomplete**")
    elif turn.truncated:
        facts.append("**cut off at the token limit: the answer is incomplete**")
    return " · ".join(facts)


def blockquote(markdown: str) -> str:
    """Quote Markdown."""
    return "\n".join(
        f"> {line}".rstrip() if not line.strip() else f"> {line}" for line in markdown.split("\n")
    )


def _format_verbatim(text: str) -> str:
    """Return Markdown that shows a text literally: one line as a quotation, several as a code block."""
    text = _normalize(text)
    line = text.strip()
    if "\n" not in line:
        return f"> {_MARKDOWN_SYNTAX.sub(_escape_match, line)}"
    fence = make_fence(text)
    return f"{fence}text\n{text}\n{fence}"


def _escape_match(match: re.Match[str]) -> str:
    return f"{match[0]}\\" if match["number"] else f"\\{match[0]}"


def _code_span(text: str) -> str:
    return f"`{' '.join(_normalize(text[:200]).replace('`', '').split())}`"


def _normalize(text: str) -> str:
    """Return text with newlines as line ends, and control characters replaced."""
    return _CONTROL_CHARS.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))
