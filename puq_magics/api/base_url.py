"""The router's base URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from puq_magics.core.errors import ConfigurationError, InvalidURLError
from puq_magics.core.text import unwrap_pasted

DEFAULT_BASE_URL = "https://api.puq.ai"
DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = f"Write it like {DEFAULT_BASE_URL}"
_MAX_LENGTH = 2000
_VERSION = "/v1"
#: Endpoints, whose full addresses are pasted as base URLs.
_ENDPOINT = re.compile(
    r"/(?:(?:chat/)?completions|responses|embeddings|models|credits/balance|images/generations"
    r"|audio/(?:speech|transcriptions))$"
)
# Letters of any script (a name may be international), or an IPv6 address; nothing that two parsers read differently.
_HOST = re.compile(r"[\w.-]{1,253}|[0-9a-f:.]+(%[\w.-]+)?")
# Less than HTTP allows: it is shown in shell commands, too.
_AUTH_SCHEME = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class BaseURL:
    """A router's base URL, without a trailing ``/`` or ``/v1``.

    The API is below ``/v1`` if the base URL has no path or ends in ``/v1``. A base URL with another path, such as a
    version of its own, is used as it is: ``https://host/v1beta/openai/chat/completions`` is asked for
    ``https://host/v1beta/openai``.
    """

    url: str
    #: Scheme, host and port; a key belongs to these.
    origin: str
    #: Host and port for messages.
    host: str
    is_loopback: bool
    #: Path between ``url`` and the endpoints: ``/v1``, or empty for a base URL with a path of its own.
    version: str = _VERSION

    @property
    def api_url(self) -> str:
        """The URL that the endpoints are below, as in ``https://api.puq.ai/v1``."""
        return self.url + self.version

    def endpoint(self, path: str) -> str:
        """Return the URL of a path of the API, such as ``/v1/models``."""
        return self.api_url + path.removeprefix(_VERSION)

    @property
    def is_puq_ai(self) -> bool:
        """True for puq.ai's own router."""
        return self.origin == DEFAULT_BASE_URL

    @classmethod
    def parse(cls, text: str, *, allow_http: bool = False) -> BaseURL:
        """Read a base URL as a person writes it, with or without a trailing ``/`` or ``/v1``, or that of an endpoint.

        Raises InvalidURLError for what is not an http(s) URL, carries a password or a query, or is plain
        http to another machine (unless ``allow_http``): the key would be sent unencrypted.
        """
        if not isinstance(text, str):
            raise InvalidURLError(f"{_redacted_repr(repr(text))} is not a base URL.", hint=_EXAMPLE)
        text = unwrap_pasted(text)
        parts = _split_url(text)
        host = parts.hostname or ""
        if (
            parts.scheme not in ("http", "https")
            or not _is_valid_host(parts, host)
            or not _is_plain_text(text)
        ):
            raise InvalidURLError(f"{_redacted_repr(text)} is not a base URL.", hint=_EXAMPLE)
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidURLError(
                f"the base URL of {host} has a user name, a query or a fragment in it.",
                hint=f"Write only scheme, host and path, like {DEFAULT_BASE_URL}; the key goes to %puq_login.",
            )
        loopback = _is_loopback(host)
        if parts.scheme == "http" and not loopback and not allow_http:
            raise InvalidURLError(
                f"the base URL of {host} is plain http: the key and the prompts would be sent unencrypted.",
                hint="Use https, or, in a network you trust: %config PuqMagics.allow_http = True",
            )
        netloc = format_netloc(parts.scheme, host, parts.port)
        path = parts.path.rstrip("/")
        base = _ENDPOINT.sub("", path).rstrip("/")
        version = _VERSION if not path or base.endswith(_VERSION) else ""
        origin = f"{parts.scheme}://{netloc}"
        url = origin + base.removesuffix(_VERSION).rstrip("/")
        return cls(url=url, origin=origin, host=netloc, is_loopback=loopback, version=version)


def _split_url(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # reading it checks it
    except ValueError:
        raise InvalidURLError(f"{_redacted_repr(text)} is not a base URL.", hint=_EXAMPLE) from None
    return parts


def _is_valid_host(parts: SplitResult, host: str) -> bool:
    return _HOST.fullmatch(host) is not None and ("[" in parts.netloc) == (":" in host)


def _is_plain_text(text: str) -> bool:
    return len(text) <= _MAX_LENGTH and text.isprintable() and not any(c.isspace() for c in text)


def _redacted_repr(text: str) -> str:
    """Quote a URL: at most 80 characters, without user name and password."""
    text = text if "@" not in text else f"…@{text.rpartition('@')[2]}"
    return repr(text if len(text) <= 80 else f"{text[:79]}…")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_auth_scheme(scheme: object) -> str:
    """Return the scheme of the ``Authorization`` header if it is one word. Raises ConfigurationError."""
    if not isinstance(scheme, str) or not _AUTH_SCHEME.fullmatch(scheme):
        raise ConfigurationError(
            f"{str(scheme)[:40]!r} is not an authentication scheme.",
            hint="Give one word, such as Token or Bearer; none sends no key.",
        )
    return scheme


def bracket_ipv6(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def format_netloc(scheme: str, host: str, port: int | None) -> str:
    """Return host and port as in a ``Host`` header, without the scheme's own port."""
    name = bracket_ipv6(host)
    return name if port in (None, DEFAULT_PORTS[scheme]) else f"{name}:{port}"
