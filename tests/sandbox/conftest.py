from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from puq_magics.sandbox import Sandbox, server, streaming
from puq_magics.sandbox.backends import transcription
from puq_magics.sandbox.local.engine import Engine


class SandboxClient:
    """requests with a sandbox's key, and no proxy in between."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Token {sandbox.token}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.sandbox.base_url + path, timeout=30, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.sandbox.base_url + path, timeout=30, **options)

    def chat(
        self, model: str = "sandbox/short", prompt: str = "Why is the sky blue?", **fields: Any
    ) -> requests.Response:
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return self.post("/v1/chat/completions", json=body, stream=bool(fields.get("stream")))

    def draw(self, prompt: str = "A fox", **fields: Any) -> requests.Response:
        body = {"model": "sandbox/image", "prompt": prompt, "size": "64x64", **fields}
        return self.post("/v1/images/generations", json=body)

    def speak(self, text: str = "Hello there. How are you?", **fields: Any) -> requests.Response:
        body = {"model": "sandbox/tts", "input": text, **fields}
        return self.post("/v1/audio/speech", json=body)

    def hear(self, audio: bytes, name: str = "talk.wav", **fields: str) -> requests.Response:
        form = {"model": "sandbox/whisper", **fields}
        return self.post("/v1/audio/transcriptions", data=form, files={"file": (name, audio)})


@pytest.fixture(autouse=True)
def _quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a client does may end up in a notebook's log, not even when the server stops."""
    yield
    records = caplog.get_records("call") + caplog.get_records("teardown")
    ours = [record for record in records if record.threadName != "another-server"]
    assert [record.getMessage() for record in ours if record.levelno >= logging.WARNING] == []


@pytest.fixture(autouse=True)
def _no_keep_alives(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine one would come between two events now and then; tests of them set their own interval."""
    for module in (streaming, transcription):
        monkeypatch.setattr(module, "_KEEP_ALIVE_INTERVAL", 3600.0)


@pytest.fixture
def sandbox(_quiet_log: None) -> Iterator[Sandbox]:
    with Sandbox(pace=0) as running:
        yield running


@pytest.fixture
def no_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a speech engine."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def connect() -> Iterator[Callable[[Sandbox], SandboxClient]]:
    clients: list[SandboxClient] = []

    def _connect(sandbox: Sandbox) -> SandboxClient:
        clients.append(SandboxClient(sandbox))
        return clients[-1]

    yield _connect
    for client in clients:
        client.session.close()


@pytest.fixture
def client(sandbox: Sandbox, connect: Callable[[Sandbox], SandboxClient]) -> SandboxClient:
    return connect(sandbox)


@pytest.fixture
def events() -> Callable[[requests.Response], Iterator[Any]]:
    """The events of a stream as JSON; also checks that each left in a write of its own."""

    def _events(response: requests.Response) -> Iterator[Any]:
        for chunk in response.raw.read_chunked():
            data = chunk.decode()
            assert data.startswith("data: ")
            assert data.endswith("\n\n")
            assert data.count("\n") == 2
            payload = data.removeprefix("data: ").strip()
            yield payload if payload == "[DONE]" else json.loads(payload)

    return _events


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as another server heard it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class UpstreamServer:
    """An OpenAI-compatible server that others wrote; what it says to a chat is up to the test."""

    def __init__(self) -> None:
        self.models = ["tiny"]
        self.respond: Callable[[UpstreamHandler, dict[str, Any]], Awaitable[None]] = say_hello
        self.requests: list[ReceivedRequest] = []
        #: Set when a client went before its answer was whole.
        self.client_left = Event()
        self._stop: Callable[[], object] = lambda: None
        self.url = ""
        self.tls: Any = None
        self.handler = type("Handler", (UpstreamHandler,), {})  # one of its own, that a test may change
        self._thread = Thread(target=lambda: asyncio.run(self._serve()), name="another-server")

    def start(self) -> UpstreamServer:
        self._up = Event()
        self._thread.start()
        assert self._up.wait(30)
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._stop()
            self._thread.join()

    async def _serve(self) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stopping.set)
        server = HTTPServer(
            Application([(".*", self.handler, {"server": self})], log_function=lambda _: None),
            ssl_options=self.tls,
        )
        (listener,) = bind_sockets(0, "127.0.0.1")
        server.add_socket(listener)
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{listener.getsockname()[1]}/v1"
        self._up.set()
        await stopping.wait()
        server.stop()
        await server.close_all_connections()


class UpstreamHandler(RequestHandler):
    def initialize(self, server: UpstreamServer) -> None:
        self.server = server

    def record_request(self) -> None:
        body = json.loads(self.request.body) if self.request.body else {}
        request = ReceivedRequest(
            self.request.method or "", self.request.path, dict(self.request.headers), body
        )
        self.server.requests.append(request)

    def get(self) -> None:
        self.record_request()
        self.finish(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.server.models]}
        )

    async def post(self) -> None:
        self.record_request()
        with suppress(StreamClosedError):
            await self.server.respond(self, self.server.requests[-1].body)

    def on_connection_close(self) -> None:
        self.server.client_left.set()

    async def send_event(self, value: object) -> None:
        """Send one event, at once."""
        self.write(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n")
        await self.flush()

    async def send_delta(self, text: str | None = None, why: str | None = None, **delta: object) -> None:
        """Send a piece of an answer."""
        delta = ({} if text is None else {"content": text}) | delta
        choices = [{"index": 0, "delta": delta, "finish_reason": why}]
        await self.send_event(
            {"id": "theirs", "object": "chat.completion.chunk", "model": "theirs", "choices": choices}
        )

    async def wait(self, event: Event) -> None:
        """Wait until the test goes on, or does not want to any more."""
        await asyncio.to_thread(event.wait, 30)

    def raw(self) -> IOStream:
        """The connection itself, for answers that are none."""
        return self.detach()


async def say_hello(handler: UpstreamHandler, body: dict[str, Any]) -> None:
    """Say hello in five tokens, as a stream or in one piece."""
    usage = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "Hello there."}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        handler.finish(
            {"id": "theirs", "object": "chat.completion", "model": "theirs", "created": 7}
            | {"choices": choices, "usage": usage}
        )
        return
    handler.set_header("Content-Type", "text/event-stream")
    await handler.send_delta(role="assistant")
    for text in ("Hello", " there."):
        await handler.send_delta(text)
    await handler.send_delta(why="stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        await handler.send_event(
            {
                "id": "theirs",
                "object": "chat.completion.chunk",
                "model": "theirs",
                "choices": [],
                "usage": usage,
            }
        )
    await handler.send_event("[DONE]")


@pytest.fixture
def upstream_server() -> Iterator[UpstreamServer]:
    server = UpstreamServer().start()
    yield server
    server.stop()


@pytest.fixture
def upstream_sandbox(upstream_server: UpstreamServer, _quiet_log: None) -> Iterator[Sandbox]:
    """A sandbox with another server behind it."""
    with Sandbox(
        pace=0, upstream=upstream_server.url, upstream_key="our-own-key", price=(1000.0, 10_000.0)
    ) as running:
        yield running


@pytest.fixture
def upstream_client(upstream_sandbox: Sandbox, connect: Callable[[Sandbox], SandboxClient]) -> SandboxClient:
    return connect(upstream_sandbox)


@pytest.fixture
def engine_sandbox(_quiet_log: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox whose speech and transcription are by engines that do what their orders tell: see scripted_engine."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    engines = {
        "speech": Engine("speech", "scripted_engine", ["/v1/speak"]),
        "transcription": Engine("transcription", "scripted_engine", ["/v1/transcribe"]),
    }
    monkeypatch.setattr(server, "_engines", lambda _gguf: engines)
    with Sandbox(pace=0, local=True) as running:
        yield running


@pytest.fixture
def engine_listener() -> Iterator[socket.socket]:
    """Where an engine meets the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener
