"""An answer's body, read as it comes.

``PolledBody`` waits on the response's own socket, so that a reader can look away (to paint, to tick) without a
second thread. It needs parts of urllib3 and http.client that are not public; where they are not as expected,
``ThreadedBody`` does the same with public calls alone.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import zlib
from contextlib import suppress
from io import BufferedReader
from queue import Empty, Queue
from time import monotonic
from typing import Any, Protocol

#: Enough for a burst, little enough to look up now and then.
READ_SIZE = 1 << 16
# A chunk's framing in http.client's buffer is shorter than this.
_FRAMING = 1 << 10
_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip")


class Body(Protocol):
    """The decoded bytes of one answer."""

    def receive(self, wait: float | None = None) -> bytes | None:
        """What has come; ``b""`` at the end; None when nothing came within ``wait`` seconds."""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""


def open_body(raw: Any, read_timeout: float) -> Body:
    """The body of a urllib3 response that was opened without preloading."""
    encoding = str(raw.headers.get("content-encoding", "")).strip().lower()
    source = _buffered_socket(raw) if encoding in _PLAIN + _GZIP else None
    if source is None:
        return ThreadedBody(raw)
    return PolledBody(raw, *source, read_timeout, gunzip=Gunzip() if encoding in _GZIP else None)


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
        gunzip: Gunzip | None = None,
    ) -> None:
        self._raw = raw
        self._buffered = buffered
        self._sock = sock
        self._read_timeout = read_timeout
        self._gunzip = gunzip
        self._ended = False
        self._chunked = bool(getattr(raw, "chunked", False))
        self._known = 0  # bytes in the buffer at the last look
        self._heard = monotonic()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)

    def receive(self, wait: float | None = None) -> bytes | None:
        """See Body. Raises TimeoutError when no byte came for as long as the read timeout says."""
        if self._gunzip and (held := self._gunzip.more(READ_SIZE)):
            return held
        if self._ended:
            return b""
        if not self._await_bytes(wait):
            return None
        received = self._read_available()
        self._heard = monotonic()
        if self._gunzip is None or not received:
            return received
        return self._gunzip.decode(received, READ_SIZE) or None

    def close(self) -> None:
        """See Body."""
        self._selector.close()
        if not self._ended:
            self._ended = True
            self._raw.close()

    def _read_available(self) -> bytes:
        """All that can be read without waiting, up to READ_SIZE."""
        parts: list[bytes] = []
        size = 0
        while size < READ_SIZE:
            part = self._raw.read1(READ_SIZE, decode_content=False)
            if not part:
                self._ended = True
                break
            parts.append(part)
            size += len(part)
            self._known -= len(part) + _FRAMING
            if self._known <= 0 and not self._peek():
                break
        return b"".join(parts)

    def _await_bytes(self, wait: float | None) -> bool:
        """Wait until a read gives something, which may be the end."""
        if self._peek():
            return True
        start = monotonic()
        while True:
            patience = self._heard + self._read_timeout - monotonic()
            left = patience if wait is None else min(patience, start + wait - monotonic())
            if self._selector.select(max(left, 0)):
                if self._peek() is not None:  # None: part of a TLS record, which says nothing yet
                    return True
            elif left >= patience:
                raise TimeoutError
            else:
                return False

    def _peek(self) -> bool | None:
        """Whether a read would give something at once; None when TLS has only part of a record.

        An empty buffer is filled from the socket, without waiting. False is "nothing yet" before the selector has
        reported the socket readable; after, it is the end of the connection, or more behind what is buffered.
        """
        if self._buffered.closed:  # read to its end: the next read says so at once
            self._known = 0
            return True
        timeout = self._sock.gettimeout()
        self._sock.settimeout(0)
        try:
            buffered = self._buffered.peek(1)
        except ssl.SSLWantReadError:
            self._known = 0
            return None
        finally:
            self._sock.settimeout(timeout)
        self._known = len(buffered)
        if self._chunked and not self._holds_data(buffered):
            # The rest of a chunk's framing is on its way; TLS may have it decrypted already.
            return isinstance(self._sock, ssl.SSLSocket) and bool(buffered) and self._sock.pending() > 0
        return bool(buffered)

    def _holds_data(self, buffered: bytes) -> bool:
        """Whether a chunk's data, or the end of the last one, is in the buffer, and not its framing alone."""
        left = self._raw._fp.chunk_left
        if left:
            return bool(buffered)
        start = 0 if left is None else 2  # a chunk ends with CRLF
        line_end = buffered.find(b"\n", start) + 1
        if not line_end:
            return False
        last = buffered[start:line_end].split(b";")[0].strip(b"0\r\n\t ") == b""
        return b"\r\n" in buffered[line_end:] if last else len(buffered) > line_end


class ThreadedBody:
    """Public calls alone: a thread reads, a queue hands over."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._queue: Queue[bytes | BaseException] = Queue(maxsize=64)
        self._ended = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="puq-body", daemon=True)
        self._thread.start()

    def receive(self, wait: float | None = None) -> bytes | None:
        """See Body."""
        if self._ended:
            return b""
        try:
            item = self._queue.get(timeout=wait)
        except Empty:
            return None
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = not item
        return item

    def close(self) -> None:
        """See Body."""
        self._closed.set()
        with suppress(ValueError, RuntimeError, OSError):
            self._raw.shutdown()  # wakes the reading thread, which then closes
        while not self._queue.empty():
            self._queue.get_nowait()

    def _read(self) -> None:
        item: bytes | BaseException = b"more"
        while item and not isinstance(item, BaseException) and not self._closed.is_set():
            try:
                item = self._raw.read1(READ_SIZE)
            except Exception as exc:  # noqa: BLE001 - handed over, to be raised on the reader's thread
                item = exc
            self._queue.put(item)
        self._raw.close()


class Gunzip:
    """Gzip, incrementally, of several members, never more at a time than asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def decode(self, data: bytes, limit: int) -> bytes:
        """Up to ``limit`` bytes of what was compressed; ``more`` gives the rest."""
        self._waiting += data
        return self.more(limit)

    def more(self, limit: int) -> bytes:
        """Up to ``limit`` further bytes of what was fed before."""
        decoded = b""
        while self._waiting and not decoded:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            decoded = self._member.decompress(self._waiting, limit)
            self._waiting = self._member.unconsumed_tail or self._member.unused_data
        return decoded
