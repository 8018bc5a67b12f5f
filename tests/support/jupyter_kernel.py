"""A real Jupyter kernel, and the cells that run in it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

TIMEOUT = 90.0  # seconds until a test that waits for something gives up


@dataclass
class Cell:
    """Messages that a cell of the kernel published, and the reply to it."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)

    def contents(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def kinds(self) -> list[str]:
        """Types of its messages, except those that every cell has."""
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
        """Displayed bundles as they are at the end, in order."""
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
    """Kernel with folders of its own, without the settings of the user who runs the tests."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        # By files: a port that jupyter_client chooses is free until the kernel takes it, and a server of another
        # test may have it by then. The path is short, as such paths are limited.
        self._sockets = TemporaryDirectory(prefix="puq-")
        manager = KernelManager(
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            transport="ipc",
            ip=f"{self._sockets.name}/k",
        )
        self._manager = manager
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUQ_", "JUPYTER_", "IPYTHON"))}
        home = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "XDG_DATA_HOME": str(folder)}
        with (folder / "kernel.log").open("w") as log:
            manager.start_kernel(env=kept | home | environment, cwd=str(folder), stderr=log, stdout=log)
        self._client = manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=TIMEOUT)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._manager.context.destroy(linger=0)
        self._sockets.cleanup()

    def interrupt(self) -> None:
        """Interrupt the kernel as a front end's stop button does; from any thread."""
        os.killpg(os.getpgid(self.pid), signal.SIGINT)

    def interrupt_at(self, text: str, ready: Callable[[], object] = lambda: True) -> MessageCallback:
        """Make a ``watch`` for `run` that interrupts the kernel once, when ``text`` is on the screen.

        A line that is shown anew each second, however far the call is, counts only when ``ready`` returns true.
        """
        done: list[bool] = []

        def _watch(message: dict[str, Any]) -> None:
            content = message["content"]
            if not done and text in f"{content.get('data', '')}{content.get('text', '')}" and ready():
                done.append(True)
                self.interrupt()

        return _watch

    @property
    def pid(self) -> int:
        assert self._manager.provisioner is not None
        return int(self._manager.provisioner.pid)  # type: ignore[attr-defined]

    def run(self, code: str, watch: MessageCallback | None = None, answer: str | None = None) -> Cell:
        """Run a cell; ``watch`` gets each message, ``answer`` is typed into the cell's input prompt.

        Old kernels abort a cell that arrives too soon after an error; it is run again.
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
        questions = {}
        if answer is not None:
            question = self._client.get_stdin_msg(timeout=TIMEOUT)
            questions[question["parent_header"]["msg_id"]] = question["content"]
            self._client.input(answer)
        cells = self.collect(ids, watch)
        for message, content in questions.items():
            cells[ids.index(message)].questions.append(content)
        return cells

    def send(self, code: str) -> str:
        """Start a cell, and return its id."""
        return str(self._client.execute(code, allow_stdin=False))

    def collect(self, ids: list[str], watch: MessageCallback | None = None) -> list[Cell]:
        """Wait for cells that were started."""
        cells = {message: Cell() for message in ids}
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

    def wait_for_death(self) -> None:
        """Return when the process has ended by itself."""
        assert self._manager.provisioner is not None
        self._manager.provisioner.process.wait(TIMEOUT)  # type: ignore[attr-defined]

    def value(self, expression: str) -> Any:
        """Evaluate an expression whose value has a JSON form."""
        cell = self.run(f"import json as _json; print(_json.dumps({expression}))")
        assert cell.reply["status"] == "ok", cell.reply
        return json.loads(cell.out)
