"""A chat on its way to a model that answers for real, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from puq_magics.sandbox import looking as tokens
from puq_magics.sandbox.backends.backend import Backend
from puq_magics.sandbox.backends.errors import BackendErrorResponse, json_object
from puq_magics.sandbox.backends.http_client import (
    Endpoint,
    HttpResponse,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from puq_magics.sandbox.backends.meter import UsageMeter
from puq_magics.sandbox.backends.sse import EventReader
from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.completion import completion_id
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.streaming import SSEHandler, as_json
from puq_magics.sandbox.validation import ErrorResponse, bad_gateway, error_object

_PATH: Final = "/chat/completions"
#: Bytes of a refusal that are read.
_LARGEST_REFUSAL: Final = 64 * 1024
#: Parts of a message or a delta that hold what a model wrote.
_WRITTEN: Final = ("content", "reasoning_content", "reasoning", "tool_calls")

Json = dict[str, Any]


class ChatProxy:
    """One chat, asked of a backend in the name of a client.

    An answer bears our id and the model's code, as all answers of this router, and is charged as it comes.
    """

    def __init__(
        self, handler: SSEHandler, request: ChatRequest, model: ModelEntry, backend: Backend
    ) -> None:
        self._handler = handler
        self._request = request
        self._model = model
        self._backend = backend
        self._meter = UsageMeter(handler.account, model, request.prompt_tokens)
        self._identity = {"id": completion_id(), "model": model.code}
        #: Whether the backend said that all is written, and that nothing more comes.
        self._finished = self._done = False
        self._usage_sent = False

    async def run(self) -> None:
        """Answer the client.

        Raises ErrorResponse where that is still possible, StreamClosedError when the client goes.

        When it does, the connection to the backend is closed at once, whatever is waited for.
        """
        if not self._request.stream:
            whole = await self._handler.await_or_disconnect(self._whole())
            await self._handler.finish(as_json(whole))
            return
        async with self._handler.send_keep_alives():
            await self._handler.await_or_disconnect(self._stream())

    async def _whole(self) -> Json:
        async with self._answer() as reply:
            body = json_object(await reply.read_all())
            if body is None or not isinstance(body.get("choices"), list):
                raise bad_gateway(f"{self._backend.name} sent no answer that can be read")
        self._meter.set_usage(body.get("usage"))
        if not self._meter.reported:
            self._meter.add_tokens(tokens.count("".join(_written(body, "message"))))
        return {**body, "usage": body.get("usage") or self._meter.usage, **self._identity}

    async def _stream(self) -> None:
        try:
            async with self._answer() as reply:
                await self._pass_on(reply)
        except ErrorResponse as refusal:
            if not self._handler.streaming:
                raise
            await self._handler.send_event(as_json(error_object(refusal.message, refusal.code)))

    async def _pass_on(self, reply: HttpResponse) -> None:
        reader = EventReader()
        while not self._done and (piece := await reply.read()):
            for data in reader.feed(piece):
                await self._event(data)
        for data in reader.close():
            await self._event(data)
        if not self._finished and not self._done:
            raise IncompleteResponseError("it stopped")
        if self._request.include_usage and not self._usage_sent:
            chunk = {"object": "chat.completion.chunk", "choices": [], "usage": self._meter.usage}
            await self._handler.send_event(as_json({**chunk, **self._identity}))
        await self._handler.send_event(b"[DONE]")

    async def _event(self, data: bytes) -> None:
        """Pass one event on, paid for; it may be for our own eyes only."""
        if data == b"[DONE]":
            self._done = True
            return
        event = json_object(data)
        if event is None:
            raise bad_gateway(f"{self._backend.name} sent something in mid-answer that is no event")
        if event.get("error"):
            message = BackendErrorResponse.read(500, {}, data, self._backend.redact).message
            raise bad_gateway(f"{self._backend.name} failed in mid-answer: {message}")
        usage = event.get("usage")
        self._meter.set_usage(usage)
        if any(_written(event, "delta")):
            self._meter.add_tokens()
        choices = _choices(event)
        self._finished |= any(choice.get("finish_reason") for choice in choices)
        if not self._request.include_usage:
            event.pop("usage", None)
            if usage and not choices:
                return
        self._usage_sent |= bool(usage and not choices)
        await self._handler.send_event(as_json({**event, **self._identity}))

    @asynccontextmanager
    async def _answer(self) -> AsyncIterator[HttpResponse]:
        """The backend's answer, of status 200.

        Raises ErrorResponse for any other, and for one that ends too early.
        """
        async with self._backend.acquire(self._handler.disconnected) as server:
            try:
                async with self._asked(server) as reply:
                    yield reply
            except UnreachableError as error:
                raise ErrorResponse(503, await self._backend.unreachable_message(str(error))) from None
            except IncompleteResponseError as error:
                raise bad_gateway(await self._backend.truncated_message(str(error))) from None

    @asynccontextmanager
    async def _asked(self, server: Endpoint) -> AsyncIterator[HttpResponse]:
        body, added = self._body()
        while True:
            async with send_request(server, "POST", _PATH, as_json(body)) as reply:
                if reply.status == HTTPStatus.OK:
                    yield reply
                    return
                raw = await reply.read_all(_LARGEST_REFUSAL)
            refused = BackendErrorResponse.read(reply.status, reply.headers, raw, self._backend.redact)
            # Not every server takes what not every client sends: then it is to go without.
            unwanted = {name for name in added & body.keys() if refused.rejects_field(name)}
            if not unwanted:
                raise refused.to_error_response(self._backend.name, self._model.code)
            body = {name: value for name, value in body.items() if name not in unwanted}

    def _body(self) -> tuple[Json, set[str]]:
        """Return the body for the backend, and the fields in it that the client did not send."""
        body = {**self._request.body, "model": self._model.backend_name}
        added = {"max_tokens", "stream_options"} - body.keys()
        if self._request.max_completion_tokens is not None:
            body.setdefault("max_tokens", self._request.max_completion_tokens)  # what older servers call it
        if self._request.stream:
            body["stream_options"] = self._stream_options()
        return body, added

    def _stream_options(self) -> Json:
        given = self._request.body.get("stream_options")
        # Asked for in any case, since it says what to charge.
        return {**(given if isinstance(given, dict) else {}), "include_usage": True}


def _choices(body: Json) -> list[Json]:
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _written(body: Json, name: str) -> list[str]:
    """Generated text of an answer or of one chunk."""
    parts = [part for choice in _choices(body) if isinstance(part := choice.get(name), dict)]
    return [str(written) for part in parts for field in _WRITTEN if (written := part.get(field))]
