"""Server-sent events, read as their bytes come."""

from __future__ import annotations

import re
from typing import Final

#: A line's end; a CR that is the last byte so far may be the first half of one.
_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")


class EventReader:
    """Cuts a stream into the data of its events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of every event that is whole with this piece; nothing else of an event is of use here."""
        *lines, self._rest = _LINE_END.split(self._rest + piece)
        return [data for line in lines if (data := self._take(line)) is not None]

    def close(self) -> list[bytes]:
        """The data of a last event without an empty line behind it, which not every server sends."""
        return [data for data in (self._take(self._rest.rstrip(b"\r")), self._take(b"")) if data is not None]

    def _take(self, line: bytes) -> bytes | None:
        """Take a line in; gives the data of the event that it ends, if it ends one that has any."""
        if not line:
            data, self._data = self._data, []
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return None
