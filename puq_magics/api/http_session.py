"""The requests session: no redirects, closing of idle connections, and timeouts for sending files."""

from __future__ import annotations

import os
import platform
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any

import requests
import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from puq_magics.api.base_url import BaseURL
from puq_magics.core.version import __version__

#: Bytes of a file that are read and sent at once; urllib3's own 16 kB cost a third of the throughput.
BLOCK_SIZE = 1 << 18
_MAX_INFORMATIONAL = 20


class NoRedirectSession(requests.Session):
    """Session that never follows redirects."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that requests does not read the redirect's body."""


class _FinalResponse(HTTPResponse):
    """Response without the informational ones before it, such as ``103 Early Hints``."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MAX_INFORMATIONAL):
            status_line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 102 <= status_line[1] < 200:
                return status_line
            parse_headers(self.fp)
        raise HTTPException("there are too many informational responses")


class _SendTimeoutMixin(HTTPConnection):
    """Takes the timeout for sending a piece from the body; urllib3 uses the one for connecting."""

    response_class = _FinalResponse
    _send_timeout: float | None = None

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        **options: Any,
    ) -> None:
        self._send_timeout = getattr(body, "send_timeout", None)
        super().request(method, url, body, headers, **options)

    def endheaders(self, *args: Any, **options: Any) -> None:
        super().endheaders(*args, **options)
        if self._send_timeout is not None and self.sock is not None:
            self.sock.settimeout(self._send_timeout)


class _HTTPSConnection(_SendTimeoutMixin, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _SendTimeoutMixin


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class PoolAdapter(requests.adapters.HTTPAdapter):
    """Adapter with send timeouts of each body, which closes idle connections in ``close``."""

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Set the certificates of a pool: requests knows one file or one folder, OpenSSL a file and many folders."""
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if verify and (folders := _ca_folders()):
            conn.ca_cert_dir = os.pathsep.join(folders)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools for direct connections."""
        super().init_poolmanager(*args, **options, blocksize=BLOCK_SIZE)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Create the pools for connections by a proxy."""
        manager = super().proxy_manager_for(proxy, **options, blocksize=BLOCK_SIZE)
        if not proxy.lower().startswith("socks"):  # which needs connections of its own
            manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
        return manager

    def close(self) -> None:
        """Close idle connections now: urllib3 leaves that to the garbage collector."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - not a dict, and not iterable
                if (pool := manager.pools.get(key)) is not None:
                    pool.close()
        super().close()


def create_session(address: BaseURL) -> requests.Session:
    """Create the session for one router."""
    session = NoRedirectSession()
    session.verify = ca_bundle()
    if address.is_loopback:  # no proxy stands between a machine and itself
        session.trust_env = False
    adapter = PoolAdapter(pool_connections=2, pool_maxsize=64)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def ca_bundle() -> str | bool:
    """Return the file or folder of certificates that the environment names; True for the default ones.

    requests reads only the first two of these variables, and only together with proxies. OpenSSL reads the others,
    and ignores a path that does not exist; of several folders, the adapter adds those after the first.
    """
    if path := _requests_bundle():
        return path
    file = os.environ.get("SSL_CERT_FILE")
    return file if file and os.path.exists(file) else next(iter(_ca_folders()), True)


def _requests_bundle() -> str | None:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")


def _ca_folders() -> list[str]:
    """Return the folders of SSL_CERT_DIR; none where a variable of requests comes first."""
    paths = [] if _requests_bundle() else os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    return [path for path in paths if path and os.path.exists(path)]


def user_agent() -> str:
    """Return the User-Agent header."""
    return f"puq_magics/{__version__} (Python {platform.python_version()}; requests {requests.__version__})"
