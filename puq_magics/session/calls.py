"""The one door for every paid call: budget, router, what is kept, what is noted."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from puq_magics.api.request import Request, Retry
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIError, APIStatusError, APITimeoutError, InvalidResponseError
from puq_magics.outputs.results.base import INTERRUPTED, Result
from puq_magics.session.budget import CallInfo
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.session.account import Account

_PRICES_TIMEOUT = 0.3  # seconds to wait at an answer's end for a list of prices that is on its way

R = TypeVar("R", bound=Result)
V = TypeVar("V", bound="CallView", contravariant=True)


class CallView(Protocol):
    """What shows a call, whatever it is for."""

    def prepare(self) -> None:
        """Make ready what showing needs; called beside the blocking call, from another thread."""

    def show_waiting(self, seconds: float) -> None:
        """Nothing has come yet; called beside the blocking call, from another thread."""

    def show_retry(self, retry: Retry) -> None:
        """The request is about to be made again."""

    def abandon(self) -> None:
        """There is no answer; an error says why."""


class Call(Protocol[R, V]):
    """One question and its answer, as far as it came."""

    @property
    def info(self) -> CallInfo:
        """What is known of it before it is made."""

    def request(self, router: Router) -> Request:
        """What ``run`` sends."""

    def run(self, router: Router, view: V) -> None:
        """Ask, and take in the answer. Raises PuqError, and KeyboardInterrupt; what came until then is kept."""

    def result(self, status: str) -> R:
        """The answer as far as it came."""

    def usage(self) -> Usage | None:
        """The tokens that it used: as the router counts them, else estimated; None when there is nothing to go by."""

    def show(self, result: R, view: V) -> None:
        """Show it for good."""


class Interrupted(KeyboardInterrupt):
    """The user stopped an answer; what had come is kept.

    A KeyboardInterrupt, so that Run All stops and ``except Exception`` does not swallow it; IPython renders it as
    the one line that ``_render_traceback_`` gives.
    """

    #: The answer as far as it came.
    result: Result | None = None

    @classmethod
    def with_result(cls, result: Result) -> Interrupted:
        """The interrupt of this answer."""
        interrupt = cls("the answer was interrupted")
        interrupt.result = result
        return interrupt

    def _render_traceback_(self) -> list[str]:
        kept = "Nothing had come."
        if self.result is not None and self.result.has_content:
            kept = f"What had come is kept in _puq. {self.result.resume_hint}".rstrip()
        return [f"KeyboardInterrupt: the answer was interrupted. {kept}"]


def run_call(session: Session, call: Call[R, V], view: V, out: str | None = None) -> R:
    """Ask, show the answer, and keep it: in ``_puq``, and in the variable ``out``.

    An answer that breaks off is shown and kept as far as it came; then its error is raised. An interrupt raises
    Interrupted. Raises BudgetError before anything is sent.
    """
    info = call.info
    router = session.router()
    account = session.account()
    started: list[float] = []
    reserved, stopped = 0.0, False
    problem: APIError | KeyboardInterrupt | None = None
    try:
        reserved = account.reserve(info)
        started.append(monotonic())
        account.model_list.fetch_in_background(
            balance=True
        )  # what is needed at the end, while the answer is on its way
        call.run(router, view)
    except (APIError, KeyboardInterrupt) as exc:
        problem = exc
    except BaseException:
        view.abandon()
        raise
    finally:
        account.costs.release(reserved)
    result = call.result(_stop_reason(problem))
    if started:
        result.latency = monotonic() - started[0]
        stopped = _record_cost(account, call, result, problem)
    try:
        _store_and_show(session, call, result, problem, view, out)
    finally:
        if started:
            _record_in_ledger(session, router.address.host, info, result, problem)
    if isinstance(problem, APIStatusError):
        from puq_magics.session.error_hints import add_hint

        add_hint(problem, session, info)
    if stopped or isinstance(problem, KeyboardInterrupt):
        raise Interrupted.with_result(result)  # afresh: the frames of the old one may hold the key
    if problem is not None:
        problem.hint = f"{problem.hint} {result.resume_hint}".strip()
        raise problem
    return result


def to_curl(session: Session, call: Call[R, V]) -> str:
    """What a call would send, as a key-free ``curl`` line."""
    router = session.router(allow_keyless=True)
    return call.request(router).to_curl(router.address, router.auth_scheme)


def _store_and_show(
    session: Session, call: Call[R, V], result: R, problem: object, view: V, out: str | None
) -> None:
    if problem is not None and not result.has_content and not isinstance(problem, KeyboardInterrupt):
        view.abandon()
        return
    session.store_result(result, out)
    call.show(result, view)
    session.mark_displayed(result)


def _record_cost(
    account: Account, call: Call[R, V], result: R, problem: APIError | KeyboardInterrupt | None
) -> bool:
    """Work out what it cost; True when a person has stopped that: the answer is not lost by it."""
    came = result.has_content or getattr(problem, "partial", None)
    try:
        if problem is None or (came and not isinstance(problem, APIStatusError)):
            account.model_list.wait(_PRICES_TIMEOUT if problem is None else 0.0)
            result.cost = account.record_cost(call.info, call.usage(), complete=problem is None)
        elif isinstance(problem, InvalidResponseError | APITimeoutError | KeyboardInterrupt):
            account.charge_estimate(call.info)
    except KeyboardInterrupt:
        return True
    return False


def _record_in_ledger(
    session: Session, host: str, info: CallInfo, result: Result, problem: BaseException | None
) -> None:
    """Write the call into the ledger."""
    from puq_magics.session.ledger import (  # here: the first question does not wait for it
        LedgerEntry,
        outcome_of,
    )

    usage = result.usage
    session.ledger.record(
        LedgerEntry(
            host=host,
            kind=info.kind,
            model=info.model,
            cell=str(session.shell.execution_count),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            total_tokens=usage.total_tokens if usage else None,
            characters=info.characters,
            images=len(getattr(result, "images", ())) if info.kind == "image" else None,
            audio_seconds=getattr(result, "duration", None),
            seconds=result.latency,
            time_to_first_token=result.time_to_first_token,
            cost=result.cost,
            outcome=outcome_of(problem),
        )
    )


def _stop_reason(problem: APIError | KeyboardInterrupt | None) -> str:
    if problem is None:
        return ""
    return INTERRUPTED if isinstance(problem, KeyboardInterrupt) else "broken off"
