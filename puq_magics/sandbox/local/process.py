"""A child process that serves one engine: start, handshake, log and exit."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread, current_thread
from typing import IO, Final

#: Bytes of the end of its stderr that are kept, and characters of the last line that are shown.
_LOG_BYTES: Final = 16_384
_SHOWN_CHARS: Final = 200
#: Seconds to wait for the rest of stderr after the exit: a process that the engine started may hold it open.
_LOG_TIMEOUT: Final = 1.0


class EngineError(Exception):
    """An engine cannot start; the message is for the user."""


@dataclass(frozen=True)
class RunningEngine:
    """An engine that accepts requests."""

    #: ``http://127.0.0.1:PORT``.
    url: str
    #: Requests carry it as ``Authorization: Bearer KEY``.
    key: str = field(repr=False)


class EngineProcess:
    """``python -m module arguments…`` in its own session, so that an interrupt of this process does not reach it.

    It ends when this process does (`child_main`). Only `stop` blocks: a thread starts and reaps the process.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        """Start the process."""
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._key = secrets.token_urlsafe(32)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._killed = False
        self._running: RunningEngine | None = None
        self._failure = ""
        self._log = b""
        #: Done once it serves, or has failed to start.
        self.ready: Future[None] = _running_future()
        #: Done once the process has exited.
        self.ended: Future[None] = _running_future()
        self._thread = Thread(target=self._supervise, name=f"puq-{module.rpartition('.')[2]}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Id of the process; None if it does not run."""
        process = self._process
        return None if process is None or self.ended.done() else process.pid

    @property
    def is_usable(self) -> bool:
        """True while it serves or is still starting."""
        if self._killed or self.ended.done():
            return False
        return self._running is not None or not self.ready.done()

    def running(self) -> RunningEngine:
        """Return its endpoint once it is ready; raises EngineError if it failed to start."""
        if self._running is None:
            raise EngineError(self._failure)
        return self._running

    def kill(self) -> None:
        """End the process without waiting, from any thread; does nothing in a fork, which does not own it."""
        if os.getpid() != self._owner:
            return
        # No lock: a finalizer may call this in the thread that is starting the process, which checks `_killed` then.
        self._killed = True
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the process and wait for its exit."""
        self.kill()
        if self._thread is not current_thread():
            self._thread.join()

    def exit_description(self) -> str:
        """Describe how it ended, for use after its name: "ended by signal 9 (SIGKILL)"."""
        process = self._process
        if process is None or not self.ended.done():
            return "has closed the connection"
        return self._describe_exit(process.returncode)

    def _supervise(self) -> None:
        try:
            with _start_process(self._command) as process:
                self._process = process
                if self._killed:
                    process.kill()
                log, process.stderr = process.stderr, None
                reader = Thread(target=self._read_log, args=(log,), name="puq-engine-log", daemon=True)
                reader.start()
                self._handshake(process)
                if self._running is not None:
                    self.ready.set_result(None)
                process.wait()
                reader.join(_LOG_TIMEOUT)
                self._failure = self._failure or f"it {self._describe_exit(process.returncode)}"
        except (OSError, ValueError, RuntimeError) as error:  # no Python, no memory, or the interpreter exits
            self._failure = f"no process can be started ({error})"
        finally:
            if not self.ready.done():
                self.ready.set_result(None)
            self.ended.set_result(None)

    def _read_log(self, log: IO[bytes]) -> None:
        """Keep the end of stderr, and read all of it so that the process never blocks there."""
        with log:
            while chunk := os.read(log.fileno(), _LOG_BYTES):
                self._log = (self._log + chunk)[-_LOG_BYTES:]

    def _handshake(self, process: subprocess.Popen[bytes]) -> None:
        """Send the key and read the reply; stdin stays open, because its end tells the child to exit."""
        assert process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):  # it has exited: there is no reply either
            process.stdin.write(self._key.encode() + b"\n")
        line = process.stdout.readline()
        if not line:
            return
        try:
            match json.loads(line):
                case {"url": str(url)}:
                    self._running = RunningEngine(url, self._key)
                    return
                case {"error": str(message)}:
                    self._failure = message
                    return
        except ValueError:
            pass
        self._failure = "it does not answer as an engine does"
        process.kill()

    def _describe_exit(self, code: int) -> str:
        if self._killed:
            return "was stopped"
        if code < 0:
            with suppress(ValueError):
                return f"ended by signal {-code} ({signal.Signals(-code).name})"
            return f"ended by signal {-code}"
        return f"ended with code {code}{self._last_log_line()}"

    def _last_log_line(self) -> str:
        """Return the last line of its log in parentheses."""
        lines = self._log.decode(errors="replace").replace(self._key, "…").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        text = "".join(character for character in last if character.isprintable()).strip()[-_SHOWN_CHARS:]
        return f" ({text})" if text else ""


def _running_future() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # one of its waiters must not cancel it for the others
    return future


def _start_process(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process; leaving it as a context closes its pipes and waits for its exit."""
    flags = 0
    if sys.platform == "win32":  # without sessions, only these keep Ctrl-C and console windows away
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    # It imports what this process can import, but nothing from the working folder (-P). Some programs put a Path
    # into sys.path, which Python itself ignores.
    path = os.pathsep.join(folder for folder in sys.path if folder and isinstance(folder, str))
    # The user's own key, among others, is not passed on.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    return subprocess.Popen(  # noqa: S603 - this Python, and a module of ours
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment, "PYTHONPATH": path},
        start_new_session=True,
        creationflags=flags,
    )
