"""Rounds of a chat with tools: the functions that the model calls are run, and it is sent their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from IPython.core.error import StdinNotImplementedError

from puq_magics.core.errors import PuqError
from puq_magics.core.secret import redact_secrets
from puq_magics.core.suggestions import did_you_mean
from puq_magics.core.text import one_line
from puq_magics.outputs.results.base import INTERRUPTED
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.tool_calls import FunctionCall
from puq_magics.outputs.views.view import ChatView
from puq_magics.prompts.tools.execution import run_tool
from puq_magics.prompts.tools.tool import Tool, find_tools
from puq_magics.session.calls import GuardedView, Interrupted
from puq_magics.session.chat_call import ChatSpec

if TYPE_CHECKING:
    from puq_magics.session.session import Session

_DECLINED = "The user declined this call."
_CANNOT_ASK = "This call was refused: it needs the user's consent, and nobody can be asked."
_STOPPED = "The user stopped this call."
#: Characters of a call in the question whether to run it; the whole is in the output above.
_MAX_ASKED_CHARS = 200
#: Answers that are none, after which a call is refused.
_MAX_ATTEMPTS = 3


@dataclass
class ToolRounds:
    """The functions that one cell offers to the model, and the rounds of calls that it may make."""

    session: Session
    tools: Mapping[str, Tool]
    #: Names of the functions that run without asking.
    allowed: frozenset[str]
    #: The most rounds in which functions are run.
    limit: int
    #: Characters of a result.
    max_chars: int
    #: What a reader should know of the rounds so far.
    _notes: list[str] = field(default_factory=list)

    @classmethod
    def from_names(
        cls,
        session: Session,
        names: Sequence[str],
        allowed: Sequence[str],
        limit: int,
        variables: Mapping[str, Any],
    ) -> ToolRounds:
        """Describe the functions of ``--tools`` and ``--tools-auto``. Raises InputError."""
        tools = find_tools(_split_names([*names, *allowed]), variables)
        max_chars = session.settings.max_value_chars
        return cls(session, tools, frozenset(_split_names(allowed)), limit, max_chars)

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """The functions as a request has them."""
        return [tool.definition for tool in self.tools.values()]

    def continues(self, result: ChatResult) -> bool:
        """Return whether the functions that an answer calls are to be run; if not, a note says why."""
        if not result.own_calls or result.status or result.is_cut_off:
            return False
        if len(result.rounds) < self.limit:
            return True
        more = f"--rounds {2 * self.limit} allows more"
        result.add_note(
            f"the model still calls functions in round {self.limit + 1}, and was stopped ({more})"
        )
        return False

    def run(
        self,
        spec: ChatSpec,
        new_view: Callable[[], ChatView],
        ask: Callable[[ChatSpec, ChatView], ChatResult],
        store: Callable[[ChatResult, ChatSpec], None],
    ) -> ChatResult:
        """Ask until the model calls no function any more; return its last answer.

        ``ask`` makes one call, which marks an answer whose functions are to be run; ``store`` keeps one that is
        interrupted meanwhile. Raises what ``ask`` raises, and Interrupted.
        """
        rounds: tuple[ChatResult, ...] = ()
        while True:
            view = cast(ChatView, GuardedView(new_view()))
            result = self._ask(replace(spec, rounds=rounds), view, ask)
            if not result.is_intermediate:
                return result
            try:
                self._run_calls(result, view)
            except KeyboardInterrupt:
                self._stop(result, view)
                store(result, spec)
                raise Interrupted.with_result(result) from None
            rounds = (*rounds, result)
            spec = replace(
                spec,
                messages=[*spec.messages, *result.round_messages],
                params=_later_params(spec),
                notes=tuple(dict.fromkeys((*spec.notes, *self._notes))),
            )

    def _ask(
        self, spec: ChatSpec, view: ChatView, ask: Callable[[ChatSpec, ChatView], ChatResult]
    ) -> ChatResult:
        try:
            return ask(spec, view)
        except PuqError as error:
            if spec.rounds:
                error.extend_hint("The calls so far are in _puq.calls.")
            raise

    def _run_calls(self, result: ChatResult, view: ChatView) -> None:
        """Run the calls of an answer one by one; the result has each outcome as soon as it is known."""
        for number, call in enumerate(result.own_calls):
            for state in self._states(call, view):
                calls = list(result.own_calls)
                calls[number] = state
                result.own_calls = tuple(calls)
                view.show_calls(result)

    def _states(self, call: FunctionCall, view: ChatView) -> Iterator[FunctionCall]:
        """Yield a call as it goes on: asked, running, and with its outcome."""
        problem = self._problem(call)
        if problem:
            yield replace(call, status="failed", result=problem)
            return
        cassette = self.session.cassette if self.session.has_cassette else None
        recorded = None if cassette is None else cassette.find_call(call.name, call.arguments)
        if recorded is not None:
            yield replace(call, status=_known_status(recorded[0]), result=recorded[1])
            return
        for state in self._run_states(call, view):
            yield state
        if cassette is not None:
            cassette.record_call(call.name, call.arguments, state.status, state.result)

    def _run_states(self, call: FunctionCall, view: ChatView) -> Iterator[FunctionCall]:
        if call.name not in self.allowed:
            yield replace(call, status="asked")
            consent = self._consent(call, view)
            if consent != "yes":
                if consent == "nobody":
                    self._notes.append(f"nobody can be asked here: --tools-auto {call.name} allows it")
                yield replace(call, status="refused", result=_DECLINED if consent == "no" else _CANNOT_ASK)
                return
        yield replace(call, status="running")
        outcome = run_tool(self.tools[call.name], call.arguments, self.max_chars)
        status: Literal["done", "failed"] = "failed" if outcome.failed else "done"
        yield replace(call, status=status, result=outcome.text, traceback=outcome.traceback)

    def _problem(self, call: FunctionCall) -> str:
        """Return why a call cannot be run, for the model; empty if it can."""
        tool = self.tools.get(call.name)
        if tool is None:
            guess = did_you_mean(call.name, self.tools)
            return f"There is no function {call.name[:100]!r}. There are: {', '.join(self.tools)}. {guess}".rstrip()
        if not isinstance(call.arguments, dict):
            return f"The arguments are not a JSON object: {one_line(call.arguments, 200)}"
        violations = tool.violations(call.arguments)
        return f"The arguments do not fit: {'; '.join(violations)}" if violations else ""

    def _consent(self, call: FunctionCall, view: ChatView) -> Literal["yes", "no", "nobody"]:
        """Ask whether a call may be run."""
        key = (self.session.cell_tracker.execution_number, call.name)
        if key in self.session.approved_tools:
            return "yes"
        if not self.session.effective.live:
            return "nobody"
        limit = _MAX_ASKED_CHARS if not view.is_quiet else 10 * self.max_chars
        shown = one_line(redact_secrets(str(call)), limit)
        question = f"Run {shown}? [y]es, [n]o, [a]ll of {call.name}: "
        for _ in range(_MAX_ATTEMPTS):
            try:
                answer = input(question).strip().lower()
            except (StdinNotImplementedError, EOFError):
                return "nobody"
            if answer in ("a", "all"):
                self.session.approved_tools.add(key)
            if answer in ("y", "yes", "a", "all"):
                return "yes"
            if answer in ("n", "no"):
                return "no"
        return "no"

    def _stop(self, result: ChatResult, view: ChatView) -> None:
        """Mark an answer whose functions were stopped by the user, and show it."""
        result.status = INTERRUPTED
        result.own_calls = tuple(
            call
            if call.status not in ("asked", "running")
            else replace(call, status="not run" if call.status == "asked" else "failed", result=_STOPPED)
            for call in result.own_calls
        )
        result.is_intermediate = False
        result.add_up()
        self.session.store_result(result)  # a function may have asked something, too
        view.show_calls(result)


def _known_status(status: str) -> Literal["done", "failed", "refused"]:
    """Return the status of a recorded call."""
    return "refused" if status == "refused" else "failed" if status == "failed" else "done"


def _later_params(spec: ChatSpec) -> Mapping[str, Any]:
    """Return the parameters of the next round: a ``tool_choice`` that demands a call would demand one for ever."""
    choice = spec.params.get("tool_choice")
    if choice is None or choice in ("auto", "none"):
        return spec.params
    return {name: value for name, value in spec.params.items() if name != "tool_choice"}


def _split_names(values: Sequence[str]) -> list[str]:
    """Return the names in ``f,g``, each once."""
    return list(
        dict.fromkeys(name for value in values for each in value.split(",") if (name := each.strip()))
    )
