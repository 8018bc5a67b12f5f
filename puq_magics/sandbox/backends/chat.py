"""Chat completions of a real model, passed on to the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from puq_magics.sandbox import tokens
from puq_magics.sandbox.backends.backend import MAX_ERROR_BYTES, Backend
from puq_magics.sandbox.backends.errors import BackendErrorResponse
from puq_magics.sandbox.backends.http_client import HttpResponse, IncompleteResponseError
from puq_magics.sandbox.backends.meter import UsageMeter
from puq_magics.sandbox.backends.sse import EventReader
from puq_magics.sandbox.chat_request import ChatRequest
from puq_magics.sandbox.completion import completion_id
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.streaming import SSEHandler
from puq_magics.sandbox.validation import as_json, bad_gateway, json_object

_PATH: Final = "/chat/completions"
#: Fields of a message or a delta that hold generated text.
_GENERATED: Final = ("content", "reasoning_content", "reasoning", "tool_calls")

Json = dict[str, Any]


class ChatProxy:
    """One chat completion, requested from a backend for a client.

    The response carries our id and the model's code, and is charged as it streams.
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
        #: True once a finish reason has arrived, and once [DONE] has.
        self._finished = self._done = False
        self._usage_sent = False

    async def run(self) -> None:
        """Answer the client.

        Raises ErrorResponse before a stream has begun, and StreamClosedError when the client disconnects; the
        connection to the backend is then closed at once.
        """
        if not self._request.stream:
            completion = await self._handler.await_or_disconnect(self._completion())
            await self._handler.finish(as_json(completion))
            return
        async with self._handler.send_keep_alives():
            await self._handler.await_or_disconnect(self._stream())

    async def _completion(self) -> Json:
        async with self._open() as response:
            body = json_object(await response.read_all())
            if body is None or not isinstance(body.get("choices"), list):
                raise bad_gateway(f"{self._backend.name} sent no answer that can be read")
        self._meter.set_usage(body.get("usage"))
        if not self._meter.reported:
            self._meter.add_tokens(tokens.count("".join(_generated_text(body, "message"))))
        return {**body, "usage": body.get("usage") or self._meter.usage, **self._identity}

    async def _stream(self) -> None:
        async with self._handler.errors_as_events(), self._open() as response:
            reader = EventReader()
            while not self._done and (piece := await response.read()):
                for data in reader.feed(piece):
                    await self._forward(data)
            for data in reader.close():
                await self._forward(data)
            if not self._finished and not self._done:
                raise IncompleteResponseError("it stopped")
            if self._request.include_usage and not self._usage_sent:
                chunk = {"object": "chat.completion.chunk", "choices": [], "usage": self._meter.usage}
                await self._handler.send_event(as_json({**chunk, **self._identity}))
            await self._handler.send_event(b"[DONE]")

    async def _forward(self, data: bytes) -> None:
        """Charge an event and send it on, unless it only has the usage that the client did not request."""
        if data == b"[DONE]":
            self._done = True
            return
        event = json_object(data)
        if event is None:
            raise bad_gateway(f"{self._backend.name} sent an invalid event in mid-answer")
        if event.get("error"):
            error = BackendErrorResponse.read(_error_status(event), {}, data, self._backend.redact)
            if error.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise error.to_error_response(self._backend.name, self._model.code)
            raise bad_gateway(f"{self._backend.name} failed in mid-answer: {error.message}")
        usage = event.get("usage")
        self._meter.set_usage(usage)
        if generated := "".join(_generated_text(event, "delta") or _generated_text(event, "message")):
            self._meter.add_tokens(tokens.count(generated))
        choices = _choices(event)
        self._finished |= any(choice.get("finish_reason") for choice in choices)
        if not self._request.include_usage:
            event.pop("usage", None)
            if usage and not choices:
                return
        self._usage_sent |= bool(usage and not choices)
        await self._handler.send_event(as_json({**event, **self._identity}))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[HttpResponse]:
        """Yield the backend's response of status 200; raises ErrorResponse for any other.

        Fields that the client did not send are left out of a second request if the backend rejects them.
        """
        body, added = self._backend_body()
        while True:
            async with self._backend.open(self._handler.disconnected, _PATH, body) as response:
                if response.status == HTTPStatus.OK:
                    yield response
                    return
                raw = await response.read_all(MAX_ERROR_BYTES)
            error = BackendErrorResponse.read(response.status, response.headers, raw, self._backend.redact)
            rejected = {name for name in added & body.keys() if error.rejects_field(name)}
            if not rejected:
                raise error.to_error_response(self._backend.name, self._model.code)
            body = {name: value for name, value in body.items() if name not in rejected}

    def _backend_body(self) -> tuple[Json, set[str]]:
        """Return the body for the backend, and the names of fields in it that the client did not send."""
        body = {**self._request.whole_body, "model": self._model.backend_name}
        added = {"max_tokens", "stream_options"} - body.keys()
        if self._request.max_completion_tokens is not None:
            body.setdefault("max_tokens", self._request.max_completion_tokens)  # the name in older servers
        if self._request.stream:
            options = body.get("stream_options")
            # Usage is always requested: it says what to charge.
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body, added


def _error_status(event: Json) -> int:
    """Return 429 for an error event that tells of a rate limit, else 500."""
    error = event["error"]
    fields = {**event, **(error if isinstance(error, dict) else {})}
    told = [str(fields.get(name, "")) for name in ("status", "code", "type")]
    return 429 if any("429" in value or "rate_limit" in value.lower() for value in told) else 500


def _choices(body: Json) -> list[Json]:
    choices = body.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _generated_text(body: Json, name: str) -> list[str]:
    """Generated text of a response or a chunk."""
    parts = [part for choice in _choices(body) if isinstance(part := choice.get(name), dict)]
    return [str(text) for part in parts for field in _GENERATED if (text := part.get(field))]
