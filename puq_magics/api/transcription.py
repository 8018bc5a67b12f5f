"""Transcripts, complete and streamed, in JSON or as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from puq_magics.api.choices import read_choices
from puq_magics.api.error_body import (
    append_detail,
    parse_error_body,
    raise_for_error_object,
)
from puq_magics.api.response import decode_json
from puq_magics.api.sse import ServerSentEvent
from puq_magics.api.streams import EventStream, is_end
from puq_magics.api.types import Usage, join_surrogates, read_number, read_usage
from puq_magics.core.errors import APIError, InvalidResponseError, StreamError
from puq_magics.core.media_types import describe_non_media
from puq_magics.core.secret import SecretFilter, redact_json

if TYPE_CHECKING:
    from puq_magics.api.response import Response


# A transcript may begin with a brace or a bracket of its own: {laughs}, <v Roger>.
_TRUNCATED_JSON = re.compile(rb"\s*\{\s*(?:[\"}]|\Z)")
_PARTIAL_HINT = "The part received is in the error's .partial."
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A part of a recording; ``start`` and ``end`` in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a recording."""

    #: The text, or the subtitles if these were requested.
    text: str
    #: As the router names it; empty if it does not.
    language: str = ""
    #: Seconds; None if the router does not say.
    duration: float | None = None
    #: Only with ``response_format="verbose_json"``.
    segments: tuple[TranscriptSegment, ...] = ()
    usage: Usage | None = None
    #: The router's id for the request, to quote to its support.
    request_id: str | None = None
    #: The router's JSON; empty if the answer was plain text.
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_transcript(
    parts: Iterable[bytes], request_id: str | None = None, *, redact: Callable[[str], str] = str
) -> Transcript:
    """Read an answer's body, in whichever format was requested.

    Raises InvalidResponseError if it holds no text, APIConnectionError if it is incomplete; ``partial`` is the text
    received.
    """
    body = bytearray()
    try:
        for part in parts:
            body += part
        return _redacted(_parse_transcript(bytes(body), request_id), redact)
    except APIError as error:
        error.partial = redact(body.decode("utf-8-sig", "replace"))
        raise


def _redacted(transcript: Transcript, redact: Callable[[str], str]) -> Transcript:
    """Return the transcript without the API key: unlike a chat, it quotes nothing that its user wrote."""
    segments = tuple(replace(segment, text=redact(segment.text)) for segment in transcript.segments)
    raw = redact_json(transcript.raw, redact)
    return replace(transcript, text=redact(transcript.text), segments=segments, raw=raw)


def _parse_transcript(body: bytes, request_id: str | None) -> Transcript:
    try:
        answer = decode_json(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, str):
        return Transcript(join_surrogates([answer]), request_id=request_id, raw={"text": answer})
    if isinstance(answer, dict):
        return _from_json(answer, request_id)
    if isinstance(answer, list):
        raise_for_error_object(answer)
    if answer == [] or isinstance(answer, bool) or body.strip() == b"null":
        raise InvalidResponseError("the answer holds no text.", hint="Check the base URL and the model.")
    return Transcript(_read_plain_text(body), request_id=request_id)


def _from_json(answer: Mapping[str, Any], request_id: str | None) -> Transcript:
    raise_for_error_object(answer)
    segments = read_segments(answer.get("segments"))
    text = answer.get("text")
    if not isinstance(text, str):
        if not segments:
            raise InvalidResponseError("the answer holds no text.", hint="Check the base URL and the model.")
        text = "".join(segment.text for segment in segments).strip()
    usage = answer.get("usage")
    duration = read_number(answer.get("duration"))
    if duration is None and isinstance(usage, dict):
        duration = read_number(usage.get("seconds"))
    language = answer.get("language")
    return Transcript(
        text=join_surrogates([text]),
        language=language if isinstance(language, str) else "",
        duration=duration,
        segments=segments,
        usage=read_usage(usage),
        request_id=request_id,
        raw=answer,
    )


def read_segments(value: object) -> tuple[TranscriptSegment, ...]:
    """Return the entries of a list that have a text and a start; none of any other value."""
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(text := entry.get("text"), str):
            start, end = read_number(entry.get("start")), read_number(entry.get("end"))
            if start is not None:
                found.append(TranscriptSegment(start, start if end is None else end, join_surrogates([text])))
    return tuple(found)


def _read_plain_text(body: bytes) -> str:
    """Read a body of plain text. Raises InvalidResponseError for anything else."""
    if not body:
        raise InvalidResponseError("the answer is empty.", hint="Check the recording, or use another model.")
    found = describe_non_media(body)
    cut_json = _TRUNCATED_JSON.match(body)
    if cut_json or found in ("SVG", "HTML") or _XML.match(body) or b"\x00" in body[:2048]:
        detail, _ = parse_error_body(body)
        found = "an incomplete JSON object" if cut_json else found or "something else"
        raise InvalidResponseError(
            append_detail(f"the answer holds {found} where a transcript should be", detail),
            hint="Check the base URL and the model.",
            python_hint=_PARTIAL_HINT,
        )
    return body.decode("utf-8-sig", "replace").replace("\r\n", "\n").strip("\n")


_MAX_BYTES = 64 << 20  # bytes


class TranscriptStream(EventStream[str]):
    """A streamed transcript: iterate over its text, or ``receive`` it with a time limit; close it.

    ``transcript`` holds what has been received at any time, also after an error.
    """

    _name = "transcript"
    _may_be_text = True

    def __init__(
        self, response: Response, request_id: str | None = None, *, max_size: int = _MAX_BYTES
    ) -> None:
        super().__init__(response, request_id, max_size)
        self._texts: list[str] = []
        self._segments: list[TranscriptSegment] = []
        self._duration: float | None = None
        self._expects_done = False  # whether the events have an end of their own
        self._ended = False
        self._final_event: Mapping[str, Any] = {}
        self._result: Transcript | None = None
        self._filter = SecretFilter()

    @property
    def text(self) -> str:
        """The text received so far."""
        if self._result is not None:
            return self._result.text
        return self._response.redact(join_surrogates(self._texts)).removesuffix(self._filter.pending)

    @property
    def transcribed_seconds(self) -> float | None:
        """Seconds of the recording transcribed so far; None if the router does not say."""
        return self._segments[-1].end if self._segments else None

    @property
    def duration(self) -> float | None:
        """Length of the recording in seconds; None if the router does not say."""
        return self._duration

    @property
    def transcript(self) -> Transcript:
        """Transcript received so far."""
        if self._result is not None:
            return self._result
        last = self._final_event
        text, language = last.get("text"), last.get("language")
        transcript = Transcript(
            text=join_surrogates([text]) if isinstance(text, str) else self.text,
            language=language if isinstance(language, str) else "",
            duration=self._duration,
            segments=tuple(self._segments),
            usage=read_usage(last.get("usage")),
            request_id=self.request_id,
            raw=last,
        )
        return _redacted(transcript, self._response.redact)

    def _partial(self) -> str:
        self._filter.release()
        return self.text or b"".join(self._body_parts or ()).decode("utf-8-sig", "replace")

    def _is_event(self, answer: Mapping[str, Any]) -> bool:
        return str(answer.get("type")).startswith("transcript.text.")

    def _pause(self) -> str | None:
        return self._filter.release() or None

    def _process(self, data: bytes) -> str | None:
        ended = not data
        text = "".join(self._handle_event(event) for event in self._decode(data, ended) or ())
        text = self._filter.feed(text)
        if ended or self._ended:
            text += self._filter.finish()
        if ended:
            text += self._finish()
        elif self._ended:
            self.close()
        return text or None

    def _handle_event(self, event: ServerSentEvent) -> str:
        """Read one event and return its text."""
        if self._ended:
            return ""
        if is_end(event.data):
            self._ended = True
            return ""
        answer = self._parse_event(event)
        return self._handle_object(answer) if isinstance(answer, dict) else ""

    def _handle_object(self, event: Mapping[str, Any]) -> str:
        duration = read_number(event.get("duration"))
        self._duration = self._duration if duration is None else duration
        match event.get("type"):
            case "transcript.text.delta":
                self._expects_done = True
                return self._add(event.get("delta"))
            case "transcript.text.segment":
                self._segments += read_segments([event])
                return ""
            case "transcript.text.done":
                self._ended, self._final_event = True, event
                return ""
        if "choices" in event:
            self._final_event = event if event.get("usage") else self._final_event
            return "".join(self._add(choice.text) for choice in read_choices(event) if choice.index == 0)
        return self._handle_segment(event)

    def _handle_segment(self, event: Mapping[str, Any]) -> str:
        """Return the text of an object without a type: a segment, or a text."""
        text = event.get("text")
        if event.get("type") or not isinstance(text, str):
            return ""
        self._segments += read_segments([event])
        needs_space = self._texts and not (text[:1].isspace() or self._texts[-1][-1:].isspace())
        return self._add(f" {text}" if needs_space else text)

    def _add(self, text: object) -> str:
        if not isinstance(text, str) or not text:
            return ""
        self._texts.append(text)
        return join_surrogates([text])

    def _finish(self) -> str:
        """Handle the end of the body: check that it is the answer's end."""
        self.close()
        if self._body_parts is not None:
            self._result = read_transcript(self._body_parts, self.request_id, redact=self._response.redact)
            self._segments, self._duration = list(self._result.segments), self._result.duration
            return self._result.text
        if self._expects_done and not self._ended:
            raise StreamError(
                "the transcript ended before it was finished.",
                hint="Send it again.",
                python_hint=_PARTIAL_HINT,
            )
        if not self.transcript.text and not self._ended:
            raise InvalidResponseError("the answer holds no text.", hint="Check the base URL and the model.")
        return ""
