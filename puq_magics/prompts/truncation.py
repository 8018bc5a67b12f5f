"""Lists, dicts and sets as text, written only as far as it is shown.

``repr`` and ``json.dumps`` write a value out whole before anything can be cut off; of ten million items this
module visits as many as fit. The pieces come from a generator, and whoever takes them stops when there are enough.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator

#: Nesting beyond this is not followed.
MAX_DEPTH = 60
#: Larger sets are not sorted before they are written.
MAX_SORTED_ITEMS = 10_000


class NotSerializableError(Exception):
    """The value holds something for which JSON has no notation."""


class ValueFormat(ABC):
    """How one language writes values down; strings only as far as ``limit`` characters can show."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def convert(self, value: object) -> object:
        """Return the value that is written in this one's place: of NumPy's scalars, the number or text."""
        if isinstance(value, getattr(sys.modules.get("numpy"), "generic", ())):
            plain: object = value.item()  # type: ignore[attr-defined]
            return plain if isinstance(plain, (bool, int, float, str)) else value
        return value

    @abstractmethod
    def brackets(self, value: object) -> tuple[str, str] | None:
        """Return what stands around the value's items; None when it is written as a whole."""

    @abstractmethod
    def format_scalar(self, value: object) -> str:
        """Write a value that has no items."""

    @abstractmethod
    def format_key(self, value: object) -> str:
        """Write a key of a dict."""

    @abstractmethod
    def format_recursion(self) -> str:
        """Write a value that holds itself, or is nested too deep."""


class JSONFormat(ValueFormat):
    """JSON; ``default`` puts other values in the place of its own, what stays without a notation is an error."""

    def __init__(self, limit: int, default: Callable[[object], object] | None = None) -> None:
        super().__init__(limit)
        self._default = default

    def convert(self, value: object) -> object:  # noqa: D102
        value = super().convert(value)
        return value if self._default is None else self._default(value)

    def brackets(self, value: object) -> tuple[str, str] | None:  # noqa: D102
        if isinstance(value, dict):
            return "{", "}"
        return ("[", "]") if isinstance(value, (list, tuple)) else None

    def format_scalar(self, value: object) -> str:  # noqa: D102
        if isinstance(value, str):
            return json.dumps(str.__str__(value)[: self._limit + 1], ensure_ascii=False)
        if value is None or isinstance(value, (bool, int, float)):
            return json.dumps(value)
        raise NotSerializableError

    def format_key(self, value: object) -> str:  # noqa: D102
        value = super().convert(value)
        if isinstance(value, str):
            return self.format_scalar(value)
        if value is None or isinstance(value, (bool, int, float)):
            return f'"{json.dumps(value)}"'
        if self._default is None:
            raise NotSerializableError
        return self.format_scalar(str(value))

    def format_recursion(self) -> str:  # noqa: D102
        raise NotSerializableError


class ReprFormat(ValueFormat):
    """The notation of ``repr``."""

    def brackets(self, value: object) -> tuple[str, str] | None:  # noqa: D102
        if isinstance(value, dict):
            return "{", "}"
        if isinstance(value, list):
            return "[", "]"
        if type(value) is tuple:
            return "(", ",)" if len(value) == 1 else ")"
        if isinstance(value, (set, frozenset)) and value:
            return "{", "}"
        return ("deque([", "])") if isinstance(value, deque) else None

    def format_scalar(self, value: object) -> str:  # noqa: D102
        if isinstance(value, (str, bytes, bytearray)):
            return repr(value[: self._limit + 1])
        return repr(value)

    def format_key(self, value: object) -> str:  # noqa: D102
        return join_truncated(iter_chunks(value, self), self._limit)[0]

    def format_recursion(self) -> str:  # noqa: D102
        return "…"


def iter_chunks(value: object, value_format: ValueFormat, ancestors: tuple[int, ...] = ()) -> Iterator[str]:
    """Write a value piece by piece; ``around`` holds the ids of what it stands in."""
    value = value_format.convert(value)
    brackets = value_format.brackets(value)
    if brackets is None:
        yield value_format.format_scalar(value)
        return
    if id(value) in ancestors or len(ancestors) >= MAX_DEPTH:
        yield value_format.format_recursion()
        return
    ancestors = (*ancestors, id(value))
    separator, (before, after) = "", brackets
    yield before
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{separator}{value_format.format_key(key)}: "
            yield from iter_chunks(item, value_format, ancestors)
            separator = ", "
    else:
        for item in _sort_small_set(value):
            yield separator
            yield from iter_chunks(item, value_format, ancestors)
            separator = ", "
    yield after


def _sort_small_set(value: object) -> Iterable[object]:
    """Sort a small set, so that a prompt is the same in every run; leave all else in its order."""
    items: Iterable[object] = value  # type: ignore[assignment]
    if not isinstance(value, (set, frozenset)) or len(value) > MAX_SORTED_ITEMS:
        return items
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


def join_truncated(parts: Iterable[str], limit: int) -> tuple[str, bool]:
    """Join pieces up to ``limit`` characters; the second value says whether any were left out."""
    taken: list[str] = []
    size = 0
    for part in parts:
        taken.append(part)
        size += len(part)
        if size > limit:
            return "".join(taken)[:limit], True
    return "".join(taken), False


def format_truncated(value: object, limit: int) -> tuple[str, bool]:
    """Write a value as JSON if that has a notation for it, else as ``repr`` would; say whether it was cut."""
    try:
        return join_truncated(iter_chunks(value, JSONFormat(limit)), limit)
    except NotSerializableError:
        return join_truncated(iter_chunks(value, ReprFormat(limit)), limit)
