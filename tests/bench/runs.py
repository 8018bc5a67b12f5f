"""Benchmark of runs of many calls: ``python tests/bench/runs.py``, with ``--dask`` also over two processes.

Each figure is a ratio against a floor of the same minute: the rate against that of calls which only wait, the CPU
time against a bare thread pool with one requests session a thread. The server waits and answers in a process of
its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from puq_magics import Router
from puq_magics.experiments import map_rows
from puq_magics.experiments.journal import Journal
from puq_magics.experiments.mapping import plan_map

TEMPLATE = "Is this a good review? {{text}}"
_ANSWER = {
    "id": "bench",
    "object": "chat.completion",
    "model": "bench/model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14},
}


async def _serve(delay: float, text: str) -> None:
    answer = json.loads(json.dumps(_ANSWER))
    answer["choices"][0]["message"]["content"] = text
    body = json.dumps(answer).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = int(request.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(delay)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def serve(delay: float, text: str = "Yes.") -> Iterator[str]:
    """Run the server in a process of its own; yields its base URL."""
    command = [sys.executable, __file__, "--serve", str(delay), "--text", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def measure(action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds (of this process) of an action."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    action()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_bare(url: str, calls: int, workers: int) -> None:
    """Make the calls with a bare thread pool and one requests session a thread."""
    local = threading.local()

    def call(number: int) -> None:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        body = {"model": "bench/model", "messages": [{"role": "user", "content": f"review {number}"}]}
        local.session.post(f"{url}/v1/chat/completions", json=body).json()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(call, range(calls)))


def run_map(url: str, calls: int, workers: int, folder: Path, **options: object) -> None:
    """Make the calls with `map_rows`, journal and events included."""
    rows = [{"text": f"review {number}"} for number in range(calls)]
    with Router("pk_bench", url) as router:
        result = map_rows(
            rows, TEMPLATE, router=router, model="bench/model", workers=workers, journal=folder, **options
        )
    assert not result.failed


def bench_rate(calls: int, workers: int, delay: float, dask: bool) -> None:
    """Print the share of the ideal rate, and the CPU time a call against the floor."""
    ideal = calls * delay / workers
    with serve(delay) as url, tempfile.TemporaryDirectory() as work:
        run_bare(url, 64, workers)  # what is imported on first use is not measured
        run_map(url, 64, workers, Path(work, "first"))
        bare, bare_cpu = measure(lambda: run_bare(url, calls, workers))
        ours, cpu = measure(lambda: run_map(url, calls, workers, Path(work, "threads")))
        print(f"ideal {ideal:.2f} s; bare pool {ideal / bare:.2f} of it; map {ideal / ours:.2f} (asked 0.92)")
        print(
            f"CPU a call: bare {bare_cpu / calls * 1e3:.2f} ms, map {cpu / calls * 1e3:.2f} ms: "
            f"{cpu / bare_cpu:.2f} times (asked 2)"
        )
        if dask:
            bench_dask(url, calls, workers, ideal, Path(work, "dask"))


def bench_dask(url: str, calls: int, workers: int, ideal: float, folder: Path) -> None:
    """Print the share of the ideal rate over a Dask cluster of two processes."""
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = client.get_executor()
        run_map(url, 64, workers, folder / "first", executor=executor)  # the workers import the package
        ours, _ = measure(lambda: run_map(url, calls, workers, folder / "run", executor=executor))
    print(f"Dask, 2 processes: {ideal / ours:.2f} of the ideal rate (asked 0.8)")


def bench_large(rows: int) -> None:
    """Print the seconds to plan many rows, and to open a finished journal of them."""
    table = [{"text": f"review {number} of a film that was neither good nor bad"} for number in range(rows)]
    plan_seconds, _ = measure(lambda: plan_map(table, TEMPLATE, model="bench/model"))
    plan = plan_map(table, TEMPLATE, model="bench/model")
    with tempfile.TemporaryDirectory() as work:
        fill_journal(Path(work, "run"), [spec.key for spec in plan.calls])
        open_seconds, _ = measure(lambda: Journal(Path(work, "run"), {"template": TEMPLATE}).close())
    print(
        f"{rows:,} rows: planned in {plan_seconds:.2f} s (asked 3), journal opened in {open_seconds:.2f} s (asked 3)"
    )


def fill_journal(folder: Path, keys: list[str]) -> None:
    """Write a finished journal."""
    from puq_magics.experiments import CallOutcome

    with Journal(folder, {"template": TEMPLATE}) as journal:
        for key in keys:
            journal.record_started(key)
        journal.append(
            CallOutcome(key, "bench/model", "bench/model", "Yes.", None, "", True, "stop", 12, 2, 0.1, 0.1, 1)
            for key in keys
        )


def bench_memory(rows: int, chars: int) -> None:
    """Print how much the process grows beyond the answers themselves."""
    with serve(0.0, "x" * chars) as url, tempfile.TemporaryDirectory() as work:
        before = _resident()
        rows_of = [{"text": f"review {number}"} for number in range(rows)]
        with Router("pk_bench", url) as router:
            result = map_rows(
                rows_of, TEMPLATE, router=router, model="bench/model", journal=Path(work, "run")
            )
        grown = _resident() - before - rows * chars
        assert not result.failed
    print(f"{rows:,} answers of {chars:,} bytes: {grown / 1e6:.0f} MB beyond them (asked 100 MiB)")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--text", default="Yes.", help=argparse.SUPPRESS)
    parser.add_argument("--dask", action="store_true", help="also over a Dask cluster of two processes")
    arguments = parser.parse_args()
    if arguments.serve is not None:
        asyncio.run(_serve(arguments.serve, arguments.text))
        return
    bench_rate(2_000, 64, 0.1, arguments.dask)
    bench_large(100_000)
    bench_memory(10_000, 2_000)


if __name__ == "__main__":
    main()
