"""``python -m scripted_engine PATH``: an engine that does what its orders tell it to, in a process of its own.

The words of an order are either a text to speak or what stands in a recording.  Behind the first line, which is left
to those who look at a file's beginning, each line is a thing to do.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from puq_magics.sandbox.local.child_main import Parent, run
from puq_magics.sandbox.local.http_server import InvalidRequestError, serve


def work(order: Mapping[str, Any]) -> Generator[bytes, None, None]:
    """``refuse WORDS``, ``say WORDS``, ``line JSON``, ``order`` (say it), ``die``, ``fail``, ``meet PORT``."""
    instructions = Path(order["path"]).read_text() if "path" in order else order["text"]
    for line in instructions.splitlines()[1:]:
        what, _, rest = line.partition(" ")
        if what == "refuse":
            raise InvalidRequestError(rest)
        if what == "say":
            yield rest.encode()
        elif what == "line":
            yield rest.encode() + b"\n"
        elif what == "order":
            yield json.dumps(dict(order)).encode()
        elif what == "die":
            os.kill(os.getpid(), 9)
        elif what == "fail":
            raise LookupError(rest)
        elif what == "meet":
            yield from echo_socket(int(rest))


def echo_socket(port: int) -> Iterator[bytes]:
    """Give pieces for as long as somebody there sends some; say ``gone`` there when nobody takes them any more."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            while data := connection.recv(1024):
                yield data
        except GeneratorExit:
            connection.sendall(b"gone")
            while connection.recv(1024):  # what is not read would take the word with it
                pass
            raise


def main(parent: Parent) -> None:
    serve(parent, sys.argv[1], work)


if __name__ == "__main__":
    run(main)
