"""Base of the streams of chat, transcription and speech: limits, errors, closing, event streams."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from puq_magics.api.error_body import append_detail, find_error, parse_error_body
from puq_magics.api.response import decode_json, too_large_error
from puq_magics.api.sse import BOM, ServerSentEvent, SSEDecoder, is_error_type, is_keep_alive
from puq_magics.core.errors import APIError, StreamError

if TYPE_CHECKING:
    from puq_magics.api.response import Response

_T = TypeVar("_T")
#: Data of the event that ends a stream.
DONE = "[DONE]"
# An event stream begins with a field or a comment.
_SSE_FIELDS = (b"data", b"event", b"id", b"retry", b":")
#: Bytes after which a body's beginning is no longer unclear.
_SNIFF_BYTES = 1 << 12
#: Lines of a body of which one must be an event.
_SNIFF_LINES = 20


class ResponseStream(Generic[_T]):
    """A streamed answer: iterate over its parts, or ``receive`` them with a time limit; close it.

    ``first_received_at`` is the time of the first content, by ``time.monotonic``.
    """

    #: What to do about an answer that is too large.
    _size_hint = "Check the base URL."
    _size_python_hint = ""

    def __init__(self, response: Response, request_id: str | None, max_size: int) -> None:
        self.request_id = request_id
        self.first_received_at: float | None = None
        #: Whether the answer has ended, successfully or not.
        self.finished = False
        self._response = response
        self._max_size = max_size
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[_T]:
        while not self.finished:
            if part := self.receive():
                yield part

    def close(self) -> None:
        """Close the stream; the closed connection tells the router to stop."""
        self.finished = True
        self._response.close()

    def seconds_to_first(self, start: float) -> float | None:
        """Return the seconds from ``start``, by ``time.monotonic``, to the first content; None before it."""
        return None if self.first_received_at is None else self.first_received_at - start

    def receive(self, timeout: float | None = None) -> _T | None:
        """Return what came since the last call; None if nothing came in ``timeout`` seconds, or at the end.

        Raises StreamError or InvalidResponseError for an answer that is incomplete or not what was requested,
        APIConnectionError for a cut connection; ``partial`` holds what had come.
        """
        if self.finished:
            return None
        try:
            data = self._response.receive(timeout)
            if data is None:
                return self._pause()
            self._size += len(data)
            if self._size > self._max_size:
                raise too_large_error(self._max_size, self._size_hint, self._size_python_hint)
            part = self._process(data)
        except APIError as error:
            self.close()
            error.redact_with(self._response.redact)
            if self._is_complete_despite(error):
                return None
            error.partial = error.partial or self._partial()
            raise
        except BaseException:
            self.close()
            raise
        if part and self.first_received_at is None:
            self.first_received_at = monotonic()
        return part

    def _pause(self) -> _T | None:
        """Return what was held back, as nothing came for a moment."""
        return None

    @abstractmethod
    def _process(self, data: bytes) -> _T | None:
        """Read the next bytes of the body, which are empty at its end."""

    @abstractmethod
    def _partial(self) -> Any:
        """Return what has been received, for an error."""

    def _is_complete_despite(self, error: APIError) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether the answer was complete before the error."""
        return False


class EventStream(ResponseStream[_T]):
    """A streamed answer of events, or, if the router does not stream, of one body."""

    #: What an error's message calls the answer.
    _name = "answer"
    #: Whether the body may be plain text, which can begin with a field's name.
    _may_be_text = False

    def __init__(self, response: Response, request_id: str | None, max_size: int) -> None:
        super().__init__(response, request_id, max_size)
        self._decoder = SSEDecoder()
        self._undecided: bytes | None = b""  # until it is clear what comes
        self._body_parts: list[bytes] | None = None  # of a body that is not an event stream
        self._is_body = False  # whether the body's first line showed that its lines are no events
        self._line: list[bytes] | None = None  # the line that has not ended, where each line is an event

    def _detect_format(self, data: bytes) -> bytes:
        """Detect, by how the body begins, whether events come; return the bytes to be read now."""
        if self._undecided is None:
            return data
        start = self._undecided + data
        text = start.removeprefix(BOM).lstrip()
        fields = tuple(f.removesuffix(b":") + b":" for f in _SSE_FIELDS) if self._may_be_text else _SSE_FIELDS
        unclear = any(name != text and name.startswith(text) for name in (BOM, *fields))
        if data and unclear and len(start) < _SNIFF_BYTES:
            self._undecided = start
            return b""
        self._undecided = None
        content_type = self._response.headers.get("content-type", "").lower()
        has_field = text.startswith(fields) and not (
            self._may_be_text and content_type.startswith("text/plain")
        )
        is_stream = content_type.startswith("text/event-stream")
        if text[:1] in (b"{", b"[", b"<") or not (is_stream or has_field):
            self._body_parts = []
        return start

    def _decode(self, data: bytes, ended: bool) -> list[ServerSentEvent] | None:
        """Return the events that the next bytes complete; None for a body that is none of events.

        Events are server-sent, or one JSON object on each line.
        """
        data = self._detect_format(data)
        if self._body_parts is not None:
            self._body_parts.append(data)
            if self._is_body or b"\n" not in data:
                return None
            if not (has_event_lines := self._has_event_lines()):
                self._is_body = has_event_lines is False
                return None
            data, self._body_parts, self._line = b"".join(self._body_parts), None, []
        if self._line is not None:
            return self._split_lines(data, ended)
        events = self._decoder.feed(data)
        if ended:
            events += [event for event in self._decoder.flush() if _is_complete(event)]
        return events

    def _has_event_lines(self) -> bool | None:
        """Return whether the body's first lines are events of their own; None as long as that is unclear."""
        lines = b"".join(self._body_parts or ()).split(b"\n")[:-1]
        for line in map(bytes.strip, lines[:_SNIFF_LINES]):
            if not line or line.startswith(b":"):
                continue
            try:
                value = decode_json(line)
            except (ValueError, RecursionError):
                return False
            if isinstance(value, dict) and self._is_event(value):
                return True
            if not isinstance(value, dict) or len(line) > _SNIFF_BYTES:
                return False
        return None if len(lines) < _SNIFF_LINES else False

    def _split_lines(self, data: bytes, ended: bool) -> list[ServerSentEvent]:
        if self._line and data and b"\n" not in data and not ended:
            self._line.append(data)
            return []
        *lines, rest = b"".join([*(self._line or ()), data]).split(b"\n")
        if ended:
            lines.append(rest)
        self._line = [rest]
        return [ServerSentEvent(text) for line in lines if (text := line.decode("utf-8", "replace").strip())]

    @abstractmethod
    def _is_event(self, answer: Mapping[str, Any]) -> bool:
        """Return whether a JSON object is one event of several, not a whole answer."""

    def _parse_event(self, event: ServerSentEvent) -> Any:
        """Return an event's JSON; None for an event to pass over. Raises StreamError for an error."""
        data = event.data
        while data.startswith("data:"):  # written twice by some relays
            data = data[5:].lstrip()
        try:
            answer = parse_objects(data)
        except (ValueError, RecursionError):
            if is_error_type(event.type):
                raise self._reported_error(*parse_error_body(data.encode("utf-8", "replace"))) from None
            if event.type != "message" or is_keep_alive(data):
                return None
            raise StreamError(
                f"the stream holds an event that is not JSON: {event.data[:80]!r}.", hint="Try again."
            ) from None
        for each in objects_in(answer):
            self._raise_for_error(each, event.type)
        if is_error_type(event.type):
            raise self._reported_error(*parse_error_body(data.encode("utf-8", "replace")))
        return answer

    def _raise_for_error(self, event: Mapping[str, Any], event_type: str = "message") -> None:
        """Raise StreamError if an event reports an error."""
        if (error := find_error(event, event_type, is_event=True)) is not None:
            raise self._reported_error(*error)

    def _reported_error(self, detail: str, code: str | None) -> StreamError:
        error = StreamError(
            append_detail(f"the router reported an error during the {self._name}", detail, code),
            hint="Try again, or use another model.",
        )
        error.detail, error.code = detail, code
        return error


def parse_objects(text: str) -> Any:
    """Return the value of a JSON text; a list of those that some servers write one after the other, without a break.

    Raises ValueError or RecursionError for anything else.
    """
    try:
        return json.loads(text)
    except ValueError:
        if "}{" not in text:
            raise
    objects, end = [], 0
    while end < len(text):
        value, end = json.JSONDecoder().raw_decode(text, end)
        objects.append(value)
    return objects


def objects_in(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield an event's objects, which may be in a list; a text alone becomes a message."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            yield each
        elif isinstance(each, str):
            yield {"message": each}


def is_end(data: str) -> bool:
    """Return whether an event's data ends the stream."""
    return len(data) < 100 and data.replace("data:", "").strip().upper() in (DONE, "DONE")


def _is_complete(event: ServerSentEvent) -> bool:
    """Return whether an event that lacks its blank line is complete all the same."""
    try:
        return is_error_type(event.type) or is_end(event.data) or bool(json.loads(event.data))
    except (ValueError, RecursionError):
        return False
