"""API keys: their sources, and the host that each belongs to.

A key belongs to a host: one from login or the keyring to the host that it was entered for, one from the environment
to the host of PUQ_BASE_URL. A notebook that sets another base URL gets no key, so that it cannot collect keys.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import ConfigurationError, InvalidURLError
from puq_magics.core.secret import Secret
from puq_magics.session.settings import EffectiveSettings, is_sandbox

_SERVICE = "puq_magics"
_INSTALL_HINT = 'Install it: pip install "puq_magics[keyring]"'


def store_key(origin: str, key: Secret) -> None:
    """Store the key of a host. Raises ConfigurationError if it cannot be stored."""
    library = _keyring()
    if library is None:
        raise ConfigurationError("the keyring needs the library of that name.", hint=_INSTALL_HINT)
    problem = ""
    try:
        library.set_password(_SERVICE, origin, key.reveal())
    except Exception as exc:  # noqa: BLE001 - each system has its own, and the frames below hold the key
        problem = _error_text(exc)
    if problem:
        raise ConfigurationError(
            f"the keyring does not take the key ({problem}).",
            hint="To keep it for later sessions, unlock or install a keyring, and enter it again.",
        )


def load_key(origin: str) -> tuple[Secret | None, str]:
    """Return the key of a host and the keyring's problem; None and an empty string without the library or the key."""
    library = _keyring()
    if library is None:
        return None, ""
    try:
        found = library.get_password(_SERVICE, origin)
        return (Secret(found) if found else None), ""
    except ConfigurationError:
        return None, "the keyring holds something that is no key"
    except Exception as exc:  # noqa: BLE001 - a keyring that is locked or broken is one that has no key
        return None, "" if _is_no_keyring(exc) else f"the keyring cannot be read ({_error_text(exc)})"


def delete_key(origin: str) -> bool:
    """Delete the key of a host; False if there was none. Raises ConfigurationError if it cannot be deleted."""
    library = _keyring()
    if library is None:
        return False
    try:
        if library.get_password(_SERVICE, origin) is None:
            return False
        library.delete_password(_SERVICE, origin)
    except Exception as exc:  # noqa: BLE001
        if _is_no_keyring(exc):
            return False
        problem = _error_text(exc)
    else:
        return True
    raise ConfigurationError(
        f"the keyring does not release the key ({problem}).", hint="Unlock it, and try again."
    )


def _keyring() -> Any | None:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _is_no_keyring(exc: Exception) -> bool:
    """Return whether the error means that the system has no keyring."""
    return type(exc).__name__ == "NoKeyringError"


def _error_text(exc: Exception) -> str:
    words = " ".join(str(exc).split())[:120]
    return words.rstrip(".") if words else type(exc).__name__


@dataclass(frozen=True, slots=True)
class Credential:
    """A key and its source."""

    key: Secret
    source: str


class Credentials:
    """Keys of one shell."""

    def __init__(self, effective: EffectiveSettings) -> None:
        self._effective = effective
        self._entered: dict[str, Credential] = {}
        self._keyring_cache: dict[str, Credential | None] = {}
        self._environment_key: Secret | None = None
        #: Problem with the keyring; empty for none.
        self.keyring_problem = ""
        with suppress(ConfigurationError):
            self._read_environment_key()

    def add(self, address: BaseURL, key: Secret, source: str) -> None:
        """Store a key for a host, for this session."""
        self._entered[address.origin] = Credential(key, source)

    def save_to_keyring(self, address: BaseURL, key: Secret) -> None:
        """Store a key for a host in the keyring, too. Raises ConfigurationError."""
        store_key(address.origin, key)
        self._keyring_cache.pop(address.origin, None)

    def forget(self, address: BaseURL) -> bool:
        """Delete the key that was entered for a host; return False if there was none."""
        return self._entered.pop(address.origin, None) is not None

    def delete_from_keyring(self, address: BaseURL) -> bool:
        """Delete the key of a host from the keyring; return False if there was none. Raises ConfigurationError."""
        self._keyring_cache.pop(address.origin, None)
        return delete_key(address.origin)

    def find(self, address: BaseURL) -> Credential | None:
        """Return the key for a host: from login, else from the environment, else from the keyring."""
        if address.origin in self._entered:
            return self._entered[address.origin]
        is_for_address = self._environment_origin() == address.origin
        try:
            key = self._read_environment_key()
        except ConfigurationError:
            if is_for_address:
                raise
            key = None
        if key is not None and is_for_address:
            return Credential(key, "PUQ_API_KEY")
        return self._find_in_keyring(address.origin)

    def _read_environment_key(self) -> Secret | None:
        """Return the environment's key; it is kept, so that it is erased from texts where it is not used, too."""
        key = self._effective.environment_key
        self._environment_key = Secret(key) if key else None
        return self._environment_key

    def _find_in_keyring(self, origin: str) -> Credential | None:
        """Look a key up once for each host: a system's keyring is slow, and may ask the user to unlock it."""
        if origin not in self._keyring_cache:
            key, self.keyring_problem = load_key(origin)
            if self.keyring_problem:
                return None  # and look again next time: it may be unlocked by then
            self._keyring_cache[origin] = None if key is None else Credential(key, "the keyring")
        return self._keyring_cache[origin]

    def needs_no_keyring(self, address: BaseURL) -> bool:
        """Return whether ``find`` does not need the keyring, which may be slow."""
        if (
            address.origin in self._entered
            or address.origin in self._keyring_cache
            or find_spec("keyring") is None
        ):
            return True
        return bool(self._effective.environment_key) and self._environment_origin() == address.origin

    @property
    def has_entered_key(self) -> bool:
        """Return whether a key was entered, for any host."""
        return bool(self._entered)

    def environment_key_origin(self, address: BaseURL) -> str | None:
        """Return the host of the environment's key if it is another one."""
        origin = self._environment_origin()
        return origin if self._effective.environment_key and origin and origin != address.origin else None

    def _environment_origin(self) -> str | None:
        url = self._effective.environment_key_url
        if is_sandbox(url):
            return None  # a real key is never sent to the sandbox
        try:
            return BaseURL.parse(url, allow_http=True).origin
        except InvalidURLError:
            return None
