"""The harness's handle on the server process."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import trustme
from answers import Shape


class Record(NamedTuple):
    """What the server did for one chat request; times in monotonic ns."""

    arrived: int  # the request's first byte
    writes: list[int]  # one a chunk, just before the write
    whole: bool  # False: the client left before the end


class ServerProcess:
    """The paced server as a process of its own, for the length of a `with` block."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="bench-server-")
        authority, pem = trustme.CA(), Path(self._folder.name, "server.pem")
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(pem)
        self.authority = Path(self._folder.name, "authority.pem")
        authority.cert_pem.write_to_path(self.authority)
        command = [sys.executable, str(Path(__file__).with_name("server.py")), "--certificate", str(pem)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self._control = http.client.HTTPConnection("127.0.0.1", ports["port"], timeout=60)
        self.base, self.tls_base = (
            f"http://127.0.0.1:{ports['port']}",
            f"https://127.0.0.1:{ports['tls_port']}",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()
        self._process.communicate()  # the end of its stdin is the end of the server
        self._folder.cleanup()

    def set_answer(self, shape: Shape) -> None:
        """Set what the next chats are answered with, and forget the records so far."""
        self._ask("POST", "/bench/shape", json.dumps(shape.as_json()))
        self.records()

    def records(self) -> list[Record]:
        """What happened since the last asking; waits for answers under way (10 s at most)."""
        return [Record(**record) for record in self._ask("GET", "/bench/log")]

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        self._control.request(method, path, body)
        return json.load(self._control.getresponse())
