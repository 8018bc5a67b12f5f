"""The endpoints of the router, as Tornado handlers."""

from __future__ import annotations

import asyncio
import json
import secrets
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final

from tornado.httputil import split_host_and_port
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from puq_magics.sandbox import refusals
from puq_magics.sandbox.catalog import listing
from puq_magics.sandbox.refusals import Refusal
from puq_magics.sandbox.state import Asked, State

#: The names under which this machine is asked.  Another one means that some web page has pointed its own name
#: at 127.0.0.1 (DNS rebinding) and is now talking to us through somebody's browser.
_OWN_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class RouterHandler(RequestHandler):
    """What every answer has in common: a request id, JSON, and errors in the API's shape."""

    #: The model that was asked for, once it is known.
    asked_model = ""
    _noted = False

    def initialize(self, state: State) -> None:
        """Take the state from the application's routes."""
        self.state = state
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @cached_property
    def request_id(self) -> str:
        """What to name this request by."""
        return f"req_{secrets.token_hex(12)}"

    def set_default_headers(self) -> None:
        """Name the request, in errors too."""
        self.set_header("Server", "puq-sandbox")
        self.set_header("x-request-id", self.request_id)
        self.set_header("Content-Type", "application/json")

    def prepare(self) -> None:
        """Refuse a host name that is not this machine's."""
        host, _port = split_host_and_port(self.request.host.lower())
        if host not in _OWN_NAMES:
            raise Refusal(403, f"Forbidden: the sandbox does not answer to the host name {host!r}")

    def compute_etag(self) -> None:
        """No ETag: an answer is never 'not modified'."""

    def on_connection_close(self) -> None:
        """Wake an answer that is resting."""
        if not self.gone.done():
            self.gone.set_result(None)

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
        self.set_status(error.status)
        self.set_header("Content-Type", error.content_type)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.finish(error.body)

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

    def prepare(self) -> None:
        """Refuse, whatever the method."""
        super().prepare()
        raise Refusal(404, f"Not Found: there is no endpoint {self.request.path}")


class AccountHandler(RouterHandler):
    """An endpoint that needs the key, and a balance above 0."""

    def prepare(self) -> None:
        """Check the key first, then the balance."""
        super().prepare()
        if not self.state.account.admits(self.request.headers.get("Authorization", "")):
            raise refusals.unauthorized()
        if self.state.account.balance <= 0:
            raise refusals.payment_required()

    def fail_if_planned(self) -> None:
        """Refuse this request where the plan of faults says so."""
        status = self.state.take_fault()
        if status is not None:
            # Who asks for an answer as fast as possible need not wait to ask again either.
            raise refusals.planned(status, retry_after=1 if self.state.pause else 0)


class ModelsHandler(AccountHandler):
    """``GET /v1/models``; ``?enabled=1`` leaves the disabled ones out."""

    def get(self) -> None:
        """Answer with the list."""
        enabled_only = self.get_query_argument("enabled", "") == "1"
        self.finish(json.dumps(listing(enabled_only=enabled_only)))


class BalanceHandler(AccountHandler):
    """``GET /v1/credits/balance``."""

    def get(self) -> None:
        """Answer with the credits left."""
        self.finish(json.dumps({"success": True, "balance": self.state.account.balance}))


class MediaHandler(AccountHandler):
    """The endpoints for speech, transcription and images, which are still to come."""

    def post(self) -> None:
        """Say so."""
        raise Refusal(404, f"Not Found: the sandbox does not serve {self.request.path} yet; it chats")
