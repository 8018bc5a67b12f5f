"""The one door for every paid call: budget, router, what is kept, what is noted."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from puq_magics.api.request import Request, Retry
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIError, APIStatusError, APITimeoutError, InvalidResponseError
from puq_magics.outputs.results.base import INTERRUPTED, Result
from puq_magics.session.budget import Asked
from puq_magics.session.session import Workspace

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.session.account import Account

_PRICES_PATIENCE = 0.3  # seconds to wait at an answer's end for a list of prices that is on its way

R = TypeVar("R", bound=Result)
V = TypeVar("V", bound="CallView", contravariant=True)


class CallView(Protocol):
    """What shows a call, whatever it is for."""

    def prepare(self) -> None:
        """Make ready what showing needs; called beside the blocking call, from another thread."""

    def waiting(self, seconds: float) -> None:
        """Nothing has come yet; called beside the blocking call, from another thread."""

    def retrying(self, retry: Retry) -> None:
        """The request is about to be made again."""

    def abandon(self) -> None:
        """There is no answer; an error says why."""


class Exchange(Protocol[R, V]):
    """One question and its answer, as far as it came."""

    @property
    def asked(self) -> Asked:
        """What is known of it before it is made."""

    def request(self, router: Router) -> Request:
        """What ``run`` sends."""

    def run(self, router: Router, view: V) -> None:
        """Ask, and take in the answer. Raises PuqError, and KeyboardInterrupt; what came until then is kept."""

    def result(self, broken_off: str) -> R:
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
    def keeping(cls, result: Result) -> Interrupted:
        """The interrupt of this answer."""
        interrupt = cls("the answer was interrupted")
        interrupt.result = result
        return interrupt

    def _render_traceback_(self) -> list[str]:
        kept = "Nothing had come."
        if self.result is not None and self.result.has_content:
            kept = f"What had come is kept in _puq. {self.result.how_to_go_on}".rstrip()
        return [f"KeyboardInterrupt: the answer was interrupted. {kept}"]


def perform(workspace: Workspace, exchange: Exchange[R, V], view: V, out: str | None = None) -> R:
    """Ask, show the answer, and keep it: in ``_puq``, and in the variable ``out``.

    An answer that breaks off is shown and kept as far as it came; then its error is raised. An interrupt raises
    Interrupted. Raises BudgetError before anything is sent.
    """
    asked = exchange.asked
    router = workspace.router()
    account = workspace.account()
    started: list[float] = []
    held, stopped = 0.0, False
    problem: APIError | KeyboardInterrupt | None = None
    try:
        held = account.admit(asked)
        started.append(monotonic())
        account.catalogue.begin(balance=True)  # what is needed at the end, while the answer is on its way
        exchange.run(router, view)
    except (APIError, KeyboardInterrupt) as exc:
        problem = exc
    except BaseException:
        view.abandon()
        raise
    finally:
        account.spending.release(held)
    result = exchange.result(_why(problem))
    if started:
        result.latency = monotonic() - started[0]
        stopped = _settle(account, exchange, result, problem)
    try:
        _keep_and_show(workspace, exchange, result, problem, view, out)
    finally:
        if started:
            _note(workspace, router.address.host, asked, result, problem)
    if isinstance(problem, APIStatusError):
        from puq_magics.session.error_hints import advise

        advise(problem, workspace, asked)
    if stopped or isinstance(problem, KeyboardInterrupt):
        raise Interrupted.keeping(result)  # afresh: the frames of the old one may hold the key
    if problem is not None:
        problem.hint = f"{problem.hint} {result.how_to_go_on}".strip()
        raise problem
    return result


def to_curl(workspace: Workspace, exchange: Exchange[R, V]) -> str:
    """What a call would send, as a key-free ``curl`` line."""
    router = workspace.router(keyless=True)
    return exchange.request(router).to_curl(router.address, router.auth_scheme)


def _keep_and_show(
    workspace: Workspace, exchange: Exchange[R, V], result: R, problem: object, view: V, out: str | None
) -> None:
    if problem is not None and not result.has_content and not isinstance(problem, KeyboardInterrupt):
        view.abandon()
        return
    workspace.remember(result, out)
    exchange.show(result, view)
    workspace.mark_painted(result)


def _settle(
    account: Account, exchange: Exchange[R, V], result: R, problem: APIError | KeyboardInterrupt | None
) -> bool:
    """Work out what it cost; True when a person has stopped that: the answer is not lost by it."""
    came = result.has_content or getattr(problem, "partial", None)
    try:
        if problem is None or (came and not isinstance(problem, APIStatusError)):
            account.catalogue.wait(_PRICES_PATIENCE if problem is None else 0.0)
            result.cost = account.settle(exchange.asked, exchange.usage(), whole=problem is None)
        elif isinstance(problem, InvalidResponseError | APITimeoutError | KeyboardInterrupt):
            account.assume(exchange.asked)
    except KeyboardInterrupt:
        return True
    return False


def _note(
    workspace: Workspace, host: str, asked: Asked, result: Result, problem: BaseException | None
) -> None:
    """Write the call into the ledger."""
    from puq_magics.session.ledger import Entry, outcome_of  # here: the first question does not wait for it

    usage = result.usage
    workspace.ledger.note(
        Entry(
            host=host,
            kind=asked.kind,
            model=asked.model,
            cell=str(workspace.shell.execution_count),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            total_tokens=usage.total_tokens if usage else None,
            characters=asked.characters,
            images=len(getattr(result, "images", ())) if asked.kind == "image" else None,
            audio_seconds=getattr(result, "duration", None),
            seconds=result.latency,
            time_to_first_token=result.time_to_first_token,
            cost=result.cost,
            outcome=outcome_of(problem),
        )
    )


def _why(problem: APIError | KeyboardInterrupt | None) -> str:
    if problem is None:
        return ""
    return INTERRUPTED if isinstance(problem, KeyboardInterrupt) else "broken off"
