"""Server-sent events, read as their bytes come."""

from __future__ import annotations

import re
from typing import Final

from puq_magics.sandbox.backends.http_client import IncompleteResponseError

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
#: Bytes of one event; a picture in base64 may be one.
_LARGEST_EVENT: Final = 64 * 1024**2


class EventReader:
    """Cuts a stream into the data of its events; each byte is looked at once, however long a line is."""

    def __init__(self) -> None:
        #: The pieces of a line that has not ended.
        self._line: list[bytes] = []
        #: A CR that came last: it may be the first half of a line's end.
        self._held = b""
        self._data: list[bytes] = []
        #: Bytes since the last empty line, roughly.
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of every event that is whole with this piece; nothing else of an event is of use here.

        Raises IncompleteResponseError for an event that does not end.
        """
        piece, self._held = self._held + piece, b""
        if piece.endswith(b"\r"):
            piece, self._held = piece[:-1], b"\r"
        self._size += len(piece)
        *lines, rest = _LINE_END.split(piece)
        if lines:
            lines[0], self._line = b"".join((*self._line, lines[0])), []
        self._line.append(rest)
        found = [data for line in lines if (data := self._take(line)) is not None]
        if self._size > _LARGEST_EVENT:
            raise IncompleteResponseError(f"one of its events is larger than {_LARGEST_EVENT / 1e6:.0f} MB")
        return found

    def close(self) -> list[bytes]:
        """The data of a last event without an empty line behind it, which not every server sends."""
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
