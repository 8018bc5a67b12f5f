"""Where the key comes from, and for which host.

A key belongs to a host: one from login to the host that it was given for, one from the environment to the host of
PUQ_BASE_URL. A notebook that sets another base URL gets no key: a stranger's notebook cannot collect keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from puq_magics.api.address import Address
from puq_magics.api.errors import InvalidURLError
from puq_magics.api.secret import Secret
from puq_magics.session.settings import SANDBOX, Effective


@dataclass(frozen=True, slots=True)
class Credential:
    """A key, and where it comes from."""

    key: Secret
    source: str


class Credentials:
    """The keys of one shell."""

    def __init__(self, effective: Effective) -> None:
        self._effective = effective
        self._kept: dict[str, Credential] = {}

    def keep(self, address: Address, key: Secret, source: str) -> None:
        """Keep a key for a host, for the session."""
        self._kept[address.origin] = Credential(key, source)

    def forget(self, address: Address) -> bool:
        """Forget the key that was kept for a host; False if there was none."""
        return self._kept.pop(address.origin, None) is not None

    def find(self, address: Address) -> Credential | None:
        """The key for a host: from login, then from the environment."""
        if address.origin in self._kept:
            return self._kept[address.origin]
        key = self._effective.environment_key
        if key and self._environment_origin() == address.origin:
            return Credential(Secret(key), "PUQ_API_KEY")
        return None

    @property
    def was_given(self) -> bool:
        """Whether a key is kept, of whatever host."""
        return bool(self._kept)

    def belongs_elsewhere(self, address: Address) -> str | None:
        """The host of the environment's key, when that is another one."""
        origin = self._environment_origin()
        return origin if self._effective.environment_key and origin and origin != address.origin else None

    def _environment_origin(self) -> str | None:
        url = self._effective.environment_url
        if url.startswith(SANDBOX):
            return None  # a real key is never sent to the sandbox
        try:
            return Address.parse(url, allow_http=True).origin
        except InvalidURLError:
            return None
