"""``POST /v1/chat/completions``: plays a script or passes the chat on, as a stream or in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox.backends.backend import Backend, EngineBackend
from puq_magics.sandbox.backends.chat import ChatProxy
from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.completion import CompletionBuilder, delta
from puq_magics.sandbox.handlers import MAX_WAIT_SECONDS
from puq_magics.sandbox.models import UPSTREAM, ModelEntry
from puq_magics.sandbox.scripted.scripts import (
    SCRIPTS,
    CallPart,
    Stall,
    StreamEnd,
    StreamFailure,
    StreamStep,
    Token,
    iter_steps,
)
from puq_magics.sandbox.streaming import SSEHandler
from puq_magics.sandbox.validation import INTERNAL_ERROR, ErrorResponse, as_json, error_object, invalid

#: Seconds between two keep-alive comments.
_KEEP_ALIVE: Final = 1.0


class ChatHandler(SSEHandler):
    """Chat completions."""

    async def post(self) -> None:
        """Read the request, and answer it unless it is refused."""
        self.raise_planned_fault()
        with suppress(StreamClosedError):  # the client went: an answer ends there
            request = await self.compute(partial(read_chat_request, self.body))
            model = await self._model(request.model)
            backend = self._backend(model)
            if model.backend_kind == "local" and request.tools:
                raise invalid(f"{model.code} cannot call tools: use a scripted model, such as sandbox/chat")
            if backend is not None:
                await self.compute(lambda: request.whole_body)
                await ChatProxy(self, request, model, backend).run()
            else:
                await self._answer_from_script(request, model)

    async def _model(self, code: str) -> ModelEntry:
        """The model of that code; asks the upstream for its models, if it may be one of those."""
        upstream = self.state.upstream
        if upstream is not None and code.startswith(f"{UPSTREAM.code}/"):
            self.requested_model = code
            await self.await_or_disconnect(upstream.find(code))
        return self.model_for("chat", code)

    def _backend(self, model: ModelEntry) -> Backend | None:
        """Backend of a model; None for a scripted one."""
        match model.backend_kind:
            case "local":
                return EngineBackend(self.state.engines["chat"])
            case "upstream":
                return self.state.upstream
        return None

    async def _answer_from_script(self, request: ChatRequest, model: ModelEntry) -> None:
        script = SCRIPTS.get(model.code, SCRIPTS["sandbox/short"])
        actions = await self.compute(lambda: list(script(request)))
        steps = iter_steps(actions, request.max_completion_tokens)
        completion = CompletionBuilder(model.code, request.prompt_tokens, request.choices)
        if request.stream:
            await self._stream(request, model, completion, steps)
        else:
            await self._answer(model, completion, steps)

    async def _answer(
        self, model: ModelEntry, completion: CompletionBuilder, steps: Iterator[StreamStep]
    ) -> None:
        match await self.compute(partial(completion.add_all, steps)):
            case Stall():
                await self.sleep(None)
            case StreamFailure(message):
                raise ErrorResponse(500, message, code=INTERNAL_ERROR)
            case StreamEnd(finish_reason):
                spoken = completion.completion_tokens
                await self.sleep(min(spoken * self.state.chunk_interval, MAX_WAIT_SECONDS))
                self.account.charge(model.price(prompt=completion.prompt_tokens, completion=spoken))
                await self.finish(
                    await self.compute(lambda: as_json(completion.full_response(finish_reason)))
                )

    async def _stream(
        self,
        request: ChatRequest,
        model: ModelEntry,
        completion: CompletionBuilder,
        steps: Iterator[StreamStep],
    ) -> None:
        # Charged as it goes, and before the words go out: a cut answer costs what came of it.
        self.account.charge(model.price(prompt=completion.prompt_tokens))
        await self.start_stream()
        await self.send_event(as_json(completion.chunk({"role": "assistant"})))
        for step in steps:
            match step:
                case Token() | CallPart():
                    await self.sleep(self.state.chunk_interval)
                    completion.add(step)
                    self.account.charge(model.price(completion=request.choices))
                    await self.send_event(as_json(completion.chunk(delta(step))))
                case Stall(keep_alive):
                    await self._stall(keep_alive)
                case StreamFailure(message):
                    await self.send_event(as_json(error_object(message, INTERNAL_ERROR)))
                    return
                case StreamEnd(finish_reason):
                    await self.send_event(as_json(completion.chunk({}, finish_reason)))
        if request.include_usage:
            await self.send_event(as_json(completion.usage_chunk()))
        await self.send_event(b"[DONE]")

    async def _stall(self, keep_alive: bool) -> None:
        """Halt until the client goes, which ends this with StreamClosedError."""
        while True:
            if keep_alive:
                await self.send_comment()
            await self.sleep(_KEEP_ALIVE if keep_alive else None)
