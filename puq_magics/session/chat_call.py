"""A chat: what to ask of which model, and the answer as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.request import Request
from puq_magics.api.wire import Completion, Message, Usage
from puq_magics.outputs.progress import Ticker
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.view import View, watch
from puq_magics.session.calls import perform
from puq_magics.session.spending import Asked, tokens_in, with_usage
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


def chat(workspace: Workspace, call: ChatCall, view: View, out: str | None = None) -> ChatResult:
    """Ask, show the answer as it comes, and keep it; see ``perform``."""
    return perform(workspace, ChatExchange(call), view, out)


class ChatExchange:
    """One question and its answer, as far as it came."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._start = 0.0
        self._stream: ChatStream | None = None
        self._completion = Completion("", call.model)

    @property
    def asked(self) -> Asked:
        """See Exchange."""
        prompt, params = sum(tokens_in(str(m["content"])) for m in self._call.messages), self._call.params
        limit, number = params.get("max_completion_tokens") or params.get("max_tokens"), params.get("n")
        return Asked(
            "chat",
            self._call.model,
            prompt,
            max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
            count=number if isinstance(number, int) and number > 0 else 1,
        )

    def request(self, router: Router) -> Request:
        """See Exchange."""
        params = dict(self._call.params) | ({"stream": True} if self._call.stream else {})
        return router.chat_request(self._call.messages, model=self._call.model, **params)

    def run(self, router: Router, view: View) -> None:
        """See Exchange."""
        call, self._start = self._call, monotonic()
        ask = router.stream_chat if call.stream else router.chat
        with Ticker(view.waiting, first=view.prepare):
            answer = ask(call.messages, model=call.model, on_retry=view.retrying, **call.params)
        if isinstance(answer, Completion):
            self._completion = answer
            return
        self._stream = answer
        with answer:
            watch(answer, view)

    def usage(self) -> Usage | None:
        """See Exchange."""
        answer = self._answer
        return with_usage(answer.usage, self.asked.prompt_tokens, answer.text + answer.reasoning)

    def result(self, broken_off: str) -> ChatResult:
        """See Exchange."""
        answer, stream = self._answer, self._stream
        first = None if stream is None or stream.first_heard is None else stream.first_heard - self._start
        return ChatResult(
            text=answer.text,
            model=answer.model,
            reasoning=answer.reasoning,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            time_to_first_token=first,
            request_id=answer.request_id,
            broken_off=broken_off,
            notes=self._call.notes,
            messages=tuple(self._call.messages),
            alternatives=answer.alternatives,
            raw=answer.raw,
        )

    def show(self, result: ChatResult, view: View) -> None:
        """See Exchange."""
        view.end(result)

    @property
    def _answer(self) -> Completion:
        return self._completion if self._stream is None else self._stream.completion
