"""A paced server on the loopback that answers chats from a process of its own.

Raw sockets, so that nothing stands between the schedule and the write: each chunk of an answer is one TCP
write, stamped with `time.monotonic_ns()`, a clock that all processes of a Linux machine share. The harness
orders the next answers with `POST /bench/shape` (the fields of `answers.Shape`) and reads what happened with
`GET /bench/log`. The server says `{"port": …, "tls_port": …}` on stdout when it listens, and ends when its
stdin does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import socket
import ssl
import sys
import threading
import time
import zlib
from array import array
from typing import Any, NamedTuple

from answers import Shape

_HEAD = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n"
_CHUNK = {
    "id": "chatcmpl-bench",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "bench/model",
}
_MAX_LATE_NS = 20_000_000  # beyond this the schedule moves instead of being caught up with in a burst


class Request(NamedTuple):
    """A request as read from the socket, with the time of its first byte."""

    method: str
    path: str
    body: bytes
    arrived: int


class Answer:
    """An answer's bytes, framed beforehand: building them costs nothing while it is being sent."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._packer = zlib.compressobj(wbits=31) if shape.body == "gzip" else None
        self.opening = self._head() + self._frame(_event({"role": "assistant", "content": ""}))
        self.frames = [self._frame(_event({"content": piece})) for piece in shape.pieces()]
        end = _event({}, "stop") + _usage(len(self.frames)) + b"data: [DONE]\n\n"
        self.closing = self._frame(end, last=True)

    def _head(self) -> bytes:
        framing = "Connection: close" if self.shape.body == "close" else "Transfer-Encoding: chunked"
        if self._packer is not None:
            framing += "\r\nContent-Encoding: gzip"
        return _HEAD.format(status="200 OK", kind="text/event-stream", framing=framing).encode()

    def _frame(self, data: bytes, last: bool = False) -> bytes:
        if self._packer is not None:
            mode = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
            data = self._packer.compress(data) + self._packer.flush(mode)
        if self.shape.body == "close":
            return data
        return b"%x\r\n%b\r\n" % (len(data), data) + (b"0\r\n\r\n" if last else b"")


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _data({"choices": [choice]})


def _usage(chunks: int) -> bytes:
    usage = {"prompt_tokens": 8, "completion_tokens": chunks, "total_tokens": chunks + 8}
    return _data({"choices": [], "usage": usage})


def _data(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(_CHUNK | fields, separators=(",", ":")).encode() + b"\n\n"


class ServerState:
    """What the connections share: the answer to give, and the records of those given."""

    def __init__(self) -> None:
        self.answer = Answer(Shape())
        self._records: list[dict[str, Any]] = []
        self._active = 0
        self._changed = threading.Condition()

    def serve(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Accept for ever; each connection has a thread, which outside a run only waits."""
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._converse, args=(connection, context), daemon=True).start()

    def _converse(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        # OSError: the client left, which is its right (and what an interrupt does).
        with contextlib.suppress(OSError):
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                while (request := _read_request(connection)) is not None and self._reply(connection, request):
                    pass

    def _reply(self, connection: socket.socket, request: Request) -> bool:
        """Answer one request; True when the connection may carry another."""
        if request.method == "POST" and request.path.endswith("/chat/completions"):
            return self._chat(connection, request)
        if request.path == "/bench/shape":
            self.answer = Answer(Shape(**json.loads(request.body)))
            reply: Any = {"chunks": len(self.answer.frames)}
        elif request.path == "/bench/log":
            reply = self._drain()
        elif request.path.endswith("/models"):
            reply = {"models": [], "object": "list", "data": []}
        else:
            return _send_json(connection, {"error": f"nothing at {request.path}"}, "404 Not Found")
        return _send_json(connection, reply)

    def _chat(self, connection: socket.socket, request: Request) -> bool:
        answer, writes = self.answer, array("q")
        if not json.loads(request.body).get("stream"):
            message = {"role": "assistant", "content": answer.shape.text()}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return _send_json(connection, {"model": "bench/model", "choices": [choice]})
        with self._changed:
            self._active += 1
        whole = False
        try:
            whole = _stream(connection, answer, writes)
        finally:
            record = {"arrived": request.arrived, "writes": writes.tolist(), "whole": whole}
            with self._changed:
                self._active -= 1
                self._records.append(record)
                self._changed.notify_all()
        return whole and answer.shape.body != "close"

    def _drain(self) -> list[dict[str, Any]]:
        """The records since the last asking, once no answer is on its way any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._active, timeout=10)
            records, self._records = self._records, []
        return records


def _stream(connection: socket.socket, answer: Answer, writes: array[int]) -> bool:
    """Send an answer on its schedule, stamping each chunk's write; False when the client left."""
    shape, clock, send = answer.shape, time.monotonic_ns, connection.sendall
    step = int(1e9 / shape.rate) if shape.rate else 0
    send(answer.opening)
    due = clock() + int(shape.lead * 1e9)
    for index, frame in enumerate(answer.frames):
        if index and index == shape.pause_after:
            due = clock() + int(shape.pause * 1e9)
        if due > clock() and not _wait(connection, due):
            return False
        now = clock()
        writes.append(now)
        send(frame)
        if step:
            due = (due if now - due < _MAX_LATE_NS else now) + step
    send(answer.closing)
    return True


def _wait(connection: socket.socket, due: int) -> bool:
    """Sleep until `due` (monotonic ns); False as soon as the client has gone."""
    seconds = (due - time.monotonic_ns()) / 1e9
    if seconds > 0.02:  # long enough for a look at the connection: it is readable only when it closes
        return not select.select([connection], [], [], seconds)[0]
    if seconds > 0:
        time.sleep(seconds)
    return True


def _read_request(connection: socket.socket) -> Request | None:
    """Read one request with its body; None at the end of the connection."""
    data = connection.recv(65536)
    arrived = time.monotonic_ns()
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        body += connection.recv(65536)
    return Request(method, target.partition("?")[0], body, arrived)


def _send_json(connection: socket.socket, fields: Any, status: str = "200 OK") -> bool:
    body = json.dumps(fields).encode()
    head = _HEAD.format(status=status, kind="application/json", framing=f"Content-Length: {len(body)}")
    connection.sendall(head.encode() + body)
    return True


def main() -> None:
    """Listen on one port in the clear and, with a certificate, on another one with TLS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="a PEM file with key and chain: serve TLS on a second port")
    arguments = parser.parse_args()
    bench, ports = ServerState(), {}
    contexts: dict[str, ssl.SSLContext | None] = {"port": None}
    if arguments.certificate:
        contexts["tls_port"] = secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(arguments.certificate)
    for name, context in contexts.items():
        listener = socket.create_server(("127.0.0.1", 0))
        ports[name] = listener.getsockname()[1]
        threading.Thread(target=bench.serve, args=(listener, context), daemon=True).start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
