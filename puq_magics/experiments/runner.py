"""Runner of many calls: on threads or on an executor's processes, with one thread that writes the journal."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Protocol, TypeVar

from puq_magics.api.client import Router
from puq_magics.core.errors import BUG_HINT, APIConnectionError, PuqError
from puq_magics.core.text import one_line
from puq_magics.core.threads import start_daemon
from puq_magics.experiments.calls import CallOutcome, CallSpec, repair_notes
from puq_magics.experiments.journal import Journal
from puq_magics.experiments.leases import (
    GetKey,
    Lease,
    OutcomeAndError,
    check_is_sendable,
    is_process_pool,
    lease_calls,
    lease_threads,
    max_leases,
    run_lease,
)
from puq_magics.experiments.limiter import AdaptiveLimiter
from puq_magics.experiments.worker import CallWorker, RunStoppedError, ends_model, ends_run, worker_fault
from puq_magics.prompts.schema.schema import Schema

R = TypeVar("R")
#: Failures in a row that end a run.
MAX_CONSECUTIVE_FAILURES = 20
#: Times that a call is given to a worker that dies.
MAX_LOSSES = 3
#: Errors of executors whose workers were lost; Dask's by name, as it may not be there.
_LOSSES = frozenset({"BrokenExecutor", "CancelledError", "CommClosedError", "KilledWorker"})
_WRITE_INTERVAL = 0.25  # seconds of answers that are written, and waited for, together
_EVENT_INTERVAL = 0.2  # seconds between two events
_STOP_TIMEOUT = 0.7  # seconds in which calls under way may end after an interrupt
_STOP_INTERVAL = 0.1  # seconds in which who waits for leases learns of a stop
_LEASE_TIMEOUT = 120.0  # seconds in which leases may end after a stop, as a chat may take them


#: Releases what was reserved for a call.
Release = Callable[[], None]
LeaseFuture = Future[list[OutcomeAndError]]
ReservedCalls = Sequence[tuple[CallSpec, Release]]


class Meter(Protocol):
    """Knows what calls cost, and what may be spent; called from several threads."""

    def reserve(self, spec: CallSpec) -> Release:
        """Reserve the estimated cost of a call. Raises PuqError for one too many, which ends the run."""

    def record(self, spec: CallSpec, outcome: CallOutcome, error: PuqError | None) -> None:
        """Record a call that has ended, and set its cost; what was reserved is released afterwards."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """State of a run; an event has the calls that have finished since the one before."""

    total: int
    #: Finished calls, those that the journal had among them.
    done: int = 0
    from_journal: int = 0
    #: Finished calls that were never sent, as their model cannot be used.
    unsent: int = 0
    failed: int = 0
    #: Credits of the calls of this run; None if unknown for all of them.
    cost: float | None = None
    seconds: float = 0.0
    #: Calls that may be under way.
    limit: int = 0
    #: Calls that may still be under way, though the run was stopped.
    ending: int = 0
    finished: Sequence[CallOutcome] = ()

    @property
    def rate(self) -> float:
        """Calls a second in this run."""
        return self.made / self.seconds if self.seconds else 0.0

    @property
    def made(self) -> int:
        """Calls that this run has made."""
        return self.done - self.from_journal - self.unsent

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end, at this rate; None if unknown."""
        return (self.total - self.done) / self.rate if self.rate else None


OnEvent = Callable[[RunProgress], None]


@dataclass(frozen=True)
class RunSettings:
    """Router of a run, the number of calls at once, and the processes that make them."""

    router: Router
    #: The most calls at once.
    workers: int = 16
    meter: Meter | None = None
    #: Makes the calls in other processes, by leases; None for threads of this one.
    executor: Executor | None = None
    #: Returns the key in those processes; None for that of their environment.
    get_key: GetKey | None = None


@dataclass
class Run:
    """Calls to make, each once; ``outcomes`` has those that are finished."""

    specs: Sequence[CallSpec]
    settings: RunSettings
    journal: Journal
    schema: Schema | None = None
    #: The error that ended the run early; None if it did not.
    problem: PuqError | None = None

    def __post_init__(self) -> None:
        kept = self.journal.outcomes
        # One call a key, however many rows ask it; failures that may pass are tried again.
        unique = {spec.key: spec for spec in self.specs}
        self.outcomes = {
            key: outcome for key in unique if (outcome := kept.get(key)) is not None and outcome.is_settled
        }
        self._progress = RunProgress(
            len(unique),
            len(self.outcomes),
            len(self.outcomes),
            failed=sum(bool(outcome.error) for outcome in self.outcomes.values()),
        )
        self._made: list[CallOutcome] = []  # by this run, in order of their ends
        self._waiting = deque(spec for key, spec in unique.items() if key not in self.outcomes)
        self._limiter = AdaptiveLimiter(self.settings.workers)
        self._finished: SimpleQueue[CallOutcome] = SimpleQueue()
        self._worker_count, self._workers_ended, self._ended = 0, threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._consecutive_failures = 0
        self._unavailable: dict[str, PuqError] = {}
        self._leases: dict[LeaseFuture, ReservedCalls] = {}
        self._losses = Counter[str]()
        self.journal.ending_timeout = max(_LEASE_TIMEOUT, self.settings.router.timeout or 0.0)

    @property
    def progress(self) -> RunProgress:
        """The state now."""
        ending = 0
        if self._limiter.is_stopped and not self._ended.is_set():
            ending = self._limiter.running + sum(map(len, self._leases.copy().values()))
        return replace(self._progress, limit=self._limiter.limit, ending=ending)

    @property
    def notes(self) -> list[str]:
        """Notes on the journal, on calls that may have been paid twice, and on repaired answers."""
        notes = list(self.journal.notes)
        if unfinished := {spec.key for spec in self.specs} & self.journal.unfinished:
            notes.append(_repeat_note(len(unfinished), "under way when an earlier run ended"))
        if self._losses:
            notes.append(_repeat_note(len(self._losses), "lost with their workers"))
        return [*notes, *repair_notes(self.outcomes.copy().values())]

    def run(self, on_event: OnEvent = lambda _: None) -> None:
        """Make the calls; ``on_event`` is called in this thread, some times a second.

        A KeyboardInterrupt is raised within a second. Calls that are under way then end in the background, and their
        answers are written to the journal, which is closed at the end.
        """
        try:
            self._start()
            seen = 0
            while not self._ended.wait(_EVENT_INTERVAL):
                seen = self._report(on_event, seen)
            self._report(on_event, seen)
        except BaseException:
            self._limiter.stop()
            self._ended.wait(_STOP_TIMEOUT)
            raise

    def run_to(
        self, result: Callable[[], R], on_event: OnEvent, on_interrupt: Callable[[R], None]
    ) -> tuple[R, PuqError | None]:
        """Make the calls; return the result, and the error that stopped the run early, if one did.

        At an interrupt ``on_interrupt`` gets the result so far.
        """
        try:
            self.run(on_event)
        except KeyboardInterrupt:
            on_interrupt(result())
            raise
        return result(), self.problem

    def _report(self, on_event: OnEvent, seen: int) -> int:
        finished = self._made[seen:]
        on_event(replace(self.progress, finished=finished))
        return seen + len(finished)

    def _start(self) -> None:
        self._started_at = monotonic()
        router = self.settings.router.with_max_retries(0)  # the limiter must know each refusal
        try:
            self._start_threads(router)
        except BaseException:  # no thread is there to do it
            router.close()
            self.journal.close()
            self._ended.set()
            raise

    def _start_threads(self, router: Router) -> None:
        settings = self.settings
        if settings.executor is not None:
            threads = lease_threads(settings.executor, settings.workers)
            stop_file = self.journal.stop_file
            lease = Lease.from_router(router, threads, self.schema, settings.get_key, stop_file)
            check_is_sendable(lease, settings.executor)
            targets = [partial(self._dispatch, settings.executor, lease)]
        else:
            worker = CallWorker(router, self._limiter, self.schema, self.journal.record_started)
            targets = [partial(self._work, worker)] * min(settings.workers, len(self._waiting))
        self._worker_count = len(targets)
        if not targets:
            self._workers_ended.set()
        for target in targets:
            start_daemon(self._guard, target, name="puq-worker")
        start_daemon(self._collect, router, name="puq-journal")

    def _guard(self, work: Callable[[], None]) -> None:
        """Run a worker; a fault of this package must end the run, too."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            self._stop(worker_fault(error))
        finally:
            with self._lock:
                self._worker_count -= 1
                if not self._worker_count:
                    self._workers_ended.set()

    def _work(self, worker: CallWorker) -> None:
        """Make calls in this thread until there are none."""
        while (call := self._reserve_next()) is not None:
            spec, release = call
            try:
                self._record_outcome(spec, *worker.run(spec))
            finally:
                release()

    def _reserve_next(self) -> tuple[CallSpec, Release] | None:
        """Return the next call, and what releases its reserved cost; None at the end of the run."""
        while (spec := self._next_spec()) is not None:
            if (problem := self._unavailable.get(spec.model)) is not None:
                self._finished.put(CallOutcome(spec.key, spec.model, error=problem.message, is_final=False))
                continue
            try:
                meter = self.settings.meter
                return spec, _nothing if meter is None else meter.reserve(spec)
            except PuqError as error:  # calls that are reserved may be made
                self._set_problem(error)
                self._waiting.clear()
        return None

    def _record_outcome(self, spec: CallSpec, outcome: CallOutcome, problem: PuqError | None) -> None:
        """Record a call that has ended, and hand it to the journal."""
        self._record_cost(spec, outcome, problem)
        self._stop_if_hopeless(spec, problem)
        if outcome.attempts:
            self._finished.put(outcome)

    def _record_cost(self, spec: CallSpec, outcome: CallOutcome, problem: PuqError | None) -> None:
        if self.settings.meter is None:
            return
        try:
            self.settings.meter.record(spec, outcome, problem)
        except Exception as error:  # noqa: BLE001 - the run ends, and keeps what it has received
            self._stop(worker_fault(error))

    def _dispatch(self, executor: Executor, lease: Lease) -> None:
        """Make the calls by leases."""
        size, at_once = lease_calls(lease.threads), max(1, self.settings.workers // lease.threads)
        # `wait` would not learn of futures that an executor cancels when it is shut down.
        ended: SimpleQueue[LeaseFuture] = SimpleQueue()
        try:
            while not self._limiter.is_stopped:
                while len(self._leases) < max_leases(executor, at_once) and (
                    calls := self._reserve_calls(size)
                ):
                    try:
                        future = executor.submit(run_lease, lease.with_calls([spec for spec, _ in calls]))
                    except Exception as error:  # noqa: BLE001 - each executor has its own for one that is shut down
                        self._return_calls(calls, were_sent=False)
                        self._stop(_executor_error(error))
                        break
                    self._leases[future] = calls
                    future.add_done_callback(ended.put)
                if not self._leases:
                    return
                self._record_next(executor, ended, _STOP_INTERVAL)
        finally:
            if self._leases:
                self._end_leases(executor, ended)

    def _end_leases(self, executor: Executor, ended: SimpleQueue[LeaseFuture]) -> None:
        """End leases after a stop: what a worker has sent is waited for, at most for the time of a chat."""
        self.journal.stop_processes()
        # Where no future says that it runs (Dask), any of them may, and lose its answers by being cancelled: workers
        # that see the file return what was not sent.
        if _tells_running(executor) or any(future.running() for future in self._leases):
            for future in [future for future in self._leases if future.cancel()]:
                self._return_calls(self._leases.pop(future), were_sent=False)
        deadline = monotonic() + self.journal.ending_timeout
        while self._leases and (left := deadline - monotonic()) > 0:
            self._record_next(executor, ended, left)
        for future in list(self._leases):
            future.cancel()
            self._return_calls(self._leases.pop(future), were_sent=True)

    def _reserve_calls(self, size: int) -> ReservedCalls:
        calls: list[tuple[CallSpec, Release]] = []
        while len(calls) < size and (call := self._reserve_next()) is not None:
            self.journal.record_started(call[0].key)
            calls.append(call)
        return calls

    def _record_next(self, executor: Executor, ended: SimpleQueue[LeaseFuture], timeout: float) -> None:
        """Record the calls of the next lease that ends in this time; those that were lost are made again."""
        try:
            future = ended.get(timeout=timeout)
            calls = self._leases.pop(future)
        except (Empty, KeyError):  # KeyError: cancelled here
            return
        error = None if future.cancelled() else future.exception()
        if error is not None and not _is_loss(error):  # such as a package that the worker lacks
            self._return_calls(calls, were_sent=False)
            self._stop(error if isinstance(error, PuqError) else _executor_error(error))
        elif error is not None or future.cancelled():
            self._return_calls(calls, were_sent=error is not None or not _tells_running(executor))
            if isinstance(error, BrokenExecutor) or self._losses[calls[0][0].key] >= MAX_LOSSES:
                self._stop(_executor_error(error))
        else:
            for call, (outcome, problem) in zip(calls, future.result(), strict=True):
                if isinstance(problem, RunStoppedError) and not outcome.attempts:
                    self._return_calls([call], were_sent=False)
                    continue
                self._record_outcome(call[0], outcome, problem)
                call[1]()

    def _return_calls(self, calls: ReservedCalls, *, were_sent: bool) -> None:
        """Put calls without an outcome back into the plan; those that were sent may have been charged."""
        for spec, release in calls:
            if not were_sent:
                self.journal.record_unsent(spec.key)
            else:
                self._losses[spec.key] += 1
                lost = CallOutcome(spec.key, spec.model)
                self._record_cost(spec, lost, APIConnectionError("the worker was lost."))
            release()
            self._waiting.append(spec)

    def _next_spec(self) -> CallSpec | None:
        try:
            return None if self._limiter.is_stopped else self._waiting.popleft()
        except IndexError:
            return None

    def _stop_if_hopeless(self, spec: CallSpec, problem: PuqError | None) -> None:
        """Stop the run, or the calls of one model, if others cannot do better."""
        with self._lock:
            self._consecutive_failures = 0 if problem is None else self._consecutive_failures + 1
            failures = self._consecutive_failures
        if problem is None or isinstance(problem, RunStoppedError):
            return
        if ends_run(problem):
            self._stop(problem)
        elif ends_model(problem):
            self._unavailable[spec.model] = problem
        elif failures >= MAX_CONSECUTIVE_FAILURES:
            reason = problem.message
            self._stop(
                PuqError(
                    f"{failures} calls in a row failed, the last one because {reason}",
                    hint="Fix the cause, or name another model.",
                )
            )

    def _set_problem(self, problem: PuqError) -> None:
        with self._lock:
            self.problem = self.problem or problem

    def _stop(self, problem: PuqError) -> None:
        self._set_problem(problem)
        self._limiter.stop()

    def _collect(self, router: Router) -> None:
        """Write finished calls to the journal, then count them, until all of the workers have ended."""
        try:
            # To wake up for each call would delay the others.
            while not self._workers_ended.wait(_WRITE_INTERVAL):
                self._write_finished()
            self._write_finished()
        finally:
            router.close()
            self.journal.close()
            self._ended.set()

    def _write_finished(self) -> None:
        batch = [self._finished.get() for _ in range(self._finished.qsize())]
        if not batch:
            return
        try:
            self.journal.append(batch)
        except PuqError as error:  # what was received is kept in memory at least
            self._stop(error)
        except Exception as error:  # noqa: BLE001 - calls that nobody writes must not go on
            self._stop(PuqError(f"the journal failed: {type(error).__name__}: {error}", hint=BUG_HINT))
        self.outcomes.update((outcome.key, outcome) for outcome in batch)
        self._made += batch
        before = self._progress
        costs = [outcome.cost for outcome in batch if outcome.cost is not None]
        self._progress = replace(
            before,
            done=len(self.outcomes),
            unsent=before.unsent + sum(not outcome.attempts for outcome in batch),
            failed=before.failed + sum(bool(outcome.error) for outcome in batch),
            cost=(before.cost or 0.0) + sum(costs) if costs else before.cost,
            seconds=monotonic() - self._started_at,
        )


def _tells_running(executor: Executor) -> bool:
    """Return whether a future of this executor that was cancelled has never run."""
    return isinstance(executor, ThreadPoolExecutor) or is_process_pool(executor)


def _repeat_note(count: int, what: str) -> str:
    if count == 1:
        return f"1 call was {what}; it may have been charged, and is made again"
    return f"{count:,} calls were {what}; they may have been charged, and are made again"


def _is_loss(error: BaseException) -> bool:
    """Return whether a lease may have been run, and its answers lost; no other error comes after a request."""
    return any(kind.__name__ in _LOSSES for kind in type(error).__mro__)


def _executor_error(error: BaseException | None) -> PuqError:
    text = (
        "it cancelled the calls" if error is None else f"{type(error).__name__}: {one_line(str(error), 200)}"
    )
    return PuqError(f"the executor does not run the calls ({text}).", hint="Start a new executor.")


def _nothing() -> None:
    """Release nothing."""
