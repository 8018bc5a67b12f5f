"""The part of rpds that jsonschema needs, in plain Python: there is no wheel of rpds-py for the browser.

binder/lite.py puts it into the site as the package rpds-py. Each change makes a copy, as schemas are small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class HashTrieMap(dict[Any, Any]):
    """Mapping whose changes return another one."""

    @classmethod
    def convert(cls, value: Any) -> HashTrieMap:
        """Return the value as such a mapping."""
        return value if isinstance(value, cls) else cls(value)

    def insert(self, key: Any, value: Any) -> HashTrieMap:
        """Return the mapping with one more item."""
        return HashTrieMap({**self, key: value})

    def remove(self, key: Any) -> HashTrieMap:
        """Return the mapping without a key. Raises KeyError if it has none such."""
        items = dict(self)
        del items[key]
        return HashTrieMap(items)

    def update(self, *others: Any) -> HashTrieMap:  # type: ignore[override]
        """Return the mapping with the items of others."""
        items = dict(self)
        for other in others:
            items.update(other)
        return HashTrieMap(items)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self))


class HashTrieSet(frozenset[Any]):
    """Set whose changes return another one."""

    def insert(self, value: Any) -> HashTrieSet:
        """Return the set with one more value."""
        return HashTrieSet(self | {value})

    def discard(self, value: Any) -> HashTrieSet:
        """Return the set without a value."""
        return HashTrieSet(self - {value})

    def update(self, *others: Iterable[Any]) -> HashTrieSet:
        """Return the set with the values of others."""
        return HashTrieSet(self.union(*others))


class List:
    """List whose changes return another one."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._values = tuple(values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def push_front(self, value: Any) -> List:
        """Return the list with a value before the others."""
        return List((value, *self._values))
