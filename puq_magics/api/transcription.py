"""The words of a recording: what routers answer, in JSON or as plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.sse import SSEDecoder
from puq_magics.api.types import Usage, joined_surrogates, read_number, read_pieces, read_usage
from puq_magics.core.errors import AnswerError, APIError, StreamError, error_object, error_words, with_words
from puq_magics.core.media_types import said_instead

if TYPE_CHECKING:
    from puq_magics.api.transport import Response


# A transcript may begin with a brace or a bracket of its own: {laughs}, <v Roger>.
_HALF_OBJECT = re.compile(rb"\s*\{\s*(?:[\"}]|\Z)")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")


@dataclass(frozen=True, slots=True)
class Segment:
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
    segments: tuple[Segment, ...] = ()
    usage: Usage | None = None
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None
    #: The answer as the router's JSON had it; empty when it was plain text.
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_transcript(parts: Iterable[bytes], request_id: str | None = None) -> Transcript:
    """An answer's body, which comes in parts, as a value, whichever format was asked for.

    Raises AnswerError when it holds no words, NetworkError when it breaks off; ``partial`` is the body's text then.
    """
    body = bytearray()
    try:
        for part in parts:
            body += part
        return _transcript(bytes(body), request_id)
    except APIError as error:
        error.partial = body.decode("utf-8-sig", "replace")
        raise


def _transcript(body: bytes, request_id: str | None) -> Transcript:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, str):
        return Transcript(joined_surrogates([answer]), request_id=request_id, raw={"text": answer})
    if isinstance(answer, dict):
        return _of_json(answer, request_id)
    if answer == [] or isinstance(answer, bool) or body.strip() == b"null":
        raise AnswerError("the answer holds no text.", hint="Check the base URL and the model.")
    return Transcript(_plain(body), request_id=request_id)


def _of_json(answer: Mapping[str, Any], request_id: str | None) -> Transcript:
    if answer.get("error"):
        words, _ = error_object(answer)
        raise AnswerError(with_words("the router answered with an error", words), hint="Try again.")
    segments = read_segments(answer.get("segments"))
    text = answer.get("text")
    if not isinstance(text, str):
        if not segments:
            raise AnswerError("the answer holds no text.", hint="Check the base URL and the model.")
        text = "".join(segment.text for segment in segments).strip()
    usage = answer.get("usage")
    duration = read_number(answer.get("duration"))
    if duration is None and isinstance(usage, dict):
        duration = read_number(usage.get("seconds"))
    language = answer.get("language")
    return Transcript(
        text=joined_surrogates([text]),
        language=language if isinstance(language, str) else "",
        duration=duration,
        segments=segments,
        usage=read_usage(usage),
        request_id=request_id,
        raw=answer,
    )


def read_segments(value: object) -> tuple[Segment, ...]:
    """Those of a list that have words and a beginning; none of anything else."""
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(text := entry.get("text"), str):
            start, end = read_number(entry.get("start")), read_number(entry.get("end"))
            if start is not None:
                found.append(Segment(start, start if end is None else end, joined_surrogates([text])))
    return tuple(found)


def _plain(body: bytes) -> str:
    """A body of words alone; what is none of these is an error."""
    if not body:
        raise AnswerError("the answer is empty.", hint="Check the recording, or use another model.")
    found = said_instead(body)
    cut_json = _HALF_OBJECT.match(body)
    if cut_json or found in ("SVG", "HTML") or _XML.match(body) or b"\x00" in body[:2048]:
        words, _ = error_words(body)
        found = "half of a JSON object" if cut_json else found or "something else"
        raise AnswerError(
            with_words(f"the answer holds {found} where a transcript should be", words),
            hint="What came is in the error's .partial; check the base URL and the model.",
        )
    return body.decode("utf-8-sig", "replace").replace("\r\n", "\n").strip("\n")


_DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"
#: How an event stream begins: a field, or a comment.
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST = 64 << 20  # bytes


class TranscriptStream:
    """A transcript that streams. Iterate over its words, or ``receive`` them with a time limit; close it.

    What has come is in ``transcript`` at any time, also after an error.
    """

    def __init__(
        self, response: Response, request_id: str | None = None, *, max_size: int = _LONGEST
    ) -> None:
        self.request_id = request_id
        #: When the first words came, by ``time.monotonic``.
        self.first_heard: float | None = None
        #: Whether the answer has ended, well or not.
        self.finished = False
        self._response = response
        self._max_size = max_size
        self._size = 0
        self._decoder = SSEDecoder()
        self._beginning = b""
        self._streams: bool | None = None  # None until it is clear what comes
        self._whole: list[bytes] = []
        self._words: list[str] = []
        self._segments: list[Segment] = []
        self._length: float | None = None
        #: Whether the events have an end of their own, and whether that came.
        self._has_end = self._ended = False
        self._last: Mapping[str, Any] = {}
        self._read: Transcript | None = None

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
        return joined_surrogates(self._words) if self._read is None else self._read.text

    @property
    def reached(self) -> float | None:
        """How many seconds of the recording are written down; None when the router does not say."""
        return self._segments[-1].end if self._segments else None

    @property
    def duration(self) -> float | None:
        """How many seconds the recording has; None when the router does not say."""
        return self._length

    @property
    def transcript(self) -> Transcript:
        """What has come, as a value."""
        if self._read is not None:
            return self._read
        last = self._last
        text, language = last.get("text"), last.get("language")
        return Transcript(
            text=joined_surrogates([text]) if isinstance(text, str) else self.text,
            language=language if isinstance(language, str) else "",
            duration=self._length,
            segments=tuple(self._segments),
            usage=read_usage(last.get("usage")),
            request_id=self.request_id,
            raw=last,
        )

    def receive(self, wait: float | None = None) -> str | None:
        """The words since the last call; None when none came within ``wait`` seconds, or the answer ended.

        Raises StreamError for an answer that breaks off, AnswerError for one that holds no words, NetworkError for a
        cut connection; ``partial`` is the text that had come.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(wait)
            words = None if data is None else self._take(data)
        except APIError as error:
            self.close()
            error.rewrite(self._response.redact)
            error.partial = error.partial or self.text or b"".join(self._whole).decode("utf-8-sig", "replace")
            raise
        except BaseException:
            self.close()
            raise
        if words and self.first_heard is None:
            self.first_heard = monotonic()
        return words or None

    def _take(self, data: bytes) -> str:
        self._size += len(data)
        if self._size > self._max_size:
            raise AnswerError(
                f"the answer is larger than {self._max_size:,} bytes.", hint="Check the base URL."
            )
        ended = not data
        if self._streams is None:
            data = self._begin(data)
        words = ""
        if self._streams:
            words = "".join(self._event(event.data) for event in self._decoder.feed(data))
        elif self._streams is False:
            self._whole.append(data)
        if ended:
            words += self._end()
        elif self._ended:
            self.close()
        return words

    def _begin(self, data: bytes) -> bytes:
        """Find out whether events come, by how the body begins; what is to be read now."""
        start = self._beginning + data
        words = start.removeprefix(_BOM).lstrip()
        if data and any(name != words and name.startswith(words) for name in (_BOM, *_FIELDS)):
            self._beginning = start
            return b""
        kind = self._response.headers.get("content-type", "").lower()
        # A plain text may begin with such a word of its own.
        looks_so = words.startswith(_FIELDS) and not kind.startswith("text/plain")
        self._streams = (kind.startswith("text/event-stream") and words[:1] not in (b"{", b"<")) or looks_so
        return start

    def _event(self, data: str) -> str:
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
        return self._object(event) if isinstance(event, dict) else ""

    def _object(self, event: Mapping[str, Any]) -> str:
        if event.get("error"):
            words, code = error_object(event)
            code = f" ({code})" if code and code not in words else ""
            raise StreamError(
                with_words(f"the transcript broke off with an error of the router{code}", words),
                hint="Try again, or use another model.",
            )
        duration = read_number(event.get("duration"))
        self._length = self._length if duration is None else duration
        match event.get("type"):
            case "transcript.text.delta":
                self._has_end = True
                return self._add(event.get("delta"))
            case "transcript.text.segment":
                self._segments += read_segments([event])
                return ""
            case "transcript.text.done":
                self._ended, self._last = True, event
                return ""
        if "choices" in event:
            self._last = event if event.get("usage") else self._last
            return "".join(self._add(piece.text) for piece in read_pieces(event) if piece.index == 0)
        return self._of_object(event)

    def _of_object(self, event: Mapping[str, Any]) -> str:
        """The words of an object without a type: a segment, or a text of its own."""
        text = event.get("text")
        if event.get("type") or not isinstance(text, str):
            return ""
        self._segments += read_segments([event])
        apart = self._words and not (text[:1].isspace() or self._words[-1][-1:].isspace())
        return self._add(f" {text}" if apart else text)

    def _add(self, words: object) -> str:
        if not isinstance(words, str) or not words:
            return ""
        self._words.append(words)
        return joined_surrogates([words])

    def _end(self) -> str:
        """The body has ended: look whether that was the answer's end."""
        self.close()
        if self._streams:
            last = self._decoder.flush()
            words = self._event(last.data) if last is not None and _is_whole(last.data) else ""
            if self._has_end and not self._ended:
                raise StreamError(
                    "the transcript ended before it was finished.", hint="What came is kept; send it again."
                )
            if not self.transcript.text and not self._ended:
                raise AnswerError("the answer holds no text.", hint="Check the base URL and the model.")
            return words
        self._read = read_transcript(self._whole, self.request_id)
        self._segments, self._length = list(self._read.segments), self._read.duration
        return self._read.text


def _is_whole(data: str) -> bool:
    """Whether an event that lacks its blank line is whole all the same."""
    try:
        return data.strip() == _DONE or bool(json.loads(data))
    except (ValueError, RecursionError):
        return False
