"""The one door for every paid call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.errors import APIError, StatusError
from puq_magics.api.wire import Completion, Message
from puq_magics.outputs.progress import Ticker
from puq_magics.outputs.results import INTERRUPTED, ChatResult
from puq_magics.outputs.view import View, watch
from puq_magics.session.workspace import Workspace

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.stream import ChatStream


@dataclass(frozen=True)
class ChatCall:
    """What to ask of which model."""

    model: str
    messages: Sequence[Message]
    stream: bool = True
    #: Further fields of the request; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: What a reader should know of how the prompt was filled.
    notes: Sequence[str] = ()

    def as_curl(self, workspace: Workspace) -> str:
        """The request as a key-free ``curl`` line."""
        router = workspace.router(keyless=True)
        params = dict(self.params) | ({"stream": True} if self.stream else {})
        request = router.chat_request(self.messages, model=self.model, **params)
        return request.as_curl(router.address, router.auth_scheme)


class Interrupted(KeyboardInterrupt):
    """The user stopped an answer; what had come is kept.

    A KeyboardInterrupt, so that Run All stops and ``except Exception`` does not swallow it; IPython renders it as
    the one line that ``_render_traceback_`` gives.
    """

    #: The answer as far as it came.
    result: ChatResult | None = None

    @classmethod
    def keeping(cls, result: ChatResult) -> Interrupted:
        """The interrupt of this answer."""
        interrupt = cls("the answer was interrupted")
        interrupt.result = result
        return interrupt

    def _render_traceback_(self) -> list[str]:
        kept = (
            "What had come is kept in _puq."
            if self.result is not None and self.result.text
            else "Nothing had come."
        )
        return [f"KeyboardInterrupt: the answer was interrupted. {kept}"]


def chat(workspace: Workspace, call: ChatCall, view: View, out: str | None = None) -> ChatResult:
    """Ask, show the answer as it comes, and keep it: in ``_puq``, and in the variable ``out``.

    An answer that breaks off is shown and kept as far as it came; then its error is raised. An interrupt raises
    Interrupted.
    """
    exchange = _Exchange(call)
    problem: APIError | KeyboardInterrupt | None = None
    try:
        exchange.run(workspace.router(), view)
    except (APIError, KeyboardInterrupt) as exc:
        problem = exc
    result = exchange.result(_why(problem))
    if problem is None or result.text or result.reasoning or result.interrupted:
        workspace.remember(result, out)
        view.end(result)
        workspace.mark_painted(result)
    else:
        view.abandon()
    if isinstance(problem, StatusError):
        from puq_magics.session.advice import advise

        advise(problem, workspace, call.model)
    if isinstance(problem, KeyboardInterrupt):
        raise Interrupted.keeping(result)  # afresh: the frames of the old one may hold the key
    if problem is not None:
        raise problem
    return result


class _Exchange:
    """One question and its answer, as far as it came."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._start = monotonic()
        self._first: float | None = None
        self._stream: ChatStream | None = None
        self._completion = Completion("", call.model)

    def run(self, router: Router, view: View) -> None:
        call = self._call
        ask = router.stream_chat if call.stream else router.chat
        with Ticker(view.waiting, first=view.prepare):
            answer = ask(call.messages, model=call.model, on_retry=view.retrying, **call.params)
        if isinstance(answer, Completion):
            self._completion = answer
            return
        self._stream = answer
        with answer:
            watch(answer, view)

    def result(self, broken_off: str) -> ChatResult:
        stream = self._stream
        answer = self._completion if stream is None else stream.completion
        first = None if stream is None or stream.first_heard is None else stream.first_heard - self._start
        return ChatResult(
            text=answer.text,
            model=answer.model,
            reasoning=answer.reasoning,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            latency=monotonic() - self._start,
            time_to_first_token=first,
            request_id=answer.request_id,
            broken_off=broken_off,
            notes=self._call.notes,
            messages=tuple(self._call.messages),
            alternatives=answer.alternatives,
            raw=answer.raw,
        )


def _why(problem: APIError | KeyboardInterrupt | None) -> str:
    if problem is None:
        return ""
    return INTERRUPTED if isinstance(problem, KeyboardInterrupt) else "broken off"
