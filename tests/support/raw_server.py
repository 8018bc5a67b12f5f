"""A server that says exactly the bytes it is told to, for tests of the client; a plain module.

A script is a function of a `Connection`; the n-th connection plays the n-th script. Pauses are events: nothing
waits for time to pass.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

#: Seconds after which a wait has failed; no test depends on how long it is.
TIMEOUT = 60.0

Script = Callable[["Connection"], None]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection, from the server's side."""

    def __init__(self, server: RawServer, sock: socket.socket) -> None:
        self._server = server
        self.sock = sock
        self._file = sock.makefile("rb")

    def read_request(self) -> ReceivedRequest:
        """Read a request, and note it in the server's `requests`."""
        method, path, _ = self._file.readline().decode("ascii").split(" ", 2)
        headers = {}
        while line := self._file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        asked = ReceivedRequest(method, path, headers, body)
        self._server.record(asked)
        return asked

    def send(self, *parts: bytes) -> None:
        """Send each part by itself."""
        for part in parts:
            self.sock.sendall(part)

    def wait(self, event: Event) -> None:
        assert event.wait(TIMEOUT), "the test did not set the event"

    def wait_for_close(self) -> bool:
        """Wait until the client closes; whether that was all that it did."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close with FIN."""
        self._file.close()
        self.sock.close()


class RawServer:
    """Listens on 127.0.0.1 and plays scripts; a context manager. An error in a script is raised at the end."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self._scripts = list(scripts)
        self._tls = tls
        self._lock = Lock()
        self._errors: list[Exception] = []
        self._threads: list[Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.base_url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def record(self, asked: ReceivedRequest) -> None:
        with self._lock:
            self.requests.append(asked)

    def __enter__(self) -> Self:
        self._acceptor = Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()
        if self._errors and kind is None:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _is_stray(sock):
                sock.close()
                continue
            # Chosen here: threads may start in another order than their connections were made.
            script = self._scripts[self.connections] if self.connections < len(self._scripts) else _unexpected
            self.connections += 1
            thread = Thread(target=self._play, args=(sock, script))
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket, script: Script) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:  # a client that does not trust us
                sock.close()
                return
        try:
            connection = Connection(self, sock)
            try:
                script(connection)
            finally:
                connection.close()
        except Exception as exc:  # noqa: BLE001 - raised when the server ends
            self._errors.append(exc)
        finally:
            sock.close()


def _is_stray(sock: socket.socket) -> bool:
    """Check for a client of a kernel that had this port before: ZeroMQ connects again and greets with 0xFF."""
    try:
        return sock.recv(1, socket.MSG_PEEK) in (b"", b"\xff")
    except OSError:
        return True


def _unexpected(connection: Connection) -> None:
    raise AssertionError("a connection that no script expects")


# What to say.


def head(status: int = 200, content_type: str | None = "text/event-stream", **headers: str | int) -> bytes:
    lines = [f"HTTP/1.1 {status} Said"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answer(
    body: bytes | str | dict[str, Any] | list[Any],
    status: int = 200,
    content_type: str | None = None,
    **headers: str | int,
) -> bytes:
    """A whole answer with a Content-Length."""
    if not isinstance(body, bytes | str):
        body, content_type = json.dumps(body), content_type or "application/json"
    if isinstance(body, str):
        body = body.encode("utf-8")
    return head(status, content_type, **{"Content_Length": len(body), **headers}) + body


def chunked(*parts: bytes, **headers: str | int) -> bytes:
    """A whole chunked event stream."""
    return head(Transfer_Encoding="chunked", **headers) + b"".join(map(chunk, parts)) + LAST_CHUNK


def responds(*answers: bytes) -> Script:
    """One connection that gives so many answers, each to a request."""

    def script(connection: Connection) -> None:
        for said in answers:
            connection.read_request()
            connection.send(said)
        connection.wait_for_close()

    return script


def responds_and_closes(said: bytes) -> Script:
    """Answers, then ends the connection."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(said)

    return script


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(text: str | None = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    part = ({} if text is None else {"content": text}) | more
    return {"id": "c1", "choices": [{"index": index, "delta": part, "finish_reason": finish}]}


DONE = event(b"[DONE]")
STOP = event(delta(finish="stop"))


def event_stream(texts: Iterable[str]) -> bytes:
    """The events of a well-behaved stream."""
    return b"".join(event(delta(text)) for text in texts) + STOP + DONE


COMPLETION = {
    "id": "c1",
    "model": "maker/model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def gzip_flushed(*parts: bytes, end: bool = True) -> list[bytes]:
    """One gzip member, flushed behind each part."""
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    return [*packed, packer.flush()] if end else packed


def gzip_members(*parts: bytes) -> bytes:
    return b"".join(gzip.compress(part) for part in parts)
