"""Leases: some calls of a run at a time, made on threads of another process, or of another machine.

A lease holds no key. A worker takes it from ``PUQ_API_KEY`` of its own environment, for the host of its
``PUQ_BASE_URL``, or from a function that the caller names and that is called there.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL
from puq_magics.api.client import Router
from puq_magics.core.errors import InputError, MissingKeyError, PuqError
from puq_magics.experiments.calls import CallOutcome, CallSpec
from puq_magics.experiments.limiter import AdaptiveLimiter
from puq_magics.experiments.worker import CallWorker, worker_fault
from puq_magics.prompts.schema.schema import Schema

MIN_THREADS, MAX_THREADS = 8, 32
_ROUNDS = 2  # calls of a lease for each of its threads: the time between two leases is shared by more calls
_MAX_CALLS = 32
#: More than a lease has threads: its threads are the limit, but for what the router asks.
_CEILING = 256
_LOOK_INTERVAL = 0.25  # seconds between two looks whether the run was stopped
#: Returns the key, where the calls are made.
GetKey = Callable[[], str]
OutcomeAndError = tuple[CallOutcome, PuqError | None]


@dataclass(frozen=True)
class Lease:
    """Calls to make, and how to reach the router."""

    specs: Sequence[CallSpec]
    base_url: str
    #: The run is stopped as soon as this file is there, for processes that see its folder.
    stop_file: str = ""
    #: Calls at once.
    threads: int = MIN_THREADS
    auth_scheme: str = "Token"
    timeout: float | None = None
    schema: Schema | None = None
    get_key: GetKey | None = None
    #: Different for each lease: Dask takes equal tasks for one, and answers with the result of the first.
    token: str = ""

    @classmethod
    def from_router(
        cls, router: Router, threads: int, schema: Schema | None, get_key: GetKey | None, stop_file: Path
    ) -> Lease:
        """Return a lease without calls, for a router like this one."""
        if schema is not None:
            schema = replace(schema, to_instances=None)  # the notebook's classes are not there
        return cls(
            specs=(),
            base_url=router.address.url,
            stop_file=str(stop_file),
            threads=threads,
            auth_scheme=router.auth_scheme,
            timeout=router.timeout,
            schema=schema,
            get_key=get_key,
        )

    def with_calls(self, specs: Sequence[CallSpec]) -> Lease:
        """Return a lease for these calls."""
        return replace(self, specs=tuple(specs), token=uuid4().hex)

    def should_stop(self) -> bool:
        """Return whether the run was stopped, or the process that started this worker has died."""
        return os.path.exists(self.stop_file) or _is_orphan()


def _is_orphan() -> bool:
    """Return whether this is a worker process whose parent has died."""
    parent = parent_process()
    if parent is None:
        return False
    # A fork that was made later keeps the pipe open by which `is_alive` knows.
    return not parent.is_alive() or os.getppid() != _first_parent(os.getpid())


@cache
def _first_parent(_pid: int) -> int:
    """Return the parent that this process had at its first lease."""
    return os.getppid()


_workers: dict[tuple[object, ...], CallWorker] = {}
_lock = Lock()


def run_lease(lease: Lease) -> list[OutcomeAndError]:
    """Make the calls of a lease on threads, and return how each ended. Raises MissingKeyError.

    After the run is stopped no further one is sent.
    """
    worker = _worker_for(lease)
    if lease.should_stop():
        worker.limiter.stop()
    with ThreadPoolExecutor(lease.threads) as pool:
        calls = [pool.submit(_run_call, worker, spec) for spec in lease.specs]
        while wait(calls, _LOOK_INTERVAL).not_done:
            if lease.should_stop():
                worker.limiter.stop()
        return [call.result() for call in calls]


def _run_call(worker: CallWorker, spec: CallSpec) -> OutcomeAndError:
    """Make a call; a fault of this package must not cost the answers of the others."""
    try:
        return worker.run(spec)
    except Exception as error:  # noqa: BLE001
        problem = worker_fault(error)
        return CallOutcome(spec.key, spec.model, attempts=1, error=problem.message, is_final=False), problem


def _worker_for(lease: Lease) -> CallWorker:
    """Return the worker of this process for a router; its connections serve one lease after another."""
    config = (
        os.getpid(),  # a fork has connections of its own
        lease.base_url,
        lease.stop_file,
        lease.auth_scheme,
        lease.timeout,
        None if lease.schema is None else repr(lease.schema.json),
        lease.get_key,
    )
    with _lock:
        if config not in _workers or _workers[config].limiter.is_stopped:
            router = Router(
                _find_key(lease),
                lease.base_url,
                lease.auth_scheme,
                timeout=lease.timeout,
                max_retries=0,
                allow_http=True,  # as far as it was allowed where the lease was made
            )
            _ignore_interrupts()
            _close_workers()
            _workers[config] = CallWorker(router, AdaptiveLimiter(_CEILING), lease.schema)
        return _workers[config]


def _ignore_interrupts() -> None:
    """Ignore interrupts in a worker process: front ends send them to each process of a kernel, which ends the run."""
    if parent_process() is None:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    elif (dask := sys.modules.get("distributed")) is not None:
        with suppress(ValueError):  # another executor's process
            # in its main thread
            dask.get_worker().loop.add_callback(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _close_workers() -> None:
    """Close the connections for other runs; those of a parent process are not ours to close."""
    for (pid, *_), worker in _workers.items():
        if pid == os.getpid():
            worker.router.close()
    _workers.clear()


def _find_key(lease: Lease) -> str | None:
    if lease.get_key is not None:
        return lease.get_key()
    address = BaseURL.parse(lease.base_url, allow_http=True)
    key = os.environ.get("PUQ_API_KEY")
    own = BaseURL.parse(os.environ.get("PUQ_BASE_URL") or DEFAULT_BASE_URL, allow_http=True)
    if key and own.origin == address.origin:
        return key
    if address.is_loopback or lease.auth_scheme == "none":
        return None
    raise MissingKeyError(
        f"a worker has no API key for {address.host}.",
        hint="Set PUQ_API_KEY where the workers start, or name a function that returns the key: --worker-key NAME",
    )


def is_process_pool(executor: Executor) -> bool:
    """Return whether this is a process pool of Python's own."""
    from concurrent.futures import ProcessPoolExecutor  # which Pyodide does not have

    return isinstance(executor, ProcessPoolExecutor)


def check_is_sendable(lease: Lease, executor: Executor) -> None:
    """Raise InputError for a key function that the processes of a pool cannot load."""
    if lease.get_key is None or not is_process_pool(executor):
        return
    name = getattr(lease.get_key, "__qualname__", type(lease.get_key).__name__)
    hint = "Import it from a module that the workers can import, too."
    try:
        pickle.dumps(lease)
    except Exception as error:  # noqa: BLE001 - of its own `__reduce__`, for example
        raise InputError(f"{name} cannot be sent to a process: {error}", hint=hint) from None
    is_fork = executor._mp_context.get_start_method() == "fork"  # type: ignore[attr-defined]
    is_of_session = lease.get_key.__module__ == "__main__" and not hasattr(
        sys.modules["__main__"], "__file__"
    )
    if is_of_session and not is_fork:
        raise InputError(f"the workers cannot load {name}, as it is defined in this session.", hint=hint)


def lease_threads(executor: Executor, workers: int) -> int:
    """Return the number of threads of a lease, so that ``workers`` calls are under way in all."""
    slots = getattr(executor, "_max_workers", None)
    fair = workers // slots if isinstance(slots, int) and slots else MIN_THREADS
    return max(1, min(MAX_THREADS, workers, max(MIN_THREADS, fair)))


def max_leases(executor: Executor, at_once: int) -> int:
    """Return the number of leases to submit at a time, so that no more than ``at_once`` of them can run.

    As many again wait at the workers, where these are too few to run them: then no worker waits for a lease.
    """
    return 2 * at_once if 0 < _slots(executor) <= at_once else at_once


def _slots(executor: Executor) -> int:
    """Return how many leases an executor runs at once; 0 where it does not say."""
    client: Any = getattr(executor, "_client", None)
    if hasattr(client, "nthreads"):  # Dask's; clusters grow and shrink
        with suppress(Exception):  # one that is closed: `submit` says so
            return sum(client.nthreads().values())
    slots = getattr(executor, "_max_workers", None)
    return slots if isinstance(slots, int) else 0


def lease_calls(threads: int) -> int:
    """Return the number of calls in a lease."""
    return min(_MAX_CALLS, _ROUNDS * threads)
