"""A process of ours that serves one engine: started, met, listened to, ended."""

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

#: So much of what it writes to stderr is kept, in bytes: its end.
_KEPT: Final = 16_384
#: The longest that is shown of it, in characters.
_SHOWN: Final = 200
#: Seconds to wait for the rest of stderr of a process that has ended: one that it started may hold it open.
_LAST_WORDS: Final = 1.0


class EngineError(Exception):
    """An engine cannot be started; the message is for the user."""


@dataclass(frozen=True)
class RunningEngine:
    """An engine that takes requests."""

    #: ``http://127.0.0.1:PORT``.
    url: str
    #: What requests must bear: ``Authorization: Bearer KEY``.
    key: str = field(repr=False)


class EngineProcess:
    """``python -m module arguments…`` in a session of its own, from its start to its end.

    An interrupt of this process does not reach it; it ends when this process does (see `watching`).  Nothing here
    blocks but `stop`: a thread starts the process, meets it, waits for its end and reaps it.
    """

    def __init__(self, module: str, arguments: Sequence[str] = ()) -> None:
        """Start it."""
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._key = secrets.token_urlsafe(32)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._killed = False
        self._running: RunningEngine | None = None
        #: Why it does not serve.
        self._why = ""
        self._log = b""
        #: Done once it serves, or will not.
        self.ready: Future[None] = _running_future()
        #: Done once there is no process any more.
        self.ended: Future[None] = _running_future()
        self._thread = Thread(target=self._supervise, name=f"puq-{module.rpartition('.')[2]}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return None if process is None or self.ended.done() else process.pid

    @property
    def is_usable(self) -> bool:
        """True while it serves or is still starting."""
        if not self.ready.done():
            return not self._killed
        return self._running is not None and not self._killed and not self.ended.done()

    def running(self) -> RunningEngine:
        """Wait until it is ready and return its endpoint; raises EngineError if it fails."""
        if self._running is None:
            raise EngineError(self._why)
        return self._running

    def kill(self) -> None:
        """End the process, and do not wait for that; from any thread.  Nothing in a fork, which does not own it."""
        if os.getpid() != self._owner:
            return
        # No lock: a finalizer may call this in the very thread that is just starting the process, which looks at
        # `_killed` when it has.
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
        return self._ending(process.returncode)

    def _supervise(self) -> None:
        try:
            with _started(self._command) as process:
                self._process = process
                if self._killed:
                    process.kill()
                listener = self._listen(process)
                self._handshake(process)
                if self._running is not None:
                    self.ready.set_result(None)
                process.wait()
                listener.join(_LAST_WORDS)
                self._why = self._why or f"it {self._ending(process.returncode)}"
        except (OSError, ValueError, RuntimeError) as error:  # no Python, no memory, no more of this process
            self._why = f"no process can be started ({error})"
        finally:
            if not self.ready.done():
                self.ready.set_result(None)
            self.ended.set_result(None)

    def _listen(self, process: subprocess.Popen[bytes]) -> Thread:
        """Keep the end of stderr, in a thread; also so that the process never waits to write there."""
        log, process.stderr = process.stderr, None
        thread = Thread(target=self._keep, args=(log,), name="puq-engine-log", daemon=True)
        thread.start()
        return thread

    def _keep(self, log: IO[bytes]) -> None:
        with log:
            while chunk := os.read(log.fileno(), _KEPT):
                self._log = (self._log + chunk)[-_KEPT:]

    def _handshake(self, process: subprocess.Popen[bytes]) -> None:
        """Send the key and read the reply; without a reply there is no reason either."""
        assert process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):  # it ended already: its silence says so
            process.stdin.write(self._key.encode() + b"\n")
        # stdin stays open: its end would say that this process is gone.
        line = process.stdout.readline()
        if not line:
            return
        try:
            match json.loads(line):
                case {"url": str(url)}:
                    self._running = RunningEngine(url, self._key)
                case {"error": str(words)}:
                    self._why = words
                case _:
                    raise ValueError
        except ValueError:
            self._why = "it does not answer as an engine does"
            process.kill()

    def _ending(self, code: int) -> str:
        if self._killed:
            return "was stopped"
        if code < 0:
            with suppress(ValueError):
                return f"ended by signal {-code} ({signal.Signals(-code).name})"
            return f"ended by signal {-code}"
        return f"ended with code {code}{self._last_log_line()}"

    def _last_log_line(self) -> str:
        """The last line of its log, in brackets."""
        lines = self._log.decode(errors="replace").replace(self._key, "…").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        words = "".join(sign for sign in last if sign.isprintable()).strip()[-_SHOWN:]
        return f" ({words})" if words else ""


def _running_future() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # who waits for it and goes must not cancel it for the others
    return future


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """The process; leaving it as a context closes its pipes and waits for its end."""
    pipe = subprocess.PIPE
    # What this process can import that one can too, but not what lies in the folder where somebody works (-P).
    # (Some put a Path there, which Python itself passes over.)
    path = os.pathsep.join(folder for folder in sys.path if folder and isinstance(folder, str))
    # The user's own key, among others, is none of its business.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    return subprocess.Popen(  # noqa: S603 - this Python, and a module of ours
        command,
        bufsize=0,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env={**kept, "PYTHONPATH": path},
        start_new_session=True,
        creationflags=_creation_flags(),
    )


def _creation_flags() -> int:
    if sys.platform == "win32":  # there are no sessions: nothing else keeps Ctrl-C and console windows away
        return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return 0
