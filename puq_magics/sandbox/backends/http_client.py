"""HTTP client for backends.

    async with send_request(endpoint, "POST", "/chat/completions", body) as response:
        while piece := await response.read():
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
_CONNECT_TIMEOUT: Final = 10.0
#: Seconds without a byte; long, because a model can take its time to load.
READ_TIMEOUT: Final = 600.0
#: Bytes of the headers, of one piece of a body, and of a whole body.
_MAX_HEADER_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024
_MAX_BODY_BYTES: Final = 1024**3
_INVALID_HTTP: Final = "its response is not valid HTTP"


class UnreachableError(Exception):
    """A server sent no response; the message is the reason."""


class IncompleteResponseError(Exception):
    """A response ended early; the message is the reason."""


@dataclass(frozen=True)
class Endpoint:
    """Base URL, such as ``http://HOST:PORT/v1``, and the key for it, if any."""

    url: str
    key: str | None = field(default=None, repr=False)
    #: The word before the key.
    auth_scheme: str = "Bearer"
    #: For https; None stands for the certificates that this machine trusts.
    tls: ssl.SSLContext | None = field(default=None, repr=False)


class HttpResponse:
    """Response whose body is read on demand.

    It reads Tornado's stream itself: Tornado's HTTP client withholds the last bytes before a connection was cut.
    """

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream
        self.status = 0
        self.headers = HTTPHeaders()
        self._chunked = False
        #: Bytes left of the body, or of the current chunk; None if the body ends with the connection.
        self._left: int | None = None

    async def read_headers(self) -> None:
        """Wait for status and headers; raises UnreachableError if they do not arrive."""
        try:
            while self.status < HTTPStatus.OK:  # skips informational responses
                head = await self._receive(self._stream.read_until_regex, b"\r?\n\r?\n", _MAX_HEADER_BYTES)
                start, _, lines = head.decode("latin-1").lstrip().partition("\n")
                self.status = parse_response_start_line(start.strip()).code
                self.headers = HTTPHeaders.parse(lines)
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                self._chunked, self._left = True, 0
            elif "Content-Length" in self.headers:
                self._left = _parse_length(self.headers["Content-Length"], 10)
        except (IncompleteResponseError, HTTPInputError) as error:
            raise UnreachableError(f"it gave no answer ({error})") from None

    async def read(self) -> bytes:
        """Return the next piece of the body as soon as it arrives, and b"" at the end.

        Raises IncompleteResponseError if the body ends early.
        """
        if self._chunked and not self._left:
            line = b""
            while not line:  # the end of the previous chunk's line comes first
                line = (await self._receive(self._stream.read_until, b"\r\n", _MAX_HEADER_BYTES)).strip()
            self._left = _parse_length(line.decode("latin-1"), 16)
            self._chunked = self._left > 0
        if self._left == 0:
            return b""
        try:
            piece = await self._receive(self._stream.read_bytes, min(self._left or _PIECE, _PIECE), True)
        except IncompleteResponseError:
            if self._left is None and self._stream.closed() and self._stream.error is None:
                return b""  # the server closed the connection normally
            raise
        if self._left is not None:
            self._left -= len(piece)
        return piece

    async def read_all(self, limit: int = _MAX_BODY_BYTES) -> bytes:
        """Return the rest of the body, at most ``limit`` bytes; raises IncompleteResponseError."""
        body = bytearray()
        while len(body) < limit and (piece := await self.read()):
            body += piece
        return bytes(body[:limit])

    async def _receive(self, read: Callable[P, Awaitable[bytes]], *args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await read(*args, **kwargs)
        except (StreamClosedError, UnsatisfiableReadError):
            raise IncompleteResponseError("the connection was cut") from None
        except TimeoutError:
            raise IncompleteResponseError(f"nothing came for {READ_TIMEOUT:.0f} seconds") from None


@asynccontextmanager
async def send_request(
    endpoint: Endpoint, method: str, path: str, body: bytes = b""
) -> AsyncIterator[HttpResponse]:
    """Send a request with a JSON body and yield the response once its headers are there; raises UnreachableError."""
    stream = await _connect(endpoint)
    try:
        with suppress(StreamClosedError):  # reading raises it, too
            # Not awaited: a server may answer, and refuse, before it has read everything.
            stream.write(_request_head(endpoint, method, path, len(body)) + body)
        response = HttpResponse(stream)
        await response.read_headers()
        yield response
    finally:
        stream.close()


def _request_head(endpoint: Endpoint, method: str, path: str, length: int) -> bytes:
    parts = urlsplit(endpoint.url)
    lines = [
        f"{method} {quote(parts.path, safe='/%')}{path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: close",
        "Accept-Encoding: identity",
    ]
    if endpoint.key:
        lines.append(f"Authorization: {endpoint.auth_scheme} {endpoint.key}")
    if length:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def _parse_length(text: str, base: int) -> int:
    digits = text.partition(";")[0].strip()
    try:
        if digits.isalnum():  # int() would accept signs and underscores
            return int(digits, base)
    except ValueError:
        pass
    raise IncompleteResponseError(_INVALID_HTTP)


async def _connect(endpoint: Endpoint) -> IOStream:
    parts = urlsplit(endpoint.url)
    tls = parts.scheme == "https"
    connecting = asyncio.ensure_future(
        TCPClient().connect(
            parts.hostname or "",
            parts.port or (443 if tls else 80),
            ssl_options=(endpoint.tls or ssl.create_default_context()) if tls else None,
            timeout=_CONNECT_TIMEOUT,
        )
    )
    try:
        stream = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_close_late)
        raise
    except TimeoutError:
        raise UnreachableError(f"it does not answer within {_CONNECT_TIMEOUT:.0f} seconds") from None
    except (OSError, StreamClosedError) as error:
        raise UnreachableError(_connection_error(error)) from None
    stream.set_nodelay(True)
    return stream


def _close_late(connecting: asyncio.Future[IOStream]) -> None:
    """Close a connection that was opened after its request was cancelled."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _connection_error(error: BaseException) -> str:
    cause = error.real_error if isinstance(error, StreamClosedError) and error.real_error else error
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({cause.verify_message})"
        case ssl.SSLError():
            return f"its TLS connection failed ({cause.reason})"
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
        return record.threadName != "puq-sandbox" or not str(record.msg).startswith(_CONNECTION_RECORDS)


_CONNECTION_RECORDS: Final = ("SSL Error on", "error on read", "Write error on", "Connect error on")
logging.getLogger("tornado.general").addFilter(_ConnectionLogFilter())
