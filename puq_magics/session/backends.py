"""What answers for real behind the sandbox: models on this machine, and another server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from puq_magics.api.base_url import Address
from puq_magics.core.errors import ConfigurationError, InputError, InvalidURLError
from puq_magics.core.secret import Secret

#: What to type where the weights are missing and nobody can be asked.
FETCHING = "%puq_sandbox --local --fetch gets them; in a terminal: python -m puq_magics.sandbox fetch"


@dataclass(frozen=True, slots=True)
class Backends:
    """What a sandbox has beside its scripts."""

    #: Whether small models answer on this machine.
    local: bool = False
    #: The chat model among them, when it is not the usual one.
    gguf: Path | None = None
    #: An OpenAI-compatible server whose models are passed on.
    upstream: str | None = None
    upstream_key: Secret | None = None

    def check(self) -> None:
        """See that what is on this machine is all there. Raises InputError and ConfigurationError."""
        if self.gguf is not None:
            _check_gguf(self.gguf)
        if not self.local:
            return
        check_installed()
        if self.gguf is None and (offer := missing_weights()):
            raise ConfigurationError(
                f"the weights of the local chat model are not here yet ({offer}).", hint=FETCHING
            )


def check_installed() -> None:
    """Raises ConfigurationError where the packages of the local models are missing."""
    from puq_magics.sandbox import local

    try:
        local.check_installed()
    except ImportError as error:
        words = str(error).rstrip(".")
        raise ConfigurationError(
            f"{words[:1].lower()}{words[1:]}.",
            hint='pip install "puq_magics[local]", then restart the kernel.',
        ) from None


def missing_weights() -> str | None:
    """What would be downloaded, in a line; None where the weights are there."""
    from puq_magics.sandbox.local.weights import CHAT_WEIGHTS

    return None if CHAT_WEIGHTS.present else CHAT_WEIGHTS.offer


def fetch_weights(report: Callable[[str, int, int], None]) -> str:
    """Have the weights in their place, and say what is there now. Raises ConfigurationError."""
    from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, FetchError, fetch

    try:
        path = fetch(CHAT_WEIGHTS, report)
    except FetchError as error:
        raise ConfigurationError(
            f"{error}.", hint="Nothing was kept; try again, or take --gguf PATH."
        ) from None
    size = f"{CHAT_WEIGHTS.size / 1e6:.0f} MB"
    return (
        f"{CHAT_WEIGHTS.name}, {size}, {CHAT_WEIGHTS.licence}, sha256 {CHAT_WEIGHTS.sha256}: kept as {path}"
    )


def environment_key(address: Address, environ: Mapping[str, str] = os.environ) -> Secret | None:
    """The upstream's key of the environment: for the host of PUQ_UPSTREAM, or else for this machine alone.

    A notebook that names another upstream does not get it. Raises ConfigurationError.
    """
    key = environ.get("PUQ_UPSTREAM_KEY", "").strip()
    if not key:
        return None
    named = environ.get("PUQ_UPSTREAM", "").strip()
    is_trusted = _origin(named) == address.origin if named else address.is_loopback
    return Secret(key) if is_trusted else None


def _origin(url: str) -> str | None:
    try:
        return Address.parse(url, allow_http=True).origin
    except InvalidURLError:
        return None


def _check_gguf(path: Path) -> None:
    from puq_magics.sandbox.local.gguf import GgufError, read_gguf

    try:
        read_gguf(path)
    except GgufError as error:
        raise InputError(
            f"{error}.", hint="--gguf takes the path of a chat model as llama.cpp reads it."
        ) from None
