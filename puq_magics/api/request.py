"""Requests as data, and the interface of a transport that sends them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import InputError

if TYPE_CHECKING:
    from puq_magics.api.response import Response
    from puq_magics.api.uploads import MultipartForm


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits for the time without a byte, in seconds."""

    connect: float
    read: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the router; the transport adds the key."""

    method: str
    path: str
    timeouts: Timeouts
    params: Mapping[str, str] = field(default_factory=dict)
    #: Bytes, or a form that is read while it is sent.
    body: bytes | MultipartForm | None = None
    content_type: str | None = None
    accept: str = "application/json"

    @property
    def has_file(self) -> bool:
        """True if the request sends a file."""
        return self.body is not None and not isinstance(self.body, bytes)

    @property
    def is_idempotent(self) -> bool:
        """True if sending it twice costs nothing."""
        return self.method == "GET"

    def to_curl(self, address: BaseURL, auth_scheme: str) -> str:
        """Return the request as a ``curl`` command, with ``$PUQ_API_KEY`` in place of the key."""
        query = f"?{urlencode(self.params)}" if self.params else ""
        parts = ["curl", "-N", shlex.quote(f"{address.endpoint(self.path)}{query}")]
        if auth_scheme != "none":
            parts += ["-H", f'"Authorization: {auth_scheme} $PUQ_API_KEY"']
        if isinstance(self.body, bytes):
            parts += ["-H", shlex.quote(f"Content-Type: {self.content_type}")]
            parts += ["--data-raw", shlex.quote(self.body.decode("utf-8", "replace"))]
        elif self.body is not None:
            parts += _form_options(self.body)
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Retry:
    """A request that is about to be sent again."""

    #: What went wrong.
    reason: str
    #: Seconds until then.
    delay: float
    #: 1 for the first retry.
    attempt: int
    #: Maximum number of retries.
    max_retries: int

    def __str__(self) -> str:
        return f"{self.reason.rstrip('.')}; trying again in {self.delay:.1f} s ({self.attempt} of {self.max_retries})"


#: Number of a call among equal ones that run at once, from 0, as planned; None: by the order in which they are sent.
repeat_number: ContextVar[int | None] = ContextVar("repeat_number", default=None)


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of an exchange as they are recorded, in seconds after the request was sent."""

    #: End of the answer.
    seconds: float
    #: First content of the answer.
    first: float


class Transport(Protocol):
    """Sends requests to one router."""

    @property
    def address(self) -> BaseURL:
        """The router's base URL."""

    @property
    def auth_scheme(self) -> str:
        """The scheme before the key in the ``Authorization`` header; ``none`` sends no key."""

    def send(self, request: Request, on_retry: Callable[[Retry], None] | None = None) -> Response:
        """Send a request, with retries if the router surely did not process it. Raises APIConnectionError."""

    def with_max_retries(self, max_retries: int) -> Transport:
        """Return a transport to the same router with this number of retries."""

    def take_timing(self) -> Timing | None:
        """Return the recorded times of this thread's requests since the last call; None if none was recorded."""

    def wrap_download(
        self, download: Callable[[str], bytes]
    ) -> AbstractContextManager[Callable[[str], bytes]]:
        """Give the function that downloads the images of this thread's last answer, by their URLs."""

    def close(self) -> None:
        """Close the connections."""


def _form_options(form: MultipartForm) -> list[str]:
    """Return a form as curl's options; the file is expected in the working folder."""
    parts = []
    for name, value in form.fields:
        parts += ["--form-string", shlex.quote(f"{name}={value}")]
    for file in form.files:
        name = file.name.replace("\\", "\\\\").replace('"', '\\"')
        plain = not set(name) & set('",;\\')
        parts += [
            "-F",
            shlex.quote(f"{form.file_field}=@{name}" if plain else f'{form.file_field}=@"{name}"'),
        ]
    return parts


def form_request(path: str, form: MultipartForm, timeouts: Timeouts, *, accept: str) -> Request:
    """Return a POST of a form."""
    return Request("POST", path, timeouts, body=form, accept=accept)


def json_request(path: str, payload: Mapping[str, Any], timeouts: Timeouts, *, accept: str) -> Request:
    """Return a POST of a JSON object. Raises InputError for a value that JSON does not have."""
    try:
        body = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only write escaped
        body = json.dumps(payload, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as exc:
        raise InputError(
            f"the request cannot be written as JSON: {exc}.",
            hint="Use text, finite numbers, True, False, None, and lists and dicts of these.",
        ) from None
    return Request("POST", path, timeouts, body=body, content_type="application/json", accept=accept)
