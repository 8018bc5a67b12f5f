"""The router: one method for each endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from puq_magics.api.address import VENDOR_URL, Address
from puq_magics.api.errors import (
    AnswerError,
    APIError,
    ConfigurationError,
    InputError,
    PuqError,
    StatusError,
    error_for,
)
from puq_magics.api.request import Request, Retry, Timeouts, json_request
from puq_magics.api.secret import Secret
from puq_magics.api.stream import ChatStream, not_json, read_completion
from puq_magics.api.transport import RequestsTransport, Response, Transport, retry_after
from puq_magics.api.wire import Completion, Message, Model, read_balance, read_models

_CONNECT, _LISTS, _CHAT = 10.0, 30.0, 120.0  # seconds
_LARGEST_BODY = 256 << 20
_LONGEST_ERROR = 1 << 16  # bytes
_ERROR_PATIENCE = 5.0  # seconds for each part of an error's body
_UNKNOWN_FIELD = (
    r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|additional|extra|invalid)[\w ]*"
    r"(?:field|param|propert|argument|key|input|option)"
)
OnRetry = Callable[[Retry], None]


class Router:
    """A router's HTTP API.

    ``timeout`` is in seconds without a byte, to connect or in mid-answer; None means 10 to connect, 120 in a chat,
    30 for lists. ``transport`` takes the place of the network.

    >>> router = Router(api_key=…)
    >>> router.chat("What is a cell?", model="openai/gpt-4o-mini").text
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        base_url: str = VENDOR_URL,
        auth_scheme: str = "Token",
        *,
        timeout: float | None = None,
        max_retries: int = 2,
        allow_http: bool = False,
        transport: Transport | None = None,
    ) -> None:
        try:
            key = Secret(api_key) if isinstance(api_key, str) else api_key
        finally:
            del api_key  # tracebacks can show locals
        if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < float("inf")):
            raise ConfigurationError(
                f"the timeout is {timeout!r}.", hint="Give a number of seconds above 0, or None."
            )
        if transport is None:
            address = Address.parse(base_url, allow_http=allow_http)
            transport = RequestsTransport(address, key, auth_scheme=auth_scheme, max_retries=max_retries)
        self._transport = transport
        self._timeout = timeout
        self._counts_usage = True

    def __repr__(self) -> str:
        return f"Router({self.address.url!r})"

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where the router is."""
        return self._transport.address

    @property
    def auth_scheme(self) -> str:
        """The word before the key."""
        return self._transport.auth_scheme

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def models(self, *, enabled_only: bool = True, on_retry: OnRetry | None = None) -> tuple[Model, ...]:
        """The models: with a puq.ai router, enabled ones only unless asked otherwise."""
        params = {"enabled": "1"} if enabled_only else {}
        request = Request("GET", "/v1/models", self._timeouts(_LISTS), params=params)
        models = read_models(_read_json(self._send(request, on_retry)))
        return tuple(model for model in models if model.enabled or not enabled_only)

    def balance(self, *, on_retry: OnRetry | None = None) -> float:
        """What is left on the account, in credits."""
        request = Request("GET", "/v1/credits/balance", self._timeouts(_LISTS))
        return read_balance(_read_json(self._send(request, on_retry)))

    def chat(
        self, messages: str | Sequence[Message], *, model: str, on_retry: OnRetry | None = None, **params: Any
    ) -> Completion:
        """Ask, and wait for the whole answer. ``params`` are further fields of the request; None is not sent."""
        request = self.chat_request(messages, model=model, **(params | {"stream": None}))
        response = self._send(request, on_retry)
        with _redacted(response):
            return read_completion(_read_json(response), model, _request_id(response))

    def stream_chat(
        self, messages: str | Sequence[Message], *, model: str, on_retry: OnRetry | None = None, **params: Any
    ) -> ChatStream:
        """Ask, and read the answer as it comes; close the stream, or use it in a ``with``."""
        params["stream"] = True
        response = self._send_counting(messages, model, on_retry, params)
        return ChatStream(response, model, _request_id(response))

    def _send_counting(
        self, messages: str | Sequence[Message], model: str, on_retry: OnRetry | None, params: dict[str, Any]
    ) -> Response:
        """Ask for the usage, too; where that is refused go without, now and from then on."""
        request = self.chat_request(messages, model=model, **params)
        try:
            return self._send(request, on_retry)
        except StatusError as error:
            if not self._counts_usage or "stream_options" in params or not _refuses_usage(error, params):
                raise
        request = self.chat_request(messages, model=model, count_usage=False, **params)
        response = self._send(request, on_retry)
        self._counts_usage = False
        return response

    def chat_request(
        self, messages: str | Sequence[Message], *, model: str, count_usage: bool = True, **params: Any
    ) -> Request:
        """The request that ``chat`` and (with ``stream=True``) ``stream_chat`` send. Raises InputError."""
        if self.address.is_vendor and "/" not in model:
            raise InputError(
                f"{model!r} is not the name of a model of {self.address.host}.",
                hint="Name it provider/model, like openai/gpt-4o-mini.",
            )
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        payload: dict[str, Any] = {"model": model, "messages": list(messages)}
        payload |= {name: value for name, value in params.items() if value is not None}
        if payload.get("stream") and count_usage and self._counts_usage:
            payload.setdefault("stream_options", {"include_usage": True})
        accept = "text/event-stream" if payload.get("stream") else "application/json"
        return json_request("/v1/chat/completions", payload, self._timeouts(_CHAT), accept=accept)

    def _timeouts(self, read: float) -> Timeouts:
        return Timeouts(self._timeout or _CONNECT, self._timeout or read)

    def _send(self, request: Request, on_retry: OnRetry | None = None) -> Response:
        response = self._transport.send(request, on_retry)
        if response.status < 400:
            return response
        raise error_for(
            response.status,
            _read_beginning(response),
            request_id=_request_id(response),
            retry_after=retry_after(response.headers),
        )


def read_all(response: Response, limit: int = _LARGEST_BODY) -> bytes:
    """The whole body. Raises AnswerError past ``limit`` bytes."""
    parts: list[bytes] = []
    size = 0
    try:
        while (part := response.receive()) != b"":
            parts.append(part or b"")
            size += len(parts[-1])
            if size > limit:
                raise AnswerError(f"the answer is larger than {limit:,} bytes.", hint="Check the base URL.")
    finally:
        response.close()
    return b"".join(parts)


def _read_beginning(response: Response) -> bytes:
    """An error's body, as far as anyone reads it and as it came: the status is known, and says more."""
    body = b""
    try:
        while len(body) < _LONGEST_ERROR and (part := response.receive(_ERROR_PATIENCE)):
            body += part
    except APIError:
        pass
    finally:
        response.close()
    return body


def _read_json(response: Response) -> Any:
    body = read_all(response)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        with _redacted(response):
            raise not_json(body) from None


@contextmanager
def _redacted(response: Response) -> Iterator[None]:
    """Errors that quote the answer quote it without the key."""
    try:
        yield
    except PuqError as error:
        error.rewrite(response.redact)
        raise


def _request_id(response: Response) -> str | None:
    value = response.headers.get("x-request-id")
    return value if value is None else "".join(c for c in value[:200] if c.isprintable())


def _refuses_usage(error: StatusError, params: Mapping[str, Any]) -> bool:
    """Whether a refusal can be about ``stream_options``, which older servers do not know."""
    if error.status not in (400, 422):
        return False
    if not error.detail or re.search(r"stream_options|include_usage", error.detail):
        return True
    others = "|".join(re.escape(name) for name in ("model", "messages", *params))
    about_a_field = re.search(_UNKNOWN_FIELD, error.detail, re.IGNORECASE) is not None
    return about_a_field and re.search(rf"\b(?:{others})\b", error.detail) is None
