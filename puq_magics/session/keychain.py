"""Keys in the system's keyring, by the host that they belong to; the ``keyring`` library finds the system's."""

from __future__ import annotations

from typing import Any

from puq_magics.core.errors import ConfigurationError
from puq_magics.core.secret import Secret

_SERVICE = "puq_magics"
_INSTALL = 'Install it: pip install "puq_magics[keyring]"'


def store(origin: str, key: Secret) -> None:
    """Keep the key of a host. Raises ConfigurationError where that cannot be."""
    library = _library()
    if library is None:
        raise ConfigurationError("the keyring needs the library of that name.", hint=_INSTALL)
    problem = ""
    try:
        library.set_password(_SERVICE, origin, key.reveal())
    except Exception as exc:  # noqa: BLE001 - each system has its own, and the frames below hold the key
        problem = _reason(exc)
    if problem:
        raise ConfigurationError(
            f"the keyring does not take the key ({problem}).",
            hint="To keep it for later sessions, unlock or install a keyring, and enter it again.",
        )


def load(origin: str) -> tuple[Secret | None, str]:
    """The key of a host, and what is amiss with the keyring; None and nothing without the library or the key."""
    library = _library()
    if library is None:
        return None, ""
    try:
        found = library.get_password(_SERVICE, origin)
        return (Secret(found) if found else None), ""
    except ConfigurationError:
        return None, "the keyring holds something that is no key"
    except Exception as exc:  # noqa: BLE001 - a keyring that is locked or broken is one that has no key
        return None, "" if _is_missing(exc) else f"the keyring cannot be read ({_reason(exc)})"


def delete(origin: str) -> bool:
    """Take the key of a host away; False if there was none. Raises ConfigurationError where that cannot be."""
    library = _library()
    if library is None:
        return False
    try:
        if library.get_password(_SERVICE, origin) is None:
            return False
        library.delete_password(_SERVICE, origin)
    except Exception as exc:  # noqa: BLE001
        if _is_missing(exc):
            return False
        problem = _reason(exc)
    else:
        return True
    raise ConfigurationError(
        f"the keyring does not give the key up ({problem}).", hint="Unlock it, and try again."
    )


def _library() -> Any | None:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _is_missing(exc: Exception) -> bool:
    """Whether it says that the system has no keyring at all."""
    return type(exc).__name__ == "NoKeyringError"


def _reason(exc: Exception) -> str:
    words = " ".join(str(exc).split())[:120]
    return words.rstrip(".") if words else type(exc).__name__
