"""Calls that other processes make: a Dask cluster, and a pool whose workers die."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from puq_magics import PuqError, Router
from puq_magics.experiments import leases
from puq_magics.experiments.journal import read_outcomes

pytestmark = pytest.mark.slow

ROWS = [{"text": f"row {n}"} for n in range(100)]


@pytest.mark.filterwarnings("ignore")  # of Dask's own
def test_a_dask_cluster_of_processes(replies: Any, ask_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    server = replies(str.upper)
    monkeypatch.setenv("PUQ_API_KEY", "pk_key_of_the_workers")
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        result = ask_rows(server, ROWS, executor=client.get_executor(), workers=32)
    assert [row["answer"] for row in result.to_frame()] == [row["text"].upper() for row in ROWS]
    assert len(server.requests) == len(ROWS)
    keys = {request.headers["authorization"] for request in server.requests}
    assert keys == {"Token pk_key_of_the_workers"}  # theirs, not the one of the caller


def test_a_run_whose_workers_die_stops_and_goes_on(replies: Any, ask_rows: Any, tmp_path: Path) -> None:
    received: Counter[str] = Counter()
    lock = Lock()
    pools: list[ProcessPoolExecutor] = []

    def reply(text: str) -> str:
        with lock:
            received[text] += 1
            is_fortieth = received.total() == 40
        if is_fortieth:
            for pid in list(pools[0]._processes):
                os.kill(pid, signal.SIGKILL)
        return text.upper()

    server = replies(reply)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        pools.append(pool)
        with pytest.raises(PuqError, match=r"does not run the calls \(Broken"):
            ask_rows(server, ROWS, executor=pool, workers=8)
    finished = {outcome.text for outcome in read_outcomes(tmp_path / "run").values()}
    before = Counter(received)
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        result = ask_rows(server, ROWS, executor=pool, workers=8)
    assert result.failed == []
    assert [text for text in received if text.upper() in finished and received[text] > before[text]] == []


def test_a_process_closes_the_connections_of_the_run_before(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Router] = []
    monkeypatch.setattr(Router, "close", lambda router: closed.append(router))
    monkeypatch.setattr(leases, "_workers", {})
    first, second = (leases._worker_for(leases.Lease((), "http://127.0.0.1:9", timeout=n)) for n in (1, 2))
    assert closed == [first.router]
    assert list(leases._workers.values()) == [second]
