"""Fake router whose answers each test scripts."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Queue
from typing import Any, Self

TIMEOUT = 90.0  # seconds until a test that waits for something gives up


@dataclass
class ReceivedRequest:
    """One request, as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """Connection of one client whose request has been read."""

    def __init__(self, sock: socket.socket, request: ReceivedRequest) -> None:
        self._sock = sock
        self.request = request

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def send_head(self, status: str = "200 OK", kind: str = "text/event-stream", **headers: str) -> None:
        """Send the head of an answer that ends with its connection."""
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send_event(self, text: str = "", **rest: Any) -> None:
        """Send one event of a stream."""
        finish = rest.pop("finish", None)
        delta = {"content": text} if text else {}
        choice = {"index": 0, "delta": delta | rest.pop("delta", {}), "finish_reason": finish}
        self.send(b"data: " + json.dumps({"choices": [choice], **rest}).encode() + b"\n\n")

    def send_done(self, finish: str = "stop") -> None:
        self.send_event(finish=finish)
        self.send(b"data: [DONE]\n\n")

    def wait_for_disconnect(self) -> None:
        """Return when the client has closed its side."""
        with suppress(ConnectionError):
            while self._sock.recv(1024):
                pass


Responder = Callable[[Connection], None]


class FakeRouter:
    """HTTP server on this machine; ``answer`` is called for each request, in a thread of its own.

    A session fetches the model list and the balance beside its calls: these requests get a 404 and are not recorded,
    unless ``serves_lists`` is true.
    """

    def __init__(self, answer: Responder, serves_lists: bool = False) -> None:
        self._answer = answer
        self._serves_lists = serves_lists
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._arrived: Queue[ReceivedRequest] = Queue()
        self._ended: Queue[None] = Queue()
        self.requests: list[ReceivedRequest] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._loop.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in [self._loop, *self._threads]:
            thread.join(TIMEOUT)

    def wait_for_request(self) -> ReceivedRequest:
        return self._arrived.get(timeout=TIMEOUT)

    def wait_for_disconnect(self) -> None:
        """Return when an answer has ended: the client has disconnected, or everything was sent."""
        self._ended.get(timeout=TIMEOUT)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError), sock.makefile("rb") as file:
            request = _read_request(file)
            if request is None:
                return
            if not self._serves_lists and request.path.startswith(("/v1/models", "/v1/credits/")):
                Connection(sock, request).send_head("404 Not Found", "application/json")
                sock.sendall(b'{"error": "Not found"}')
                return
            self.requests.append(request)
            self._arrived.put(request)
            try:
                self._answer(Connection(sock, request))
            finally:
                self._ended.put(None)


def _read_request(file: Any) -> ReceivedRequest | None:
    first = file.readline().decode("latin-1")
    if first.count(" ") < 2:  # a port probe, or a client of a kernel that had this port before
        return None
    method, path, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    body = file.read(length)
    return ReceivedRequest(method, path, headers, body) if len(body) == length else None  # a client that died
