"""Read an answer's body as it comes.

``PolledSource`` waits on the response's own socket, so that the caller can return (to update a display) without a
second thread, and reads the framing itself: http.client blocks inside a chunk's size. It needs parts of urllib3
and http.client that are not public; where these differ, ``ThreadedSource`` does the same with public calls alone.
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

# Limit of a chunk's size line, with its extensions, and of a trailer.
_MAX_LINE_BYTES = 1 << 14
_MOST_TRAILERS = 100
_CHUNK_SIZE_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class Framing(Protocol):
    """Separates a body from what HTTP puts around it (RFC 9112)."""

    #: Whether all of the body has come.
    ended: bool
    #: Whether the connection is good for another request once the body has ended.
    reusable: bool

    def decode(self, data: bytes) -> bytes:
        """Return the part of ``data``, which is not empty, that is body. Raises HTTPException."""

    def end(self) -> None:
        """Handle the end of the connection. Raises IncompleteRead if the body is incomplete."""


def make_framing(chunked: bool, length: int | None) -> Framing:
    """Return the framing that an answer's headers state; ``length`` in bytes, None if they state none."""
    return ChunkedFraming() if chunked else LengthFraming(length)


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
        """Return the part of ``data`` that is body."""
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
            self.reusable = False  # bytes after the body's end
        return b"".join(parts)

    def end(self) -> None:
        """Handle the end of the connection."""
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
    """Append the complete chunks of ``data`` from ``offset`` on to ``parts``; return the offset after them.

    A fast path: it takes a third of the time of reading line by line.
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


class LengthFraming:
    """``Content-Length`` (section 6.2), or without one a body that ends with its connection (6.3, item 8)."""

    def __init__(self, length: int | None) -> None:
        self.ended = length == 0
        self.reusable = length is not None
        self._bytes_left = length

    def decode(self, data: bytes) -> bytes:
        """Return the part of ``data`` that is body."""
        if self._bytes_left is None:
            return data
        if len(data) > self._bytes_left:
            self.reusable = False
        body = data[: self._bytes_left]
        self._bytes_left -= len(body)
        self.ended = self._bytes_left == 0
        return body

    def end(self) -> None:
        """Handle the end of the connection."""
        if not self.ended and self._bytes_left is not None:
            raise IncompleteRead(b"", self._bytes_left)
        self.ended = True


#: Bytes of one read: large enough for a burst, small enough to return often.
READ_SIZE = 1 << 16
_IDENTITY = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class BodySource(Protocol):
    """The bytes of one answer's body, as the router sent them."""

    def read(self, timeout: float | None) -> bytes | None:
        """Return the next bytes: ``b""`` at the end, None if none came within ``timeout`` seconds.

        Bytes that hold only framing may give None early. Raises TimeoutError after the read timeout.
        """

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""


def open_body(raw: Any, read_timeout: float) -> Body:
    """Return the body of a urllib3 response that was opened without preloading."""
    encoding = str(raw.headers.get("content-encoding", "")).strip().lower()
    if encoding not in _IDENTITY + _GZIP:  # not requested; urllib3 may know it
        return Body(ThreadedSource(raw, decode=True))
    buffered_socket = _buffered_socket(raw)
    source: BodySource = (
        ThreadedSource(raw) if buffered_socket is None else PolledSource(raw, *buffered_socket, read_timeout)
    )
    return Body(source, GzipDecoder() if encoding in _GZIP else None)


def _buffered_socket(raw: Any) -> tuple[BufferedReader, socket.socket] | None:
    """Return the parts that are not public: http.client's buffer and the socket below it."""
    buffered = getattr(getattr(raw, "_fp", None), "fp", None)
    sock = getattr(getattr(buffered, "raw", None), "_sock", None)
    if isinstance(buffered, BufferedReader) and isinstance(sock, socket.socket):
        return buffered, sock
    return None


class Body:
    """The decompressed bytes of one answer."""

    def __init__(self, source: BodySource, gunzip: GzipDecoder | None = None) -> None:
        self.source = source
        self._gunzip = gunzip
        self._ended = False

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Return the bytes that came since the last call.

        ``b""`` at the end and once closed; None if none came within ``timeout`` seconds (None waits for them).
        Raises TimeoutError when no byte came for as long as the read timeout says.
        """
        if self._gunzip and (held := self._gunzip.more(READ_SIZE)):
            return held
        start = monotonic()
        while not self._ended:
            data = self.source.read(None if timeout is None else max(start + timeout - monotonic(), 0))
            if data is None:
                return None
            if not data:
                self._ended = True
                if self._gunzip:
                    self._gunzip.finish()
            elif decoded := self._gunzip.decode(data, READ_SIZE) if self._gunzip else data:
                return decoded
        return b""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        self._ended, self._gunzip = True, None
        self.source.close()


class PolledSource:
    """Waits with a selector, on the calling thread."""

    def __init__(self, raw: Any, buffered: BufferedReader, sock: socket.socket, read_timeout: float) -> None:
        self._raw = raw
        self._sock = sock
        self._read_timeout = read_timeout
        self._framing = make_framing(raw.chunked, raw.length_remaining)
        self._ended = False
        self._failure: OSError | None = None  # raised after the bytes that came before it
        self._last_received = monotonic()
        self._socket_timeout = sock.gettimeout()
        sock.settimeout(0)
        self._buffered = _read_buffered(buffered)  # what http.client read beyond the headers
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)

    def read(self, timeout: float | None) -> bytes | None:
        """Return the next bytes: ``b""`` at the end, None if none came within ``timeout`` seconds."""
        start = monotonic()
        while not self._ended:
            if self._framing.ended:
                self._release()
                break
            data = self._read_available()
            if data is None:
                if not self._wait(None if timeout is None else start + timeout - monotonic()):
                    return None
            elif not data:
                self._framing.end()
            elif body := self._framing.decode(data):
                return body
        return b""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        self._selector.close()
        if not self._ended:
            self._ended = True
            self._raw.close()

    def _release(self) -> None:
        """Return the connection to its pool, to be used again."""
        if self._framing.reusable:
            self._sock.settimeout(self._socket_timeout)
            self._raw._fp.close()
            self._raw.release_conn()
        else:
            self._raw.close()
        self._ended = True
        self._selector.close()

    def _read_available(self) -> bytes | None:
        """Read without waiting, about READ_SIZE bytes at most; None if there are none."""
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

    def _wait(self, remaining: float | None) -> bool:
        """Wait for the socket to become readable; False if it did not within ``remaining`` seconds."""
        patience = self._last_received + self._read_timeout - monotonic()
        limit = patience if remaining is None else min(patience, remaining)
        if self._selector.select(max(limit, 0)):
            return True
        if limit >= patience:
            raise TimeoutError
        return False


def _read_buffered(buffered: BufferedReader) -> bytes:
    """Return what is in the buffer of a socket that does not block."""
    try:
        return buffered.read(len(buffered.peek(1)))
    except (*_WOULD_BLOCK, ConnectionError):
        return b""


class ThreadedSource:
    """Uses public calls alone: a thread reads when bytes are requested, and a queue hands them over.

    It never reads ahead: a connection whose body nobody read to its end must not return to the pool. Bytes after
    the body's end are lost in http.client's buffer, so the connection is used again after them, too.
    """

    def __init__(self, raw: Any, *, decode: bool = False) -> None:
        self._raw = raw
        self._decode = decode
        self._requests = threading.Semaphore(0)
        self._requested = False
        self._results: Queue[bytes | BaseException] = Queue()
        self._ended = False
        self._closed = False
        self._thread: threading.Thread | None = (
            None  # started by the first read: an interrupt may meet it there
        )

    def read(self, timeout: float | None) -> bytes | None:
        """Return the next bytes: ``b""`` at the end, None if none came within ``timeout`` seconds."""
        if self._ended:
            return b""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="puq-body", daemon=True)
            self._thread.start()
        if not self._requested:
            self._requested = True
            self._requests.release()
        try:
            result = self._results.get(timeout=timeout)
        except Empty:
            return None
        self._requested = False
        self._ended = not result or isinstance(result, BaseException)
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        self._ended = self._closed = True
        self._requests.release()
        if self._thread is None or not self._thread.is_alive():
            self._raw.close()
            return
        with suppress(ValueError, RuntimeError, OSError):
            self._raw.shutdown()  # wakes the reading thread, which then closes

    def _run(self) -> None:
        result: bytes | BaseException = b"more"
        while result and not isinstance(result, BaseException):
            self._requests.acquire()
            if self._closed:
                break
            try:
                result = self._raw.read1(READ_SIZE, decode_content=self._decode)
            except Exception as exc:  # noqa: BLE001 - raised on the caller's thread
                result = exc
            self._results.put(result)
        self._raw.close()


class GzipDecoder:
    """Decompress gzip of several members incrementally, with a limit on each output."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._in_member = False  # whether a member has begun; behind the first one, whether it gave anything
        self._member_count = 0
        self._has_more_output = False  # the last output was as long as it might be: there may be more inside
        self._pending = b""

    def decode(self, data: bytes, limit: int) -> bytes:
        """Return up to ``limit`` decompressed bytes; ``more`` returns the rest. Raises zlib.error."""
        self._pending += data
        return self.more(limit)

    def more(self, limit: int) -> bytes:
        """Return up to ``limit`` further bytes of the data passed to ``decode``."""
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

    def finish(self) -> None:
        """Finish decoding. Raises EOFError if a gzip member is incomplete."""
        if self._in_member:
            raise EOFError("the compressed data ended early")

    def _next_member(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._member_count += 1
        self._in_member = self._has_more_output = False
