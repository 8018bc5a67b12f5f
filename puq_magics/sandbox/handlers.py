"""Base classes of the router's Tornado handlers, and the account's endpoints."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from tornado.http1connection import HTTP1Connection
from tornado.httputil import split_host_and_port
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from puq_magics.sandbox import validation as refusals
from puq_magics.sandbox.disconnect import until_disconnected
from puq_magics.sandbox.models import LOCAL, Kind, ModelEntry, list_response
from puq_magics.sandbox.state import RequestRecord, State
from puq_magics.sandbox.validation import ErrorResponse, invalid
from puq_magics.sandbox.work import WorkQueue

T = TypeVar("T")

#: The names under which this machine is asked.  Another one means that some web page has pointed its own name
#: at 127.0.0.1 (DNS rebinding) and is now talking to us through somebody's browser.
_OWN_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


#: The largest JSON body, in bytes: with some images, or with text alone.
MAX_BODY_BYTES: Final = 20 * 1024 * 1024
MAX_TEXT_BODY_BYTES: Final = 1024 * 1024
#: Bytes of bodies that one key may send at the same time.
_MAX_HELD_BYTES: Final = 4 * MAX_BODY_BYTES
#: The longest that an answer in one piece is held back, in seconds, which caps artificial delays.
MAX_WAIT_SECONDS: Final = 2.0
#: So much of a body that is refused is still read, in bytes: who is cut off while sending may never see why.
_MAX_DRAINED_BYTES: Final = 4 * 1024**3

_VERB_OF_KIND: Final[Mapping[Kind, str]] = {
    "chat": "chat",
    "image": "make images",
    "speech": "speak",
    "transcription": "transcribe",
}


@stream_request_body
class RouterHandler(RequestHandler):
    """Base of all handlers: request id, JSON, and errors in the API's shape.

    Bodies arrive in pieces, so that an endpoint need not hold them whole, and one that is too large is refused with
    the API's error.
    """

    #: The model that was asked for, once it is known.
    requested_model = ""
    _recorded = False
    _rejected = False
    _arrived = 0

    def initialize(self, state: State, work: WorkQueue) -> None:
        """Store what the application's routes give."""
        self.state = state
        self.work = work
        self.disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: The body, unless the endpoint receives its chunks itself.
        self.body = bytearray()

    @cached_property
    def request_id(self) -> str:
        """Id of this request."""
        return f"req_{secrets.token_hex(12)}"

    @property
    def max_body_bytes(self) -> int:
        """In bytes."""
        return MAX_BODY_BYTES

    def set_default_headers(self) -> None:
        """Name the request, in errors too."""
        self.set_header("Server", "puq-sandbox")
        self.set_header("x-request-id", self.request_id)
        self.set_header("Content-Type", "application/json")

    def check_headers(self) -> None:
        """Raise a ErrorResponse by what the head says: of a host name that is not this machine's, for one."""
        host, _port = split_host_and_port(self.request.host.lower())
        if host not in _OWN_NAMES:
            raise ErrorResponse(403, f"Forbidden: the sandbox does not answer to the host name {host!r}")

    def receive_chunk(self, chunk: bytes) -> None:
        """Process a piece of the body; may raise ErrorResponse."""
        self.body += chunk

    def prepare(self) -> None:
        """Refuse before the body comes, where the head is enough to do so."""
        try:
            self.check_headers()
            declared = self.request.headers.get("Content-Length", "")
            if declared.isdecimal() and int(declared) > self.max_body_bytes:
                raise refusals.too_large(self.max_body_bytes)
        except ErrorResponse as refusal:
            if "Expect" in self.request.headers:
                raise  # the client waits for a word before it sends its body: none has to be drained
            self._reject(refusal)

    async def data_received(self, chunk: bytes) -> None:
        """Process a piece of the body, unless the limit is reached or the request was refused already."""
        await asyncio.sleep(0)  # other requests come in between, however fast this one is sent
        self._arrived += len(chunk)
        if self._rejected:
            if self._arrived > _MAX_DRAINED_BYTES and not self._finished:
                self.finish()
            return
        try:
            if self._arrived > self.max_body_bytes:
                raise refusals.too_large(self.max_body_bytes)
            self.receive_chunk(chunk)
        except ErrorResponse as refusal:
            self._reject(refusal)

    def _reject(self, refusal: ErrorResponse) -> None:
        """Send a refusal at once, but end only after the rest of the body has come."""
        self._rejected = True
        self.body.clear()
        # Takes the place of get(), post() and the like, for this one request.
        setattr(self, (self.request.method or "").lower(), lambda *_: self.finish())
        self.clear()
        self._write_error(refusal)
        if self._body_follows:
            self.flush()

    @property
    def _body_follows(self) -> bool:
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    def compute_etag(self) -> None:
        """No ETag: an answer is never 'not modified'."""

    def on_connection_close(self) -> None:
        """Wake an answer that is resting, or waits for its request."""
        super().on_connection_close()
        if not self.disconnected.done():
            self.disconnected.set_result(None)

    def drop_connection(self) -> NoReturn:
        """Cut the connection in mid-answer."""
        connection = self.request.connection
        # For the type checker: this server speaks nothing else.
        assert isinstance(connection, HTTP1Connection)  # noqa: S101
        connection.close()
        raise StreamClosedError

    async def sleep(self, seconds: float | None) -> None:
        """Wait so many seconds (None: forever); raises StreamClosedError as soon as the client disconnects."""
        await asyncio.wait([self.disconnected], timeout=seconds)
        if self.disconnected.done():
            raise StreamClosedError

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Send what was written; the request is noted before, so that who has an answer finds it noted."""
        if not self._recorded:
            self._recorded = True
            path = self.request.path
            self.state.record_request(
                RequestRecord(self.request.method or "", path, self.get_status(), self.requested_model)
            )
        return super().flush(include_footers)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send a refusal, or Tornado's own error in a refusal's shape."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if not isinstance(error, ErrorResponse):
            error = self._error_for_status(status_code)
        if self.request.method not in self.SUPPORTED_METHODS or "Expect" in self.request.headers:
            self.set_header("Connection", "close")  # Tornado does, without a word: the body was not read
        self._write_error(error)
        self.finish()

    def _write_error(self, refusal: ErrorResponse) -> None:
        self.set_status(refusal.status)
        self.set_header("Content-Type", refusal.content_type)
        self.set_header("Content-Length", str(len(refusal.body.encode())))
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.write(refusal.body)

    def _error_for_status(self, status: int) -> ErrorResponse:
        """Return the response for Tornado's own errors and for unexpected exceptions."""
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(self.allowed_methods())
            message = f"Method Not Allowed: {self.request.path} takes {allowed or 'none'}"
            return ErrorResponse(status, message, headers={"Allow": allowed})
        if status >= 500:
            return ErrorResponse(status, "Internal server error", code=refusals.INTERNAL_ERROR)
        return ErrorResponse(status, HTTPStatus(status).phrase)

    def allowed_methods(self) -> list[str]:
        """The methods that this endpoint has."""
        own = type(self).__dict__
        return [method for method in self.SUPPORTED_METHODS if method.lower() in own]

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log unexpected exceptions; not refusals, and not clients that disconnect."""
        if not isinstance(value, ErrorResponse | StreamClosedError):
            super().log_exception(typ, value, tb)


class NotFoundHandler(RouterHandler):
    """Every path that is not an endpoint."""

    def check_headers(self) -> None:
        """Refuse, whatever the method."""
        super().check_headers()
        raise ErrorResponse(404, f"Not Found: there is no endpoint {self.request.path}")


class AccountHandler(RouterHandler):
    """An endpoint that needs the key, and a balance above 0."""

    def check_headers(self) -> None:
        """Check the key first, then the balance."""
        super().check_headers()
        account = self.state.account_of(self.request.headers.get("Authorization", ""))
        if account is None:
            raise refusals.unauthorized()
        if account.balance <= 0:
            raise refusals.payment_required()
        #: Who asks, and pays.
        self.account = account

    _held_bytes = 0

    def receive_chunk(self, chunk: bytes) -> None:
        """Keep a piece of the body, unless the key's requests are too large together."""
        self._held_bytes += len(chunk)
        self.account.held_bytes += len(chunk)
        if self.account.held_bytes > _MAX_HELD_BYTES:
            raise refusals.too_many_bytes()
        super().receive_chunk(chunk)

    def on_finish(self) -> None:
        """Keep nothing."""
        super().on_finish()
        self._release_bytes()

    def on_connection_close(self) -> None:
        """Keep nothing."""
        super().on_connection_close()
        self._release_bytes()

    def _release_bytes(self) -> None:
        held, self._held_bytes = self._held_bytes, 0
        if held:
            self.account.held_bytes -= held

    async def compute(self, work: Callable[[], T]) -> T:
        """Do the work in a thread; raises StreamClosedError when the client disconnects."""
        return await self.await_or_disconnect(self.work.run(self.account, work))

    def raise_planned_fault(self) -> None:
        """Refuse this request where the plan of faults says so."""
        status = self.state.next_fault()
        if status is not None:
            # Who asks for an answer as fast as possible need not wait to ask again either.
            raise refusals.planned_fault(status, retry_after=1 if self.state.chunk_interval else 0)

    def model_for(self, kind: Kind, code: str) -> ModelEntry:
        """The model of that code, if this key may use it for that; note that it was asked for."""
        self.requested_model = code
        model = self.state.models.get(code)
        if model is None:
            raise ErrorResponse(404, self._unknown_model_message(code), code="MODEL_NOT_FOUND")
        if not model.enabled:
            raise ErrorResponse(403, f"Forbidden: the model {code!r} is disabled")
        if not model.granted:
            raise ErrorResponse(403, f"Forbidden: this API key is not granted the model {code!r}")
        if model.kind != kind:
            raise invalid(f"The model {code!r} does not {_VERB_OF_KIND[kind]}: it is for {model.kind}")
        return model

    def _unknown_model_message(self, code: str) -> str:
        left_out = code.startswith(f"{LOCAL.code}/") and not self.state.engines
        return f"The model {code!r} does not exist" + (
            " here: the sandbox runs without --local" if left_out else ""
        )

    async def await_or_disconnect(self, work: Awaitable[T]) -> T:
        """Await ``work``; if the client disconnects first, cancel it and raise StreamClosedError."""
        return await until_disconnected(work, self.disconnected)


class ModelsHandler(AccountHandler):
    """``GET /v1/models``; ``?enabled=1`` leaves the disabled ones out."""

    async def get(self) -> None:
        """Answer with the list; an upstream that does not answer in time has no models on it."""
        enabled_only = self.get_query_argument("enabled", "") == "1"
        with suppress(StreamClosedError):  # the client went
            if self.state.upstream is not None:
                await self.await_or_disconnect(self.state.upstream.refresh_models())
            models = self.state.models.values()
            await self.finish(
                await self.compute(lambda: json.dumps(list_response(models, enabled_only=enabled_only)))
            )


class BalanceHandler(AccountHandler):
    """``GET /v1/credits/balance``."""

    def get(self) -> None:
        """Answer with the credits left."""
        self.finish(json.dumps({"success": True, "balance": self.account.balance}))
