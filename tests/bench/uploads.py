"""A long recording sent and a large image received: `python tests/bench/uploads.py [--quick]`.

Each measurement is a fresh process against a server in another one, ours and the floor's in turn: a bare streamed
`requests` upload, and a `requests` answer that is parsed and decoded as a whole. Memory is what the process's peak
grew by over what it held before. `uploads()` and `images()` give the tables.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from report import Table, UpperLimit

MEBI = 1 << 20
FULL, QUICK = (1024 * MEBI, 50_000_000, 3), (64 * MEBI, 5_000_000, 1)
OURS, FLOOR = "puq_magics", "requests"
_PART = 1 << 20  # bytes that the server reads at once
_WAV = b"RIFF\xff\xff\xff\xffWAVEfmt "


class Measurement(NamedTuple):
    """What a process took."""

    seconds: float
    mebibytes: float


def uploads(size: int = FULL[0], rounds: int = FULL[2]) -> Table:
    """A recording of ``size`` bytes, sent as a form and by the floor as it is."""
    table = Table(f"Sending a recording of {size / MEBI:,.0f} MiB")
    speed, ratio = table.row("MiB/s"), table.row("time, of the bare upload's", UpperLimit(1.25))
    memory = table.row("peak memory grows by, MiB", UpperLimit(32, worst=True))
    with _recording(size) as path, _serving(0) as url:
        for number in range(rounds):
            measurements = _both(number, "upload", url, str(path))
            for subject, one in measurements.items():
                speed.add(subject, size / MEBI / one.seconds)
                memory.add(subject, one.mebibytes)
            ratio.add(OURS, measurements[OURS].seconds / measurements[FLOOR].seconds)
    return table


def images(size: int = FULL[1], rounds: int = FULL[2]) -> Table:
    """An image of ``size`` bytes as base64 in an answer."""
    table = Table(f"Receiving an image of {size / 1e6:,.0f} MB")
    seconds = table.row("seconds")
    memory = table.row("peak memory grows by, of the image's bytes", UpperLimit(3, worst=True))
    with _serving(size) as url:
        for number in range(rounds):
            for subject, one in _both(number, "image", url, "").items():
                seconds.add(subject, one.seconds)
                memory.add(subject, one.mebibytes * MEBI / size)
    return table


def _both(number: int, what: str, url: str, path: str) -> dict[str, Measurement]:
    order = (FLOOR, OURS) if number % 2 == 0 else (OURS, FLOOR)
    return {subject: _measured(subject, what, url, path) for subject in order}


def _measured(subject: str, what: str, url: str, path: str) -> Measurement:
    command = [sys.executable, __file__, "--measure", subject, what, url, path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measurement(**json.loads(done.stdout))


@contextmanager
def _recording(size: int) -> Iterator[Path]:
    """A WAV file that takes no room on the disk: zeros, by and large."""
    with tempfile.TemporaryDirectory(prefix="bench-uploads-") as folder:
        path = Path(folder, "long.wav")
        path.write_bytes(_WAV)
        os.truncate(path, size)
        yield path


# --- what is measured, in a process of its own ------------------------------------------------------------------


def _measure(subject: str, what: str, url: str, path: str) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder, "short.wav")
        short.write_bytes(_WAV.ljust(1000, b"\x00"))
        act = _ACTS[subject, what](url)
        act(str(short))  # what is imported on first use is no part of it
        before, start = _resident(), time.perf_counter()
        act(path)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
    return Measurement(seconds, (peak - before) / MEBI)


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _our_upload(url: str) -> Callable[[str], object]:
    from puq_magics.api import Router, Upload

    router = Router("key", url)
    return lambda path: router.transcribe(Upload.from_path(path), model="bench/model")


def _bare_upload(url: str) -> Callable[[str], object]:
    import requests

    def act(path: str) -> object:
        with open(path, "rb") as file:
            return requests.post(f"{url}/v1/audio/transcriptions", data=file, timeout=300).json()

    return act


def _our_image(url: str) -> Callable[[str], object]:
    from puq_magics.api import Router

    router = Router("key", url)
    return lambda path: router.image("small" if path else "large", model="bench/model").images[0].data


def _whole_image(url: str) -> Callable[[str], object]:
    import requests

    def act(path: str) -> object:
        asked = {"model": "bench/model", "prompt": "small" if path else "large"}
        answer = requests.post(f"{url}/v1/images/generations", json=asked, timeout=300).json()
        return base64.b64decode(answer["data"][0]["b64_json"])

    return act


_ACTS = {
    (OURS, "upload"): _our_upload,
    (FLOOR, "upload"): _bare_upload,
    (OURS, "image"): _our_image,
    (FLOOR, "image"): _whole_image,
}


# --- the server, in a process of its own -----------------------------------------------------------------------


@contextmanager
def _serving(image_dimensions: int) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", str(image_dimensions)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()  # the end of its stdin is its own


def _serve(image_dimensions: int) -> None:
    answers = {b"small": _answer(100), b"large": _answer(image_dimensions)}
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_converse, args=(connection, answers), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def _answer(size: int) -> bytes:
    data = base64.b64encode(_png(size)).decode()
    return json.dumps({"created": 0, "data": [{"b64_json": data, "revised_prompt": "a bench"}]}).encode()


def _png(size: int) -> bytes:
    """About so many bytes that are marked as a PNG is."""
    chunks = ((b"IHDR", bytes(13)), (b"IDAT", os.urandom(size)), (b"IEND", b""))
    parts = (
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _converse(connection: socket.socket, answers: dict[bytes, bytes]) -> None:
    buffer = bytearray(_PART)
    with connection:
        while (asked := _read_head(connection)) is not None:
            head, body = asked
            left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) - len(body)
            kept = body[:4000]
            while left > 0:
                count = connection.recv_into(buffer)
                if not count:
                    return
                kept += buffer[:count] if len(kept) < 4000 else b""
                left -= count
            said = b'{"text": "heard"}'
            if b"/images/" in head:
                said = answers[b"large" if b'"large"' in kept else b"small"]
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said)
            )
            connection.sendall(said)


def _read_head(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """The head of a request, and what came with it of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(_PART)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return head + b"\r\n", body


def main() -> int:
    """Print the tables; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_const", dest="plan", const=QUICK, default=FULL)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        _serve(options.serve)
        return 0
    if options.measure:
        print(json.dumps(_measure(*options.measure)._asdict()))
        return 0
    upload_size, image_dimensions, rounds = options.plan
    tables = [uploads(upload_size, rounds), images(image_dimensions, rounds)]
    print("\n\n".join(map(str, tables)))
    if options.json:
        options.json.write_text(json.dumps([table.as_json() for table in tables], indent=1))
    rows: list[Any] = [row for table in tables for row in table.rows]
    return 1 if any(row.verdict == "MISSED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
