"""Send requests with the requests library, and translate its exceptions to PuqError subclasses.

The key is added here. Errors are raised without the frames (and their locals) in which requests held it.
"""

from __future__ import annotations

import random
import re
import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead, InvalidURL
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import requests
import requests.auth
import urllib3.exceptions as u3

from puq_magics.api.base_url import BaseURL, check_auth_scheme
from puq_magics.api.body import Body, open_body
from puq_magics.api.error_body import is_quota_spent
from puq_magics.api.http_session import create_session, user_agent
from puq_magics.api.request import Request, Retry
from puq_magics.api.response import Response, parse_retry_after, read_error_body
from puq_magics.core.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    PuqError,
    RedirectError,
)
from puq_magics.core.fork import after_fork
from puq_magics.core.secret import Secret

if TYPE_CHECKING:
    from puq_magics.api.uploads import MultipartForm, RequestBody

#: Seconds of a Retry-After header that are waited; for more, the user decides.
MAX_RETRY_AFTER = 60.0
#: Seconds to wait for each part of an error's body before a retry; without it the error is taken for a passing one.
_PEEK_TIMEOUT = 1.0
_T = TypeVar("_T")
_E = TypeVar("_E", bound=BaseException)


class RequestsTransport:
    """Transport over a pooled requests session.

    ``on_retry`` is called before each pause. A POST is sent again only if there was no connection, or the status was
    429 or 503; a GET also after any other 5xx and after a cut connection. Raises ConfigurationError for an
    ``auth_scheme`` that is not one word.
    """

    def __init__(
        self, address: BaseURL, key: Secret | None, *, auth_scheme: str = "Token", max_retries: int = 2
    ) -> None:
        if not isinstance(max_retries, int) or max_retries < 0:
            raise ConfigurationError(
                f"the number of retries is {max_retries!r}.", hint="Give a whole number; 0 is none."
            )
        self.address = address
        self.auth_scheme = check_auth_scheme(auth_scheme)
        self._key = key
        self._auth = _KeyAuth(key, auth_scheme)
        self._max_retries = max_retries
        self._session = create_session(address)
        self._sessions_before_fork: list[requests.Session] = []
        after_fork(self, RequestsTransport._replace_session)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.url!r})"

    def with_max_retries(self, max_retries: int) -> RequestsTransport:
        """Return a transport to the same router, with this number of retries and connections of its own."""
        return RequestsTransport(
            self.address, self._key, auth_scheme=self.auth_scheme, max_retries=max_retries
        )

    def take_timing(self) -> None:
        """Return None: nothing is recorded."""

    def wrap_download(
        self, download: Callable[[str], bytes]
    ) -> AbstractContextManager[Callable[[str], bytes]]:
        """Give ``download`` itself."""
        return nullcontext(download)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _replace_session(self) -> None:
        """Take new connections: on those of the parent process, each would read the other's answers."""
        # Kept, not closed: closing takes locks that a thread of the parent may have held.
        self._sessions_before_fork.append(self._session)
        self._session = create_session(self.address)

    def send(self, request: Request, on_retry: Callable[[Retry], None] | None = None) -> Response:
        """Send a request, with retries if the router surely did not process it. Raises APIConnectionError."""
        attempt = 0
        while True:
            attempt += 1
            answer = self._attempt(request)
            retry = self._retry(request, answer, attempt)
            if retry is None:
                return answer if isinstance(answer, _HTTPResponse) else _raise(answer.error)
            if isinstance(answer, _HTTPResponse):
                answer.close()
                self._session.close()  # also a connection whose answer was read: the server may close it now
            if on_retry is not None:
                on_retry(retry)
            time.sleep(retry.delay)

    def _attempt(self, request: Request) -> _HTTPResponse | _FailedAttempt:
        response = self._capture_errors(lambda: self._open_response(request))
        if isinstance(response, _HTTPResponse) and response.status // 100 == 3:
            response.close()
            raise self._redirect(response)
        return response

    def _open_response(self, request: Request) -> _HTTPResponse:
        if request.body is None or isinstance(request.body, bytes):
            answer = self._send_request(request, request.body, request.content_type)
        else:
            answer = self._send_form(request, request.body)
        body = open_body(answer.raw, request.timeouts.read)
        return _HTTPResponse(answer.status_code, answer.headers, body, self._capture_errors, self._key)

    def _send_form(self, request: Request, body: MultipartForm) -> requests.Response:
        from puq_magics.api.uploads import MultipartBody  # here: a chat does not wait for it

        with closing(MultipartBody(body, request.timeouts.read)) as form:
            return self._send_request(request, form, form.content_type)

    def _send_request(
        self, request: Request, body: bytes | RequestBody | None, content_type: str | None
    ) -> requests.Response:
        return self._session.request(
            request.method,
            self.address.endpoint(request.path),
            params=dict(request.params),
            data=body,
            headers=_headers(request, content_type),
            auth=self._auth,
            timeout=(request.timeouts.connect, request.timeouts.read),
            stream=True,
        )

    def _capture_errors(self, action: Callable[[], _T]) -> _T | _FailedAttempt:
        """Run the action; return any exception as a failure, without its traceback."""
        try:
            return action()
        except PuqError as exc:
            return _FailedAttempt(_strip_traceback(exc), was_not_sent=False, is_transient=False)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the frames below hold the key
            return _to_failure(exc, self.address)
        except BaseException as exc:  # noqa: BLE001 - an interrupt, raised again without those frames
            interrupt = _strip_traceback(exc)
        raise interrupt

    def _redirect(self, response: _HTTPResponse) -> RedirectError:
        location = response.redact(response.headers.get("location", ""))
        target = "".join(c for c in location[:200] if c.isprintable())
        return RedirectError(
            f"{self.address.host} redirects to {target or 'nowhere'} ({response.status}); "
            "the request and the key did not go along.",
            hint="If that is the router, set its base URL: %config PuqMagics.base_url = …",
        )

    def _retry(self, request: Request, answer: _HTTPResponse | _FailedAttempt, attempt: int) -> Retry | None:
        if attempt > self._max_retries:
            return None
        delay = random.uniform(0.5, 1.0) * min(8.0, 0.5 * 2**attempt)  # noqa: S311 - jitter
        if isinstance(answer, _FailedAttempt):
            if not (answer.was_not_sent or (request.is_idempotent and answer.is_transient)):
                return None
            reason = answer.error.message
        else:
            if not (answer.status in (429, 503) or (request.is_idempotent and answer.status >= 500)):
                return None
            requested_delay = parse_retry_after(answer.headers)
            if answer.status in (429, 503) and is_quota_spent(answer.peek_error(), requested_delay):
                return None
            reason = "too many requests" if answer.status == 429 else f"the router answered {answer.status}"
            if requested_delay is not None:
                if requested_delay > MAX_RETRY_AFTER:
                    return None
                delay = max(requested_delay, 0.1 * delay)
        return Retry(reason, delay, attempt, self._max_retries)


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    error: PuqError
    #: The router surely did not receive the request, and another try may reach it.
    was_not_sent: bool
    #: The connection was cut: repeating the request may help, if that is safe.
    is_transient: bool


class _HTTPResponse:
    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: Body,
        capture_errors: Callable[[Callable[[], Any]], Any],
        key: Secret | None,
    ) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self._capture_errors = capture_errors
        self._key = key
        self._peeked: list[bytes] = []

    def peek_error(self) -> bytes:
        """Return the body of an error; it can be received afterwards."""
        body = read_error_body(self, _PEEK_TIMEOUT)
        self._peeked = [body, b""]
        return body

    def receive(self, timeout: float | None = None) -> bytes | None:
        if self._peeked:
            return self._peeked.pop(0)
        outcome: bytes | _FailedAttempt | None = self._capture_errors(lambda: self._body.receive(timeout))
        return _raise(outcome.error) if isinstance(outcome, _FailedAttempt) else outcome

    def redact(self, text: str) -> str:
        return text if self._key is None else self._key.redact(text)

    def close(self) -> None:
        self._body.close()


class _KeyAuth(requests.auth.AuthBase):
    """Adds the key as a header; an auth object, even without a key, disables ``~/.netrc``."""

    def __init__(self, key: Secret | None, scheme: str) -> None:
        self._key = None if scheme == "none" else key
        self._scheme = scheme

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"{self._scheme} {self._key.reveal()}"
        return request


def _headers(request: Request, content_type: str | None) -> dict[str, str | None]:
    return {
        "User-Agent": user_agent(),
        "Accept": request.accept,
        "Accept-Encoding": "gzip",
        "Content-Type": content_type,
    }


def translate_exception(exc: BaseException, address: BaseURL) -> PuqError:
    """Return the PuqError for a foreign exception, by the table below."""
    seen = _exception_chain(exc)
    for kinds, error, message, hint in _TRANSLATIONS:
        found = next((cause for cause in seen if isinstance(cause, kinds)), None)
        if found is not None:
            return error(message.format(host=address.host, reason=_describe_cause(found)), hint=hint)
    return APIConnectionError(
        f"the request to {address.host} failed ({_describe_cause(exc)}).", hint=_CHECK_HINT
    )


_CHECK_HINT = "Check the base URL and the network (%puq shows the base URL)."
_CONNECTION_CLOSED = (
    APIConnectionError,
    "{host} closed the connection before its answer was whole.",
    "Try again.",
)
_INVALID_HTTP = (
    InvalidResponseError,
    "{host} does not answer in proper HTTP.",
    "Check the base URL, its port, and http or https.",
)
#: No connection was made.
_CONNECT_ERRORS = (
    u3.NewConnectionError,
    u3.ConnectTimeoutError,
    u3.ProxyError,
    requests.exceptions.ProxyError,
)
_TLS_ERRORS = (ssl.SSLError, u3.SSLError, requests.exceptions.SSLError)
_INVALID_REQUEST_ERRORS = (
    InvalidURL,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    u3.LocationValueError,
    u3.URLSchemeUnknown,
    UnicodeError,
)
# From specific to general: the first row that matches the exception or one of its causes.
_TRANSLATIONS: tuple[tuple[tuple[type[BaseException], ...], type[PuqError], str, str], ...] = (
    (
        (
            u3.ProxyError,
            u3.ProxySchemeUnknown,
            u3.ProxySchemeUnsupported,
            requests.exceptions.ProxyError,
            requests.exceptions.InvalidProxyURL,
            requests.exceptions.InvalidSchema,  # SOCKS without its library
        ),
        APIConnectionError,
        "the proxy on the way to {host} cannot be used ({reason}).",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    ((u3.NameResolutionError,), APIConnectionError, "the name {host} does not resolve.", _CHECK_HINT),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError), *_CONNECTION_CLOSED),
    (
        _TLS_ERRORS,
        APIConnectionError,
        "no secure connection to {host}: its certificate or protocol was refused ({reason}).",
        "A proxy may stand between; REQUESTS_CA_BUNDLE names its certificate.",
    ),
    (
        (u3.NewConnectionError, ConnectionRefusedError),
        APIConnectionError,
        "no connection to {host} ({reason}).",
        _CHECK_HINT,
    ),
    (
        (u3.ConnectTimeoutError, requests.exceptions.ConnectTimeout),
        APITimeoutError,
        "{host} did not take the connection in time.",
        _CHECK_HINT,
    ),
    (
        (u3.TimeoutError, requests.exceptions.Timeout, TimeoutError),
        APITimeoutError,
        "{host} sent nothing for too long.",
        "Try again, or allow more seconds: %config PuqMagics.timeout = 300",
    ),
    (
        (u3.DecodeError, requests.exceptions.ContentDecodingError, zlib.error),
        InvalidResponseError,
        "the answer of {host} is compressed in a way that cannot be read.",
        "A proxy may have changed it on the way.",
    ),
    ((u3.InvalidChunkLength, u3.InvalidHeader, u3.HeaderParsingError), *_INVALID_HTTP),
    (
        _INVALID_REQUEST_ERRORS,
        APIConnectionError,
        "the request to {host} cannot be made: its URL is not valid.",
        "Check the base URL.",
    ),
    ((ConnectionError, IncompleteRead, EOFError), *_CONNECTION_CLOSED),
    ((HTTPException,), *_INVALID_HTTP),
    (
        (u3.ProtocolError, requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError),
        *_CONNECTION_CLOSED,
    ),
)


def _to_failure(exc: Exception, address: BaseURL) -> _FailedAttempt:
    seen = _exception_chain(exc)
    is_permanent = _contains_type(seen, u3.NameResolutionError, *_TLS_ERRORS, *_INVALID_REQUEST_ERRORS)
    error = translate_exception(exc, address)
    if isinstance(error, APIConnectionError):
        error.was_sent = not (is_permanent or _contains_type(seen, *_CONNECT_ERRORS))
    return _FailedAttempt(
        error,
        was_not_sent=not is_permanent and _contains_type(seen, u3.NewConnectionError, u3.ConnectTimeoutError),
        is_transient=not is_permanent
        and _contains_type(seen, ConnectionError, HTTPException, EOFError, u3.ProtocolError),
    )


def _strip_traceback(exc: _E) -> _E:
    """Return the exception without its traceback, cause and context."""
    exc.__context__ = exc.__cause__ = None
    return exc.with_traceback(None)


def _contains_type(seen: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in seen)


def _exception_chain(exc: BaseException) -> list[BaseException]:
    """Return the exception and those that it wraps, in its args (as requests does) or ``reason`` (urllib3)."""
    found: list[BaseException] = []
    queue: list[object] = [exc]
    for item in queue:  # which grows meanwhile
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            queue += [*item.args, getattr(item, "reason", None), item.__cause__]
    return found


def _describe_cause(exc: BaseException) -> str:
    """Return the message of an OSError, short; of other errors the name alone, as they may quote a header."""
    errors = [
        cause
        for cause in _exception_chain(exc)
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
    ]
    own = [error.strerror for error in errors if isinstance(error.strerror, str)]
    if own:
        text = re.sub(r"\s*\(_ssl\.c:\d+\)", "", own[-1]).rsplit(": ", 1)[-1].lower()
    else:
        text = next((arg for error in errors for arg in error.args if isinstance(arg, str)), "")
    return text.strip("'\"() .")[:120] or type(exc).__name__


def _raise(error: PuqError) -> NoReturn:
    raise error
