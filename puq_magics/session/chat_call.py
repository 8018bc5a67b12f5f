"""A chat: what to ask of which model, and the answer as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.params import token_limit
from puq_magics.api.request import Request
from puq_magics.api.types import ChatCompletion, Delta, Message, Usage
from puq_magics.core.errors import APIStatusError
from puq_magics.outputs.results.base import INTERRUPTED
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.tool_calls import FunctionCall
from puq_magics.outputs.views.progress import Ticker
from puq_magics.outputs.views.view import ChatView, watch
from puq_magics.prompts.token_estimate import estimate_message_tokens, estimate_tokens
from puq_magics.session.budget import CallInfo, usage_or_estimate

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream
    from puq_magics.api.client import Router
    from puq_magics.session.chat_turn import TurnContext


@dataclass(frozen=True)
class ChatSpec:
    """Model, prompt and parameters of a call."""

    model: str
    messages: Sequence[Message]
    stream: bool = True
    #: Further fields of the request; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: What a reader should know of how the prompt was filled.
    notes: Sequence[str] = ()
    #: Partial answer to continue, and the messages it answers.
    partial_text: str = ""
    question: Sequence[Message] = ()
    #: The answers that this one is to repair.
    previous_attempts: Sequence[ChatResult] = ()
    #: What to send, without ``response_format``, to a router that does not take that.
    fallback_messages: Sequence[Message] = ()
    #: The answers whose functions were run, and whose results are in the messages.
    rounds: Sequence[ChatResult] = ()
    #: Format in which the answer is shown.
    format: str = "markdown"
    #: The conversation's turn that the answer becomes; None without a conversation.
    context: TurnContext | None = None


class ChatCall:
    """One question and its answer, as far as it arrived."""

    def __init__(self, spec: ChatSpec) -> None:
        self.spec = spec
        self._start = 0.0
        self._stream: ChatStream | None = None
        self._completion = ChatCompletion("", spec.model)

    @property
    def info(self) -> CallInfo:
        """Facts for the budget and the ledger."""
        params = self.spec.params
        number = params.get("n")
        return CallInfo(
            "chat",
            self.spec.model,
            estimate_message_tokens(self.spec.messages) + estimate_tokens(params.get("tools") or ""),
            max_tokens=token_limit(params),
            count=number if isinstance(number, int) and number > 0 else 1,
            content=self.spec.messages,
            params=params,
        )

    def request(self, router: Router) -> Request:
        """Return the request that ``run`` sends."""
        spec = self.spec
        return router.chat_request(
            spec.messages, model=spec.model, stream=spec.stream, extra_body=spec.params
        )

    def run(self, router: Router, view: ChatView) -> None:
        """Send the request and receive the answer."""
        self._start = monotonic()
        with Ticker(view.show_waiting, setup=view.prepare):
            answer = self._send(router, view)
        if isinstance(answer, ChatCompletion):
            self._completion = answer
            return
        self._stream = answer
        with answer:
            if self.spec.partial_text:
                view.show_delta(Delta(self.spec.partial_text))
            watch(answer, view)

    def _send(self, router: Router, view: ChatView) -> ChatCompletion | ChatStream:
        spec = self.spec
        ask = router.stream_chat if spec.stream else router.chat
        try:
            return ask(spec.messages, model=spec.model, on_retry=view.show_retry, extra_body=spec.params)
        except APIStatusError as error:
            if not spec.fallback_messages or not error.rejects_response_format():
                raise
        params = {name: value for name, value in spec.params.items() if name != "response_format"}
        notes = (
            *spec.notes,
            "the router does not support response_format: the schema was sent in the prompt",
        )
        self.spec = spec = replace(
            spec, messages=spec.fallback_messages, params=params, fallback_messages=(), notes=notes
        )
        return ask(spec.messages, model=spec.model, on_retry=view.show_retry, extra_body=params)

    def usage(self) -> Usage | None:
        """Return the tokens used, if known."""
        answer = self._answer
        return usage_or_estimate(answer.usage, self.info.prompt_tokens, answer.text + answer.reasoning)

    def result(self, status: str) -> ChatResult:
        """Return the result as far as it arrived."""
        spec, answer, stream = self.spec, self._answer, self._stream
        failed = status not in ("", INTERRUPTED)
        partial_text = "" if failed and not answer.text else spec.partial_text  # it is where it was
        return ChatResult(
            text=partial_text + answer.text,
            model=answer.model,
            reasoning=answer.reasoning,
            refusal=answer.refusal,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            time_to_first_token=None if stream is None else stream.seconds_to_first(self._start),
            request_id=answer.request_id,
            status=status,
            notes=(
                *spec.notes,
                *(("the model refused to answer",) if answer.refusal else ()),
                *((answer.note,) if answer.note else ()),
            ),
            messages=tuple(spec.messages),
            question=tuple(spec.question or spec.messages),
            previous_attempts=tuple(spec.previous_attempts),
            rounds=tuple(spec.rounds),
            own_calls=tuple(map(FunctionCall, answer.calls)),
            requested_model=spec.model,
            chat="" if spec.context is None else spec.context.name,
            turn=None if spec.context is None else spec.context.key,
            format=spec.format,
            alternatives=answer.alternatives,
            raw=answer.raw,
        )

    def finalize(self, result: ChatResult) -> None:
        """Commit the turn to its conversation; a subclass processes the answer first."""
        if self.spec.context is not None:
            self.spec.context.commit(result)

    @property
    def _answer(self) -> ChatCompletion:
        return self._completion if self._stream is None else self._stream.completion
