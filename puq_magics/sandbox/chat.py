"""``POST /v1/chat/completions``: plays a script, as a stream or in one piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox.catalog import Model
from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.completion import Completion
from puq_magics.sandbox.handlers import LONGEST_WAIT, AccountHandler
from puq_magics.sandbox.moves import Break, End, Stall, Step, Token, play
from puq_magics.sandbox.refusals import INTERNAL_ERROR, Refusal, error_object
from puq_magics.sandbox.scripts import SCRIPTS

#: Seconds between two keep-alive comments.
_KEEP_ALIVE: Final = 1.0


class ChatHandler(AccountHandler):
    """Chat completions."""

    #: Events of the stream that went out.
    _sent = 0
    _drop_after: int | None = None

    async def post(self) -> None:
        """Read the request, and answer it unless it is refused."""
        self.fail_if_planned()
        request = read_chat_request(self.body)
        model = self.model_for("chat", request.model)
        script = SCRIPTS.get(model.code, SCRIPTS["sandbox/short"])
        steps = play(script(request), request.max_completion_tokens)
        completion = Completion(model.code, request.prompt_tokens)
        with suppress(StreamClosedError):  # the client went: an answer ends there
            if request.stream:
                await self._stream(request, model, completion, steps)
            else:
                await self._answer(model, completion, steps)

    async def _answer(self, model: Model, completion: Completion, steps: Iterator[Step]) -> None:
        for step in steps:
            match step:
                case Token():
                    completion.add(step)
                case Stall():
                    await self.rest(None)
                case Break(message):
                    raise Refusal(500, message, code=INTERNAL_ERROR)
                case End(finish_reason):
                    spoken = completion.completion_tokens
                    await self.rest(min(spoken * self.state.pause, LONGEST_WAIT))
                    self.state.account.charge(model.price(prompt=completion.prompt_tokens, completion=spoken))
                    await self.finish(_json(completion.whole(finish_reason)))

    async def _stream(
        self, request: ChatRequest, model: Model, completion: Completion, steps: Iterator[Step]
    ) -> None:
        self._drop_after = self.state.settings.drop_after
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        # Charged as it goes, and before the words go out: a cut answer costs what came of it.
        self.state.account.charge(model.price(prompt=completion.prompt_tokens))
        await self.flush()
        await self._send(_json(completion.chunk({"role": "assistant"})))
        for step in steps:
            match step:
                case Token(field, text):
                    await self.rest(self.state.pause)
                    completion.add(step)
                    self.state.account.charge(model.price(completion=1))
                    await self._send(_json(completion.chunk({field: text})))
                case Stall(keep_alive):
                    await self._stall(keep_alive)
                case Break(message):
                    await self._send(_json(error_object(message, INTERNAL_ERROR)))
                    return
                case End(finish_reason):
                    await self._send(_json(completion.chunk({}, finish_reason)))
        if request.include_usage:
            await self._send(_json(completion.usage_chunk()))
        await self._send(b"[DONE]")

    async def _stall(self, keep_alive: bool) -> None:
        """Halt until the client goes, which ends this with StreamClosedError."""
        while True:
            if keep_alive:
                self.write(": PROCESSING\n\n")
                await self.flush()
            await self.rest(_KEEP_ALIVE if keep_alive else None)

    async def _send(self, data: bytes) -> None:
        """Send one event, in a write of its own; or cut the connection where it is to be dropped."""
        if self._sent == self._drop_after:
            self.cut()
        self.write(b"data: " + data + b"\n\n")
        await self.flush()
        self._sent += 1


def _json(value: object) -> bytes:
    # A lone surrogate is valid in JSON's escapes but has no UTF-8.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
