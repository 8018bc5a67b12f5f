"""Runs of many calls in a session: their costs in budget and ledger, and their progress as text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Protocol, TypeVar

from puq_magics.core.errors import (
    APIError,
    InputError,
    OneLineInterrupt,
    PolicyError,
    PuqError,
    RecordingError,
)
from puq_magics.core.files import expand_path
from puq_magics.core.secret import redact_json, redact_secrets
from puq_magics.core.suggestions import did_you_mean
from puq_magics.core.text import one_line, pluralize
from puq_magics.experiments.calls import CallOutcome, CallSpec
from puq_magics.experiments.journal import check_is_journal_path
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.limiter import START
from puq_magics.experiments.mapping import journal_folder
from puq_magics.experiments.runner import OnEvent, RunProgress, RunSettings
from puq_magics.magics.views import is_live
from puq_magics.outputs.paths import notebook_folder, relative_to_notebook
from puq_magics.outputs.results.footer import Footer, format_credits
from puq_magics.outputs.results.provenance import ANSWERS_KEY, METADATA_KEY
from puq_magics.outputs.views.run import RunView
from puq_magics.prompts.token_estimate import estimate_message_tokens
from puq_magics.session.account import Account
from puq_magics.session.budget import CallInfo, usage_or_estimate
from puq_magics.session.calls import make_provenance, may_be_charged
from puq_magics.session.ledger import LedgerEntry, outcome_of
from puq_magics.session.session import Session

R = TypeVar("R")


class RunAnswers(Protocol):
    """Answers of a run, as its cell shows them."""

    already_displayed: bool
    progress: RunProgress

    @property
    def cost(self) -> float | None:
        """Estimated cost of all answers in credits, those from the journal among them."""

    def labelled_answers(self) -> Iterable[tuple[str, str]]:
        """Yield each answer, or its error, with what it answers."""

    def _repr_mimebundle_(self) -> dict[str, str]: ...


A = TypeVar("A", bound=RunAnswers)
_MAX_ERRORS_SHOWN = 5
#: Bounds of the answers that a notebook keeps for ``%puq_audit --export``, in characters: of one, of all.
_MAX_ANSWER_CHARS, _MAX_ANSWERS_CHARS = 2_000, 40_000
_BALANCE_INTERVAL = 5.0  # seconds between two looks at the balance while a budget is set


class RunInterrupted(OneLineInterrupt):
    """The user stopped a run; what it has is kept."""


class SessionMeter:
    """Reserves and records the costs of a run's calls; called from several threads."""

    def __init__(self, session: Session, account: Account, host: str, *, over_budget: bool = False) -> None:
        self._session = session
        self._account = account
        self._host = host
        self._over_budget = over_budget
        self._cell = str(session.cell_tracker.number or "")
        self._lock = Lock()
        self._looked_at = 0.0

    def reserve(self, spec: CallSpec) -> Callable[[], None]:
        """Reserve the estimated cost of a call, and return what releases it. Raises BudgetError and PolicyError."""
        with self._lock:
            refresh = monotonic() - self._looked_at > _BALANCE_INTERVAL
            if refresh:
                self._looked_at = monotonic()
        reservation = ExitStack()
        # Outside of the lock: one thread looks at the balance, the others do not wait for it.
        reservation.enter_context(
            self._session.reserve(
                self._account, call_info(spec), over_budget=self._over_budget, refresh=refresh
            )
        )
        return reservation.close

    def record(self, spec: CallSpec, outcome: CallOutcome, error: PuqError | None) -> None:
        """Record a call that has ended, and set its cost."""
        if (policy := self._session.policy) is not None:
            outcome.text, outcome.data = policy.redact(outcome.text), redact_json(outcome.data, policy.redact)
        info = call_info(spec)
        usage = usage_or_estimate(outcome.usage, info.prompt_tokens, outcome.text)
        if outcome.text:
            if outcome.cost is None:
                outcome.cost = self._account.cost(spec.model, usage)
            self._account.costs.record(info, outcome.cost, usage)
        elif isinstance(error, APIError) and may_be_charged(error):
            self._account.charge_estimate(info)
        if not outcome.attempts:
            return
        self._session.ledger.record(
            LedgerEntry(
                host=self._host,
                kind="chat",
                model=outcome.model or spec.model,
                cell=self._cell,
                prompt_tokens=usage.prompt_tokens if usage else None,
                completion_tokens=usage.completion_tokens if usage else None,
                total_tokens=usage.total_tokens if usage else None,
                seconds=outcome.seconds,
                cost=outcome.cost,
                outcome=outcome_of(None if outcome.text else error),
            )
        )


@dataclass(frozen=True)
class SandboxToken:
    """Returns the token of the local router, which is no key: it opens that router alone."""

    token: str = field(repr=False)

    def __call__(self) -> str:
        """Return the token."""
        return self.token


def find_executor(
    session: Session, args: argparse.Namespace, variables: Mapping[str, Any]
) -> tuple[Executor | None, GetKey | None]:
    """Return the executor of ``--executor`` and what gives its workers the key. Raises InputError.

    With a cassette, threads of this process make the calls.
    """
    executor: Any = None if args.executor is None else _find_variable(args.executor, "--executor", variables)
    get_key: Any = None
    if args.worker_key is not None:
        get_key = _find_variable(args.worker_key, "--worker-key", variables)
        if not callable(get_key):
            raise InputError(f"{args.worker_key} is not a function.", hint="Name one that returns the key.")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        hint = "Give a concurrent.futures.Executor, such as ProcessPoolExecutor(), or Dask's client.get_executor()."
        raise InputError(f"{args.executor} is a {type(executor).__name__}, not an executor.", hint=hint)
    if session.has_cassette:
        return None, None
    if executor is not None and get_key is None and session.effective.is_sandbox:
        get_key = SandboxToken(session.start_sandbox().token)
    return executor, get_key


def _find_variable(name: str, option: str, variables: Mapping[str, Any]) -> Any:
    if name not in variables:
        raise InputError(
            f"{option}: there is no variable named {name!r}.", hint=did_you_mean(name, variables)
        )
    return variables[name]


def journal_path(session: Session, args: argparse.Namespace, prompt: str) -> Path:
    """Return the folder of the journal, that of ``--journal`` or the prompt's own. Raises InputError.

    With a cassette, which keeps the answers itself, it is a new temporary one: each run makes all of its calls.
    """
    if args.journal is None:
        folder = session.cassette.new_journal_folder() if session.has_cassette else notebook_folder()
        return journal_folder(folder, prompt)
    return check_is_journal_path(expand_path(args.journal))


def show_run(
    session: Session,
    args: argparse.Namespace,
    info: CallInfo,
    remote: tuple[Executor | None, GetKey | None],
    start: Callable[[RunSettings, OnEvent, Callable[[R], None]], tuple[R, PuqError | None]],
    finish: Callable[[R], A],
) -> A:
    """Run many calls, show how it goes and what came of it, and return that.

    ``info`` says, for the output's metadata, what is asked of which models. ``start`` makes the calls; its last
    argument gets the result so far at an interrupt. ``finish`` stores a result, complete or not, and returns what
    the cell shows. Raises PuqError and RunInterrupted.
    """
    router, account = session.router(), session.account()
    account.model_list.fetch_in_background(balance=True)
    account.model_list.wait()  # the prices, by which each call is recorded
    meter = SessionMeter(session, account, router.address.host, over_budget=args.over_budget)
    requested_at = datetime.now(UTC)
    view = RunView(in_notebook=session.in_notebook, live=is_live(session), quiet=args.quiet)

    def show_progress(progress: RunProgress) -> None:
        is_lowered = progress.limit < min(args.workers, START)
        view.show_progress(progress.done, progress.total, format_progress(progress, is_lowered))

    def show(result: R) -> A:
        answers = finish(result)
        if session.has_cassette:  # a replay takes another time
            answers.progress = replace(answers.progress, seconds=0.0)
        provenance = make_provenance(session, info, info.model, answers.cost, requested_at)
        kept = _first_answers(answers.labelled_answers())
        metadata = {METADATA_KEY: [provenance.to_json()], ANSWERS_KEY: kept}
        view.show_summary(answers._repr_mimebundle_(), metadata=metadata)
        session.mark_displayed(answers, is_quiet=args.quiet)
        return answers

    partial: list[R] = []
    try:
        settings = RunSettings(router, args.workers, meter, *remote)
        result, problem = start(settings, show_progress, partial.append)
    except KeyboardInterrupt:
        if partial:
            show(partial[0])
        raise RunInterrupted(
            "the run was interrupted; what has arrived is in the journal. Run the cell again to go on."
        ) from None
    answers = show(result)
    if problem is not None:
        if not isinstance(problem, PolicyError | RecordingError):  # the same cell would meet the same end
            problem.extend_hint("The answers so far are kept; run the cell again to go on.")
        raise problem
    return answers


def _first_answers(answers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the first answers of a run, for the output's metadata, how many there are, and how many are cut."""
    kept: list[tuple[str, str]] = []
    left, total, cut = _MAX_ANSWERS_CHARS, 0, 0
    for label, text in answers:
        total += 1
        if left > 0:
            label, text = one_line(redact_secrets(label), 200), redact_secrets(text)
            if len(text) > _MAX_ANSWER_CHARS:
                text = f"{text[:_MAX_ANSWER_CHARS]} …"
                cut += 1
            kept.append((label, text))
            left -= len(label) + len(text)
    return {"answers": kept, "total": total, "cut": cut}


def run_footer(progress: RunProgress, journal: Path, notes: Sequence[str], model: str = "") -> Footer:
    """Return the footer of a run: the model, its calls, their cost, seconds and the journal, and what is amiss."""
    facts = [model] if model else []
    facts.append(pluralize(progress.made, "call"))
    if progress.from_journal:
        facts.append(f"{progress.from_journal:,} of {progress.total:,} were there")
    if progress.cost is not None:
        facts.append(f"about {format_credits(progress.cost)}")
    facts += [format_seconds(progress.seconds)] if progress.seconds else []
    below = relative_to_notebook(journal)
    facts.append(f"journal: {below.as_posix() if below else journal.name}")
    if progress.ending:
        still = f"up to {pluralize(progress.ending, 'call')} still under way: their answers go to the journal, too"
        notes = [*notes, f"{still}; the next run waits for them"]
    return Footer(tuple(facts), tuple(notes))


def error_lines(errors: Mapping[str, int]) -> list[str]:
    """Return the most frequent errors of a run, one a line."""
    lines = [f"{number:,} × {error}" for error, number in errors.items()]
    others = len(lines) - _MAX_ERRORS_SHOWN
    return (
        [*lines[:_MAX_ERRORS_SHOWN], f"{pluralize(others, 'other error')}: _puq.errors()"]
        if others > 0
        else lines
    )


def full_cost_lines(session: Session, whole: str, costs: tuple[float, float] | None) -> list[str]:
    """Return a sentence on what the whole would cost, after a part of it; none if that is unknown."""
    if costs is None:
        return []
    low, high = (format_credits(cost).removesuffix(" credits") for cost in costs)
    span = high if low == high else f"{low} to {high}"
    try:
        balance = f" (the balance is {format_credits(session.account().balance(quick=True))})"
    except APIError:
        balance = ""
    goes_on = "without --limit and --sample the run goes on from here."
    return [f"{whole} would cost about {span} credits{balance}; {goes_on}"]


def call_info(spec: CallSpec) -> CallInfo:
    """Return what budget and estimate need to know of a call."""
    return CallInfo(
        "chat",
        spec.model,
        estimate_message_tokens(spec.messages),
        max_tokens=spec.max_tokens,
        params=spec.params,
    )


def format_progress(progress: RunProgress, limit_is_lowered: bool = False) -> str:
    """Return the state of a run in one line: done, rate, time left, cost, failures, limit."""
    facts = [f"{progress.done:,} of {progress.total:,}"]
    if progress.rate and not progress.ending:
        facts.append(f"{progress.rate:,.1f} a second")
    if progress.seconds_left is not None and progress.done < progress.total and not progress.ending:
        facts.append(f"{format_seconds(progress.seconds_left)} left")
    if progress.cost is not None:
        facts.append(f"about {format_credits(progress.cost)}")
    if progress.failed:
        facts.append(f"{progress.failed:,} failed")
    if progress.ending:
        facts.append(f"stopped, waiting for up to {pluralize(progress.ending, 'call')} under way")
    else:
        facts.append(f"{progress.limit} at once{' (the router asks for fewer)' if limit_is_lowered else ''}")
    return " · ".join(facts)


def format_seconds(seconds: float) -> str:
    """Return a duration for people: ``0.4 s``, ``8 s``, ``3 min``, ``2 h 5 min``."""
    if 0 < seconds < 1:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
