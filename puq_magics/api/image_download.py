"""Download an image from an untrusted URL.

The router is not trusted with what this machine can reach. The key stays behind; only https is used (http where both
the router and the image are on this machine); the host's addresses are looked up, checked, and connected to as they
were checked, for each redirect anew, so that no name can point elsewhere a moment later. Behind a proxy, which looks
names up by itself, the names are checked here, too, and TLS proves them; one that is not known here is refused.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Lock, Timer
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.utils
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from puq_magics.api.base_url import DEFAULT_PORTS, BaseURL, bracket_ipv6, format_netloc
from puq_magics.api.body import open_body
from puq_magics.api.http_session import NoRedirectSession, PoolAdapter, ca_bundle, user_agent
from puq_magics.api.transport import translate_exception
from puq_magics.core.errors import APITimeoutError, InvalidResponseError, PuqError

_MAX_IMAGE_BYTES = 64 << 20  # bytes of one image
_MAX_TOTAL_BYTES = 256 << 20  # bytes of an answer's images
_TOTAL_TIMEOUT = 120.0  # seconds in all
_READ_TIMEOUT = 30.0  # seconds without a byte
_MAX_REQUESTS = 4  # the first one counts
_MAX_ADDRESSES = 3  # addresses of one host
_HINT = 'Request the image itself: response_format="b64_json" (in a magic: --param response_format=b64_json).'
_PYTHON_HINT = "The URL is in the error's .partial.raw."
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,250}[a-z0-9_.])?", re.ASCII)
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")  # all that is given out of IPv6
_IP = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class _ParsedURL:
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    #: Path and query.
    target: str

    @property
    def name(self) -> str:
        """Host and port for a ``Host`` header."""
        return format_netloc(self.scheme, self.host, self.port)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}{self.target}"

    def with_ip(self, ip: _IP) -> str:
        """Return the URL with an IP address in place of the host."""
        return f"{self.scheme}://{bracket_ipv6(str(ip))}:{self.port}{self.target}"


class ImageDownloader:
    """Downloads the images of one answer; ``loopback`` tells that the router is on this machine.

    ``base`` is the URL that relative ones refer to. ``limit`` is in bytes for each image, ``total_limit`` for all;
    ``seconds`` is the time for all, from the first.
    """

    def __init__(
        self,
        *,
        loopback: bool,
        limit: int = _MAX_IMAGE_BYTES,
        total_limit: int = _MAX_TOTAL_BYTES,
        seconds: float = _TOTAL_TIMEOUT,
        base: str = "",
    ) -> None:
        self._base = base
        self._loopback = loopback
        self._limit = limit
        self._remaining = total_limit
        self._seconds = seconds
        self._deadline: float | None = None

    def __call__(self, url: str) -> bytes:
        """Return the bytes at ``url``.

        Raises InvalidResponseError for a URL that is not allowed, for a refusal, and for too many bytes;
        APIConnectionError if there is no answer, APITimeoutError after the time limit.
        """
        if self._deadline is None:
            self._deadline = monotonic() + self._seconds
        parsed_url = _parse_url(_resolve_relative(self._base, url))
        for _ in range(_MAX_REQUESTS):
            answer = self._fetch(parsed_url, self._deadline)
            if isinstance(answer, bytes):
                return answer
            parsed_url = _parse_url(urljoin(parsed_url.url, answer))
        raise InvalidResponseError(
            f"{parsed_url.name} redirects too often on the way to an image.", hint=_HINT
        )

    def _fetch(self, parsed_url: _ParsedURL, deadline: float) -> bytes | str:
        """Call ``_get``, and translate foreign exceptions."""
        try:
            return self._get(parsed_url, deadline)
        except PuqError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - whatever went wrong on the way
            address = BaseURL(parsed_url.url, parsed_url.url, parsed_url.name, is_loopback=self._loopback)
            error = (
                translate_exception(exc, address) if monotonic() < deadline else _timeout_error(parsed_url)
            )
        error.hint, error.python_hint = _HINT, _PYTHON_HINT
        raise error

    def _get(self, parsed_url: _ParsedURL, deadline: float) -> bytes | str:
        """Return the bytes, or the target of a redirect. Raises exceptions of requests and sockets, too."""
        with _close_at_deadline(deadline, parsed_url) as watchdog, NoRedirectSession() as session:
            session.trust_env = False
            session.verify = ca_bundle()
            answer = _connect(session, parsed_url, self._loopback, deadline, watchdog)
            body = open_body(answer.raw, _READ_TIMEOUT)
            try:
                location = answer.headers.get("location")
                if answer.status_code in (301, 302, 303, 307, 308) and location:
                    return str(location)
                if answer.status_code != 200:
                    raise InvalidResponseError(
                        f"{parsed_url.name} does not give the image ({answer.status_code})."
                    )
                return self._read(body, parsed_url, deadline)
            finally:
                body.close()

    def _read(self, body: Any, parsed_url: _ParsedURL, deadline: float) -> bytes:
        data = BytesIO()
        while (part := body.receive(_remaining(parsed_url, deadline))) != b"":
            if part is None:
                continue
            self._remaining -= len(part)
            data.write(part)
            if data.tell() > self._limit:
                raise InvalidResponseError(
                    f"the image at {parsed_url.name} is larger than {self._limit:,} bytes."
                )
            if self._remaining < 0:
                raise InvalidResponseError("the images of the answer are too large in all.")
        _remaining(parsed_url, deadline)  # the end may be that of the time
        return data.getvalue()


def _resolve_relative(base: str, url: str) -> str:
    """Return the URL that a relative one stands for; any other as it is."""
    try:
        return urljoin(base, url) if base and url.strip() and not urlsplit(url).scheme else url
    except ValueError:
        return url


def _parse_url(url: str) -> _ParsedURL:
    """Parse a URL. Raises InvalidResponseError for anything but a plain http or https URL."""
    try:
        parts = urlsplit(url.strip())
        host, port = _normalize_host(parts.hostname or ""), parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https") or len(url) > 8000:
        scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]{0,20}:", url)
        raise InvalidResponseError(
            f"the image's address ({scheme[0] if scheme else 'none'}…) is not one on the web.", hint=_HINT
        )
    if parts.username is not None:
        raise InvalidResponseError(f"the image's address at {host} has a user name in it.", hint=_HINT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _ParsedURL(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], target)


def _normalize_host(name: str) -> str:
    """Return a host's name as it is looked up, in ASCII. Raises ValueError."""
    try:
        return str(ip_address(name))
    except ValueError:
        plain = name.encode("idna").decode("ascii").lower()
    if not _NAME.fullmatch(plain):
        raise ValueError
    return plain


def _connect(
    session: requests.Session, parsed_url: _ParsedURL, loopback: bool, deadline: float, watchdog: _Watchdog
) -> requests.Response:
    proxies = requests.utils.get_environ_proxies(parsed_url.url)
    if requests.utils.select_proxy(parsed_url.url, proxies) and not _is_local_host(parsed_url.host):
        _check_proxied_host(parsed_url, loopback)
        session.mount("https://", _WatchedAdapter(watchdog))
        session.mount("http://", _WatchedAdapter(watchdog))
        return _request(session, parsed_url.url, parsed_url, deadline, proxies)
    failure: requests.ConnectionError | None = None
    for ip in _resolve(parsed_url, loopback)[:_MAX_ADDRESSES]:
        session.mount("https://", _WatchedAdapter(watchdog, parsed_url.host))
        session.mount("http://", _WatchedAdapter(watchdog))
        try:
            return _request(session, parsed_url.with_ip(ip), parsed_url, deadline, {})
        except requests.ConnectionError as exc:
            failure = exc
    raise failure or OSError("no address")


def _request(
    session: requests.Session, url: str, parsed_url: _ParsedURL, deadline: float, proxies: Any
) -> requests.Response:
    timeout = min(_READ_TIMEOUT, _remaining(parsed_url, deadline))
    headers = {
        "Host": parsed_url.name,
        "User-Agent": user_agent(),
        "Accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
        "Accept-Encoding": "identity",
    }
    return session.get(
        url,
        headers=headers,
        proxies=proxies,
        timeout=(min(10.0, timeout), timeout),
        allow_redirects=False,
        stream=True,
    )


def _remaining(parsed_url: _ParsedURL, deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise _timeout_error(parsed_url)
    return left


def _timeout_error(parsed_url: _ParsedURL) -> APITimeoutError:
    return APITimeoutError(f"the image at {parsed_url.name} did not come in time.")


class _Watchdog:
    """Closes connections at a deadline: a socket's own timeout starts again with each byte."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        #: Whether the deadline has passed.
        self.expired = False

    def register(self, sock: socket.socket) -> None:
        """Watch a connection, by a duplicate handle: TLS takes over the socket's own."""
        with self._lock:
            self._sockets.append(sock.dup())
        if self.expired:
            self.end()

    def end(self) -> None:
        """Shut the connections down; a blocked read ends."""
        with self._lock:
            self.expired = True
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the handles."""
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


@contextmanager
def _close_at_deadline(deadline: float, parsed_url: _ParsedURL) -> Iterator[_Watchdog]:
    watchdog = _Watchdog()
    timer = Timer(_remaining(parsed_url, deadline), watchdog.end)
    timer.daemon = True
    timer.start()
    try:
        yield watchdog
    finally:
        timer.cancel()
        timer.join()
        watchdog.close()


class _WatchedAdapter(PoolAdapter):
    """Watches its connections; with a host's name, TLS verifies that name for the URL's IP address."""

    def __init__(self, watchdog: _Watchdog, host: str | None = None) -> None:
        self._classes = _watched_pools(watchdog)
        self._name = host
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        if self._name is not None:
            options["server_hostname"] = self._name
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # which needs connections of its own
            manager.pool_classes_by_scheme = self._classes
        return manager


def _watched_pools(watchdog: _Watchdog) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's pools, with connections that are watched before TLS begins."""

    class Watched(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            watchdog.register(sock)
            return sock

        def _tunnel(self) -> None:
            super()._tunnel()  # http.client takes a connection's end for that of the headers
            if watchdog.expired:
                raise TimeoutError

    class WatchedTls(Watched, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Watched

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = WatchedTls

    return {"http": Pool, "https": TlsPool}


def _resolve(parsed_url: _ParsedURL, loopback: bool) -> list[_IP]:
    """Return the host's IP addresses. Raises InvalidResponseError if one of them is not allowed."""
    found = socket.getaddrinfo(parsed_url.host, parsed_url.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))
    if not all(_is_allowed(ip, loopback) for ip in addresses):
        raise InvalidResponseError(
            f"the image's address points into a private network ({parsed_url.host}). Nothing was downloaded."
        )
    if parsed_url.scheme == "http" and not all(_is_loopback(ip) for ip in addresses):
        raise InvalidResponseError(
            f"the image's address at {parsed_url.host} is plain http. Nothing was downloaded."
        )
    return addresses


def _check_proxied_host(parsed_url: _ParsedURL, loopback: bool) -> None:
    """Check a host behind a proxy, which may know names of a private network. Raises InvalidResponseError."""
    try:
        _resolve(parsed_url, loopback)
    except socket.gaierror:
        raise InvalidResponseError(
            f"the image's address names a host that is not known on this machine ({parsed_url.host}); "
            "it may be in the proxy's private network, and was not gone to."
        ) from None


def _is_allowed(ip: _IP, loopback: bool) -> bool:
    if loopback and _is_loopback(ip):
        return True
    return all(map(_is_public, _all_of(ip)))


def _is_public(ip: _IP) -> bool:
    if isinstance(ip, IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _is_loopback(ip: _IP) -> bool:
    return all(one.is_loopback for one in _all_of(ip))


def _is_local_host(host: str) -> bool:
    try:
        return _is_loopback(ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _all_of(ip: _IP) -> list[_IP]:
    """Return the address, or the IPv4 addresses that it embeds."""
    if isinstance(ip, IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in _NAT64:
        return [IPv4Address(int(ip) & 0xFFFFFFFF)]
    carried = [ip.sixtofour, *(ip.teredo or ())]
    return [ip, *(one for one in carried if one is not None)]
