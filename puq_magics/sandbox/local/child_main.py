"""Main function of an engine's process: handshake with the parent, and exit when the parent ends.

The handshake is a line each way.  The parent writes the key to stdin and leaves the pipe open: end of file means
that the parent is gone.  The child answers on stdout with a line of JSON, ``{"url": …}`` or ``{"error": text}``.

    def main(parent: Parent) -> None:
        …                       # load; raise EngineStartError("message for the user") if that fails
        parent.announce(url)    # requests may arrive from now on; serve on 127.0.0.1, and only with parent.key
        …                       # serve forever

    if __name__ == "__main__":
        run(main)
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from threading import Event, Thread
from typing import Final, NoReturn

#: Seconds between two checks of the parent's id.
_CHECK_INTERVAL: Final = 1.0


class EngineStartError(Exception):
    """An engine cannot start; the message is for the user."""


class Parent:
    """The process that started this one, after its key has arrived."""

    def __init__(self, key: str, reply_to: int) -> None:
        #: Requests must carry it as ``Authorization: Bearer KEY``.
        self.key = key
        self._reply_to = reply_to
        self._replied = False

    def announce(self, url: str) -> None:
        """Announce, once, that requests are served at ``url``, as ``http://127.0.0.1:PORT``."""
        self._reply({"url": url})

    def report_failure(self, message: str) -> None:
        """Report a failure to start; ignored after `announce`."""
        if not self._replied:
            self._reply({"error": message})

    def wait(self) -> NoReturn:
        """Wait for the parent's end, which ends this process, too: for engines that serve in their own threads."""
        while True:
            Event().wait()

    def _reply(self, content: dict[str, str]) -> None:
        self._replied = True
        with open(self._reply_to, "w", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")


def run(main: Callable[[Parent], None]) -> NoReturn:
    """Do the handshake and serve; an exception of ``main`` before it announces is reported to the parent."""
    parent = _handshake()
    try:
        main(parent)
    except EngineStartError as error:
        parent.report_failure(str(error))
    except BaseException as error:  # noqa: BLE001 - the parent shows any failure
        traceback.print_exc()
        parent.report_failure(f"{type(error).__name__}: {error}")
    # Without waiting for the engine's threads.
    sys.stderr.flush()
    os._exit(1)


def _handshake() -> Parent:
    """Read the key, and watch the parent from now on.

    Nothing else gets stdin and stdout: what a library prints goes to stderr, and no process that it starts holds the
    pipe.
    """
    parent_id = os.getppid()
    key_from, reply_to = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    pipe = open(key_from, "rb", buffering=0)  # noqa: SIM115 - until the process ends
    key = pipe.readline().decode().strip()
    if not key:
        os._exit(1)  # the parent ended before it sent a key
    Thread(target=_exit_with_pipe, args=(pipe.read,), name="parent's pipe", daemon=True).start()
    if os.name == "posix":
        # A fork of the parent may hold the pipe open for longer than the parent lives.  (On Windows there are no
        # forks, and the process above may be a launcher that is not the parent.)
        Thread(target=_exit_with_parent, args=(parent_id,), name="parent", daemon=True).start()
    return Parent(key, reply_to)


def _exit_with_pipe(read: Callable[[int], bytes | None]) -> None:
    while read(1024):
        pass
    os._exit(0)


def _exit_with_parent(parent_id: int) -> None:
    while os.getppid() == parent_id:
        time.sleep(_CHECK_INTERVAL)
    os._exit(0)
