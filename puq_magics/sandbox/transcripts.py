"""Transcription responses: JSON, text, and stream events; and the multipart parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Final, TypeAlias

from puq_magics.sandbox import tokens
from puq_magics.sandbox.models import TOKENS_PER_SECOND
from puq_magics.sandbox.validation import choice, invalid, unprocessable

#: Of the head of a part, and of a field that is no file, in bytes.
_LONGEST_HEAD: Final = 16 * 1024
_LONGEST_FIELD: Final = 64 * 1024
_MOST_PARTS: Final = 64


def parse_boundary(content_type: str) -> bytes:
    """Return the multipart boundary; raises ErrorResponse (422) if the body is not a form."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise unprocessable("The body is not multipart/form-data")
    return boundary.encode("utf-8", "replace")


@dataclass
class _Part:
    name: str
    #: The name of its file; None for a field.
    filename: str | None
    value: bytearray = field(default_factory=bytearray)


class MultipartParser:
    """Feed it a body piece by piece; what files hold goes to ``file(field name, file name, data)``.

    ``file`` is called for each file at least once (with no data, when it is empty).
    """

    def __init__(self, boundary: bytes, file: Callable[[str, str, bytes], None]) -> None:
        self.fields: dict[str, str] = {}
        self.finished = False
        self._file = file
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter may be the very beginning, where no line ends before it.
        self._buffer = bytearray(b"\r\n")
        self._step = self._preamble
        self._part = _Part("", None)
        self._parts = 0

    def feed(self, data: bytes) -> None:
        """Parse the next piece; raises ErrorResponse (400, 422) for an invalid form."""
        self._buffer += data
        while not self.finished and self._step():
            pass

    def close(self) -> None:
        """Finish parsing; raises ErrorResponse (422) if the form is incomplete."""
        if not self.finished:
            raise unprocessable("The multipart body ends before its last boundary")

    # Each step takes what it can from the buffer, and returns whether another one may have something to do.

    def _preamble(self) -> bool:
        place = self._buffer.find(self._delimiter)
        if place < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._delimiter))]
            return False
        del self._buffer[: place + len(self._delimiter)]
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            self.finished = True
            self._buffer.clear()
            return False
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(self._buffer) > _LONGEST_HEAD:
                raise unprocessable("The multipart body has a boundary that does not end")
            return False
        if line.strip(b" \t"):
            raise unprocessable("The multipart body has something behind a boundary")
        # The line's end stays: a part without a single header begins with an empty line.
        self._buffer = bytearray(b"\r\n") + rest
        self._step = self._head
        return True

    def _head(self) -> bool:
        place = self._buffer.find(b"\r\n\r\n")
        if place < 0 or place > _LONGEST_HEAD:
            if len(self._buffer) > _LONGEST_HEAD:
                raise unprocessable("The multipart body has a part with too long a head")
            return False
        self._part = _part(bytes(self._buffer[:place]))
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise unprocessable(f"The multipart body has more than {_MOST_PARTS} parts")
        del self._buffer[: place + 4]
        self._step = self._body
        return True

    def _body(self) -> bool:
        place = self._buffer.find(self._delimiter)
        if place < 0:
            # All but what may be the beginning of a delimiter.
            sure = len(self._buffer) - len(self._delimiter) + 1
            if sure > 0:
                with memoryview(self._buffer) as whole:
                    self._deliver(bytes(whole[:sure]))
                del self._buffer[:sure]
            return False
        self._deliver(bytes(self._buffer[:place]))
        if self._part.filename is None:
            self.fields[self._part.name] = self._part.value.decode("utf-8", "replace")
        del self._buffer[: place + len(self._delimiter)]
        self._step = self._after_delimiter
        return True

    def _deliver(self, data: bytes) -> None:
        part = self._part
        if part.filename is not None:
            self._file(part.name, part.filename, data)
            return
        part.value += data
        if len(part.value) > _LONGEST_FIELD:
            raise invalid(f"The field {part.name!r} is longer than {_LONGEST_FIELD:,} bytes")


def _part(head: bytes) -> _Part:
    """Read the head of a part."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() != b"content-disposition":
            continue
        message = Message()
        message["Content-Disposition"] = value.strip().decode("utf-8", "replace")
        field_name = message.get_param("name", header="Content-Disposition")
        if isinstance(field_name, str):
            return _Part(field_name, message.get_filename())
    raise unprocessable("The multipart body has a part without a name")


FORMATS: Final = ("json", "text", "verbose_json")

Segment: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class TranscriptionOptions:
    """Requested response format, language and streaming."""

    format: str
    language: str
    stream: bool


def parse_options(fields: Mapping[str, str], language: str) -> TranscriptionOptions:
    """Read the fields of a form; raises ErrorResponse (400) where one does not fit."""
    return TranscriptionOptions(
        choice(fields, "response_format", FORMATS, "json"), language, _flag(fields, "stream")
    )


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = fields.get(name, "").lower()
    if value not in ("", "true", "false"):
        raise invalid(f"{name!r} must be true or false")
    return value == "true"


@dataclass
class TranscriptBuilder:
    """Transcript of a recording in progress."""

    #: The language to name where a client named none.
    language: str
    #: Seconds: of all of it, where that is known, and of what was heard.
    length: float | None = None
    seconds_processed: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    text: str = ""
    #: What the last segment added to the text.
    delta: str = ""

    def add(self, segment: Segment) -> None:
        """Append a segment; its text may begin with the space that separates it from the previous one."""
        words: str = segment["text"]
        self.delta = words if self.text else words.lstrip()
        self.text += self.delta
        self.segments.append(segment)

    @property
    def audio_tokens(self) -> int:
        """Audio tokens that are charged."""
        return round(self.seconds_processed * TOKENS_PER_SECOND)

    @property
    def usage(self) -> dict[str, object]:
        """The tokens so far, in the shape that answers have."""
        seconds_processed, said = self.audio_tokens, tokens.count(self.text)
        return {
            "type": "tokens",
            "input_tokens": seconds_processed,
            "output_tokens": said,
            "total_tokens": seconds_processed + said,
        }


def format_response(transcript: TranscriptBuilder, form: TranscriptionOptions) -> str:
    """A whole answer."""
    if form.format == "text":
        return transcript.text + "\n"
    answer: dict[str, object] = {"text": transcript.text, "usage": transcript.usage}
    if form.format == "verbose_json":
        answer |= {
            "task": "transcribe",
            "language": form.language or transcript.language,
            "duration": round(transcript.seconds_processed, 3),
            "segments": transcript.segments,
        }
    elif form.language:
        answer["language"] = form.language
    return json.dumps(answer)


def segment_events(transcript: TranscriptBuilder, segment: Segment) -> Iterator[dict[str, object]]:
    """Return the events of a segment that was just added: text and times.

    ``duration`` is that of the whole recording in seconds; null while it is not known.
    """
    yield {"type": "transcript.text.delta", "delta": transcript.delta}
    yield {
        "type": "transcript.text.segment",
        "id": f"seg_{segment['id']}",
        "start": segment["start"],
        "end": segment["end"],
        "text": segment["text"],
        "duration": transcript.length,
    }


def done_event(transcript: TranscriptBuilder, form: TranscriptionOptions) -> dict[str, object]:
    """The last event: all of it once more."""
    return {
        "type": "transcript.text.done",
        **json.loads(format_response(transcript, TranscriptionOptions("json", form.language, True))),
    }
