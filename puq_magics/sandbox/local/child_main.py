"""Main loop of an engine's process: handshake with the parent, and exit when the parent ends.

The handshake is a line each way.  The parent writes the key to stdin and leaves the pipe open: end of file means
that the parent is gone.  The child answers on stdout with a line of JSON, ``{"url": …}`` or ``{"error": text}``.

    def main(parent: Parent) -> None:
        …                       # load; raise EngineStartError("words for the user") where that fails
        parent.announce(url)    # from now on requests may come: bound to 127.0.0.1, refused without parent.key
        …                       # serve for ever

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

#: Seconds between two looks at who the parent is.
_LOOKING: Final = 1.0


class EngineStartError(Exception):
    """An engine cannot start; the message is for the user."""


class Parent:
    """The process that started this one, after its key has come."""

    def __init__(self, key: str, answering: int) -> None:
        #: What requests must bear: ``Authorization: Bearer KEY``.
        self.key = key
        self._answering = answering
        self._answered = False

    def announce(self, url: str) -> None:
        """Announce, once, that requests are served at ``url``, as ``http://127.0.0.1:PORT``."""
        self._answer({"url": url})

    def report_failure(self, words: str) -> None:
        """Report a failure to start; ignored after `announce`."""
        if not self._answered:
            self._answer({"error": words})

    def wait(self) -> NoReturn:
        """Wait for the parent's end, which ends this process too: for engines that serve in threads of their own."""
        while True:
            Event().wait()

    def _answer(self, answer: dict[str, str]) -> None:
        self._answered = True
        with open(self._answering, "w", encoding="utf-8") as file:
            file.write(json.dumps(answer) + "\n")


def run(main: Callable[[Parent], None]) -> NoReturn:
    """Do the handshake and serve; an exception of ``main`` before it announces is reported to the parent."""
    parent = _handshake()
    try:
        main(parent)
    except EngineStartError as error:
        parent.report_failure(str(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent hears of it
        traceback.print_exc()
        parent.report_failure(f"{type(error).__name__}: {error}")
    # At once: threads of an engine that still run are not waited for.
    sys.stderr.flush()
    os._exit(1)


def _handshake() -> Parent:
    """Read the key, and watch the parent from now on.

    stdin and stdout are taken away from everything else: what a library prints goes to stderr, and no process that
    it starts holds the pipe.
    """
    started_by = os.getppid()
    listening, answering = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    pipe = open(listening, "rb", buffering=0)  # noqa: SIM115 - until the process ends
    key = pipe.readline().decode().strip()
    if not key:
        os._exit(1)  # the parent went before it said anything
    Thread(target=_end_with_pipe, args=(pipe.read,), name="parent's pipe", daemon=True).start()
    if os.name == "posix":
        # A fork of the parent may hold the pipe open for longer than the parent lives.  (On Windows there are no
        # forks, and the process above may be a launcher that is not the parent.)
        Thread(target=_end_with_parent, args=(started_by,), name="parent", daemon=True).start()
    return Parent(key, answering)


def _end_with_pipe(read: Callable[[int], bytes | None]) -> None:
    while read(1024):
        pass
    os._exit(0)


def _end_with_parent(started_by: int) -> None:
    while os.getppid() == started_by:
        time.sleep(_LOOKING)
    os._exit(0)
