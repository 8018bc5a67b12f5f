"""An answer's body, read as it comes.

``PolledBody`` waits on the response's own socket, so that a reader can look away (to paint, to tick) without a
second thread, and reads the framing itself: http.client's way of doing so blocks inside a chunk's size. It needs
parts of urllib3 and http.client that are not public; where they are not as expected, ``ThreadedBody`` does the
same with public calls alone.
"""

from __future__ import annotations

import re
import selectors
import socket
import ssl
import threading
import zlib
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from io import BufferedReader
from queue import Empty, Queue
from time import monotonic
from typing import Any, Protocol

# A chunk's size line, with its extensions, or a trailer: longer is no honest framing.
_MAX_LINE_BYTES = 1 << 14
_MOST_TRAILERS = 100
_CHUNK_SIZE_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


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


def make_framing(chunked: bool, length: int | None) -> Framing:
    """The framing that an answer's headers tell; ``length`` is in bytes, None when they do not say."""
    if chunked:
        return ChunkedFraming()
    return CloseDelimitedFraming() if length is None else ContentLengthFraming(length)


class ChunkedFraming:
    """``Transfer-Encoding: chunked`` (section 7.1)."""

    def __init__(self) -> None:
        self.ended = False
        self.reusable = True
        self._line = b""  # the framing line that has not ended yet
        self._read_line = self._read_size
        self._bytes_left = 0  # of the chunk's data
        self._trailers = 0

    def decode(self, data: bytes) -> bytes:
        """See Framing."""
        parts: list[bytes] = []
        offset = 0
        while offset < len(data) and not self.ended:
            if self._bytes_left:
                parts.append(data[offset : offset + self._bytes_left])
                offset += len(parts[-1])
                self._bytes_left -= len(parts[-1])
            elif self._before_size and (after := _consume_whole_chunks(data, offset, parts)) > offset:
                offset = after
            else:
                offset = self._take_line(data, offset)
        if offset < len(data):
            self.reusable = False  # bytes that nobody asked for
        return b"".join(parts)

    def end(self) -> None:
        """See Framing."""
        if not self.ended:
            raise IncompleteRead(b"")

    @property
    def _before_size(self) -> bool:
        return not self._line and self._read_line == self._read_size

    def _take_line(self, data: bytes, offset: int) -> int:
        line_end = data.find(b"\n", offset) + 1 or len(data)
        self._line += data[offset:line_end]
        if len(self._line) > _MAX_LINE_BYTES:
            raise HTTPException("a line of the chunks' framing is too long")
        if self._line.endswith(b"\n"):
            line, self._line = self._line.rstrip(b"\r\n"), b""
            self._read_line(line)
        return line_end

    def _read_size(self, line: bytes) -> None:
        match = _CHUNK_SIZE_LINE.fullmatch(line)
        if match is None:
            raise HTTPException("a chunk has no size")
        self._bytes_left = int(match[1], 16)
        self._read_line = self._read_chunk_end if self._bytes_left else self._read_trailer

    def _read_chunk_end(self, line: bytes) -> None:
        if line:
            raise HTTPException("a chunk is longer than its size")
        self._read_line = self._read_size

    def _read_trailer(self, line: bytes) -> None:
        self.ended = not line
        self._trailers += 1
        if self._trailers > _MOST_TRAILERS:
            raise HTTPException("the body has too many trailers")


def _consume_whole_chunks(data: bytes, offset: int, parts: list[bytes]) -> int:
    """Add the chunks that lie in ``data`` whole and plain, from ``at`` on; give where the next thing begins.

    Most of a stream is this, and this takes a third of the time of reading line by line.
    """
    while True:
        start = data.find(b"\r\n", offset, offset + 8) + 2
        digits = data[offset : start - 2]
        if start < 2 or not digits.isalnum():
            return offset
        try:
            end = start + int(digits, 16)
        except ValueError:
            return offset
        if end == start or data[end : end + 2] != b"\r\n":
            return offset
        parts.append(data[start:end])
        offset = end + 2


class ContentLengthFraming:
    """``Content-Length`` (section 6.2)."""

    def __init__(self, length: int) -> None:
        self.ended = length == 0
        self.reusable = True
        self._bytes_left = length

    def decode(self, data: bytes) -> bytes:
        """See Framing."""
        if len(data) > self._bytes_left:
            self.reusable = False
        body = data[: self._bytes_left]
        self._bytes_left -= len(body)
        self.ended = self._bytes_left == 0
        return body

    def end(self) -> None:
        """See Framing."""
        if not self.ended:
            raise IncompleteRead(b"", self._bytes_left)


class CloseDelimitedFraming:
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


#: Enough for a burst, little enough to look up now and then.
READ_SIZE = 1 << 16
_IDENTITY = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Body(Protocol):
    """The decoded bytes of one answer."""

    def receive(self, timeout: float | None = None) -> bytes | None:
        """What has come; ``b""`` at the end and once closed; None when nothing came within ``wait`` seconds."""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""


def open_body(raw: Any, read_timeout: float) -> Body:
    """The body of a urllib3 response that was opened without preloading."""
    encoding = str(raw.headers.get("content-encoding", "")).strip().lower()
    if encoding not in _IDENTITY + _GZIP:  # not asked for; urllib3 may know it
        return ThreadedBody(raw, decode=True)
    gunzip = GzipDecoder() if encoding in _GZIP else None
    source = _buffered_socket(raw)
    if source is None:
        return ThreadedBody(raw, gunzip=gunzip)
    return PolledBody(raw, *source, read_timeout, gunzip=gunzip)


def _buffered_socket(raw: Any) -> tuple[BufferedReader, socket.socket] | None:
    """The parts that are not public: http.client's buffer and the socket below it."""
    buffered = getattr(getattr(raw, "_fp", None), "fp", None)
    sock = getattr(getattr(buffered, "raw", None), "_sock", None)
    if isinstance(buffered, BufferedReader) and isinstance(sock, socket.socket):
        return buffered, sock
    return None


class PolledBody:
    """Waits with a selector, on the calling thread."""

    def __init__(
        self,
        raw: Any,
        buffered: BufferedReader,
        sock: socket.socket,
        read_timeout: float,
        *,
        gunzip: GzipDecoder | None = None,
    ) -> None:
        self._raw = raw
        self._sock = sock
        self._read_timeout = read_timeout
        self._gunzip = gunzip
        self._framing = make_framing(raw.chunked, raw.length_remaining)
        self._ended = False
        self._failure: OSError | None = None  # met behind bytes that had to be given first
        self._last_received = monotonic()
        self._socket_timeout = sock.gettimeout()
        sock.settimeout(0)
        self._buffered = _read_buffered(buffered)  # what http.client read beyond the headers
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)

    def receive(self, timeout: float | None = None) -> bytes | None:
        """See Body. Raises TimeoutError when no byte came for as long as the read timeout says."""
        if self._gunzip and (held := self._gunzip.more(READ_SIZE)):
            return held
        start = monotonic()
        while not self._ended:
            if self._framing.ended:
                self._finish()
                break
            data = self._read_available()
            if data is None:
                if not self._wait(None if timeout is None else start + timeout - monotonic()):
                    return None
            elif decoded := self._decode(data):
                return decoded
        return b""

    def close(self) -> None:
        """See Body."""
        self._selector.close()
        if not self._ended:
            self._ended = True
            self._gunzip = None
            self._raw.close()

    def _decode(self, data: bytes) -> bytes:
        if not data:
            self._framing.end()
            return b""
        body = self._framing.decode(data)
        return self._gunzip.decode(body, READ_SIZE) if self._gunzip else body

    def _finish(self) -> None:
        """The body is whole: give the connection back, to be used again."""
        if self._gunzip:
            self._gunzip.end()
        if self._framing.reusable:
            self._sock.settimeout(self._socket_timeout)
            self._raw._fp.close()
            self._raw.release_conn()
        else:
            self._raw.close()
        self._ended = True
        self._selector.close()

    def _read_available(self) -> bytes | None:
        """What can be read without waiting, about READ_SIZE at most; None when that is nothing."""
        if self._failure is not None:
            raise self._failure
        parts, self._buffered = [self._buffered] if self._buffered else [], b""
        size = sum(map(len, parts))
        while size < READ_SIZE:
            try:
                part = self._sock.recv(READ_SIZE)
            except _WOULD_BLOCK:
                break
            except OSError as exc:
                if not parts:
                    raise
                self._failure = exc.with_traceback(None)
                break
            if not part:  # the end, which the next call meets again
                return b"".join(parts)
            parts.append(part)
            size += len(part)
        if not parts:
            return None
        self._last_received = monotonic()
        return b"".join(parts)

    def _wait(self, left: float | None) -> bool:
        """Whether the socket became readable, which may mean part of a TLS record, in so many seconds."""
        patience = self._last_received + self._read_timeout - monotonic()
        limit = patience if left is None else min(patience, left)
        if self._selector.select(max(limit, 0)):
            return True
        if limit >= patience:
            raise TimeoutError
        return False


def _read_buffered(buffered: BufferedReader) -> bytes:
    """What is in the buffer of a socket that does not block."""
    try:
        return buffered.read(len(buffered.peek(1)))
    except (*_WOULD_BLOCK, ConnectionError):
        return b""


class ThreadedBody:
    """Public calls alone: a thread reads, a queue hands over."""

    def __init__(self, raw: Any, *, gunzip: GzipDecoder | None = None, decode: bool = False) -> None:
        self._raw = raw
        self._gunzip = gunzip
        self._decode = decode
        self._queue: Queue[bytes | BaseException] = Queue(maxsize=64)
        self._ended = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="puq-body", daemon=True)
        self._thread.start()

    def receive(self, timeout: float | None = None) -> bytes | None:
        """See Body."""
        if self._gunzip and (held := self._gunzip.more(READ_SIZE)):
            return held
        start = monotonic()
        while not self._ended:
            try:
                item = self._queue.get(
                    timeout=None if timeout is None else max(start + timeout - monotonic(), 0)
                )
            except Empty:
                return None
            self._ended = not item or isinstance(item, BaseException)
            if isinstance(item, BaseException):
                raise item
            if self._gunzip and not item:
                self._gunzip.end()
            elif decoded := self._gunzip.decode(item, READ_SIZE) if self._gunzip else item:
                return decoded
        return b""

    def close(self) -> None:
        """See Body."""
        self._ended = True
        self._gunzip = None
        self._closed.set()
        with suppress(ValueError, RuntimeError, OSError):
            self._raw.shutdown()  # wakes the reading thread, which then closes
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    def _read(self) -> None:
        item: bytes | BaseException = b"more"
        while item and not isinstance(item, BaseException) and not self._closed.is_set():
            try:
                item = self._raw.read1(READ_SIZE, decode_content=self._decode)
            except Exception as exc:  # noqa: BLE001 - handed over, to be raised on the reader's thread
                item = exc
            self._queue.put(item)
        self._raw.close()


class GzipDecoder:
    """Gzip, incrementally, of several members, never more at a time than asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._in_member = False  # whether a member has begun; behind the first one, whether it gave anything
        self._member_count = 0
        self._has_more_output = False  # the last output was as long as it might be: there may be more inside
        self._pending = b""

    def decode(self, data: bytes, limit: int) -> bytes:
        """Up to ``limit`` bytes of what was compressed; ``more`` gives the rest. Raises zlib.error."""
        self._pending += data
        return self.more(limit)

    def more(self, limit: int) -> bytes:
        """Up to ``limit`` further bytes of what was fed before."""
        decoded = b""
        while (self._pending or self._has_more_output) and not decoded:
            try:
                decoded = self._member.decompress(self._pending, limit)
            except zlib.error:
                if self._in_member or not self._member_count:
                    raise
                self._pending = b""  # padding behind the last member
                break
            self._in_member = self._in_member or not self._member_count or bool(decoded)
            self._has_more_output = len(decoded) == limit
            self._pending = self._member.unconsumed_tail or self._member.unused_data
            if self._member.eof:
                self._next_member()
        return decoded

    def end(self) -> None:
        """No more will come. Raises EOFError within a member."""
        if self._in_member:
            raise EOFError("the compressed data ended early")

    def _next_member(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._member_count += 1
        self._in_member = self._has_more_output = False
