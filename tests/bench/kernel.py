"""A real ipykernel, and everything it publishes while a cell runs, stamped on arrival."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any, NamedTuple, Self

import psutil
import zmq
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from screen import Screen

EXTENSIONS = Path(__file__).parent / "extensions"
_START_TIMEOUT = 60.0  # seconds
_CELL_TIMEOUT = 900.0


class CellError(Exception):
    """A cell ended in an error; the message is the kernel's traceback."""


@dataclass(frozen=True)
class Message:
    """One IOPub message: when it arrived here (monotonic ns), its sizes and what the screen then held."""

    time: int
    kind: str
    content_bytes: int  # the JSON of its content
    wire_bytes: int  # all its frames: headers, signature and content
    progress: int  # characters of the answer on the screen from now on


@dataclass
class Execution:
    """One cell from request to idle. Times are monotonic ns."""

    screen: Screen
    sent: int = 0
    idle: int = 0
    cpu: float = 0.0  # seconds of the kernel's process, all threads
    messages: list[Message] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> list[Message]:
        """The messages that put something on the screen."""
        kinds = ("display_data", "update_display_data", "execute_result", "stream", "clear_output")
        return [message for message in self.messages if message.kind in kinds]


class Running(NamedTuple):
    """A cell under way, and the event that is set when the kernel is idle again."""

    request: str  # its message id
    execution: Execution
    idle: threading.Event


class Recorder(threading.Thread):
    """Reads the IOPub socket: stamps a message first, then looks into it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        super().__init__(daemon=True, name="iopub")
        self._socket = socket
        self._watched: dict[str, Running] = {}
        self._ending = threading.Event()

    def watch(self, request: str, execution: Execution) -> Running:
        """Record what answers `request`, from before it is sent."""
        self._watched[request] = Running(request, execution, threading.Event())
        return self._watched[request]

    def run(self) -> None:
        """Receive until stopped; this thread alone uses the socket."""
        while not self._ending.is_set():
            if self._socket.poll(100):
                frames = self._socket.recv_multipart()
                self._note(time.monotonic_ns(), frames)

    def stop(self) -> None:
        """End the thread, before its socket is closed."""
        self._ending.set()
        self.join()

    def _note(self, now: int, frames: list[bytes]) -> None:
        # …topic, delimiter, signature, header, parent, metadata, content
        start = frames.index(b"<IDS|MSG>") + 2
        header, parent, _, content = frames[start : start + 4]
        request = json.loads(parent).get("msg_id")
        if request not in self._watched:
            return
        _, execution, idle = self._watched[request]
        kind, fields = json.loads(header)["msg_type"], json.loads(content)
        execution.screen.take(kind, fields)
        size = sum(len(frame) for frame in frames)
        message = Message(now, kind, len(content), size, execution.screen.progress())
        execution.messages.append(message)
        if kind == "status" and fields["execution_state"] == "idle":
            execution.idle = now
            del self._watched[request]
            idle.set()


class Kernel:
    """A kernel of a given Python, in folders of its own, so that nobody's configuration takes part."""

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-kernel-"))
        command = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (self._folder / "specs" / "bench").mkdir(parents=True)
        (self._folder / "specs" / "bench" / "kernel.json").write_text(
            json.dumps({"argv": command, "display_name": "bench"})
        )
        specs = KernelSpecManager(kernel_dirs=[str(self._folder / "specs")], ensure_native_kernel=False)
        self._manager = KernelManager(kernel_name="bench", kernel_spec_manager=specs)
        self._environment = _clean_environment(self._folder) | dict(environment)

    def __enter__(self) -> Self:
        with (self._folder / "kernel.log").open("w") as log:
            self._manager.start_kernel(env=self._environment, cwd=str(self._folder), stderr=log)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_START_TIMEOUT)
        self._recorder = Recorder(self._client.iopub_channel.socket)
        self._recorder.start()
        self.process = psutil.Process(self.value("__import__('os').getpid()"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recorder.stop()
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, code: str, answer: str = "", mime: str = "text/plain") -> Running:
        """Send a cell and return at once."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        request = self._client.session.msg("execute_request", content)
        execution = Execution(Screen(answer, mime))
        running = self._recorder.watch(request["header"]["msg_id"], execution)
        execution.sent = time.monotonic_ns()
        self._client.shell_channel.send(request)
        return running

    def finish(self, running: Running, failing: bool = False) -> Execution:
        """Wait for the cell's end; unless it is known to fail, an error in it is raised here."""
        execution = running.execution
        if not running.idle.wait(_CELL_TIMEOUT):
            raise CellError(f"not idle after {_CELL_TIMEOUT:.0f} s")
        execution.reply = self._reply(running.request)
        if execution.reply["status"] != "ok" and not failing:
            raise CellError(_error(execution.reply))
        return execution

    def run(self, code: str, answer: str = "", mime: str = "text/plain") -> Execution:
        """Run one cell to its end and measure the CPU the kernel's process spent on it.

        The clock is read by silent requests before and after: their own share, a millisecond or so, counts
        too, the same for every subject.
        """
        before = self.value("__import__('time').process_time()")
        execution = self.finish(self.start(code, answer, mime))
        execution.cpu = self.value("__import__('time').process_time()") - before
        return execution

    def value(self, expression: str) -> Any:
        """The value of an expression in the kernel, if it is a Python literal."""
        expressions = {"value": expression}
        request = self._client.execute("", silent=True, user_expressions=expressions, allow_stdin=False)
        reply = self._reply(request)["user_expressions"]["value"]
        if reply["status"] != "ok":
            raise CellError(f"{expression}: {reply.get('evalue')}")
        return ast.literal_eval(reply["data"]["text/plain"])

    def _reply(self, request: str) -> dict[str, Any]:
        """The reply to a request; one that came late for an earlier request (kernel info) is passed over."""
        while True:
            try:
                message = self._client.get_shell_msg(timeout=_START_TIMEOUT)
            except Empty as error:
                raise CellError("the kernel does not answer") from error
            if message["parent_header"].get("msg_id") == request:
                return dict(message["content"])

    def interrupt(self) -> None:
        """What a front end's stop button does."""
        self._manager.interrupt_kernel()

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, seen from outside (10 ms steps)."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident bytes now."""
        return int(self.process.memory_info().rss)


def _error(reply: Mapping[str, Any]) -> str:
    """The traceback; or, for errors that IPython shows as one line, that line."""
    lines = reply.get("traceback") or [f"{reply.get('ename')}: {reply.get('evalue')}"]
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(lines))


def _clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without what steers the subjects, at home in `home`."""
    steering = ("PUQ_", "OPENAI_", "CELLMAGE_", "JUPYTER_", "IPYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(steering)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # who installs a package has its byte code
    kept |= {"HOME": str(home), "IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(EXTENSIONS)}
    kept |= {"XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
    return kept | {"XDG_CONFIG_HOME": str(home / "config"), "NO_PROXY": "127.0.0.1,localhost"}
