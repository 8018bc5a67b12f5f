"""The answer of a chat."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.choices import count_extras, unknown_fields
from puq_magics.api.finish_reason import is_cut_off
from puq_magics.api.tool_calls import calls_message, tool_message
from puq_magics.api.types import Message, add_usage
from puq_magics.core.errors import InputError
from puq_magics.core.media_types import detect_image_type, is_complete_image
from puq_magics.core.text import pluralize
from puq_magics.core.thinking import split_thinking
from puq_magics.outputs.results.base import MAX_EMBED_MB, DetailNote, Result
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.sources import Source, find_sources, sources_to_markdown, sources_to_text
from puq_magics.outputs.results.tool_calls import FunctionCall, calls_to_markdown, calls_to_text

if TYPE_CHECKING:
    from puq_magics.outputs.results.image import ImageResult

_MAX_NESTING = 8


@dataclass(repr=False, kw_only=True)
class ChatResult(Result):
    """Answer of a chat, complete or partial.

    ``text`` is the model's unchanged text; it is sanitised only for display.
    """

    text: str
    #: The model's reasoning, where the router sends it.
    reasoning: str = ""
    #: The model's words if it refused to answer; they are its ``text``, too.
    refusal: str = ""
    #: What was sent.
    messages: Sequence[Mapping[str, Any]] = field(default=())
    #: The texts of further choices, by index.
    alternatives: Mapping[int, str] = field(default_factory=dict)
    #: What the whole text answers: the messages that were sent, but for those that asked to go on with it.
    question: Sequence[Mapping[str, Any]] = field(default=())
    #: The answers that this one was to repair, as they came; see ``attempts``.
    previous_attempts: Sequence[ChatResult] = field(default=())
    #: The model's name as it was sent.
    requested_model: str = ""
    #: The conversation that it is part of, and its turn there: cell and call; empty and None where it stands alone.
    chat: str = ""
    turn: tuple[str, int] | None = None
    #: Its place there, for the footer: ``turn 4``, or ``new`` if the conversation began with it; empty if not stored.
    turn_name: str = ""
    #: How it is shown: ``markdown``, ``text``, ``code``, ``json`` or ``html``.
    format: str = "markdown"
    #: The JSON in it, where JSON was asked for.
    data: Any = None
    #: The same, with instances of the types of ``--schema``: a pydantic model, a dataclass, or a list of them.
    parsed: Any = None
    #: The answers before it that called functions, whose results it had; see ``calls``.
    rounds: Sequence[ChatResult] = field(default=())
    #: The functions that this answer itself calls.
    own_calls: Sequence[FunctionCall] = field(default=())
    #: True if its functions are run, and another answer follows.
    is_intermediate: bool = field(default=False, compare=False)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the text to a file, as UTF-8. Raises InputError for an existing file, unless ``force``."""
        from puq_magics.core.files import save_text

        return save_text(self.text, path, force=force)

    @property
    def attempts(self) -> tuple[str, ...]:
        """Texts of all attempts, in order; the last one is ``text``."""
        return (*(each.text for each in self.previous_attempts), self.text)

    @property
    def calls(self) -> tuple[FunctionCall, ...]:
        """All functions that the model called, with their arguments and what came of it, in order."""
        attempts = (call for each in self.previous_attempts for call in each.calls)
        return (*attempts, *(call for each in (*self.rounds, self) for call in each.own_calls))

    @property
    def tool_messages(self) -> tuple[Message, ...]:
        """The calls and their results as messages, as they are sent between the question and the text."""
        own = self._own_tool_messages("")
        attempts = (message for each in self.previous_attempts for message in each.tool_messages)
        return (*attempts, *(message for each in self.rounds for message in each.round_messages), *own)

    @property
    def round_messages(self) -> tuple[Message, ...]:
        """This answer with its calls, and their results, as messages."""
        return self._own_tool_messages(self.answer_text)

    def _own_tool_messages(self, text: str) -> tuple[Message, ...]:
        if not self.own_calls:
            return ()
        asked = calls_message(text, [each.call for each in self.own_calls])
        return (asked, *(tool_message(each.id, each.answer) for each in self.own_calls))

    def add_up(self) -> None:
        """Implement `Result`: usage, cost and seconds are those of all rounds."""
        if self.is_intermediate:
            return
        for each in self.rounds:
            self.usage = add_usage(each.usage, self.usage)
            if each.cost is not None:
                self.cost = (self.cost or 0.0) + each.cost
            if each.latency is not None:
                self.latency = (self.latency or 0.0) + each.latency

    @property
    def answer_text(self) -> str:
        """The text without the reasoning that some models write into it, in ``<think>`` tags."""
        return split_thinking(self.text)[1]

    @property
    def all_reasoning(self) -> str:
        """The reasoning: as the router sends it, and from ``<think>`` tags in the text."""
        return "\n\n".join(filter(None, (self.reasoning, split_thinking(self.text)[0])))

    @property
    def has_content(self) -> bool:
        """Implement `Result`."""
        return bool(self.text or self.reasoning or self.extras or self.sources or self.own_calls)

    @property
    def extras(self) -> tuple[str, ...]:
        """Contents beside the text, which are only in ``raw``, such as ``2 images``."""
        message = dict(self._message)
        if self.own_calls:
            message |= {"tool_calls": None, "function_call": None}
        if self.listed_sources:
            message |= {"annotations": None, "citations": None}
        elif not message.get("annotations"):
            message = {"citations": self.raw.get("citations"), **message}
        return count_extras(message) or (() if self.text or self.own_calls else unknown_fields(message))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Titles and URLs of what the model names as its sources, beside the text."""
        return find_sources(self.raw, self._message)

    @property
    def listed_sources(self) -> tuple[Source, ...]:
        """Sources to list below the text; data and pages are shown as they are."""
        return () if self.format in ("json", "html") else self.sources

    @property
    def images(self) -> tuple[bytes, ...]:
        """Images in the answer, as PNG, JPEG or WebP; those that it only links are in ``raw``."""
        message = self._message
        values = [message.get(name) for name in ("images", "image", "content")]
        texts = [value for value in values if not isinstance(value, str)]
        return tuple(data for url in _strings(texts) if (data := _decode_image(url)))

    def to_images(self) -> ImageResult:
        """Return the images as a result of ``%puq_image``, which saves them and converts them for Pillow."""
        from puq_magics.outputs.results.image import ImageResult

        asked = next(
            (each.get("content") for each in reversed(self.question) if each.get("role") == "user"), ""
        )
        prompt = asked if isinstance(asked, str) else ""
        return ImageResult(images=self.images, prompt=prompt, model=self.model)  # type: ignore[arg-type]

    @property
    def _message(self) -> Mapping[str, Any]:
        """The message of the first choice, as the router sent it."""
        choices = self.raw.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        message = first.get("message") if isinstance(first, dict) else None
        return message if isinstance(message, dict) else {}

    @property
    def is_cut_off(self) -> bool:
        """True if the answer ended at a limit of tokens, or by a failure."""
        return is_cut_off(self.finish_reason)

    @property
    def is_truncated(self) -> bool:
        """True if ``%puq_chat --continue`` can complete it."""
        return bool(self.text) and not self.own_calls and (bool(self.status) or self.is_cut_off)

    @property
    def resume_hint(self) -> str:
        """Implement `Result`."""
        return "%puq_chat --continue continues it." if self.is_truncated else ""

    @property
    def has_failed(self) -> bool:
        """True if it failed in mid-answer, other than by an interrupt."""
        return bool(self.status) and not self.interrupted

    @property
    def _is_empty(self) -> bool:
        return not (self.text or self.extras or self.sources or self.own_calls)

    @property
    def _facts(self) -> tuple[str, ...]:
        details = [note for note in self.notes if isinstance(note, DetailNote)]
        extras = [f"{', '.join(found)} in .raw"] if (found := self.extras) else []
        if calls := self.calls:
            extras.insert(0, f"{pluralize(len(calls), 'tool call')} in .calls")
        place = f"{self.chat} · {self.turn_name}" if self.turn_name else f"in {self.chat}"
        repaired = ("repaired once",) if self.previous_attempts and self.data is not None else ()
        return (*((place,) if self.chat else ()), *repaired, *extras, *details)

    def __str__(self) -> str:
        return self.text

    def to_frame(self) -> Any:
        """The data as a pandas DataFrame. Raises InputError where there is none, or it is no table."""
        from puq_magics.outputs.results.formats import json_to_dataframe

        if self.data is None:
            hint = "Ask with -f json, or with --schema '[name, age int]'."
            raise InputError("this answer holds no data.", hint=hint)
        return json_to_dataframe(self.data)

    def bundle(self, footer: Footer) -> dict[str, str]:
        """Return the MIME bundle for its format."""
        from puq_magics.outputs.markdown.feed import sanitize_markdown, strip_control_chars
        from puq_magics.outputs.results import formats

        if self.format == "text":
            return formats.text_bundle(self._as_plain_text(self.text), footer)
        if self.format == "json" and self.data is None:
            return formats.code_bundle([("", self.text)], footer, self.attempts[:-1])
        if self.format == "json":
            return formats.json_bundle(self.data, footer, self.attempts[:-1])
        if self.format == "html":
            return formats.html_bundle(self.answer_text, footer)
        earlier = "\n\n".join(append_media(sanitize_markdown(each.answer_text), each) for each in self.rounds)
        reasoning, text = self.all_reasoning, self.answer_text
        collapsed = f"{earlier}\n\n" if earlier else ""
        collapsed += f"{collapsed_reasoning(reasoning)}\n\n" if reasoning else ""
        return {
            "text/markdown": footer.append_to_markdown(
                append_media(collapsed + sanitize_markdown(text), self)
            ),
            "text/plain": footer.append_to_text(strip_control_chars(self._as_plain_text(text))),
        }

    def _to_terminal(self, text: str) -> str:
        from puq_magics.outputs.views.terminal_text import format_for_terminal

        if self.format in ("markdown", "code"):
            return format_for_terminal(text)
        return super()._to_terminal(text) if self.format == "text" else text

    def _as_plain_text(self, text: str) -> str:
        earlier = [part for each in self.rounds for part in (each.answer_text, calls_to_text(each.own_calls))]
        return "\n\n".join(filter(None, (*earlier, append_media_text(text, self))))


def append_media(safe: str, result: ChatResult) -> str:
    """Return safe Markdown with the images of an answer, its sources and its tool calls below it."""
    sources = sources_to_markdown(result.listed_sources)
    calls = calls_to_markdown(result.own_calls, final=not result.is_intermediate)
    return "\n\n".join(filter(None, (append_images(safe, result.images), sources, calls)))


def append_media_text(text: str, result: ChatResult) -> str:
    """Return plain text with the sources and tool calls of an answer below it."""
    calls = calls_to_text(result.own_calls, final=not result.is_intermediate)
    return "\n\n".join(filter(None, (text, sources_to_text(result.listed_sources), calls)))


def append_images(safe: str, images: Sequence[bytes]) -> str:
    """Return safe Markdown with images below it, as many as a display holds."""
    remaining, parts = MAX_EMBED_MB * 1_000_000, [safe]
    for data in images:
        remaining -= len(data)
        if remaining >= 0 and (kind := detect_image_type(data)) is not None:
            parts.append(f"![image](data:{kind.mime};base64,{b64encode(data).decode()})")
    return "\n\n".join(filter(None, parts))


def _strings(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list) and depth < _MAX_NESTING:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each, depth + 1)


def _decode_image(url: str) -> bytes:
    """Return the image in a ``data:`` URL; empty for any other text, and for what is no complete image."""
    head, _, encoded = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        return b""
    try:
        data = b64decode(encoded, validate=True)
    except ValueError:
        return b""
    return data if is_complete_image(data) else b""


def collapsed_reasoning(reasoning: str) -> str:
    """A model's reasoning as safe Markdown, folded."""
    from puq_magics.outputs.markdown.feed import fold, sanitize_markdown

    return fold("Reasoning", sanitize_markdown(reasoning))
