"""The sandbox that a shell uses: started when it is wanted, replaced when other things are to answer behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from puq_magics.api.base_url import Address
from puq_magics.core.errors import ConfigurationError
from puq_magics.core.secret import Secret
from puq_magics.session.backends import Backends
from puq_magics.session.credentials import Credentials
from puq_magics.session.settings import SANDBOX_LOCAL

if TYPE_CHECKING:
    from puq_magics.sandbox import Sandbox


class LocalRouter:
    """At most one sandbox at a time, whose key is kept for its address and for no other."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._models: int | None = None  # how many are to be listed
        self.sandbox: Sandbox | None = None
        #: What answers behind it.
        self.backends = Backends()

    def wanted(self, base_url: str) -> Backends:
        """What is to answer behind the sandbox that a base URL names: what there is, and the local models for one."""
        return replace(self.backends, local=True) if base_url == SANDBOX_LOCAL else self.backends

    def serves(self, base_url: str) -> bool:
        """Whether the sandbox that a base URL names is running."""
        return self.sandbox is not None and self.wanted(base_url) == self.backends

    def start(self, backends: Backends, **moves: Any) -> Sandbox:
        """Have a sandbox with these backends, which behaves as asked.

        One that runs is changed, or, where other things are to answer, replaced by one that behaves as it did. Raises
        ValueError for a move that does not fit, and PuqError where something is missing; then nothing changes.
        """
        if self.sandbox is not None and backends == self.backends:
            self.sandbox.configure(**moves)
        else:
            backends.check()
            fresh = _sandbox(backends, self._behavior() | moves).start()
            self.stop()
            self.sandbox, self.backends = fresh, backends
            self._credentials.keep(Address.parse(fresh.base_url), Secret(fresh.token), "sandbox")
        self._models = moves.get("models", self._models)
        return self.sandbox

    def stop(self) -> bool:
        """Stop it, and the models behind it; False if it was not running."""
        sandbox, self.sandbox, self.backends = self.sandbox, None, Backends()
        if sandbox is None:
            return False
        self._credentials.forget(Address.parse(sandbox.base_url))
        sandbox.stop()
        return True

    @property
    def origin(self) -> str | None:
        """Where it is, while it runs."""
        return None if self.sandbox is None else Address.parse(self.sandbox.base_url).origin

    def _behavior(self) -> dict[str, Any]:
        """How the running one behaves, as another one is told to."""
        if self.sandbox is None:
            return {}
        now = self.sandbox.settings
        kept = {"pace": now.pace, "balance": now.balance, "fail": now.fail, "drop_after": now.drop_after}
        return kept | {"models": self._models}


def _sandbox(backends: Backends, moves: dict[str, Any]) -> Sandbox:
    from puq_magics.sandbox import Sandbox

    key = backends.upstream_key
    try:
        return Sandbox(
            local=backends.local,
            gguf=backends.gguf,
            upstream=backends.upstream,
            upstream_key=key.reveal() if key is not None else None,
            **moves,
        )
    except (ImportError, OSError) as error:  # what was there when it was checked has gone since
        raise ConfigurationError(f"the local models cannot start: {error}.", hint="Try again.") from None
