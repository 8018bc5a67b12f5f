"""Decode server-sent events incrementally, without IO.

By the WHATWG standard, https://html.spec.whatwg.org/multipage/server-sent-events.html, sections 9.2.5
(parsing) and 9.2.6 (interpretation). Lines end with LF, CR or CRLF, in any mixture and split anywhere; the
time taken is linear in the bytes however they are split.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from puq_magics.core.errors import InvalidResponseError

BOM = b"\xef\xbb\xbf"
_MEBI = 1 << 20
#: Words that servers and relays send as data to keep a connection open, also with a time.
_KEEP_ALIVE_WORDS = frozenset(
    {
        "ping", "pong", "heart", "beat", "heartbeat", "keep", "alive", "keepalive", "openrouter", "processing",
        "waiting", "queued", "pending", "ok", "tick", "noop", "t", "z", "utc", "gmt", "start", "started", "begin",
        "connecting", "connected", "please", "wait", "loading", "ready",
    }
)  # fmt: skip

#: Types of events that report an error; not those of a tool that failed, from which a model goes on.
_ERROR_TYPE = re.compile(
    r"(?:.*\.)?(?:error|failed|failure|exception)"
    r"|(?!no[_-]?error|.*(?:tool|call|search))[\w.-]*(?:error|exception)",
    re.IGNORECASE,
)


def is_error_type(name: str) -> bool:
    """Return whether the type of an event, or the ``type`` or ``status`` of an object, is that of an error.

    >>> is_error_type("stream_error"), is_error_type("throttlingException"), is_error_type("tool_error")
    (True, True, False)
    """
    return _ERROR_TYPE.fullmatch(name) is not None


def is_keep_alive(data: str) -> bool:
    """Return whether the data of an event is none: empty, numbers and signs, or a word that keeps a connection open.

    >>> is_keep_alive("ping - 2026-11-29T10:00:00Z"), is_keep_alive("engine died")
    (True, False)
    """
    if len(data) > 100 or data.startswith("{") or data.startswith("[") != data.rstrip().endswith("]"):
        return False
    return _KEEP_ALIVE_WORDS.issuperset(re.findall(r"[^\W\d_]+", data.lower()))


#: Beginnings of a line that holds another object, or the end of the stream.
_OBJECT_STARTS = ("data: {", "data:{", "{", "data: [DONE]", "data:[DONE]")


class ServerSentEvent(NamedTuple):
    """One server-sent event."""

    #: The data lines, joined by line feeds.
    data: str
    #: The event's type.
    type: str = "message"
    #: The last event id that the stream set.
    id: str = ""


class SSEDecoder:
    """Decodes one stream: ``feed`` it bytes as they come, ``flush`` it at the end."""

    def __init__(self, *, max_event_size: int = 16 * _MEBI) -> None:
        self._max_event_size = max_event_size
        self._start: bytes | None = b""  # the first bytes, while they may still be a byte order mark
        self._after_cr = False
        self._line: list[bytes] = []  # the line that has not ended yet, as it came
        self._data: list[str] = []
        self._type = ""
        self._id = ""
        self._line_size = 0
        self._data_size = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Decode more bytes; return the events that they complete.

        Raises InvalidResponseError when one event grows past the limit.
        """
        if self._start is not None:
            chunk = self._without_bom(self._start + chunk)
        chunk = self._with_line_feeds(chunk)
        if not chunk:
            return []
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._begin_line(chunk)
            return []
        text = self._end_line(chunk[:end])  # whole lines, so no multi-byte character is split
        events = self._lines(text) if self._data or self._type else self._blocks(text)
        self._begin_line(chunk[end:])
        return events

    def flush(self) -> list[ServerSentEvent]:
        """End the stream; return the events that lack their blank lines.

        The standard discards such an event, but routers are known to end a stream with a bare ``data: [DONE]``.
        """
        events = self._lines(self._end_line(self._start or b"") + "\n")
        last = self._dispatch()
        return events if last is None else [*events, last]

    def _without_bom(self, start: bytes) -> bytes:
        if BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(BOM)

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Replace all line ends by LF. A CR ends its line at once; an LF after it is dropped."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _begin_line(self, part: bytes) -> None:
        self._line.append(part)
        self._line_size += len(part)
        self._check_size()

    def _end_line(self, part: bytes) -> str:
        self._line.append(part)
        text = b"".join(self._line).decode("utf-8", "replace")
        self._line, self._line_size = [], 0
        return text

    def _blocks(self, text: str) -> list[ServerSentEvent]:
        """Decode complete lines at the start of an event, with a fast path for events of one data line."""
        end = text.rfind("\n\n") + 2
        if text.startswith("data: ") and not self._id:
            datas = text[6 : end - 2].split("\n\ndata: ")
            if text.count("\n", 0, end) == 2 * len(datas):  # so no line is anything else
                return [ServerSentEvent(data) for data in datas] + self._lines(text[end:])
        return self._lines(text)

    def _lines(self, text: str) -> list[ServerSentEvent]:
        events = []
        for line in text.split("\n")[:-1]:
            if (not line or self._begins_object(line)) and (event := self._dispatch()):
                events.append(event)
            self._field(line)
        return events

    def _begins_object(self, line: str) -> bool:
        """Return whether a data line begins another JSON object: some servers leave out the blank line between two.

        Within one JSON value no line that begins with a brace follows one that ends with a brace.
        """
        if not self._data or not line.startswith(_OBJECT_STARTS):
            return False
        last = next((part for part in reversed(self._data) if part), "")
        return self._data[0][:1] == "{" and last.rstrip()[-1:] == "}"

    def _field(self, line: str) -> None:
        if line.startswith("{"):  # a server that fails in mid-answer may write its error as it is
            line = f"data:{line}"
        name, _, value = line.partition(":")  # a comment and a blank line have an empty name
        value = value.removeprefix(" ")
        if name == "error":  # of llama.cpp
            name, self._type = "data", "error"
        if name == "data":
            self._data.append(value)
            self._data_size += len(value)
            self._check_size()
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> ServerSentEvent | None:
        data, event_type = self._data, self._type
        self._data, self._data_size, self._type = [], 0, ""
        return (
            ServerSentEvent("\n".join(data), event_type or "message", self._id)
            if data or (event_type and is_error_type(event_type))
            else None
        )

    def _check_size(self) -> None:
        if self._line_size + self._data_size > self._max_event_size:
            raise InvalidResponseError(
                f"an event of the stream is larger than {self._max_event_size:,} bytes.",
                hint="Check the base URL: this may not be the router.",
            )
