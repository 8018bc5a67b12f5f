"""Incremental reader of server-sent events."""

from __future__ import annotations

import re
from typing import Final

from puq_magics.sandbox.backends.http_client import IncompleteResponseError

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
#: Bytes of one event; an image in base64 may be one.
_MAX_EVENT_BYTES: Final = 64 * 1024**2


class EventReader:
    """Split a stream into the data of its events; the time is linear, however long a line is."""

    def __init__(self) -> None:
        #: Pieces of the unfinished line.
        self._line: list[bytes] = []
        #: A CR at the end of a piece: it may be the first half of a CRLF.
        self._carriage_return = b""
        self._data: list[bytes] = []
        #: Bytes since the last empty line, approximately.
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of every event that this piece completes; other fields are ignored.

        Raises IncompleteResponseError for an event that is too large.
        """
        piece = self._carriage_return + piece
        self._carriage_return = b"\r" if piece.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(piece.removesuffix(b"\r"))
        self._size += len(piece)
        if lines:
            lines[0], self._line = b"".join((*self._line, lines[0])), []
        self._line.append(rest)
        events = [data for line in lines if (data := self._take(line)) is not None]
        if self._size > _MAX_EVENT_BYTES:
            raise IncompleteResponseError(f"one of its events is larger than {_MAX_EVENT_BYTES / 1e6:.0f} MB")
        return events

    def close(self) -> list[bytes]:
        """Return the data of a last event that no empty line ends, as some servers send it."""
        return [data for data in (self._take(b"".join(self._line)), self._take(b"")) if data is not None]

    def _take(self, line: bytes) -> bytes | None:
        """Process a line; return the data of the event that it completes, if any."""
        if not line:
            self._size = 0
            data, self._data = self._data, []
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None
