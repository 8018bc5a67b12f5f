"""A chat: what to ask of which model, and the answer as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.request import Request
from puq_magics.api.types import ChatCompletion, Delta, Message, Usage
from puq_magics.core.errors import BadRequestError, UnprocessableEntityError
from puq_magics.outputs.results.base import INTERRUPTED
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.views.progress import Ticker
from puq_magics.outputs.views.view import View, watch
from puq_magics.prompts.token_estimate import tokens_of
from puq_magics.session.budget import Asked, with_usage
from puq_magics.session.calls import perform
from puq_magics.session.session import Workspace

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream
    from puq_magics.api.client import Router

_FORMAT = re.compile(r"response_format|json_schema|json_object|structured output", re.IGNORECASE)


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
    #: What stands there of the answer already, which goes on with it; and the messages that all of it answers.
    begun: str = ""
    question: Sequence[Message] = ()
    #: The answers that this one is to repair.
    earlier: Sequence[ChatResult] = ()
    #: What to send, without ``response_format``, to a router that does not take that.
    in_words: Sequence[Message] = ()
    #: How the answer is shown, and which turn of which conversation it is.
    format: str = "markdown"
    chat: str = ""
    turn: tuple[str, int] | None = None
    #: What is to be done with the answer before it is shown for good; it may add notes.
    finish: Callable[[ChatResult], None] | None = None


def chat(workspace: Workspace, call: ChatCall, view: View, out: str | None = None) -> ChatResult:
    """Ask, show the answer as it comes, and keep it; see ``perform``."""
    return perform(workspace, ChatExchange(call), view, out)


class ChatExchange:
    """One question and its answer, as far as it came."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._start = 0.0
        self._stream: ChatStream | None = None
        self._completion = ChatCompletion("", call.model)

    @property
    def asked(self) -> Asked:
        """See Exchange."""
        params = self._call.params
        limit, number = params.get("max_completion_tokens") or params.get("max_tokens"), params.get("n")
        return Asked(
            "chat",
            self._call.model,
            tokens_of(self._call.messages),
            max_tokens=limit if isinstance(limit, int) and limit > 0 else None,
            count=number if isinstance(number, int) and number > 0 else 1,
        )

    def request(self, router: Router) -> Request:
        """See Exchange."""
        params = dict(self._call.params) | ({"stream": True} if self._call.stream else {})
        return router.chat_request(self._call.messages, model=self._call.model, **params)

    def run(self, router: Router, view: View) -> None:
        """See Exchange."""
        self._start = monotonic()
        with Ticker(view.waiting, first=view.prepare):
            answer = self._ask(router, view)
        if isinstance(answer, ChatCompletion):
            self._completion = answer
            return
        self._stream = answer
        with answer:
            if self._call.begun:
                view.show(Delta(self._call.begun))
            watch(answer, view)

    def _ask(self, router: Router, view: View) -> ChatCompletion | ChatStream:
        call = self._call
        ask = router.stream_chat if call.stream else router.chat
        try:
            return ask(call.messages, model=call.model, on_retry=view.retrying, **call.params)
        except (BadRequestError, UnprocessableEntityError) as error:
            if not call.in_words or not _FORMAT.search(error.detail):
                raise
        params = {name: value for name, value in call.params.items() if name != "response_format"}
        notes = (*call.notes, "the router takes no response_format: the schema was sent in words")
        self._call = call = replace(call, messages=call.in_words, params=params, in_words=(), notes=notes)
        return ask(call.messages, model=call.model, on_retry=view.retrying, **params)

    def usage(self) -> Usage | None:
        """See Exchange."""
        answer = self._answer
        return with_usage(answer.usage, self.asked.prompt_tokens, answer.text + answer.reasoning)

    def result(self, broken_off: str) -> ChatResult:
        """See Exchange."""
        call, answer, stream = self._call, self._answer, self._stream
        first = (
            None
            if stream is None or stream.first_received_at is None
            else stream.first_received_at - self._start
        )
        failed = broken_off not in ("", INTERRUPTED)
        begun = "" if failed and not answer.text else call.begun  # it is where it was
        return ChatResult(
            text=begun + answer.text,
            model=answer.model,
            reasoning=answer.reasoning,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            time_to_first_token=first,
            request_id=answer.request_id,
            broken_off=broken_off,
            notes=call.notes,
            messages=tuple(call.messages),
            question=tuple(call.question or call.messages),
            earlier=tuple(call.earlier),
            asked_model=call.model,
            chat=call.chat,
            turn=call.turn,
            format=call.format,
            alternatives=answer.alternatives,
            raw=answer.raw,
        )

    def show(self, result: ChatResult, view: View) -> None:
        """See Exchange."""
        try:
            if self._call.finish is not None:
                self._call.finish(result)
        finally:
            view.end(result)

    @property
    def _answer(self) -> ChatCompletion:
        return self._completion if self._stream is None else self._stream.completion
