"""``python -m stub_engine BEHAVIOUR [ARGUMENT]``: an engine that does as it is told, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run


class Handler(BaseHTTPRequestHandler):
    """Answers who knows the key, with what there is to know of this process."""

    key = ""

    def do_GET(self) -> None:
        admitted = self.headers["Authorization"] == f"Bearer {self.key}"
        known = {
            "pid": os.getpid(),
            "session": os.getsid(0),
            "argv": sys.orig_argv,
            "environ": dict(os.environ),
            "stdin": sys.stdin.read(),
        }
        body = json.dumps(known if admitted else {}).encode()
        self.send_response(200 if admitted else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


def main(parent: Parent) -> None:
    behaviour, argument = [*sys.argv[1:], "", ""][:2]
    if behaviour == "refuse":
        raise EngineStartError(argument)
    if behaviour == "unless":  # a file is there
        if not Path(argument).exists():
            raise EngineStartError(f"{argument} is not there")
    elif behaviour == "fail":
        raise LookupError(argument)
    elif behaviour == "exit":
        os.write(2, b"first words\n" + argument.encode() + f" {parent.key}\n\n".encode())
        os._exit(7)
    elif behaviour == "gate":  # opens when somebody writes to a FIFO
        Path(argument).read_bytes()
    elif behaviour == "print":
        print("a library prints as it loads", flush=True)
    elif behaviour == "chatter":
        os.write(2, b"x" * 1_000_000 + b"\n" + b"y" * 1000 + b"\n")
    Handler.key = parent.key
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    parent.announce(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    run(main)
