"""Ask one prompt of several arms at once, and show the answers side by side as they come."""

from __future__ import annotations

import argparse
import random
import threading
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import uuid4

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.errors import InputError, PolicyError, PuqError
from puq_magics.core.text import one_line, pluralize
from puq_magics.core.threads import start_daemon
from puq_magics.experiments.arms import MODEL, parse_vary, plan_arms
from puq_magics.experiments.statistics import count_outcomes
from puq_magics.experiments.voting import (
    TIE,
    Vote,
    VoteSummary,
    load_votes,
    merge_votes,
    save_votes,
    summarize_votes,
)
from puq_magics.magics.dry_run import estimate_cost, format_curl
from puq_magics.magics.options import chat_params
from puq_magics.magics.runs import RunInterrupted
from puq_magics.magics.views import is_live
from puq_magics.outputs.markdown.feed import sanitize_markdown, strip_control_chars
from puq_magics.outputs.plain_text import show_text
from puq_magics.outputs.results.base import INCOMPLETE, INTERRUPTED
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.compare import Answer, CompareResult, columns_bundle, status_body
from puq_magics.outputs.views.notebook import FrameRateLimiter
from puq_magics.outputs.views.run import RunView
from puq_magics.prompts.template import PromptTemplate
from puq_magics.session.calls import Interrupted, run_call, to_curl
from puq_magics.session.chat_call import ChatCall, ChatSpec
from puq_magics.session.session import LAST_RESULT, Session

_VOTES_KEY, _BALLOT_KEY = "puq_magics.votes", "puq_magics.ballot"
_MIN_ARMS, _MAX_ARMS = 2, 6
_POLL = 0.05  # seconds
_STOP_TIMEOUT = 0.8  # seconds in which the arms may end after an interrupt


class ArmView:
    """Keeps what one arm has received; the main thread shows it, and nothing else may."""

    is_quiet = True

    def __init__(self, stop: threading.Event, *, streams: bool = True) -> None:
        self._stop = stop
        self._streams = streams
        self._texts: list[str] = []
        self.status = "waiting"

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._texts)

    def prepare(self) -> None:
        """Implement `ChatView`."""

    def show_waiting(self, seconds: float) -> None:
        """Implement `ChatView`."""
        self.status = f"waiting · {seconds:.0f} s"

    def show_retry(self, retry: Retry) -> None:
        """Implement `ChatView`."""
        self.status = str(retry)
        self._check()

    def show_delta(self, delta: Delta) -> None:
        """Implement `ChatView`."""
        self._texts.append(delta.text)
        self.status = "" if delta.text or self.text else "reasoning"
        self._check()

    def idle_timeout(self) -> float | None:
        """Implement `ChatView`."""
        return 0.2

    def show_idle(self) -> None:
        """Implement `ChatView`."""
        self._check()

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""

    def show_calls(self, result: ChatResult) -> None:
        """Implement `ChatView`."""

    def abandon(self) -> None:
        """Implement `ChatView`."""

    def _check(self) -> None:
        """End the call of this arm, with what it has, if the user stopped the comparison."""
        if self._stop.is_set():
            raise KeyboardInterrupt

    def body(self) -> dict[str, str]:
        """Return the MIME bundle of what has come."""
        text = self.text
        if not text:
            return status_body(self.status)
        if not self._streams:
            return status_body(f"… {len(text):,} characters")
        return {"text/markdown": sanitize_markdown(text), "text/plain": strip_control_chars(text)}


@dataclass
class _ArmRun:
    """One arm: its call, and what comes of it."""

    answer: Answer
    call: ChatCall
    view: ArmView
    is_done: bool = field(default=False, init=False)

    def run(self, session: Session, over_budget: bool) -> None:
        """Make the call; for a thread of its own."""
        try:
            self.answer.result = run_call(session, self.call, self.view, over_budget=over_budget)
        except Interrupted as interrupt:
            if isinstance(interrupt.result, ChatResult):
                self.answer.result = interrupt.result
        except PuqError as error:
            # A policy's own words do not name the limit that was met; its hint does.
            self.answer.error = str(error) if isinstance(error, PolicyError) else error.message
            partial = self.call.result(INCOMPLETE)
            session.redact(partial)
            self.answer.result = partial if partial.has_content else None
        except KeyboardInterrupt:
            self.answer.error = "stopped before it began"
        except Exception as error:  # noqa: BLE001 - a fault of this package; the other arms go on
            self.answer.error = one_line(f"{type(error).__name__}: {error}", 200)
        finally:
            self.is_done = True

    def give_up(self) -> None:
        """Keep what has come; the thread, which still waits, can no longer change what is shown."""
        shown, self.answer = self.answer, Answer(self.answer.name)
        partial = self.call.result(INTERRUPTED)
        if partial.has_content:
            shown.result = partial
        else:
            shown.error = "interrupted before anything came"


def compare(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> CompareResult | None:
    """Ask all arms, and show their answers; None for a dry run. Raises PuqError and RunInterrupted."""
    stop = threading.Event()
    arms = [
        _ArmRun(Answer(name), ChatCall(spec), ArmView(stop, streams=not session.hides_solutions))
        for name, spec in _plan(session, args, prompt, variables).items()
    ]
    if args.dry_run:
        _show_dry_run(session, args, arms)
        return None
    if args.blind:
        # Without a cassette the order depends on random.seed, which a notebook may set.
        chooser = random.Random(prompt if session.has_cassette else random.random())  # noqa: S311 - not for secrets
        chooser.shuffle(arms)
    result = CompareResult([arm.answer for arm in arms], names_hidden=args.blind)
    session.router()  # raises what is wrong before any thread starts
    view = RunView(in_notebook=session.in_notebook, live=is_live(session), quiet=args.quiet)
    interrupted = _run(session, arms, result, view, stop, over_budget=args.over_budget)
    if all(answer.result is None for answer in result.answers):
        result.names_hidden = False  # there is nothing to vote on, and the errors are shown
    session.store_result(result, args.out)
    view.show_summary(result._repr_mimebundle_(), is_markdown=True, metadata=result.display_metadata)
    session.mark_displayed(result, is_quiet=args.quiet)
    if interrupted:
        raise RunInterrupted("the comparison was interrupted; what each arm has is in _puq.")
    if result.names_hidden and not args.quiet:
        _offer_vote(session, result, view)
    return result


def _run(
    session: Session,
    arms: Sequence[_ArmRun],
    result: CompareResult,
    view: RunView,
    stop: threading.Event,
    *,
    over_budget: bool,
) -> bool:
    """Run all arms, and show what has come; return whether the user interrupted."""
    threads: list[threading.Thread] = []
    try:
        threads.extend(start_daemon(arm.run, session, over_budget, name="puq-compare") for arm in arms)
        while not all(arm.is_done for arm in arms):
            next_frame = monotonic() + _show(arms, result, view)
            for thread in threads:
                while thread.is_alive() and monotonic() < next_frame:
                    thread.join(_POLL)
    except KeyboardInterrupt:
        stop.set()
        end = monotonic() + _STOP_TIMEOUT
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, end - monotonic()))
        for arm in arms:
            if not arm.is_done:
                arm.give_up()
        return True
    return False


def _show(arms: Sequence[_ArmRun], result: CompareResult, view: RunView) -> float:
    """Show the state of all arms; return the seconds until the next frame."""
    bodies = [result.body(arm.answer) if arm.is_done else arm.view.body() for arm in arms]
    bundle = columns_bundle(list(zip(result.names, bodies, strict=True)))
    done = sum(arm.is_done for arm in arms)
    view.show_frame(bundle, f"{done} of {len(arms)} answers")
    size = sum(map(len, bundle.values()))
    return max(0.15, FrameRateLimiter.interval(bundle["text/markdown"], size))


def _plan(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> dict[str, ChatSpec]:
    """Return the call of each arm by its name. Raises InputError."""
    vary = parse_vary(args.vary or ())
    models = [session.model("chat", model, suggest_models=not args.dry_run) for model in args.model or [None]]
    template = PromptTemplate(prompt, limit=session.settings.max_value_chars)
    arms = plan_arms(models, vary, template.names)
    if not _MIN_ARMS <= len(arms) <= _MAX_ARMS:
        raise InputError(
            f"a comparison has {_MIN_ARMS} to {_MAX_ARMS} arms, not {len(arms)}.",
            hint="Name them: -m a -m b, or -m a --vary temperature=0,1; %%puq_grid takes more.",
        )
    base, system = chat_params(args, session), session.system_prompt(args.system)
    head = [{"role": "system", "content": system}] if system else []
    factors = [MODEL, *vary] if len(models) > 1 or not vary else list(vary)
    specs: dict[str, ChatSpec] = {}
    for arm in arms:
        filled = template.fill(ChainMap(dict(arm.levels), variables))  # type: ignore[arg-type]  # it is only read
        content: Any = [{"type": "text", "text": filled.text}, *filled.parts] if filled.parts else filled.text
        name = arm.name(factors)
        if name in specs:
            raise InputError(f"the arm {name!r} is listed twice.", hint="Remove one of them.")
        specs[name] = ChatSpec(
            arm.model,
            [*head, {"role": "user", "content": content}],
            params={**base, **arm.params},
            notes=(*args.option_notes, *filled.notes),
        )
    return specs


def _show_dry_run(session: Session, args: argparse.Namespace, arms: Sequence[_ArmRun]) -> None:
    """Show each arm with its estimate, and the first request."""
    lines = [f"{arm.answer.name}: {estimate_cost(session, arm.call.info)[0]}" for arm in arms]
    curl = format_curl(to_curl(session, arms[0].call), args)
    lines += ["nothing was sent", "", "the first request:", curl]
    show_text("\n".join(lines), in_notebook=session.in_notebook)


# Votes ---------------------------------------------------------------------------------------------------------


@dataclass
class _Ballot:
    """A comparison that waits for a vote."""

    result: CompareResult
    view: RunView
    is_closed: bool = False
    #: Shows the vote at the buttons, where there are some.
    end_buttons: Callable[[str], None] = lambda _: None


def _votes(session: Session) -> list[Vote]:
    votes: list[Vote] = session.shell.meta.setdefault(_VOTES_KEY, [])
    return votes


def _offer_vote(session: Session, result: CompareResult, view: RunView) -> None:
    """Keep a comparison for a vote, and show buttons for it where there are widgets."""
    ballot = _Ballot(result, view)
    session.shell.meta[_BALLOT_KEY] = ballot
    if not (session.in_notebook and is_live(session)):
        choices = ", ".join(result.names)
        gap = "" if session.in_notebook else "\n"
        print(f"{gap}Vote: %puq_compare --vote {result.names[0]} (of {choices}, {TIE})")  # noqa: T201
        return
    from puq_magics.widgets.vote import show_vote_buttons

    ballot.end_buttons = show_vote_buttons(
        [*result.names, TIE], lambda choice: _record_vote(session, ballot, choice)
    )


def _record_vote(session: Session, ballot: _Ballot, choice: str) -> str:
    """Record a vote, show the names, and return what was voted for."""
    result = ballot.result
    if ballot.is_closed:
        raise InputError("this comparison has its vote already.", hint="Run its cell again to vote again.")
    ballot.is_closed = True
    names = [answer.name for answer in result.answers]
    winner = TIE if choice == TIE else names[result.names.index(choice)]
    _votes(session).append(Vote(uuid4().hex, tuple(names), winner, blind=result.names_hidden))
    result.names_hidden = False
    bundle, metadata = result._repr_mimebundle_(), result.display_metadata
    ballot.view.show_summary(bundle, is_markdown=True, metadata=metadata)
    said = "a tie" if winner == TIE else winner
    ballot.end_buttons(said)
    return said


def vote(session: Session, choice: str) -> None:
    """Vote in the last comparison. Raises InputError."""
    ballot = session.shell.meta.get(_BALLOT_KEY)
    last = session.namespace.get(LAST_RESULT)
    if isinstance(last, CompareResult) and (ballot is None or ballot.result is not last):
        ballot = _Ballot(last, RunView(in_notebook=session.in_notebook, live=False, quiet=True))
    if ballot is None:
        raise InputError("there is no comparison to vote in.", hint="Run %%puq_compare --blind first.")
    session.shell.meta[_BALLOT_KEY] = ballot
    names = [*ballot.result.names, TIE]
    chosen = next((name for name in names if name.lower() == choice.lower()), None)
    if chosen is None:
        raise InputError(f"{choice!r} is no answer.", hint=f"Vote for one of {', '.join(names)}.")
    print(f"Voted for {_record_vote(session, ballot, chosen)}.")  # noqa: T201 - what was asked for


def manage_votes(session: Session, args: argparse.Namespace) -> None:
    """Merge, export and show votes, by options. Raises InputError."""
    votes = _votes(session)
    for path in args.merge or ():
        votes[:] = merge_votes(votes, load_votes(path))
    if args.export is not None:
        _check_has_votes(votes)
        saved = save_votes(votes, args.export, force=args.force)
        print(f"{pluralize(len(votes), 'vote')} saved as {saved}")  # noqa: T201 - what was asked for
    if args.votes or args.merge:
        show_votes(session, votes)


def _check_has_votes(votes: Sequence[Vote]) -> None:
    if not votes:
        raise InputError("there are no votes yet.", hint="Run %%puq_compare --blind, and vote.")


def show_votes(session: Session, votes: Sequence[Vote]) -> None:
    """Show the standing of each arm, in a table of its own for arms that were never compared with the others."""
    from puq_magics.outputs.tables.table import show_fields

    _check_has_votes(votes)
    for summary in summarize_votes(votes):
        show_fields(_vote_fields(summary), in_notebook=session.in_notebook)


def _vote_fields(summary: VoteSummary) -> list[tuple[str, str]]:
    """Return the standing of each arm, and what it comes to, as labels and values."""
    rows = []
    for arm, wins, ties, losses in summary.counts:
        text = count_outcomes(wins, ties, losses)
        if arm in summary.strengths:
            each = summary.strengths[arm]
            low, high = (f"{100 * bound:.0f}" for bound in (each.low, each.high))
            text += f"; wins {100 * each.value:.0f} % against an average arm ({low}–{high} %)"
        rows.append((arm, text))
    if sentence := summary.sentence():
        rows.append(("result", sentence))
    return [*rows, ("votes", f"{summary.votes:,}")]
