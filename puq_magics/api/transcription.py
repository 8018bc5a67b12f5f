"""The words of a recording: what routers answer, in JSON or as plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.error_body import (
    append_detail,
    parse_error_body,
    parse_error_json,
    raise_for_error_object,
)
from puq_magics.api.sse import SSEDecoder
from puq_magics.api.types import Usage, join_surrogates, read_choices, read_number, read_usage
from puq_magics.core.errors import APIError, InvalidResponseError, StreamError
from puq_magics.core.media_types import describe_non_media

if TYPE_CHECKING:
    from puq_magics.api.response import Response


# A transcript may begin with a brace or a bracket of its own: {laughs}, <v Roger>.
_TRUNCATED_JSON = re.compile(rb"\s*\{\s*(?:[\"}]|\Z)")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A stretch of a recording; ``start`` and ``end`` in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of a recording."""

    #: The text, or the subtitles when these were asked for.
    text: str
    #: As the router names it; empty when it does not say.
    language: str = ""
    #: Seconds; None when the router does not say.
    duration: float | None = None
    #: When they were asked for (``response_format="verbose_json"``) and given.
    segments: tuple[TranscriptSegment, ...] = ()
    usage: Usage | None = None
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None
    #: The answer as the router's JSON had it; empty when it was plain text.
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_transcript(parts: Iterable[bytes], request_id: str | None = None) -> Transcript:
    """An answer's body, which comes in parts, as a value, whichever format was asked for.

    Raises InvalidResponseError when it holds no words, APIConnectionError when it breaks off; ``partial`` is
    the body's text then.
    """
    body = bytearray()
    try:
        for part in parts:
            body += part
        return _parse_transcript(bytes(body), request_id)
    except APIError as error:
        error.partial = body.decode("utf-8-sig", "replace")
        raise


def _parse_transcript(body: bytes, request_id: str | None) -> Transcript:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, str):
        return Transcript(join_surrogates([answer]), request_id=request_id, raw={"text": answer})
    if isinstance(answer, dict):
        return _from_json(answer, request_id)
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
    """Those of a list that have words and a beginning; none of anything else."""
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(text := entry.get("text"), str):
            start, end = read_number(entry.get("start")), read_number(entry.get("end"))
            if start is not None:
                found.append(TranscriptSegment(start, start if end is None else end, join_surrogates([text])))
    return tuple(found)


def _read_plain_text(body: bytes) -> str:
    """A body of words alone; what is none of these is an error."""
    if not body:
        raise InvalidResponseError("the answer is empty.", hint="Check the recording, or use another model.")
    found = describe_non_media(body)
    cut_json = _TRUNCATED_JSON.match(body)
    if cut_json or found in ("SVG", "HTML") or _XML.match(body) or b"\x00" in body[:2048]:
        words, _ = parse_error_body(body)
        found = "half of a JSON object" if cut_json else found or "something else"
        raise InvalidResponseError(
            append_detail(f"the answer holds {found} where a transcript should be", words),
            hint="What came is in the error's .partial; check the base URL and the model.",
        )
    return body.decode("utf-8-sig", "replace").replace("\r\n", "\n").strip("\n")


_DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"
#: How an event stream begins: a field, or a comment.
_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_MAX_BYTES = 64 << 20  # bytes


class TranscriptStream:
    """A transcript that streams. Iterate over its words, or ``receive`` them with a time limit; close it.

    What has come is in ``transcript`` at any time, also after an error.
    """

    def __init__(
        self, response: Response, request_id: str | None = None, *, max_size: int = _MAX_BYTES
    ) -> None:
        self.request_id = request_id
        #: When the first words came, by ``time.monotonic``.
        self.first_received_at: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._max_size = max_size
        self._size = 0
        self._decoder = SSEDecoder()
        self._undecided = b""
        self._is_event_stream: bool | None = None  # None until it is clear what comes
        self._body_parts: list[bytes] = []
        self._texts: list[str] = []
        self._segments: list[TranscriptSegment] = []
        self._duration: float | None = None
        #: Whether the events have an end of their own, and whether that came.
        self._expects_done = self._ended = False
        self._final_event: Mapping[str, Any] = {}
        self._result: Transcript | None = None

    def __enter__(self) -> TranscriptStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        while not self.finished:
            if words := self.receive():
                yield words

    def close(self) -> None:
        """Close the stream; the router is told to stop by the closed connection."""
        self.finished = True
        self._response.close()

    @property
    def text(self) -> str:
        """The words that have come."""
        return join_surrogates(self._texts) if self._result is None else self._result.text

    @property
    def transcribed_seconds(self) -> float | None:
        """How many seconds of the recording are written down; None when the router does not say."""
        return self._segments[-1].end if self._segments else None

    @property
    def duration(self) -> float | None:
        """How many seconds the recording has; None when the router does not say."""
        return self._duration

    @property
    def transcript(self) -> Transcript:
        """What has come, as a value."""
        if self._result is not None:
            return self._result
        last = self._final_event
        text, language = last.get("text"), last.get("language")
        return Transcript(
            text=join_surrogates([text]) if isinstance(text, str) else self.text,
            language=language if isinstance(language, str) else "",
            duration=self._duration,
            segments=tuple(self._segments),
            usage=read_usage(last.get("usage")),
            request_id=self.request_id,
            raw=last,
        )

    def receive(self, timeout: float | None = None) -> str | None:
        """The words since the last call; None when none came within ``wait`` seconds, or the answer ended.

        Raises StreamError for an answer that breaks off, InvalidResponseError for one that holds no words,
        APIConnectionError for a
        cut connection; ``partial`` is the text that had come.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(timeout)
            words = None if data is None else self._process(data)
        except APIError as error:
            self.close()
            error.redact_with(self._response.redact)
            error.partial = (
                error.partial or self.text or b"".join(self._body_parts).decode("utf-8-sig", "replace")
            )
            raise
        except BaseException:
            self.close()
            raise
        if words and self.first_received_at is None:
            self.first_received_at = monotonic()
        return words or None

    def _process(self, data: bytes) -> str:
        self._size += len(data)
        if self._size > self._max_size:
            raise InvalidResponseError(
                f"the answer is larger than {self._max_size:,} bytes.", hint="Check the base URL."
            )
        ended = not data
        if self._is_event_stream is None:
            data = self._detect_format(data)
        words = ""
        if self._is_event_stream:
            words = "".join(self._handle_event(event.data) for event in self._decoder.feed(data))
        elif self._is_event_stream is False:
            self._body_parts.append(data)
        if ended:
            words += self._finish()
        elif self._ended:
            self.close()
        return words

    def _detect_format(self, data: bytes) -> bytes:
        """Find out whether events come, by how the body begins; what is to be read now."""
        start = self._undecided + data
        words = start.removeprefix(_BOM).lstrip()
        if data and any(name != words and name.startswith(words) for name in (_BOM, *_SSE_FIELDS)):
            self._undecided = start
            return b""
        kind = self._response.headers.get("content-type", "").lower()
        # A plain text may begin with such a word of its own.
        starts_like_sse = words.startswith(_SSE_FIELDS) and not kind.startswith("text/plain")
        self._is_event_stream = (
            kind.startswith("text/event-stream") and words[:1] not in (b"{", b"<")
        ) or starts_like_sse
        return start

    def _handle_event(self, data: str) -> str:
        """Take in one event; give its words."""
        if self._ended:
            return ""
        if data.strip() == _DONE:
            self._ended = True
            return ""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise StreamError(
                f"the stream holds an event that is not JSON: {data[:80]!r}.", hint="Try again."
            ) from None
        return self._handle_object(event) if isinstance(event, dict) else ""

    def _handle_object(self, event: Mapping[str, Any]) -> str:
        if event.get("error"):
            words, code = parse_error_json(event)
            code = f" ({code})" if code and code not in words else ""
            raise StreamError(
                append_detail(f"the transcript broke off with an error of the router{code}", words),
                hint="Try again, or use another model.",
            )
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
        """The words of an object without a type: a segment, or a text of its own."""
        text = event.get("text")
        if event.get("type") or not isinstance(text, str):
            return ""
        self._segments += read_segments([event])
        needs_space = self._texts and not (text[:1].isspace() or self._texts[-1][-1:].isspace())
        return self._add(f" {text}" if needs_space else text)

    def _add(self, words: object) -> str:
        if not isinstance(words, str) or not words:
            return ""
        self._texts.append(words)
        return join_surrogates([words])

    def _finish(self) -> str:
        """The body has ended: look whether that was the answer's end."""
        self.close()
        if self._is_event_stream:
            last = self._decoder.flush()
            words = (
                self._handle_event(last.data) if last is not None and _is_complete_event(last.data) else ""
            )
            if self._expects_done and not self._ended:
                raise StreamError(
                    "the transcript ended before it was finished.", hint="What came is kept; send it again."
                )
            if not self.transcript.text and not self._ended:
                raise InvalidResponseError(
                    "the answer holds no text.", hint="Check the base URL and the model."
                )
            return words
        self._result = read_transcript(self._body_parts, self.request_id)
        self._segments, self._duration = list(self._result.segments), self._result.duration
        return self._result.text


def _is_complete_event(data: str) -> bool:
    """Whether an event that lacks its blank line is whole all the same."""
    try:
        return data.strip() == _DONE or bool(json.loads(data))
    except (ValueError, RecursionError):
        return False
