"""What a transcription's answer looks like: in JSON, as text, and as the events of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from puq_magics.sandbox import tokens
from puq_magics.sandbox.models import AUDIO_TOKENS
from puq_magics.sandbox.fields import choice
from puq_magics.sandbox.validation import invalid

FORMATS: Final = ("json", "text", "verbose_json")

Segment: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How a client wants its answer."""

    format: str
    language: str
    stream: bool


def read_form(fields: Mapping[str, str], language: str) -> Form:
    """Read the fields of a form; raises Refusal (400) where one does not fit."""
    return Form(choice(fields, "response_format", FORMATS, "json"), language, _flag(fields, "stream"))


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = fields.get(name, "").lower()
    if value not in ("", "true", "false"):
        raise invalid(f"{name!r} must be true or false")
    return value == "true"


@dataclass
class Transcript:
    """The words of a recording, as far as they are known."""

    #: The language to name where a client named none.
    language: str
    #: Seconds: of all of it, where that is known, and of what was heard.
    length: float | None = None
    heard: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    text: str = ""
    #: What the last segment added to the text.
    news: str = ""

    def add(self, segment: Segment) -> None:
        """Take in the next segment; its text may begin with the space that parts it from the one before."""
        words: str = segment["text"]
        self.news = words if self.text else words.lstrip()
        self.text += self.news
        self.segments.append(segment)

    @property
    def heard_tokens(self) -> int:
        """What was heard, as it is charged."""
        return round(self.heard * AUDIO_TOKENS)

    @property
    def usage(self) -> dict[str, object]:
        """The tokens so far, in the shape that answers have."""
        heard, said = self.heard_tokens, tokens.count(self.text)
        return {"type": "tokens", "input_tokens": heard, "output_tokens": said, "total_tokens": heard + said}


def body(transcript: Transcript, form: Form) -> str:
    """A whole answer."""
    if form.format == "text":
        return transcript.text + "\n"
    answer: dict[str, object] = {"text": transcript.text, "usage": transcript.usage}
    if form.format == "verbose_json":
        answer |= {
            "task": "transcribe",
            "language": form.language or transcript.language,
            "duration": round(transcript.heard, 3),
            "segments": transcript.segments,
        }
    elif form.language:
        answer["language"] = form.language
    return json.dumps(answer)


def events(transcript: Transcript, segment: Segment) -> Iterator[dict[str, object]]:
    """The events of a segment that was just added: its words, and when they were said.

    ``duration`` is of the whole recording, in seconds; null where it is not known yet.
    """
    yield {"type": "transcript.text.delta", "delta": transcript.news}
    yield {
        "type": "transcript.text.segment",
        "id": f"seg_{segment['id']}",
        "start": segment["start"],
        "end": segment["end"],
        "text": segment["text"],
        "duration": transcript.length,
    }


def done(transcript: Transcript, form: Form) -> dict[str, object]:
    """The last event: all of it once more."""
    return {"type": "transcript.text.done", **json.loads(body(transcript, Form("json", form.language, True)))}
