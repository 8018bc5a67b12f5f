"""From a Request to a Response, over requests; the one door where foreign exceptions become ours.

The Transport protocol is all that the client knows, so that record and replay can wrap it. The key is added here
and leaves no trace: an error is raised afresh, without the frames (and their locals) in which requests held it.
"""

from __future__ import annotations

import os
import platform
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NoReturn, Protocol, TypeVar

import requests
import requests.adapters
import requests.auth
import urllib3.exceptions as u3

from puq_magics import __version__
from puq_magics.api.address import Address
from puq_magics.api.body import Body, open_body
from puq_magics.api.errors import AnswerError, NetworkError, PuqError, RedirectError, RequestTimeoutError
from puq_magics.api.request import Request, Retry
from puq_magics.api.secret import Secret

#: Seconds that a Retry-After may ask for; beyond, the user decides.
LONGEST_WAIT = 60.0
_FOREIGN = (requests.RequestException, u3.HTTPError, HTTPException, OSError, ValueError, zlib.error)
_T = TypeVar("_T")


class Response(Protocol):
    """An answer whose head has come."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by names in any case."""

    def receive(self, wait: float | None = None) -> bytes | None:
        """What has come of the body; ``b""`` at its end; None when nothing came within ``wait`` seconds."""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""


class Transport(Protocol):
    """Sends requests to one router."""

    @property
    def address(self) -> Address:
        """Where the router is."""

    @property
    def auth_scheme(self) -> str:
        """The word before the key; ``none`` sends no key."""

    def send(self, request: Request, on_retry: Callable[[Retry], None] | None = None) -> Response:
        """Send it, with retries where the router surely did not process it; raises NetworkError."""

    def close(self) -> None:
        """Close the connections."""


class RequestsTransport:
    """Over a pooled requests session.

    ``on_retry`` is told before each pause. A POST is sent again only when there was no connection, or the router
    said 429 or 503; a GET also after any other failure.
    """

    def __init__(
        self, address: Address, key: Secret | None, *, auth_scheme: str = "Token", max_retries: int = 2
    ) -> None:
        self.address = address
        self.auth_scheme = auth_scheme
        self._auth = _KeyAuth(key, auth_scheme)
        self._max_retries = max_retries
        self._session = _session(address)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, request: Request, on_retry: Callable[[Retry], None] | None = None) -> Response:
        """See Transport."""
        attempt = 0
        while True:
            attempt += 1
            answer = self._attempt(request)
            retry = self._retry(request, answer, attempt)
            if retry is None:
                return answer if isinstance(answer, _Response) else _raise(answer.error)
            if isinstance(answer, _Response):
                answer.close()
            if on_retry is not None:
                on_retry(retry)
            time.sleep(retry.pause)

    def _attempt(self, request: Request) -> _Response | _Failure:
        outcome = self._through_the_door(lambda: self._open(request))
        if isinstance(outcome, _Failure):
            return outcome
        raw, headers = outcome
        body = open_body(raw, request.timeouts.read)
        response = _Response(raw.status, headers, body, self._through_the_door)
        if 300 <= response.status < 400:
            response.close()
            raise _redirect(self.address, headers.get("location", ""))
        return response

    def _open(self, request: Request) -> tuple[Any, Mapping[str, str]]:
        answer = self._session.request(
            request.method,
            self.address.url + request.path,
            params=dict(request.params),
            data=request.body,
            headers=_headers(request),
            auth=self._auth,
            timeout=(request.timeouts.connect, request.timeouts.read),
            allow_redirects=False,
            stream=True,
        )
        return answer.raw, answer.headers

    def _through_the_door(self, action: Callable[[], _T]) -> _T | _Failure:
        """Do it; a foreign exception comes back as a failure of ours, without its traceback."""
        try:
            return action()
        except PuqError:
            raise
        except _FOREIGN as exc:
            return _Failure(translate(exc, self.address), _never_arrived(exc))
        except KeyboardInterrupt:
            pass
        raise KeyboardInterrupt  # afresh: the frames below hold the key

    def _retry(self, request: Request, answer: _Response | _Failure, attempt: int) -> Retry | None:
        if attempt > self._max_retries:
            return None
        pause = random.uniform(0.5, 1.0) * min(8.0, 0.5 * 2**attempt)  # noqa: S311 - jitter
        if isinstance(answer, _Failure):
            if not (answer.never_arrived or (request.safe_to_repeat and answer.passing)):
                return None
            reason = answer.error.message
        else:
            if not (answer.status in (429, 503) or (request.safe_to_repeat and answer.status >= 500)):
                return None
            reason = "too many requests" if answer.status == 429 else f"the router answered {answer.status}"
            asked = retry_after(answer.headers)
            if asked is not None:
                if asked > LONGEST_WAIT:
                    return None
                pause = max(asked, 0.1 * pause)
        return Retry(reason, pause, attempt, self._max_retries)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: PuqError
    #: The router surely did not see the request.
    never_arrived: bool

    @property
    def passing(self) -> bool:
        """Whether trying again may help."""
        return isinstance(self.error, NetworkError) and "certificate" not in self.error.message


class _Response:
    def __init__(
        self, status: int, headers: Mapping[str, str], body: Body, door: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self._door = door

    def receive(self, wait: float | None = None) -> bytes | None:
        outcome: bytes | _Failure | None = self._door(lambda: self._body.receive(wait))
        return _raise(outcome.error) if isinstance(outcome, _Failure) else outcome

    def close(self) -> None:
        self._body.close()


class _KeyAuth(requests.auth.AuthBase):
    """The key as a header; an auth object, even without a key, keeps ``~/.netrc`` out of it."""

    def __init__(self, key: Secret | None, scheme: str) -> None:
        self._key = None if scheme == "none" else key
        self._scheme = scheme

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"{self._scheme} {self._key.reveal()}"
        return request


def _session(address: Address) -> requests.Session:
    session = requests.Session()
    if address.is_loopback:
        # No proxy stands between a machine and itself; the user's certificates count all the same.
        session.trust_env = False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    session.max_redirects = 0
    adapter = requests.adapters.HTTPAdapter(pool_connections=2, pool_maxsize=8)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _headers(request: Request) -> dict[str, str]:
    agent = f"puq_magics/{__version__} (Python {platform.python_version()}; requests {requests.__version__})"
    headers = {"User-Agent": agent, "Accept": request.accept, "Accept-Encoding": "gzip"}
    if request.content_type is not None:
        headers["Content-Type"] = request.content_type
    return headers


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a ``Retry-After`` asks to wait, given as a number or as a date; None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _redirect(address: Address, location: str) -> RedirectError:
    target = "".join(c for c in location[:200] if c.isprintable()) or "nowhere"
    return RedirectError(
        f"{address.host} redirects to {target}; the request and the key did not go along.",
        hint="If that is the router, set its base URL: %config PuqMagics.base_url = …",
    )


def translate(exc: BaseException, address: Address) -> PuqError:
    """The error of ours for a foreign exception, by the table below."""
    seen = list(_causes(exc))
    for kinds, error, message, hint in _TRANSLATIONS:
        found = next((cause for cause in seen if isinstance(cause, kinds)), None)
        if found is not None:
            words = _reason(found)
            return error(message.format(host=address.host, reason=words), hint=hint)
    return NetworkError(f"the request to {address.host} failed: {_reason(exc)}.", hint="Try again.")


_CHECK = "Check the base URL and the network (%puq shows the base URL)."
_TRANSLATIONS: tuple[tuple[Any, Callable[..., PuqError], str, str], ...] = (
    (
        (u3.NameResolutionError,),
        NetworkError,
        "the name {host} does not resolve.",
        _CHECK,
    ),
    (
        (u3.SSLError, requests.exceptions.SSLError),
        NetworkError,
        "no secure connection to {host}: its certificate or protocol was refused ({reason}).",
        "A proxy may stand between; REQUESTS_CA_BUNDLE names its certificate.",
    ),
    (
        (requests.exceptions.ProxyError, u3.ProxyError),
        NetworkError,
        "the proxy on the way to {host} does not answer ({reason}).",
        "Check HTTPS_PROXY and NO_PROXY.",
    ),
    (
        (u3.ConnectTimeoutError, requests.exceptions.ConnectTimeout),
        RequestTimeoutError,
        "{host} did not take the connection in time.",
        _CHECK,
    ),
    (
        (u3.NewConnectionError, ConnectionRefusedError),
        NetworkError,
        "no connection to {host} ({reason}).",
        _CHECK,
    ),
    (
        (u3.ReadTimeoutError, requests.exceptions.ReadTimeout, TimeoutError),
        RequestTimeoutError,
        "{host} sent nothing for too long.",
        "Try again, or allow more seconds: %config PuqMagics.timeout = 300",
    ),
    (
        (u3.DecodeError, requests.exceptions.ContentDecodingError, zlib.error),
        AnswerError,
        "the answer of {host} is compressed in a way that cannot be read.",
        "A proxy may have changed it on the way.",
    ),
    (
        (u3.ProtocolError, HTTPException, ConnectionError, requests.exceptions.ConnectionError),
        NetworkError,
        "{host} closed the connection before its answer was whole.",
        "Try again.",
    ),
    (
        (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidHeader,
            u3.LocationValueError,
            UnicodeError,
        ),
        NetworkError,
        "the request to {host} cannot be made: {reason}.",
        "Check the base URL.",
    ),
)


def _never_arrived(exc: BaseException) -> bool:
    """Whether there was no connection, and a further try may find one."""
    kinds = (u3.NewConnectionError, u3.ConnectTimeoutError)
    seen = list(_causes(exc))
    resolved = not any(isinstance(cause, u3.NameResolutionError) for cause in seen)
    return resolved and any(isinstance(cause, kinds) for cause in seen)


def _causes(exc: BaseException) -> list[BaseException]:
    """The exception and those that it wraps: requests and urllib3 put them into args and ``reason``."""
    found: list[BaseException] = []
    queue: list[object] = [exc]
    while queue and len(found) < 20:
        item = queue.pop(0)
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            queue += [*item.args, getattr(item, "reason", None), item.__cause__]
    return found


def _reason(exc: BaseException) -> str:
    """The innermost words of an exception, short."""
    words = [getattr(cause, "strerror", None) for cause in _causes(exc)]
    text = next((w for w in words if w), None) or str(exc) or type(exc).__name__
    return text.rsplit(": ", 1)[-1].strip("'\"() .")[:120].lower()


def _raise(error: PuqError) -> NoReturn:
    raise error
