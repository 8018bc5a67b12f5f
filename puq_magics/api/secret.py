"""A value that does not show itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from puq_magics.api.errors import ConfigurationError


class Secret:
    """An API key: only ``reveal()`` gives it; no repr, format, pickle or ``vars()`` does.

    Raises ConfigurationError for what no HTTP header can carry.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        value = value.strip()
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            del value  # tracebacks can show locals
            raise ConfigurationError(
                "this is not an API key: a key is one word of plain ASCII characters.",
                hint="Copy it again from the dashboard (Account Settings → API Tokens).",
            )
        self._reveal: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Give the value."""
        return self._reveal()

    @property
    def tail(self) -> str:
        """The last four characters, to tell keys apart; fewer, or none, of a short key."""
        value = self.reveal()
        return value[-4:] if len(value) >= 12 else ""

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
