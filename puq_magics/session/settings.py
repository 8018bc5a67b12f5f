"""The settings: traits of one class for ``%config PuqMagics``, with the environment as defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Integer, TraitError, Unicode, validate
from traitlets.config import Configurable

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL, check_auth_scheme
from puq_magics.core.errors import ConfigurationError, PuqError

#: Base URLs that name a local router instead: a scripted one, and one with real models on this machine.
SANDBOX, SANDBOX_LOCAL = "sandbox", "sandbox-local"

#: Kinds of models; no magic calls those for embeddings.
MODEL_KINDS = ("chat", "image", "speech", "transcription", "embedding")
#: Modes of a cassette; ``none`` allows no request at all.
CASSETTE_MODES = ("off", "record", "replay", "auto", "none")
#: Sizes of an image, in pixels.
IMAGE_SIZE = re.compile(r"auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")
_KIND_SETTINGS = {
    "chat": "chat_model",
    "image": "image_model",
    "speech": "speech_model",
    "transcription": "transcribe_model",
}


def _model_trait(kind: str, variable: str, example: str) -> Any:
    words = f"The {kind} model, like {example}, or an alias. Else {variable}; there is no default."
    return Unicode(None, allow_none=True, help=words).tag(config=True)


class PuqMagics(Configurable):
    """Settings of the puq magics; what is not set is taken from the environment, then from the defaults."""

    base_url = Unicode(
        None,
        allow_none=True,
        help="The router; 'sandbox' starts a local one, 'sandbox-local' one with small real models. "
        f"Else PUQ_BASE_URL, else {DEFAULT_BASE_URL}.",
    ).tag(config=True)
    auth_scheme = Unicode(
        None,
        allow_none=True,
        help="The word before the key: Token; Bearer for OpenAI-compatible servers; none for servers without keys. "
        "Else PUQ_AUTH_SCHEME, else Token.",
    ).tag(config=True)
    allow_http = Bool(
        False, help="Allow plain http to other machines. The key and prompts are sent unencrypted."
    ).tag(config=True)
    timeout = Float(
        None,
        allow_none=True,
        help="Seconds without a byte, to connect or in mid-answer. "
        "Else PUQ_TIMEOUT, else 10 to connect and 120 in a chat.",
    ).tag(config=True)
    max_retries = Integer(
        2, min=0, max=10, help="How often at most to try again what the router did not process."
    ).tag(config=True)
    chat_model = _model_trait("chat", "PUQ_CHAT_MODEL", "openai/gpt-4o-mini")
    image_model = _model_trait("image", "PUQ_IMAGE_MODEL", "openai/gpt-image-1.5")
    speech_model = _model_trait("speech", "PUQ_SPEECH_MODEL", "openai/tts-1")
    transcribe_model = _model_trait("transcription", "PUQ_TRANSCRIBE_MODEL", "openai/whisper-1")
    model_kinds = Dict(
        key_trait=Unicode(),
        value_trait=Enum(MODEL_KINDS),
        help="What models are for, where their name says another thing: "
        '{"acme/echo-1": "speech"}; a * stands for any characters.',
    ).tag(config=True)
    voice = Unicode(None, allow_none=True, help="The voice that speaks, like alloy. Sent when set.").tag(
        config=True
    )
    image_size = Unicode(
        None, allow_none=True, help="The size of images, like 1024x1024. Sent when set."
    ).tag(config=True)
    max_embed_mb = Float(
        10.0, min=0.0, help="MB of audio that a notebook takes in; more is saved beside it, and linked."
    ).tag(config=True)
    max_speech_chars = Integer(
        4096,
        min=100,
        help="Characters that a speech model takes at once; longer texts are split at sentences.",
    ).tag(config=True)
    budget = Float(
        None,
        allow_none=True,
        min=0.0,
        help="Credits that this session may spend, by estimates; none by default.",
    ).tag(config=True)
    price_unit = Integer(
        1_000_000, min=1, help="How many tokens the model list's prices are for; estimates rest on it."
    ).tag(config=True)
    ledger = Bool(
        None,
        allow_none=True,
        help="Note calls, tokens and costs (no prompt, no answer) for %puq_usage --all. Else PUQ_LEDGER, else True.",
    ).tag(config=True)
    aliases = Dict(
        key_trait=Unicode(), value_trait=Unicode(), help='Short names: {"fast": "openai/gpt-4o-mini"}.'
    ).tag(config=True)
    system = Unicode(None, allow_none=True, help="The system prompt; none by default.").tag(config=True)
    temperature = Float(None, allow_none=True, help="Sent when set.").tag(config=True)
    max_tokens = Integer(None, allow_none=True, min=1, help="Sent as max_completion_tokens when set.").tag(
        config=True
    )
    chat = Unicode(
        None,
        allow_none=True,
        help="The conversation that every chat cell joins; none by default. A cell leaves it with -c ''.",
    ).tag(config=True)
    context_limit = Integer(
        None,
        allow_none=True,
        min=1,
        help="Tokens, by estimate, that are sent of a conversation: its oldest turns are left out, "
        "the system prompt never.",
    ).tag(config=True)
    context_turns = Integer(
        None, allow_none=True, min=0, help="How many turns are sent before the question; the latest ones."
    ).tag(config=True)
    max_value_chars = Integer(
        20_000, min=100, help="Characters of one value that is filled into a prompt; what is longer is cut."
    ).tag(config=True)
    max_attachment_chars = Integer(
        100_000, min=100, help="Characters of one text that is attached; what is longer is cut."
    ).tag(config=True)
    image_max_side = Integer(
        2048, min=64, help="Pixels of the longer side of an image that is sent; a larger one is scaled down."
    ).tag(config=True)
    live = Bool(
        None,
        allow_none=True,
        help="Show answers as they come; False shows each once, at its end. Else PUQ_LIVE, else True.",
    ).tag(config=True)
    policy = Unicode(
        None,
        allow_none=True,
        help="A TOML or YAML file with limits for a class, like %puq_policy FILE. Else PUQ_POLICY.",
    ).tag(config=True)
    cassette = Unicode(
        None,
        allow_none=True,
        help="The cassette: a name, or a path from the notebook's folder. "
        "Else PUQ_CASSETTE, else the notebook's name.",
    ).tag(config=True)
    cassette_mode = Enum(
        CASSETTE_MODES,
        None,
        allow_none=True,
        help="record asks the router and keeps each answer, replay never asks, auto asks for what has no recording. "
        "Else PUQ_CASSETTE_MODE, else replay if a cassette is named there, else off.",
    ).tag(config=True)
    cassette_pace = Float(
        None,
        allow_none=True,
        min=0.0,
        help="Speed of a replay: 1 as recorded, 2 twice as fast, 0 at once. Else PUQ_CASSETTE_PACE, else 1.",
    ).tag(config=True)
    footer = Enum(("full", "short", "none"), "full", help="The line below an answer.").tag(config=True)

    @validate("base_url")
    def _check_base_url(self, proposal: Mapping[str, Any]) -> str | None:
        value: str | None = proposal["value"]
        if value and not is_sandbox(value):
            with _as_trait_error():
                BaseURL.parse(value, allow_http=True)  # whether http is allowed is asked at use
        return value or None

    @validate("auth_scheme")
    def _check_auth_scheme(self, proposal: Mapping[str, Any]) -> str | None:
        value: str | None = proposal["value"]
        with _as_trait_error():
            return check_auth_scheme(value) if value else None

    @validate("image_size")
    def _check_image_size(self, proposal: Mapping[str, Any]) -> str | None:
        value: str | None = proposal["value"]
        if value and not IMAGE_SIZE.fullmatch(value):
            raise TraitError(f"image_size is like 1024x1024, not {value!r}.")
        return value or None

    @validate("chat")
    def _check_chat(self, proposal: Mapping[str, Any]) -> str | None:
        from puq_magics.prompts.conversation.turns import validate_name

        value: str | None = proposal["value"]
        with _as_trait_error():
            return validate_name(value) if value else None

    @validate("timeout")
    def _check_timeout(self, proposal: Mapping[str, Any]) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not 0 < value < float("inf"):
            raise TraitError(f"timeout is a number of seconds above 0, not {value!r}.")
        return value

    @validate("temperature", "budget", "max_embed_mb", "cassette_pace")
    def _check_number(self, proposal: Mapping[str, Any]) -> float | None:
        value: float | None = proposal["value"]
        if value is not None and not isfinite(value):
            raise TraitError(f"{proposal['trait'].name} is a number, not {value!r}.")
        return value


def is_sandbox(url: str | None) -> bool:
    """Return True if a base URL names the local router."""
    return url in (SANDBOX, SANDBOX_LOCAL)


def model_setting(kind: str) -> str:
    """Return the name of the setting for the default model of a kind; empty for kinds that no magic uses."""
    return _KIND_SETTINGS.get(kind, "")


@contextmanager
def _as_trait_error() -> Iterator[None]:
    """Only for a TraitError does a trait keep its old value."""
    try:
        yield
    except PuqError as error:
        raise TraitError(str(error)) from None


class EffectiveSettings:
    """Settings in force: ``%config`` over the environment over the defaults."""

    def __init__(
        self,
        settings: PuqMagics,
        environ: Mapping[str, str] = os.environ,
        key_urls: dict[int, str] | None = None,
    ) -> None:
        """``key_urls`` holds for the hash of each of the environment's keys the URL that it belongs to."""
        self.settings = settings
        self._environ = environ
        self._key_urls = {} if key_urls is None else key_urls
        _ = self.environment_key_url

    @property
    def base_url(self) -> str:
        """The base URL, or ``sandbox`` or ``sandbox-local``."""
        return self.settings.base_url or self.environment_url

    @property
    def is_sandbox(self) -> bool:
        """Return whether the router is the sandbox."""
        return is_sandbox(self.base_url)

    @property
    def environment_url(self) -> str:
        """Base URL of the environment, or the vendor's."""
        return self._environ.get("PUQ_BASE_URL", "").strip() or DEFAULT_BASE_URL

    @property
    def environment_key_url(self) -> str:
        """Base URL that the environment's key belongs to: that of the time when the key was first seen.

        That is when the extension is loaded: a notebook that changes PUQ_BASE_URL later does not get the key.
        """
        if not self.environment_key:
            return self.environment_url
        return self._key_urls.setdefault(hash(self.environment_key), self.environment_url)

    @property
    def environment_key(self) -> str:
        """Key of the environment; empty without one."""
        return self._environ.get("PUQ_API_KEY", "").strip()

    @property
    def is_configured(self) -> bool:
        """Return whether a router or a key was configured."""
        named = self.settings.base_url or self._environ.get("PUQ_BASE_URL", "").strip()
        return bool(named or self.environment_key)

    @property
    def base_url_source(self) -> str:
        """Source of the base URL, as text for people."""
        if self.settings.base_url:
            return "%config PuqMagics.base_url"
        return "PUQ_BASE_URL" if self._environ.get("PUQ_BASE_URL", "").strip() else "default"

    @property
    def auth_scheme(self) -> str:
        """Authorization scheme: the word before the key."""
        named = self.settings.auth_scheme or self._environ.get("PUQ_AUTH_SCHEME", "").strip()
        return check_auth_scheme(named) if named else "Token"

    @property
    def timeout(self) -> float | None:
        """Timeout in seconds without a byte; None for the defaults."""
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

    def model(self, kind: str) -> str | None:
        """Return the default model of a kind."""
        setting = model_setting(kind)
        named = getattr(self.settings, setting) or self._environ.get(f"PUQ_{setting.upper()}", "").strip()
        return named or None

    @property
    def ledger_path(self) -> str | None:
        """Path of the ledger: a file, ``""`` for the default one, None for none."""
        text = self._environ.get("PUQ_LEDGER", "").strip()
        if self.settings.ledger is None and text.lower() in ("0", "false", "no", "off"):
            return None
        if self.settings.ledger is False:
            return None
        return "" if text.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off") else text

    @property
    def policy_path(self) -> str:
        """Path of the policy; empty for none."""
        return self.settings.policy or self._environ.get("PUQ_POLICY", "").strip()

    @property
    def cassette(self) -> str:
        """Name or path of the cassette; empty for the notebook's own."""
        return self.settings.cassette or self._environ.get("PUQ_CASSETTE", "").strip()

    @property
    def cassette_mode(self) -> str:
        """Mode of the cassette. Raises ConfigurationError.

        A test run that sets PUQ_CASSETTE_FORCED has its way: no cell of a notebook changes the mode then.
        """
        named = self._environ.get("PUQ_CASSETTE_MODE", "").strip().lower()
        if named and named not in CASSETTE_MODES:
            raise ConfigurationError(
                f"PUQ_CASSETTE_MODE is {named[:40]!r}.", hint=f"Set it to {', '.join(CASSETTE_MODES)}."
            )
        if named and self._environ.get("PUQ_CASSETTE_FORCED"):
            return named
        default = "replay" if self._environ.get("PUQ_CASSETTE", "").strip() else "off"
        return str(self.settings.cassette_mode or named or default)

    @property
    def cassette_pace(self) -> float:
        """Speed of a replay. Raises ConfigurationError."""
        text = self._environ.get("PUQ_CASSETTE_PACE", "").strip()
        if self.settings.cassette_pace is not None and not (
            text and self._environ.get("PUQ_CASSETTE_FORCED")
        ):
            return float(self.settings.cassette_pace)
        try:
            pace = float(text or 1)
        except ValueError:
            pace = -1.0
        if not 0 <= pace < float("inf"):
            raise ConfigurationError(
                f"PUQ_CASSETTE_PACE is {text[:40]!r}.", hint="Set it to a number, like 2."
            )
        return pace

    @property
    def live(self) -> bool:
        """Return whether answers are shown while they stream."""
        if self.settings.live is not None:
            return bool(self.settings.live)
        return self._environ.get("PUQ_LIVE", "").strip().lower() not in ("0", "false", "no", "off")
