"""Format containers up to a length limit, without visiting every item.

``repr`` and ``json.dumps`` write a whole value before it can be cut. `iter_chunks` is a generator instead: its caller
stops when there is enough text, so that of ten million items only those that fit are visited.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from typing import Any

from puq_magics.prompts import tables

#: Maximum nesting of containers.
MAX_DEPTH = 60
#: Larger sets are not sorted.
MAX_SORTED_ITEMS = 10_000


def to_plain(value: Any) -> Any:
    """Return dates as text, and scalars of NumPy and Arrow as Python's values; other values as they are."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        return _numpy_to_plain(value, numpy)
    if tables.is_instance(value, "pyarrow", "Scalar"):
        return to_plain(tables.scalar_value(value))
    if isinstance(value, date) and not tables.is_missing(value):
        return str(value.date()) if isinstance(value, datetime) and tables.is_date_only(value) else str(value)
    return value


def _numpy_to_plain(value: Any, numpy: Any) -> Any:
    if isinstance(value, numpy.datetime64):
        return to_plain(value.astype("datetime64[us]").item())  # whose nanoseconds are a number
    if isinstance(value, numpy.timedelta64):
        return str(value)
    if isinstance(value, numpy.floating):
        return float(str(value))  # the shortest text: 0.1 of 32 bits is 0.10000000149011612 of 64
    if value.dtype.names:
        return dict(zip(value.dtype.names, value.item(), strict=True))
    plain = value.item()
    return plain if isinstance(plain, (bool, int, float, str)) else value


class NotSerializableError(Exception):
    """The value holds something that JSON cannot represent."""


class ValueFormat(ABC):
    """A notation for values; strings are formatted only up to ``limit`` characters."""

    #: Maximum nesting of containers.
    max_depth = MAX_DEPTH

    def __init__(self, limit: int, convert: Callable[[object], object] | None = None) -> None:
        self._limit = limit
        self._convert = convert or to_plain

    def convert(self, value: object) -> object:
        """Return the value to format in place of this one."""
        return self._convert(value)

    @abstractmethod
    def brackets(self, value: object) -> tuple[str, str] | None:
        """Return the text before and after a container's items; None for a value without items."""

    def items(self, value: Any) -> Iterator[tuple[str, object, ValueFormat]]:
        """Yield a container's items, each with the text before it and its format."""
        if isinstance(value, dict):
            for key, item in value.items():
                yield f"{self.format_key(key)}: ", item, self
        else:
            for item in _sort_small_set(value):
                yield "", item, self

    @abstractmethod
    def format_scalar(self, value: object) -> str:
        """Format a value without items."""

    @abstractmethod
    def format_key(self, value: object) -> str:
        """Format a key of a dict."""

    @abstractmethod
    def format_recursion(self, value: object) -> str:
        """Format a container that holds itself, or is nested too deep."""


class JSONFormat(ValueFormat):
    """JSON; ``default`` converts values that JSON cannot represent, the rest raise NotSerializableError."""

    def __init__(
        self,
        limit: int,
        default: Callable[[object], object] | None = None,
        convert: Callable[[object], object] | None = None,
    ) -> None:
        super().__init__(limit, convert)
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

    def format_recursion(self, value: object) -> str:  # noqa: ARG002, D102
        raise NotSerializableError


class ReprFormat(ValueFormat):
    """Python's ``repr``."""

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

    def format_recursion(self, value: object) -> str:  # noqa: ARG002, D102
        return "…"


def iter_chunks(value: object, value_format: ValueFormat, ancestors: tuple[int, ...] = ()) -> Iterator[str]:
    """Yield a value's text in chunks; ``ancestors`` are the ids of the containers that it is in."""
    value = value_format.convert(value)
    brackets = value_format.brackets(value)
    if brackets is None:
        yield value_format.format_scalar(value)
        return
    if id(value) in ancestors or len(ancestors) >= value_format.max_depth:
        yield value_format.format_recursion(value)
        return
    separator, (before, after) = "", brackets
    yield before
    for label, item, item_format in value_format.items(value):
        yield f"{separator}{label}"
        yield from iter_chunks(item, item_format, (*ancestors, id(value)))
        separator = ", "
    yield after


def _sort_small_set(value: object) -> Iterable[object]:
    """Sort a small set, so that the prompt is the same in every run."""
    items: Iterable[object] = value  # type: ignore[assignment]
    if not isinstance(value, (set, frozenset)) or len(value) > MAX_SORTED_ITEMS:
        return items
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=repr)


def join_truncated(parts: Iterable[str], limit: int) -> tuple[str, bool]:
    """Join texts up to ``limit`` characters; return also whether any text was omitted."""
    taken: list[str] = []
    size = 0
    for part in parts:
        taken.append(part)
        size += len(part)
        if size > limit:
            return "".join(taken)[:limit], True
    return "".join(taken), False


def format_truncated(
    value: object, limit: int, convert: Callable[[object], object] | None = None
) -> tuple[str, bool]:
    """Format a value as JSON if possible, else as ``repr``; return also whether it was cut.

    ``convert`` returns the value to format in place of another; `to_plain` by default.
    """
    try:
        return join_truncated(iter_chunks(value, JSONFormat(limit, convert=convert)), limit)
    except NotSerializableError:
        return join_truncated(iter_chunks(value, ReprFormat(limit, convert)), limit)
