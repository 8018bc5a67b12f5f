"""Where an answer's body ends: HTTP's ways of saying so, sans-IO (RFC 9112, section 6).

Each takes bytes as they come, split anywhere, and gives the body's own.
"""

from __future__ import annotations

import re
from http.client import HTTPException, IncompleteRead
from typing import Protocol

# A chunk's size line, with its extensions, or a trailer: longer is no honest framing.
_LONGEST_LINE = 1 << 14
_MOST_TRAILERS = 100
_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class Framing(Protocol):
    """Tells a body from what HTTP puts around it."""

    #: Whether all of the body has come.
    ended: bool
    #: Whether the connection is good for another request once the body has ended.
    reusable: bool

    def decode(self, data: bytes) -> bytes:
        """The part of ``data``, which is not empty, that is body; may be nothing. Raises HTTPException."""

    def end(self) -> None:
        """The connection ended. Raises IncompleteRead when the body had not."""


def framing_of(chunked: bool, length: int | None) -> Framing:
    """The framing that an answer's headers tell; ``length`` is in bytes, None when they do not say."""
    if chunked:
        return Chunked()
    return Unbounded() if length is None else Counted(length)


class Chunked:
    """``Transfer-Encoding: chunked`` (section 7.1)."""

    def __init__(self) -> None:
        self.ended = False
        self.reusable = True
        self._line = b""  # the framing line that has not ended yet
        self._read_line = self._read_size
        self._left = 0  # of the chunk's data
        self._trailers = 0

    def decode(self, data: bytes) -> bytes:
        """See Framing."""
        parts: list[bytes] = []
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                parts.append(data[at : at + self._left])
                at += len(parts[-1])
                self._left -= len(parts[-1])
            elif self._before_size and (after := _whole_chunks(data, at, parts)) > at:
                at = after
            else:
                at = self._take_line(data, at)
        if at < len(data):
            self.reusable = False  # bytes that nobody asked for
        return b"".join(parts)

    def end(self) -> None:
        """See Framing."""
        if not self.ended:
            raise IncompleteRead(b"")

    @property
    def _before_size(self) -> bool:
        return not self._line and self._read_line == self._read_size

    def _take_line(self, data: bytes, at: int) -> int:
        line_end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:line_end]
        if len(self._line) > _LONGEST_LINE:
            raise HTTPException("a line of the chunks' framing is too long")
        if self._line.endswith(b"\n"):
            line, self._line = self._line.rstrip(b"\r\n"), b""
            self._read_line(line)
        return line_end

    def _read_size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise HTTPException("a chunk has no size")
        self._left = int(match[1], 16)
        self._read_line = self._read_chunk_end if self._left else self._read_trailer

    def _read_chunk_end(self, line: bytes) -> None:
        if line:
            raise HTTPException("a chunk is longer than its size")
        self._read_line = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        self.ended = not line
        self._trailers += 1
        if self._trailers > _MOST_TRAILERS:
            raise HTTPException("the body has too many trailers")


def _whole_chunks(data: bytes, at: int, parts: list[bytes]) -> int:
    """Add the chunks that lie in ``data`` whole and plain, from ``at`` on; give where the next thing begins.

    Most of a stream is this, and this takes a third of the time of reading line by line.
    """
    while True:
        start = data.find(b"\r\n", at, at + 8) + 2
        digits = data[at : start - 2]
        if start < 2 or not digits.isalnum():
            return at
        try:
            end = start + int(digits, 16)
        except ValueError:
            return at
        if end == start or data[end : end + 2] != b"\r\n":
            return at
        parts.append(data[start:end])
        at = end + 2


class Counted:
    """``Content-Length`` (section 6.2)."""

    def __init__(self, length: int) -> None:
        self.ended = length == 0
        self.reusable = True
        self._left = length

    def decode(self, data: bytes) -> bytes:
        """See Framing."""
        if len(data) > self._left:
            self.reusable = False
        body = data[: self._left]
        self._left -= len(body)
        self.ended = self._left == 0
        return body

    def end(self) -> None:
        """See Framing."""
        if not self.ended:
            raise IncompleteRead(b"", self._left)


class Unbounded:
    """A body that ends with its connection (section 6.3, item 8)."""

    def __init__(self) -> None:
        self.ended = False
        self.reusable = False

    def decode(self, data: bytes) -> bytes:
        """See Framing."""
        return data

    def end(self) -> None:
        """See Framing."""
        self.ended = True
