"""Run paid calls: check the budget, send, process and store the result, record the cost, show it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import file_digest
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from puq_magics.api.request import Request, Timing
from puq_magics.api.types import Usage
from puq_magics.core.errors import (
    BUG_HINT,
    APIConnectionError,
    APIError,
    APIStatusError,
    InputError,
    InvalidResponseError,
    PuqError,
    RedirectError,
)
from puq_magics.core.text import one_line, wrap_error
from puq_magics.outputs.results.base import INCOMPLETE, INTERRUPTED, Result
from puq_magics.outputs.results.provenance import Provenance, describe_params, hash_cell, hash_content
from puq_magics.outputs.views.view import CallView
from puq_magics.session.budget import CallInfo
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.api.base_url import BaseURL
    from puq_magics.api.client import Router
    from puq_magics.session.account import Account

#: Seconds to wait at the end of an answer for a model list that is being fetched: from a router elsewhere; and from
#: one on this machine or a cassette, which seldom takes long, so that the same cells show the same costs.
_PRICES_TIMEOUT, _NEAR_PRICES_TIMEOUT = 0.3, 5.0

R = TypeVar("R", bound=Result)
V = TypeVar("V", bound=CallView, contravariant=True)


class Call(Protocol[R, V]):
    """One request and its answer, as far as it arrived."""

    @property
    def info(self) -> CallInfo:
        """Facts for the budget and the ledger, known before the call is made."""

    def request(self, router: Router) -> Request:
        """Return the request that ``run`` sends."""

    def run(self, router: Router, view: V) -> None:
        """Send the request and receive the answer; keep what arrives. Raises PuqError and KeyboardInterrupt."""

    def result(self, status: str) -> R:
        """Return the answer as far as it arrived."""

    def usage(self) -> Usage | None:
        """Return the tokens used: the router's count, else an estimate; None if neither is possible."""

    def finalize(self, result: R) -> None:
        """Process the result before it is recorded and shown: its data, code, file and turn.

        A PuqError that it raises is raised by ``run_call``, once the result is shown.
        """


class Interrupted(KeyboardInterrupt):
    """Raised when the user stops a call; its partial result is kept.

    A KeyboardInterrupt, so that Run All stops and ``except Exception`` does not catch it; IPython renders it as
    the one line that ``_render_traceback_`` gives.
    """

    #: The answer as far as it arrived.
    result: Result | None = None

    @classmethod
    def with_result(cls, result: Result) -> Interrupted:
        """Return the interrupt of a call with this result."""
        interrupt = cls("the answer was interrupted")
        interrupt.result = result
        return interrupt

    def _render_traceback_(self) -> list[str]:
        kept = "Nothing was received."
        if self.result is not None and self.result.has_content:
            what = "partial answer" if self.result.status else "whole answer"
            kept = f"The {what} is in _puq. {self.result.resume_hint}".rstrip()
        return wrap_error([f"KeyboardInterrupt: the answer was interrupted. {kept}"])


def run_call(
    session: Session, call: Call[R, V], view: V, out: str | None = None, *, over_budget: bool = False
) -> R:
    """Make a call in five steps: reserve its cost, run it, finalize, record and show its result.

    The result is stored as soon as there is one, in ``_puq`` and in the variable ``out``, and the last three steps
    are each made even if the one before fails. A call that fails after a part of its answer has arrived has a
    result, too; its error is raised at the end. Raises BudgetError before anything is sent, unless ``over_budget``;
    PolicyError, Interrupted, APIError, and what ``finalize`` raises.
    """
    with ExitStack() as reservation:
        return _make_call(session, call, GuardedView(view), out, reservation, over_budget=over_budget)


def _make_call(
    session: Session,
    call: Call[R, V],
    guarded_view: GuardedView,
    out: str | None,
    reservation: ExitStack,
    *,
    over_budget: bool,
) -> R:
    router, account = session.router(), session.account()
    router.take_timing()

    def _reserve() -> None:
        reservation.enter_context(session.reserve(account, call.info, over_budget=over_budget))

    requested_at = datetime.now(UTC)
    started_at, problem = _reserve_and_run(router, account, call, cast(V, guarded_view), _reserve)
    is_interrupted = isinstance(problem, KeyboardInterrupt)
    result = call.result(_status(problem))
    result.latency = None if started_at is None else monotonic() - started_at
    _set_recorded_times(result, router.take_timing())
    session.redact(result, problem)
    is_shown = problem is None or is_interrupted or result.has_content
    processing_problem: PuqError | KeyboardInterrupt | None = None
    try:
        if is_shown:
            processing_problem = _finalize(session, call, result, out)
    finally:
        try:
            if started_at is not None:
                is_interrupted |= _record(
                    session, account, router.address, call, result, problem, requested_at
                )
        finally:
            result.add_up()
            _show(session, guarded_view, result if is_shown else None)
    if is_interrupted or isinstance(processing_problem, KeyboardInterrupt):
        raise Interrupted.with_result(result)  # a new one: the frames of the first may hold the key
    if isinstance(problem, APIError):
        _add_hints(session, call.info, result, problem)
        if processing_problem is not None:
            problem.extend_hint(str(processing_problem))
        raise problem
    if processing_problem is not None:
        raise processing_problem
    return result


def _finalize(
    session: Session, call: Call[R, V], result: R, out: str | None
) -> PuqError | KeyboardInterrupt | None:
    """Store and process a result; return what prevented that, if anything."""
    try:
        session.store_result(result, out)
        call.finalize(result)
    except (PuqError, KeyboardInterrupt) as problem:
        return problem
    return None


def _set_recorded_times(result: Result, timing: Timing | None) -> None:
    """Set the times of a recorded answer, so that each replay shows the same ones."""
    if timing is None or result.status:
        return
    result.latency = timing.seconds
    if result.time_to_first_token is not None:
        result.time_to_first_token = timing.first


def to_curl(session: Session, call: Call[R, V]) -> str:
    """Return the request of a call as a ``curl`` line without the key."""
    router = session.router(allow_keyless=True)
    return call.request(router).to_curl(router.address, router.auth_scheme)


@contextmanager
def unsaved_hint(subject: str) -> Iterator[None]:
    """Add to an InputError of saving a result that it can be saved again; ``subject`` is like ``The text is``."""
    try:
        yield
    except InputError as error:
        error.extend_hint(f"{subject} in _puq: _puq.save(…)")
        raise


def _reserve_and_run(
    router: Router, account: Account, call: Call[R, V], view: V, reserve: Callable[[], None]
) -> tuple[float | None, APIError | KeyboardInterrupt | None]:
    """Return when the call was started (None: an interrupt was earlier), and what ended it early, if anything."""
    started_at = None
    try:
        reserve()
        started_at = monotonic()
        # The prices, which are needed at the end, are fetched while the answer arrives.
        account.model_list.fetch_in_background(balance=True)
        call.run(router, view)
    except (APIError, KeyboardInterrupt) as exc:
        return started_at, exc
    except Exception as exc:
        if started_at is None or isinstance(exc, PuqError):
            view.abandon()
            raise
        # A fault of this package; what had come is kept all the same.
        reason = one_line(f"{type(exc).__name__}: {exc}", 200)
        return started_at, InvalidResponseError(f"the answer could not be read ({reason}).", hint=BUG_HINT)
    except BaseException:
        view.abandon()
        raise
    return started_at, None


def _record(
    session: Session,
    account: Account,
    address: BaseURL,
    call: Call[R, V],
    result: R,
    problem: APIError | KeyboardInterrupt | None,
    requested_at: datetime,
) -> bool:
    """Record the cost, the provenance, and the call in the ledger; return whether the user interrupted this."""
    try:
        is_near = address.is_loopback or session.is_replaying
        _record_cost(account, call, result, problem, _NEAR_PRICES_TIMEOUT if is_near else _PRICES_TIMEOUT)
        result.provenance = make_provenance(session, call.info, result.model, result.cost, requested_at)
    except KeyboardInterrupt:
        return True
    finally:
        _record_in_ledger(session, address.host, call.info, result, problem)
    return False


def _record_cost(
    account: Account,
    call: Call[R, V],
    result: R,
    problem: APIError | KeyboardInterrupt | None,
    prices_timeout: float,
) -> None:
    usage = call.usage()
    has_data = result.has_content or (
        getattr(problem, "partial", None) and (usage or call.info.kind != "chat")
    )
    if problem is None or (has_data and not isinstance(problem, APIStatusError)):
        account.model_list.wait(prices_timeout if problem is None else 0.0)
        result.cost = account.record_cost(call.info, usage, complete=problem is None)
        result.tells_unknown_cost = call.info.kind != "chat"
    elif may_be_charged(problem):
        account.charge_estimate(call.info)


def may_be_charged(problem: APIError | KeyboardInterrupt | None) -> bool:
    """Return whether a call without an answer may have been processed, and so charged."""
    if isinstance(problem, APIStatusError):
        return problem.status >= 500 and problem.status != 503  # by 503 a server takes no request
    if isinstance(problem, APIConnectionError):
        return problem.was_sent
    return isinstance(problem, InvalidResponseError | KeyboardInterrupt) and not isinstance(
        problem, RedirectError
    )


def _record_in_ledger(
    session: Session, host: str, info: CallInfo, result: Result, problem: BaseException | None
) -> None:
    # Imported here, so that the first request does not wait for it.
    from puq_magics.session.ledger import LedgerEntry, outcome_of

    usage = result.usage
    session.ledger.record(
        LedgerEntry(
            host=host,
            kind=info.kind,
            model=info.model,
            cell=str(session.cell_tracker.number or ""),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            total_tokens=usage.total_tokens if usage else None,
            characters=info.characters if result.has_content else None,  # nothing was spoken
            images=len(getattr(result, "images", ())) if info.kind == "image" else None,
            audio_seconds=getattr(result, "duration", None),
            seconds=result.latency,
            time_to_first_token=result.time_to_first_token,
            cost=result.cost,
            outcome=outcome_of(problem),
        )
    )


def make_provenance(
    session: Session, info: CallInfo, model: str, cost: float | None, at: datetime
) -> Provenance:
    """Return how an answer of the running cell came about, for the metadata of its output."""
    content = info.content
    if callable(content):
        try:
            with content() as file:
                messages_hash = file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError):  # it has gone since
            messages_hash = ""
    else:
        messages_hash = hash_content(content)
    return Provenance(
        kind=info.kind,
        requested_model=info.model,
        model=model,
        params=describe_params(info.params),
        messages_hash=messages_hash,
        at=at,
        cost=cost,
        cell_hash=hash_cell(session.cell_tracker.source),
    )


class GuardedView:
    """Passes calls on to a view until one fails: an error of showing ends the showing, and not the call."""

    def __init__(self, view: CallView) -> None:
        self._view = view
        self.is_quiet: bool = view.is_quiet
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._view, name)

        def _guarded(*args: Any, **kwargs: Any) -> Any:
            if self.error is None:
                try:
                    return method(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 - a front end's hook may raise anything
                    self.error = error
            return None

        setattr(self, name, _guarded)
        return _guarded


def _show(session: Session, view: GuardedView, result: Result | None) -> None:
    if result is None:
        view.abandon()
        return
    view.show_result(result)
    if view.error is None:
        session.mark_displayed(result, is_quiet=view.is_quiet)
    else:
        _show_as_text(result, view.error)


def _show_as_text(result: Result, error: Exception) -> None:
    """Print a result whose view failed, as far as that is possible."""
    from puq_magics.outputs.control_chars import strip_control_chars
    from puq_magics.outputs.views.stdout import Stdout

    reason = one_line(f"{type(error).__name__}: {error}", 200)
    with suppress(Exception):  # standard output may be closed, too
        Stdout().write(f"{strip_control_chars(str(result))}\n")
    with suppress(Exception):
        sys.stderr.write(f"The answer is in _puq; showing it failed ({reason}).\n")


def _add_hints(session: Session, info: CallInfo, result: Result, error: APIError) -> None:
    """Say in an error what to do next in a notebook, and how to get the rest of a partial result."""
    if isinstance(error, APIStatusError):
        from puq_magics.session.error_hints import add_hint

        add_hint(error, session, info)
    error.extend_hint(result.resume_hint)


def _status(problem: APIError | KeyboardInterrupt | None) -> str:
    if problem is None:
        return ""
    return INTERRUPTED if isinstance(problem, KeyboardInterrupt) else INCOMPLETE
