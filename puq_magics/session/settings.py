"""The settings: traits of one class for ``%config PuqMagics``, and the environment below them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Integer, TraitError, Unicode, validate
from traitlets.config import Configurable

from puq_magics.api.address import VENDOR_URL, Address
from puq_magics.api.errors import ConfigurationError, InvalidURLError, PuqError

#: Base URLs that name a local router instead.
SANDBOX = "sandbox"


class PuqMagics(Configurable):
    """Settings of the puq magics. What is not set here is taken from the environment, then from the defaults."""

    base_url = Unicode(
        None,
        allow_none=True,
        help=f"The router; 'sandbox' starts a local one. Else PUQ_BASE_URL, else {VENDOR_URL}.",
    ).tag(config=True)
    auth_scheme = Unicode(
        None,
        allow_none=True,
        help="The word before the key: Token; Bearer for OpenAI-compatible servers; none for servers without keys. "
        "Else PUQ_AUTH_SCHEME, else Token.",
    ).tag(config=True)
    allow_http = Bool(False, help="Allow plain http to other machines. The key travels in clear.").tag(
        config=True
    )
    timeout = Float(
        None,
        allow_none=True,
        help="Seconds without a byte, to connect or in mid-answer. "
        "Else PUQ_TIMEOUT, else 10 to connect and 120 in a chat.",
    ).tag(config=True)
    max_retries = Integer(
        2, min=0, max=10, help="How often at most to try again what the router did not process."
    ).tag(config=True)
    chat_model = Unicode(
        None,
        allow_none=True,
        help="The model to ask, like openai/gpt-4o-mini, or an alias. Else PUQ_CHAT_MODEL; there is no default.",
    ).tag(config=True)
    aliases = Dict(
        key_trait=Unicode(), value_trait=Unicode(), help='Short names: {"fast": "openai/gpt-4o-mini"}.'
    ).tag(config=True)
    system = Unicode(None, allow_none=True, help="The system prompt; none by default.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Sent when set.").tag(config=True)
    max_tokens = Integer(None, allow_none=True, min=1, help="Sent as max_completion_tokens when set.").tag(
        config=True
    )
    live = Bool(
        None,
        allow_none=True,
        help="Show answers as they come; False shows each once, at its end. Else PUQ_LIVE, else True.",
    ).tag(config=True)
    footer = Enum(("full", "short", "none"), "full", help="The line below an answer.").tag(config=True)

    @validate("base_url")
    def _check_base_url(self, proposal: Mapping[str, Any]) -> str | None:
        value: str | None = proposal["value"]
        if value and value != SANDBOX:
            with _as_trait_error():
                Address.parse(value, allow_http=True)  # whether http is allowed is asked at use
        return value or None

    @validate("auth_scheme")
    def _check_auth_scheme(self, proposal: Mapping[str, Any]) -> str | None:
        value: str | None = proposal["value"]
        with _as_trait_error():
            return check_auth_scheme(value) if value else None

    @validate("timeout")
    def _check_timeout(self, proposal: Mapping[str, Any]) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not 0 < value < float("inf"):
            raise TraitError(f"timeout is a number of seconds above 0, not {value!r}.")
        return value

    @validate("temperature")
    def _check_temperature(self, proposal: Mapping[str, Any]) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not isfinite(value):
            raise TraitError(f"temperature is a number, not {value!r}.")
        return value


@contextmanager
def _as_trait_error() -> Iterator[None]:
    """Only for a TraitError does a trait keep its old value."""
    try:
        yield
    except PuqError as error:
        raise TraitError(str(error)) from None


def check_auth_scheme(value: str) -> str:
    """The scheme, if a header can carry it. Raises ConfigurationError."""
    if not value.isascii() or not value.replace("-", "").isalnum():
        raise ConfigurationError(f"{value!r} is not an auth scheme.", hint="Use Token, Bearer or none.")
    return value


class Effective:
    """The settings as they are now in force: ``%config`` over the environment over the defaults."""

    def __init__(self, settings: PuqMagics, environ: Mapping[str, str] = os.environ) -> None:
        self.settings = settings
        self._environ = environ

    @property
    def base_url(self) -> str:
        """The base URL, or ``sandbox``."""
        return self.settings.base_url or self.environment_url

    @property
    def environment_url(self) -> str:
        """The base URL that the environment names, or the vendor's: where the environment's key belongs."""
        return self._environ.get("PUQ_BASE_URL", "").strip() or VENDOR_URL

    @property
    def environment_key(self) -> str:
        """The environment's key; empty without one."""
        return self._environ.get("PUQ_API_KEY", "").strip()

    @property
    def is_configured(self) -> bool:
        """Whether someone has said which router to use, or given a key."""
        named = self.settings.base_url or self._environ.get("PUQ_BASE_URL", "").strip()
        return bool(named or self.environment_key)

    @property
    def base_url_source(self) -> str:
        """Where the base URL comes from, for people."""
        if self.settings.base_url:
            return "%config PuqMagics.base_url"
        return "PUQ_BASE_URL" if self._environ.get("PUQ_BASE_URL", "").strip() else "default"

    @property
    def auth_scheme(self) -> str:
        """The word before the key."""
        named = self.settings.auth_scheme or self._environ.get("PUQ_AUTH_SCHEME", "").strip()
        return check_auth_scheme(named) if named else "Token"

    @property
    def timeout(self) -> float | None:
        """Seconds without a byte; None for the defaults."""
        if self.settings.timeout is not None:
            return float(self.settings.timeout)
        text = self._environ.get("PUQ_TIMEOUT", "").strip()
        if not text:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            raise ConfigurationError(
                f"PUQ_TIMEOUT is {text!r}.", hint="Set it to a number of seconds, like 60."
            )
        return seconds

    @property
    def chat_model(self) -> str | None:
        """The model to ask when a cell names none."""
        return self.settings.chat_model or self._environ.get("PUQ_CHAT_MODEL", "").strip() or None

    @property
    def live(self) -> bool:
        """Whether to show answers as they come."""
        if self.settings.live is not None:
            return bool(self.settings.live)
        return self._environ.get("PUQ_LIVE", "").strip().lower() not in ("0", "false", "no", "off")


def address_of(url: str, *, allow_http: bool) -> Address:
    """The address of a base URL. Raises InvalidURLError; so does a name of a local router that is not there."""
    if url == "sandbox-local":
        raise InvalidURLError(
            "the sandbox has no local models yet.", hint="Use the scripted one: PUQ_BASE_URL=sandbox"
        )
    return Address.parse(url, allow_http=allow_http)
