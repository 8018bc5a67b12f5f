"""The sandbox that a shell uses: started when needed, replaced when its backends change."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InputError, InvalidURLError
from puq_magics.core.secret import Secret
from puq_magics.core.text import format_size
from puq_magics.session.credentials import Credentials
from puq_magics.session.settings import SANDBOX_LOCAL

if TYPE_CHECKING:
    from puq_magics.sandbox import Sandbox


#: Hint where the weights are missing and nobody can be asked.
FETCH_HINT = "%puq_sandbox --local --fetch gets them; in a terminal: python -m puq_magics.sandbox fetch"


@dataclass(frozen=True, slots=True)
class SandboxBackends:
    """Backends of a sandbox beside its scripts."""

    #: True if local models answer.
    local: bool = False
    #: Chat model of the local ones; None for the default.
    gguf: Path | None = None
    #: OpenAI-compatible server whose models are passed on.
    upstream: str | None = None
    upstream_key: Secret | None = None

    def check(self) -> None:
        """Check that everything needed on this machine is installed. Raises InputError and ConfigurationError."""
        if self.gguf is not None:
            _check_gguf(self.gguf)
        if not self.local:
            return
        check_installed()
        if self.gguf is None and (offer := missing_weights()):
            raise ConfigurationError(
                f"the weights of the local chat model are not here yet ({offer}).", hint=FETCH_HINT
            )


def check_installed() -> None:
    """Raise ConfigurationError if the packages of the local models are missing."""
    from puq_magics.sandbox import local

    try:
        local.check_installed()
    except local.MissingError as error:
        raise ConfigurationError(
            f"real models need {' and '.join(error.packages)} from the extra `local`.",
            hint='pip install "puq_magics[local]", then restart the kernel.',
        ) from None


def missing_weights() -> str | None:
    """Return a one-line description of the missing weights; None if they are present."""
    from puq_magics.sandbox.local.weights import CHAT_WEIGHTS

    return None if CHAT_WEIGHTS.is_present else CHAT_WEIGHTS.download_summary


def fetch_weights(report: Callable[[str, int, int], None]) -> str:
    """Fetch the weights and return their description. Raises ConfigurationError."""
    from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, FetchError, fetch

    try:
        path = fetch(CHAT_WEIGHTS, report)
    except FetchError as error:
        raise ConfigurationError(
            f"{error}.", hint="Nothing was kept; try again, or take --gguf PATH."
        ) from None
    size = format_size(CHAT_WEIGHTS.size)
    return (
        f"{CHAT_WEIGHTS.name}, {size}, {CHAT_WEIGHTS.licence}, sha256 {CHAT_WEIGHTS.sha256}: kept as {path}"
    )


def environment_key(address: BaseURL, environ: Mapping[str, str] = os.environ) -> Secret | None:
    """Return the environment's key of the upstream: for the host of PUQ_UPSTREAM, or else for this machine alone.

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
        return BaseURL.parse(url, allow_http=True).origin
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


class SandboxManager:
    """Sandbox of a shell, at most one at a time; its key is stored for its address only."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._models: int | None = None  # how many are to be listed
        self.sandbox: Sandbox | None = None
        #: Backends of the sandbox.
        self.backends = SandboxBackends()

    def requested_backends(self, base_url: str) -> SandboxBackends:
        """Return the backends for a base URL: the current ones, with the local models for ``sandbox-local``."""
        return replace(self.backends, local=True) if base_url == SANDBOX_LOCAL else self.backends

    def is_serving(self, base_url: str) -> bool:
        """True if the sandbox that a base URL names is running."""
        return self.sandbox is not None and self.requested_backends(base_url) == self.backends

    def start(self, backends: SandboxBackends, **behavior: Any) -> Sandbox:
        """Start a sandbox with these backends and settings, or change the running one.

        With other backends the running one is replaced by one with the same settings. Raises ValueError for an
        invalid setting, and PuqError if something is missing; then nothing changes.
        """
        if self.sandbox is not None and backends == self.backends:
            self.sandbox.configure(**behavior)
        else:
            backends.check()
            new_sandbox = _sandbox(backends, self._behavior() | behavior).start()
            self.stop()
            self.sandbox, self.backends = new_sandbox, backends
            self._credentials.add(BaseURL.parse(new_sandbox.base_url), Secret(new_sandbox.token), "sandbox")
        self._models = behavior.get("models", self._models)
        return self.sandbox

    def stop(self) -> bool:
        """Stop it and its local models; return False if it was not running."""
        sandbox, self.sandbox, self.backends = self.sandbox, None, SandboxBackends()
        if sandbox is None:
            return False
        self._credentials.forget(BaseURL.parse(sandbox.base_url))
        sandbox.stop()
        return True

    @property
    def origin(self) -> str | None:
        """Return the origin while it runs; None otherwise."""
        return None if self.sandbox is None else BaseURL.parse(self.sandbox.base_url).origin

    def _behavior(self) -> dict[str, Any]:
        """Return the settings of the running sandbox, for a new one."""
        if self.sandbox is None:
            return {}
        now = self.sandbox.settings
        kept = {"pace": now.pace, "balance": now.balance, "fail": now.fail, "drop_after": now.drop_after}
        return kept | {"models": self._models}


def _sandbox(backends: SandboxBackends, behavior: dict[str, Any]) -> Sandbox:
    from puq_magics.sandbox import Sandbox

    key = backends.upstream_key
    try:
        return Sandbox(
            local=backends.local,
            gguf=backends.gguf,
            upstream=backends.upstream,
            upstream_key=key.reveal() if key is not None else None,
            **behavior,
        )
    except (ImportError, OSError) as error:  # what was there when it was checked has gone since
        raise ConfigurationError(f"the local models cannot start: {error}.", hint="Try again.") from None
