"""An image from the address that a router gave: fetched as from a stranger.

The router is not trusted with what this machine can reach. The key stays behind; only https is used (http where both
the router and the image are on this machine); the host's addresses are looked up, checked, and connected to as they
were checked, for each redirect anew, so that no name can point elsewhere a moment later. Behind a proxy, which looks
names up by itself, the names are checked here, too, and TLS proves them; one that is not known here is not gone to.
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

from puq_magics.api.base_url import Address
from puq_magics.api.body import open_body
from puq_magics.api.http_session import Adapter, PlainSession, ca_bundle, user_agent
from puq_magics.api.transport import translate
from puq_magics.core.errors import AnswerError, PuqError, RequestTimeoutError

_LARGEST = 64 << 20  # bytes of one image
_LARGEST_IN_ALL = 256 << 20  # bytes of an answer's images
_LONGEST = 120.0  # seconds in all
_SILENCE = 30.0  # seconds without a byte
_HOPS = 4  # the first one counts
_TRIES = 3  # addresses of one host
_HINT = (
    'The address is in the error\'s .partial.raw; or ask for the image itself: response_format="b64_json".'
)
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,250}[a-z0-9_.])?", re.ASCII)
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")  # all that is given out of IPv6
_IP = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class _Place:
    """An address on the web, read apart."""

    scheme: str
    host: str
    port: int
    #: Path and query.
    target: str

    @property
    def name(self) -> str:
        """Host and port, as a ``Host`` header has them."""
        host = _bracketed(self.host)
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}{self.target}"

    def at(self, ip: _IP) -> str:
        """The URL with an address of the host in its place."""
        return f"{self.scheme}://{_bracketed(str(ip))}:{self.port}{self.target}"


def fetch_image(url: str, *, loopback: bool, limit: int = _LARGEST, seconds: float = _LONGEST) -> bytes:
    """The bytes that stand at ``url``; see ImageFetcher."""
    return ImageFetcher(loopback=loopback, limit=limit, seconds=seconds)(url)


class ImageFetcher:
    """Fetches the images of one answer; ``loopback`` is whether the router is on this machine.

    ``limit`` is in bytes for each image, ``in_all`` for all of them; ``seconds`` are for all of them, from the first.
    """

    def __init__(
        self,
        *,
        loopback: bool,
        limit: int = _LARGEST,
        in_all: int = _LARGEST_IN_ALL,
        seconds: float = _LONGEST,
    ) -> None:
        self._loopback = loopback
        self._limit = limit
        self._left = in_all
        self._seconds = seconds
        self._deadline: float | None = None

    def __call__(self, url: str) -> bytes:
        """The bytes that stand at ``url``.

        Raises AnswerError for an address that is not one to go to, for a refusal, and for too many bytes;
        NetworkError when nothing comes, RequestTimeoutError when the time is over.
        """
        if self._deadline is None:
            self._deadline = monotonic() + self._seconds
        place = _place(url)
        for _ in range(_HOPS):
            answer = self._stood_at(place, self._deadline)
            if isinstance(answer, bytes):
                return answer
            place = _place(urljoin(place.url, answer))
        raise AnswerError(f"{place.name} redirects too often on the way to an image.", hint=_HINT)

    def _stood_at(self, place: _Place, deadline: float) -> bytes | str:
        """What ``_get`` gives, foreign exceptions as ours."""
        try:
            return self._get(place, deadline)
        except PuqError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - whatever went wrong on the way
            address = Address(place.url, place.url, place.name, is_loopback=self._loopback)
            error = translate(exc, address) if monotonic() < deadline else _too_late(place)
        error.hint = _HINT
        raise error

    def _get(self, place: _Place, deadline: float) -> bytes | str:
        """What stands there, or where a redirect points. Raises what requests and sockets raise, too."""
        with _closing_at(deadline, place) as watch, PlainSession() as session:
            session.trust_env = False
            session.verify = ca_bundle()
            answer = _opened(session, place, self._loopback, deadline, watch)
            body = open_body(answer.raw, _SILENCE)
            try:
                location = answer.headers.get("location")
                if answer.status_code in (301, 302, 303, 307, 308) and location:
                    return str(location)
                if answer.status_code != 200:
                    raise AnswerError(f"{place.name} does not give the image ({answer.status_code}).")
                return self._read(body, place, deadline)
            finally:
                body.close()

    def _read(self, body: Any, place: _Place, deadline: float) -> bytes:
        data = BytesIO()
        while (part := body.receive(_left(place, deadline))) != b"":
            if part is None:
                continue
            self._left -= len(part)
            data.write(part)
            if data.tell() > self._limit:
                raise AnswerError(f"the image at {place.name} is larger than {self._limit:,} bytes.")
            if self._left < 0:
                raise AnswerError("the images of the answer are too large in all.")
        _left(place, deadline)  # the end may be that of the time
        return data.getvalue()


def _place(url: str) -> _Place:
    """Raises AnswerError for what is not a plain http or https URL."""
    try:
        parts = urlsplit(url.strip())
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https") or len(url) > 8000:
        scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]{0,20}:", url)
        raise AnswerError(
            f"the image's address ({scheme[0] if scheme else 'none'}…) is not one on the web.", hint=_HINT
        )
    if parts.username is not None:
        raise AnswerError(f"the image's address at {host} has a user name in it.", hint=_HINT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], target)


def _host(name: str) -> str:
    """A host's name as it is looked up, in plain ASCII. Raises ValueError."""
    try:
        return str(ip_address(name))
    except ValueError:
        plain = name.encode("idna").decode("ascii").lower()
    if not _NAME.fullmatch(plain):
        raise ValueError
    return plain


def _opened(
    session: requests.Session, place: _Place, loopback: bool, deadline: float, watch: _Watch
) -> requests.Response:
    proxies = requests.utils.get_environ_proxies(place.url)
    if requests.utils.select_proxy(place.url, proxies) and not _is_here(place.host):
        _check_name(place, loopback)
        session.mount("https://", _Watched(watch))
        session.mount("http://", _Watched(watch))
        return _request(session, place.url, place, deadline, proxies)
    failure: requests.ConnectionError | None = None
    for ip in _addresses(place, loopback)[:_TRIES]:
        session.mount("https://", _Watched(watch, place.host))
        session.mount("http://", _Watched(watch))
        try:
            return _request(session, place.at(ip), place, deadline, {})
        except requests.ConnectionError as exc:
            failure = exc
    raise failure or OSError("no address")


def _request(
    session: requests.Session, url: str, place: _Place, deadline: float, proxies: Any
) -> requests.Response:
    patience = min(_SILENCE, _left(place, deadline))
    headers = {
        "Host": place.name,
        "User-Agent": user_agent(),
        "Accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
        "Accept-Encoding": "identity",
    }
    return session.get(
        url,
        headers=headers,
        proxies=proxies,
        timeout=(min(10.0, patience), patience),
        allow_redirects=False,
        stream=True,
    )


def _left(place: _Place, deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise _too_late(place)
    return left


def _too_late(place: _Place) -> RequestTimeoutError:
    return RequestTimeoutError(f"the image at {place.name} did not come in time.")


class _Watch:
    """Ends connections at a time, whatever drips in: a socket's own limit starts anew with each byte."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sockets: list[socket.socket] = []
        #: Whether the time has come.
        self.over = False

    def guard(self, sock: socket.socket) -> None:
        """Watch a connection, by a handle of our own: TLS takes the socket's away."""
        with self._lock:
            self._sockets.append(sock.dup())
        if self.over:
            self.end()

    def end(self) -> None:
        """End the connections; whoever reads meets their end."""
        with self._lock:
            self.over = True
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the handles back."""
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()


@contextmanager
def _closing_at(deadline: float, place: _Place) -> Iterator[_Watch]:
    watch = _Watch()
    timer = Timer(_left(place, deadline), watch.end)
    timer.daemon = True
    timer.start()
    try:
        yield watch
    finally:
        timer.cancel()
        timer.join()
        watch.close()


class _Watched(Adapter):
    """Has its connections watched; with a host's name, TLS proves that name at the address in the URL."""

    def __init__(self, watch: _Watch, host: str | None = None) -> None:
        self._classes = _watched_pools(watch)
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


def _watched_pools(watch: _Watch) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, with connections that are watched before TLS begins."""

    class Watched(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            watch.guard(sock)
            return sock

        def _tunnel(self) -> None:
            super()._tunnel()  # http.client takes a connection's end for that of the headers
            if watch.over:
                raise TimeoutError

    class WatchedTls(Watched, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Watched

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = WatchedTls

    return {"http": Pool, "https": TlsPool}


def _addresses(place: _Place, loopback: bool) -> list[_IP]:
    """The host's addresses, every one of which may be gone to. Raises AnswerError otherwise."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))
    if not all(_may_be_reached(ip, loopback) for ip in addresses):
        raise AnswerError(
            f"the image's address points into a private network ({place.host}); it was not gone to."
        )
    if place.scheme == "http" and not all(_is_loopback(ip) for ip in addresses):
        raise AnswerError(f"the image's address at {place.host} is plain http; it was not gone to.")
    return addresses


def _check_name(place: _Place, loopback: bool) -> None:
    """Behind a proxy, which may know names of a private network. Raises AnswerError."""
    try:
        _addresses(place, loopback)
    except socket.gaierror:
        raise AnswerError(
            f"the image's address names a host that is not known on this machine ({place.host}); "
            "it may be in the proxy's private network, and was not gone to."
        ) from None


def _may_be_reached(ip: _IP, loopback: bool) -> bool:
    if loopback and _is_loopback(ip):
        return True
    return all(map(_is_public, _all_of(ip)))


def _is_public(ip: _IP) -> bool:
    if isinstance(ip, IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _is_loopback(ip: _IP) -> bool:
    return all(one.is_loopback for one in _all_of(ip))


def _is_here(host: str) -> bool:
    try:
        return _is_loopback(ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _all_of(ip: _IP) -> list[_IP]:
    """What an address means: itself, or the IPv4 addresses that it carries."""
    if isinstance(ip, IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in _NAT64:
        return [IPv4Address(int(ip) & 0xFFFFFFFF)]
    carried = [ip.sixtofour, *(ip.teredo or ())]
    return [ip, *(one for one in carried if one is not None)]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
