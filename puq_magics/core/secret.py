"""API key wrapper that never appears in repr, logs or pickles."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

from puq_magics.core.errors import ConfigurationError
from puq_magics.core.text import unwrap_pasted

if TYPE_CHECKING:
    from puq_magics.core.key_spellings import KeySpellings

_SCHEME = re.compile(r"(?:Authorization:\s*)?(?:Bearer|Token)\s+(?=\S)", re.IGNORECASE)
# What documentation writes in place of a key: <your-key>, $PUQ_API_KEY, {{ key }}, your_api_key_here, sk-..., xxxx;
# how a dashboard shortens one, sk-abc...xyz; where one is to be found, and None.
_PLACEHOLDER = re.compile(
    r".*[<>].*|[$%{].*|.*(\.\.\.|\*{3}).*|(.*-)?x{3,}|.*(replace|change)[_-]?me.*|https?://.*|os\.(environ|getenv).*"
    r"|(?-i:None|[Nn]ull|NULL|undefined|[A-Z_]*(API|PUQ)_(KEY|TOKEN))"
    r"|(?!(.*\d){5})[\w-]*your[\w -]*(key|token|secret).*",  # with more digits it may be one that is made of words
    re.IGNORECASE | re.DOTALL,
)
_WHERE_TO_GET_A_KEY = "Copy it again from the dashboard (Account Settings → API Tokens)."

#: Characters of a key's beginning that are held back at a text's end: fewer end too many texts.
_MIN_HELD_CHARS = 8


class Secret:
    """An API key: only ``reveal()`` gives it; no repr, format, pickle or ``vars()`` does.

    What is pasted with a key is left out: quotes, backticks, ``NAME=``, ``Bearer``, a comma at its end. Raises
    ConfigurationError for a placeholder such as ``<your-key>``, and for what no HTTP header can carry.
    """

    __slots__ = ("__weakref__", "_reveal", "_spellings")

    def __init__(self, value: str) -> None:
        self._reveal: Callable[[], str] = str  # so that a refused one has a repr, too
        value = _SCHEME.sub("", unwrap_pasted(value))
        if _PLACEHOLDER.fullmatch(value):
            del value  # tracebacks can show locals
            raise ConfigurationError(
                "this is a placeholder, not an API key.",
                hint=f"Put your key in its place. {_WHERE_TO_GET_A_KEY}",
            )
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            del value
            raise ConfigurationError(
                "this is not an API key: a key is one word of plain ASCII characters.",
                hint=_WHERE_TO_GET_A_KEY,
            )
        self._reveal = lambda: value
        self._spellings: KeySpellings | None = None
        _secrets[id(self)] = self

    def reveal(self) -> str:
        """Return the value."""
        return self._reveal()

    @property
    def tail(self) -> str:
        """The last four characters, to distinguish keys; empty for a short key."""
        value = self.reveal()
        return value[-4:] if len(value) >= 12 else ""

    @property
    def spellings(self) -> KeySpellings:
        """The ways in which a text may hold it."""
        from puq_magics.core.key_spellings import KeySpellings

        if self._spellings is None:
            self._spellings = KeySpellings(self.reveal())
        return self._spellings

    def redact(self, text: str) -> str:
        """Return the text with … in place of the key, in any spelling."""
        return self.spellings.redact(text)

    def __repr__(self) -> str:
        return f"<Secret …{self.tail}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


#: The keys in use.
_secrets: WeakValueDictionary[int, Secret] = WeakValueDictionary()


def redact_secrets(text: str) -> str:
    """Return the text with … in place of each key in use that is long enough to be no common word."""
    for secret in _long_secrets():
        text = secret.redact(text)
    return text


def drop_unfinished_secret(text: str) -> str:
    """Return the text without the beginning of a key in use that stands at its end, as where it was cut."""
    text = redact_secrets(text)
    return text[: _find_unfinished(text, _MIN_HELD_CHARS)]


def redact_bytes(data: bytes) -> bytes:
    """Return data that is no text with … in place of each key in use."""
    for secret in _long_secrets():
        data = data.replace(secret.reveal().encode("ascii"), "…".encode())
    return data


def _long_secrets() -> list[Secret]:
    found = (reference() for reference in list(_secrets.valuerefs()))
    return list(dict.fromkeys(secret for secret in found if secret is not None and secret.tail))


class SecretFilter:
    """``redact_secrets`` for text that comes in parts: what may be the beginning of a key is held back."""

    def __init__(self) -> None:
        #: What is held back; ``release`` it when nothing more comes for a moment.
        self.pending = ""
        self._released = (
            ""  # the beginning of a key that was returned already, as it was short or there was a pause
        )

    def feed(self, text: str) -> str:
        """Return the next part of the text, and what was held back before it, as far as it cannot be a key's."""
        return self._return(self.pending + text, _MIN_HELD_CHARS)

    def release(self) -> str:
        """Return what is held back; if it turns out to be a key's beginning, the rest is erased."""
        released, self.pending = self.pending, ""
        self._released += released
        return released

    def finish(self) -> str:
        """Return what is held back, as the text ends here."""
        return self._return(self.pending)

    def _return(self, text: str, minimum: int | None = None) -> str:
        """Return the text up to a key's beginning of ``minimum`` characters at its end; all of it without one."""
        text = redact_secrets(self._released + text)  # first, as the beginning may stand within a whole key
        done = len(self._released) if text.startswith(self._released) else 0
        end = len(text) if minimum is None else max(done, _find_unfinished(text, minimum))
        self.pending, self._released = text[end:], text[_find_unfinished(text, 1) : end]
        return text[done:end]


def _find_unfinished(text: str, minimum: int) -> int:
    return min(
        (secret.spellings.find_unfinished(text, minimum) for secret in _long_secrets()), default=len(text)
    )


def redact_json(value: Any, redact: Callable[[str], str], keep: frozenset[str] = frozenset()) -> Any:
    """Return decoded JSON with its strings redacted, but for members of the names in ``keep``."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redact_json(item, redact, keep) for item in value]
    if isinstance(value, dict):
        return {
            redact(key): item if key in keep else redact_json(item, redact, keep)
            for key, item in value.items()
        }
    return value
