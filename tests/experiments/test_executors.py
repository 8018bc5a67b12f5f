"""Calls that other processes make: a Dask cluster, a pool whose workers die, and runs that are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from puq_magics import PuqError, Router
from puq_magics.core.errors import JournalError
from puq_magics.experiments import leases, runner
from puq_magics.experiments.calls import CallOutcome, SpecBuilder
from puq_magics.experiments.journal import Journal, read_outcomes
from puq_magics.experiments.worker import CallWorker, RunStoppedError

ROWS = [{"text": f"row {n}"} for n in range(100)]
PLAN = {"template": "{{text}}"}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_whose_workers_die_stops_and_goes_on(replies: Any, ask_rows: Any, tmp_path: Path) -> None:
    received: Counter[str] = Counter()
    lock = threading.Lock()
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


@pytest.mark.parametrize(
    ("slots", "submitted"),
    [(1, 4), (2, 4), (3, 2), (8, 2), (None, 2), ([1, 1], 4), ([4, 4], 2), ([], 2)],
)
def test_no_more_leases_run_than_workers_allow(slots: Any, submitted: int) -> None:
    """As many again are submitted where they must wait; the list is of threads of Dask's workers."""
    executor: Any = SimpleNamespace(_max_workers=slots)
    if isinstance(slots, list):
        executor = SimpleNamespace(_client=SimpleNamespace(nthreads=lambda: dict(enumerate(slots))))
    assert leases.max_leases(executor, 2) == submitted


def test_a_process_closes_the_connections_of_the_run_before(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Router] = []
    monkeypatch.setattr(Router, "close", lambda router: closed.append(router))
    monkeypatch.setattr(leases, "_workers", {})
    first, second = (leases._worker_for(leases.Lease((), "http://127.0.0.1:9", timeout=n)) for n in (1, 2))
    assert closed == [first.router]
    assert list(leases._workers.values()) == [second]


_PROGRAM = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from puq_magics import PuqError, Router
from puq_magics.experiments import map_rows
from puq_magics.experiments.journal import Journal

url, folder, kind = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
if kind == "dask":
    from distributed import Client, LocalCluster
    client = Client(LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None))
    executor = client.get_executor()
else:
    executor = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
rows = [{"text": f"row {n}"} for n in range(300)]
try:
    with Router(None, url) as router:
        map_rows(rows, "{{text}}", router=router, model="a/b", journal=folder, executor=executor, workers=16)
except (KeyboardInterrupt, PuqError) as error:
    print(type(error).__name__, flush=True)
Journal(folder, {"template": "{{text}}"}).close()  # waits for the calls under way
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stop"),
    [("pool", "KeyboardInterrupt"), ("pool", "PaymentRequiredError"), ("dask", "KeyboardInterrupt")],
)
def test_a_stop_loses_no_answer_that_was_sent(
    replies: Any, ask_rows: Any, tmp_path: Path, kind: str, stop: str
) -> None:
    """Front ends interrupt all processes of a kernel; those of the workers go on with what they have sent."""
    if kind == "dask":
        pytest.importorskip("distributed")
    answered, numbers, stopped = Counter[str](), count(1), threading.Event()
    both_run = threading.Barrier(16)  # a process that is still starting is not interrupted

    def reply(text: str) -> str | tuple[int, str]:
        number = next(numbers)
        if number <= 16:
            both_run.wait(300)  # two processes start until then
        if number == 40 and stop == "PaymentRequiredError":
            return 402, "no"
        answered[text] += 1
        if number == 40:
            os.killpg(process.pid, signal.SIGINT)
        if number >= 40 and stop == "KeyboardInterrupt":
            stopped.wait(30)
        return text.upper()

    server = replies(reply)
    command = [sys.executable, "-c", _PROGRAM, server.url, str(tmp_path / "run"), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == stop
        stopped.set()
    assert process.returncode == 0
    assert len(answered) < 300
    with Journal(tmp_path / "run", PLAN) as journal:
        assert {each.text for each in journal.outcomes.values()} - {""} == {text.upper() for text in answered}
        assert journal.unfinished == frozenset()
    assert ask_rows(server, [{"text": f"row {n}"} for n in range(300)]).failed == []
    assert set(answered.values()) == {1}


def test_a_budget_ends_a_run_after_the_calls_that_it_allows(
    replies: Any, ask_rows: Any, tmp_path: Path
) -> None:
    reserved: list[str] = []

    def reserve(spec: Any) -> Callable[[], None]:
        if len(reserved) == 60:
            raise PuqError("the budget is spent.")
        reserved.append(spec.key)
        return lambda: None

    meter = SimpleNamespace(reserve=reserve, record=lambda *_: None)
    with ThreadPoolExecutor(2) as pool, pytest.raises(PuqError, match="budget"):
        ask_rows(replies(str.upper), ROWS, executor=pool, workers=16, meter=meter)
    assert sorted(read_outcomes(tmp_path / "run")) == sorted(reserved)


class KilledWorker(Exception):  # noqa: N818
    """An error by the name of Dask's."""


class Loser(Executor):
    """Runs the first tasks, and loses their results, as an executor whose worker dies."""

    def __init__(self, losses: int, error: Exception) -> None:
        self.losses, self.error = losses, error

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        result = fn(*args, **kwargs)
        self.losses -= 1
        if self.losses >= 0:
            future.set_exception(self.error)
        else:
            future.set_result(result)
        return future


class LossMeter:
    """Counts the calls that are charged though no answer came."""

    def __init__(self) -> None:
        self.reserved, self.lost = Counter[str](), Counter[str]()

    def reserve(self, spec: Any) -> Callable[[], None]:
        self.reserved[spec.key] += 1
        return lambda: self.reserved.subtract([spec.key])

    def record(self, spec: Any, outcome: CallOutcome, _: object) -> None:
        if not outcome.attempts:
            self.lost[spec.key] += 1


def test_calls_of_a_lost_lease_are_told_and_counted_as_charged(replies: Any, ask_rows: Any) -> None:
    meter, executor = LossMeter(), Loser(1, KilledWorker())
    result = ask_rows(replies(str.upper), ROWS, executor=executor, workers=8, meter=meter)
    assert result.failed == []
    assert meter.lost.total() == 16
    assert result.notes == [
        "16 calls were lost with their workers; they may have been charged, and are made again"
    ]


@pytest.mark.parametrize(
    ("error", "lost"),
    [(ModuleNotFoundError("No module named 'puq_magics'"), 0), (BrokenExecutor("it broke"), 16)],
)
def test_a_lease_that_cannot_run_ends_the_run(
    replies: Any, ask_rows: Any, tmp_path: Path, error: Exception, lost: int
) -> None:
    meter = LossMeter()
    with pytest.raises(PuqError, match=type(error).__name__):
        ask_rows(replies(str.upper), ROWS, executor=Loser(1, error), workers=8, meter=meter)
    assert meter.lost.total() == lost
    assert meter.reserved.total() == 0
    with Journal(tmp_path / "run", PLAN) as journal:
        assert len(journal.unfinished) == lost


def _key_of_the_notebook() -> str:
    return "pk"


@pytest.mark.parametrize(
    ("get_key", "said"),
    [(lambda: "pk", "cannot be sent to a process"), (_key_of_the_notebook, "defined in this session")],
)
def test_a_key_function_that_no_process_can_load(
    ask_rows: Any, replies: Any, monkeypatch: pytest.MonkeyPatch, get_key: Any, said: str
) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "_key_of_the_notebook", _key_of_the_notebook, raising=False)
    monkeypatch.setattr(_key_of_the_notebook, "__module__", "__main__")
    server, meter = replies(str.upper), LossMeter()
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(PuqError, match=said),
    ):
        ask_rows(server, ROWS, executor=pool, get_key=get_key, meter=meter)
    assert (server.requests, meter.reserved) == ([], {})


def test_faults_cost_no_answer(
    replies: Any, ask_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the kernel and a worker have one, with the first row."""
    meter, run = LossMeter(), CallWorker.run

    def fail_first(spec: Any) -> None:
        if spec.messages[-1]["content"] == "row 0":
            raise ZeroDivisionError

    def run_or_fail(worker: CallWorker, spec: Any) -> Any:
        fail_first(spec)
        return run(worker, spec)

    monkeypatch.setattr(CallWorker, "run", run_or_fail)
    monkeypatch.setattr(meter, "record", lambda spec, *_: fail_first(spec))
    with pytest.raises(PuqError, match="a worker failed: ZeroDivisionError"), ThreadPoolExecutor(1) as pool:
        ask_rows(replies(str.upper), ROWS, executor=pool, workers=8, meter=meter)
    outcomes = read_outcomes(tmp_path / "run").values()
    assert {f"ROW {n}" for n in range(1, 16)} <= {outcome.text for outcome in outcomes}
    assert [outcome.is_settled for outcome in outcomes if outcome.error] == [False]
    assert meter.reserved.total() == 0


def test_leases_that_wait_for_other_work_are_cancelled_at_a_stop(replies: Any, ask_rows: Any) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    meter, is_free = LossMeter(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(is_free.wait)
        with pytest.raises(KeyboardInterrupt):
            ask_rows(replies(str.upper), ROWS, executor=pool, workers=8, meter=meter, on_event=interrupt)
        result = ask_rows(replies(str.upper), ROWS)  # waits for the end of the first run
        is_free.set()
    assert (result.failed, result.notes, meter.lost) == ([], [], {})


@pytest.mark.parametrize(("timeout", "ending"), [(None, 120), (1, 120), (600, 600)])
def test_the_next_run_waits_as_long_as_calls_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: float | None, ending: float
) -> None:
    waits: list[float] = []
    with Router(None, "http://127.0.0.1:9", timeout=timeout) as router, Journal(tmp_path, PLAN) as journal:
        runner.Run([], runner.RunSettings(router), journal)
        monkeypatch.setattr(journal._closed, "wait", waits.append)
        with pytest.raises(JournalError, match="of this kernel"):
            Journal(tmp_path, PLAN)
    assert waits[0] > journal.ending_timeout == ending


class Silent(Executor):
    """Takes tasks, and never tells more of them."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


def test_leases_that_do_not_end_are_given_up_and_listed(
    replies: Any, ask_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_LEASE_TIMEOUT", 0.0)
    monkeypatch.setattr(leases.Router, "timeout", None)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_rows(replies(str.upper), ROWS, executor=Silent(), workers=8, on_event=interrupt)
    result = ask_rows(replies(str.upper), ROWS)  # waits until the first run has given up
    assert result.notes == [
        "16 calls were under way when an earlier run ended; they may have been charged, and are made again"
    ]
    with Journal(tmp_path / "run", PLAN) as journal:
        assert journal.unfinished == frozenset()


def test_a_stopped_lease_returns_what_it_has_not_sent(
    replies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_workers", {})
    stop_file = tmp_path / "stop"

    def reply(text: str) -> str:
        stop_file.touch()
        (worker,) = leases._workers.values()
        assert worker.limiter._stopped.wait(30)
        return text.upper()

    build = SpecBuilder("a/b", {}).build
    specs = [build([{"role": "user", "content": f"row {n}"}]) for n in range(3)]
    lease = leases.Lease(specs, replies(reply).url, str(stop_file), threads=1)
    (first, problem), *others = leases.run_lease(lease)
    assert (first.text, problem) == ("ROW 0", None)
    assert [type(problem) for _, problem in others] == [RunStoppedError] * 2
    assert [outcome.attempts for outcome, _ in others] == [0, 0]


@pytest.mark.parametrize(("is_alive", "parent"), [(False, 1), (True, 2)])
def test_a_worker_whose_kernel_has_died_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, is_alive: bool, parent: int
) -> None:
    """A worker of a pool of forks keeps the pipe of an earlier one open, and that one has a new parent alone."""
    monkeypatch.setattr(leases, "_workers", {})
    monkeypatch.setattr(leases, "_ignore_interrupts", lambda: None)
    monkeypatch.setattr(leases, "parent_process", lambda: SimpleNamespace(is_alive=lambda: is_alive))
    monkeypatch.setattr(leases, "_first_parent", lambda _: 1)
    monkeypatch.setattr(leases.os, "getppid", lambda: parent)
    spec = SpecBuilder("a/b", {}).build([{"role": "user", "content": "hi"}])
    ((outcome, problem),) = leases.run_lease(leases.Lease([spec], "http://127.0.0.1:9"))
    assert (outcome.attempts, type(problem)) == (0, RunStoppedError)
