"""HTTP client for backends; leaving the context closes the connection at any moment.

    async with ask(server, "POST", "/chat/completions", body) as reply:
        while piece := await reply.read():
            …

Leaving the block, also by an exception or a cancellation, closes the connection, so that the server can stop
working.  Redirects are not followed, so that a key is sent only to the server that it belongs to.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, ParamSpec
from urllib.parse import quote, urlsplit

from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError
from tornado.tcpclient import TCPClient

P = ParamSpec("P")

#: Seconds.
_TO_CONNECT: Final = 10.0
#: Seconds without a byte after which nothing is waited for any longer: a model can take its time to load.
READ_TIMEOUT: Final = 600.0
#: Bytes: of a head, of one piece of a body, and of all of it.
_LARGEST_HEAD: Final = 64 * 1024
_PIECE: Final = 64 * 1024
_LARGEST_BODY: Final = 1024**3
_SILENT: Final = f"nothing came for {READ_TIMEOUT:.0f} seconds"
_NO_HTTP: Final = "it does not speak HTTP as it should"


class UnreachableError(Exception):
    """A server that does not answer at all, and why."""


class IncompleteResponseError(Exception):
    """An answer that ended before its end, and how."""


@dataclass(frozen=True)
class Endpoint:
    """Base URL as ``http://HOST:PORT/v1``, and the key for it, if any."""

    url: str
    key: str | None = field(default=None, repr=False)
    #: For https; None is the certificates that this machine trusts.
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class HttpResponse:
    """An answer, read as it comes; what is not read is not fetched.

    Read by hand from Tornado's stream: its own HTTP client keeps back what came just before a connection was cut.
    """

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._silent = False
        self.check_timeout()
        self.status = 0
        self.headers = HTTPHeaders()
        self._chunked = False
        #: Bytes left of the body, or of its present chunk; None where it ends with the connection.
        self._left: int | None = None

    async def read_headers(self) -> None:
        """Wait for status and headers; raises UnreachableError where they do not come."""
        try:
            while self.status < HTTPStatus.OK:  # what comes before is no answer yet
                head = await self._within(self._stream.read_until_regex, b"\r?\n\r?\n", _LARGEST_HEAD)
                start, _, lines = head.decode("latin-1").lstrip().partition("\n")
                self.status = parse_response_start_line(start.strip()).code
                self.headers = HTTPHeaders.parse(lines)
            self._measure()
        except (IncompleteResponseError, HTTPInputError) as error:
            raise UnreachableError(f"it gave no answer ({error})") from None

    async def read(self) -> bytes:
        """The next piece of the body as it came, nothing at its end.

        Raises IncompleteResponseError where that comes too early.
        """
        if self._chunked and not self._left:
            self._left = await self._next_chunk()
            self._chunked = self._left > 0
        if self._left is None:
            return await self._until_closed()
        if not self._left:
            return b""
        piece = await self._within(self._stream.read_bytes, min(self._left, _PIECE), True)
        self._left -= len(piece)
        return piece

    async def read_all(self, most: int = _LARGEST_BODY) -> bytes:
        """The rest of the body, up to ``most`` bytes of it; raises IncompleteResponseError."""
        body = bytearray()
        while len(body) < most and (piece := await self.read()):
            body += piece
        return bytes(body[:most])

    def _measure(self) -> None:
        """Read the framing of the body: chunked, by length, or until the connection closes."""
        length = self.headers.get("Content-Length")
        self._chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        if self._chunked or length is not None:
            self._left = 0 if self._chunked else _number(str(length), 10)

    async def _next_chunk(self) -> int:
        """Read the size of the next chunk, after the line end of the previous one."""
        line = b""
        while not line:
            line = (await self._within(self._stream.read_until, b"\r\n", _LARGEST_HEAD)).strip()
        return _number(line.decode("latin-1"), 16)

    async def _until_closed(self) -> bytes:
        try:
            return await self._within(self._stream.read_bytes, _PIECE, True)
        except IncompleteResponseError:
            if self._stream.error is not None:
                raise
            return b""  # closed in good order

    async def _within(self, read: Callable[P, Awaitable[bytes]], *args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            data = await read(*args, **kwargs)
        except (StreamClosedError, UnsatisfiableReadError):
            raise IncompleteResponseError(_SILENT if self._silent else "the connection was cut") from None
        self._heard = self._loop.time()
        return data

    def check_timeout(self) -> None:
        """Close the connection when nothing has come for too long; one timer, since pieces come thick and fast."""
        left = self._heard + READ_TIMEOUT - self._loop.time()
        if left <= 0:
            self._silent = True
            self._stream.close()
        else:
            self._watching = self._loop.call_later(left, self.check_timeout)

    def close(self) -> None:
        """Close the connection, whatever is still to come."""
        self._watching.cancel()
        self._stream.close()


@asynccontextmanager
async def send_request(
    server: Endpoint, method: str, path: str, body: bytes = b"", media_type: str = "application/json"
) -> AsyncIterator[HttpResponse]:
    """Send a request; gives the answer once its status and headers are there.  Raises UnreachableError."""
    stream = await _connect(server)
    reply = HttpResponse(stream)
    try:
        with suppress(StreamClosedError):  # which the reading finds out as well
            # Not awaited: a server may answer, and refuse, before it has read everything.
            stream.write(_head(server, method, path, len(body), media_type) + body)
        await reply.read_headers()
        yield reply
    finally:
        reply.close()


def _head(server: Endpoint, method: str, path: str, length: int, media_type: str) -> bytes:
    parts = urlsplit(server.url)
    lines = [
        f"{method} {quote(parts.path, safe='/%')}{path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: close",
        "Accept-Encoding: identity",
    ]
    if server.key:
        lines.append(f"Authorization: Bearer {server.key}")
    if length:
        lines += [f"Content-Type: {media_type}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _number(text: str, base: int) -> int:
    """A length as HTTP writes it; raises IncompleteResponseError where it is none."""
    digits = text.partition(";")[0].strip()
    if not digits.isalnum():  # int() would take signs and spaces
        raise IncompleteResponseError(_NO_HTTP)
    try:
        return int(digits, base)
    except ValueError:
        raise IncompleteResponseError(_NO_HTTP) from None


async def _connect(server: Endpoint) -> IOStream:
    parts = urlsplit(server.url)
    tls = parts.scheme == "https"
    connecting = asyncio.ensure_future(
        TCPClient().connect(
            parts.hostname or "",
            parts.port or (443 if tls else 80),
            ssl_options=(server.tls or ssl.create_default_context()) if tls else None,
            timeout=_TO_CONNECT,
        )
    )
    try:
        stream = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close_late)
        raise
    except TimeoutError:
        raise UnreachableError(f"it does not answer within {_TO_CONNECT:.0f} seconds") from None
    except (OSError, StreamClosedError) as error:
        raise UnreachableError(_reason(error)) from None
    stream.set_nodelay(True)
    return stream


def _close_late(connecting: asyncio.Future[IOStream]) -> None:
    """Close a connection that was opened after its request was cancelled."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _reason(error: BaseException) -> str:
    cause = error.real_error if isinstance(error, StreamClosedError) and error.real_error else error
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not to be trusted ({cause.verify_message})"
        case ssl.SSLError():
            return f"it does not speak TLS as it should ({cause.reason})"
        case socket.gaierror():
            return "there is no host of that name"
        case ConnectionRefusedError():
            return "nothing listens there"
        case OSError() if cause.strerror:
            return cause.strerror
    return "the connection was closed"


class _ConnectionLogFilter(logging.Filter):
    """Suppress Tornado's log records about backend connections; the caller gets an exception."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName != "puq-sandbox" or not str(record.msg).startswith(_OF_CONNECTIONS)


_OF_CONNECTIONS: Final = ("SSL Error on", "error on read", "Write error on", "Connect error on")
logging.getLogger("tornado.general").addFilter(_ConnectionLogFilter())
