"""What the router's endpoints have in common, as Tornado handlers, and those of the account."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Mapping
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
from puq_magics.sandbox.models import LOCAL, Kind, Model, listing
from puq_magics.sandbox.state import Asked, State
from puq_magics.sandbox.validation import Refusal, invalid

T = TypeVar("T")

#: The names under which this machine is asked.  Another one means that some web page has pointed its own name
#: at 127.0.0.1 (DNS rebinding) and is now talking to us through somebody's browser.
_OWN_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


#: The largest JSON body, in bytes.
LARGEST_BODY: Final = 100 * 1024 * 1024
#: The longest that an answer in one piece is held back, in seconds: patience is not what it teaches.
LONGEST_WAIT: Final = 2.0
#: So much of a body that is refused is still read, in bytes: who is cut off while sending may never see why.
_MOST_DRAINED: Final = 4 * 1024**3

_DOES_NOT: Final[Mapping[Kind, str]] = {
    "chat": "chat",
    "image": "make images",
    "speech": "speak",
    "transcription": "transcribe",
}


@stream_request_body
class RouterHandler(RequestHandler):
    """What every answer has in common: a request id, JSON, and errors in the API's shape.

    Bodies come in pieces, so that an endpoint need not hold them whole, and so that what is too large is refused in
    the API's words.
    """

    #: The model that was asked for, once it is known.
    asked_model = ""
    _noted = False
    _refused = False
    _arrived = 0

    def initialize(self, state: State) -> None:
        """Take the state from the application's routes."""
        self.state = state
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: The body, where the endpoint does not `take` it in another way.
        self.body = bytearray()

    @cached_property
    def request_id(self) -> str:
        """What to name this request by."""
        return f"req_{secrets.token_hex(12)}"

    @property
    def largest_body(self) -> int:
        """In bytes."""
        return LARGEST_BODY

    def set_default_headers(self) -> None:
        """Name the request, in errors too."""
        self.set_header("Server", "puq-sandbox")
        self.set_header("x-request-id", self.request_id)
        self.set_header("Content-Type", "application/json")

    def admit(self) -> None:
        """Raise a Refusal by what the head says: of a host name that is not this machine's, for one."""
        host, _port = split_host_and_port(self.request.host.lower())
        if host not in _OWN_NAMES:
            raise Refusal(403, f"Forbidden: the sandbox does not answer to the host name {host!r}")

    def take(self, chunk: bytes) -> None:
        """Take a piece of the body; may raise a Refusal."""
        self.body += chunk

    def prepare(self) -> None:
        """Refuse before the body comes, where the head is enough to do so."""
        try:
            self.admit()
            declared = self.request.headers.get("Content-Length", "")
            if declared.isdecimal() and int(declared) > self.largest_body:
                raise refusals.too_large(self.largest_body)
        except Refusal as refusal:
            if "Expect" in self.request.headers:
                raise  # the client waits for a word before it sends its body: none has to be drained
            self._refuse(refusal)

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body, unless it is one too many or was refused already."""
        self._arrived += len(chunk)
        if self._refused:
            if self._arrived > _MOST_DRAINED and not self._finished:
                self.finish()
            return
        try:
            if self._arrived > self.largest_body:
                raise refusals.too_large(self.largest_body)
            self.take(chunk)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Send a refusal at once, but end only after the rest of the body has come."""
        self._refused = True
        self.body.clear()
        # Takes the place of get(), post() and the like, for this one request.
        setattr(self, (self.request.method or "").lower(), lambda *_: self.finish())
        self.clear()
        self._put(refusal)
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
        if not self.gone.done():
            self.gone.set_result(None)

    def cut(self) -> NoReturn:
        """Cut the connection in mid-answer."""
        connection = self.request.connection
        # For the type checker: this server speaks nothing else.
        assert isinstance(connection, HTTP1Connection)  # noqa: S101
        connection.close()
        raise StreamClosedError

    async def rest(self, seconds: float | None) -> None:
        """Wait so many seconds (None: for good); raises StreamClosedError as soon as the client is gone."""
        await asyncio.wait([self.gone], timeout=seconds)
        if self.gone.done():
            raise StreamClosedError

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Send what was written; the request is noted before, so that who has an answer finds it noted."""
        if not self._noted:
            self._noted = True
            path = self.request.path
            self.state.note(Asked(self.request.method or "", path, self.get_status(), self.asked_model))
        return super().flush(include_footers)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send a refusal, or Tornado's own error in a refusal's shape."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if not isinstance(error, Refusal):
            error = self._refusal(status_code)
        if self.request.method not in self.SUPPORTED_METHODS or "Expect" in self.request.headers:
            self.set_header("Connection", "close")  # Tornado does, without a word: the body was not read
        self._put(error)
        self.finish()

    def _put(self, refusal: Refusal) -> None:
        self.set_status(refusal.status)
        self.set_header("Content-Type", refusal.content_type)
        self.set_header("Content-Length", str(len(refusal.body.encode())))
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        self.write(refusal.body)

    def _refusal(self, status: int) -> Refusal:
        """Tornado's own errors, and ours that nobody foresaw."""
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(self.allowed_methods())
            message = f"Method Not Allowed: {self.request.path} takes {allowed or 'none'}"
            return Refusal(status, message, headers={"Allow": allowed})
        if status >= 500:
            return Refusal(status, "Internal server error", code=refusals.INTERNAL_ERROR)
        return Refusal(status, HTTPStatus(status).phrase)

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
        """Log what nobody foresaw; a refusal is an answer like any other, and clients come and go."""
        if not isinstance(value, Refusal | StreamClosedError):
            super().log_exception(typ, value, tb)


class NotFoundHandler(RouterHandler):
    """Every path that is not an endpoint."""

    def admit(self) -> None:
        """Refuse, whatever the method."""
        super().admit()
        raise Refusal(404, f"Not Found: there is no endpoint {self.request.path}")


class AccountHandler(RouterHandler):
    """An endpoint that needs the key, and a balance above 0."""

    def admit(self) -> None:
        """Check the key first, then the balance."""
        super().admit()
        account = self.state.account_of(self.request.headers.get("Authorization", ""))
        if account is None:
            raise refusals.unauthorized()
        if account.balance <= 0:
            raise refusals.payment_required()
        #: Who asks, and pays.
        self.account = account

    def fail_if_planned(self) -> None:
        """Refuse this request where the plan of faults says so."""
        status = self.state.take_fault()
        if status is not None:
            # Who asks for an answer as fast as possible need not wait to ask again either.
            raise refusals.planned(status, retry_after=1 if self.state.pause else 0)

    def model_for(self, kind: Kind, code: str) -> Model:
        """The model of that code, if this key may use it for that; note that it was asked for."""
        self.asked_model = code
        model = self.state.models.get(code)
        if model is None:
            raise Refusal(404, self._nothing_like(code), code="MODEL_NOT_FOUND")
        if not model.enabled:
            raise Refusal(403, f"Forbidden: the model {code!r} is disabled")
        if not model.granted:
            raise Refusal(403, f"Forbidden: this API key is not granted the model {code!r}")
        if model.kind != kind:
            raise invalid(f"The model {code!r} does not {_DOES_NOT[kind]}: it is for {model.kind}")
        return model

    def _nothing_like(self, code: str) -> str:
        left_out = code.startswith(f"{LOCAL.code}/") and not self.state.engines
        return f"The model {code!r} does not exist" + (
            " here: the sandbox runs without --local" if left_out else ""
        )

    async def unless_gone(self, work: Awaitable[T]) -> T:
        """What ``work`` comes to; raises StreamClosedError as soon as the client is gone, and cancels it."""
        task = asyncio.ensure_future(work)
        try:
            either: set[asyncio.Future[Any]] = {task, self.gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StreamClosedError
            return task.result()
        finally:
            task.cancel()


class ModelsHandler(AccountHandler):
    """``GET /v1/models``; ``?enabled=1`` leaves the disabled ones out."""

    async def get(self) -> None:
        """Answer with the list; an upstream that does not answer in time has no models on it."""
        enabled_only = self.get_query_argument("enabled", "") == "1"
        with suppress(StreamClosedError):  # the client went
            if self.state.upstream is not None:
                await self.unless_gone(self.state.upstream.look())
            await self.finish(json.dumps(listing(self.state.models.values(), enabled_only=enabled_only)))


class BalanceHandler(AccountHandler):
    """``GET /v1/credits/balance``."""

    def get(self) -> None:
        """Answer with the credits left."""
        self.finish(json.dumps({"success": True, "balance": self.account.balance}))
