"""Variables at a glance: the type of a value, and a short spelling of it.

A look at a value must neither cost much nor change anything: containers are written only as far as is shown,
tables by their columns, other objects by what they hold. No property is run, and a ``__repr__`` that fails is told.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from itertools import islice
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, cast

from puq_magics.prompts.diagnosis.redaction import SHORTEST, Masker, is_secret, is_strong, is_word

#: Characters of one value.
LONGEST = 240
#: Items of a container, and containers within containers.
ITEMS, DEEPEST = 12, 3
#: Columns of a table.
COLUMNS = 25
# A secret may be cut in its middle unless more is looked at than is shown.
_MARGIN = 4_096
_BITS = 1_000
# Attributes of an object that are looked through for secrets.
_ATTRIBUTES = 1_000

_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}"), deque: ("[", "]"),
    dict: ("{", "}"), OrderedDict: ("{", "}"), defaultdict: ("{", "}"), Counter: ("{", "}"),
}  # fmt: skip


class Glimpser:
    """Looks at values, with the secrets among them masked."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker

    def glimpse(self, name: str, value: object) -> str:
        """Return what a variable is, on one line, such as ``list of 3: [1, 2, 3]``."""
        kind = type(value)
        try:
            text = self._whole(name, value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the value's own code raises
            text = f"(its repr raises {type(error).__name__})"
        text = " ".join(text.split())
        text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
        called = f"{_called(kind)}{_size(value)}"
        return f"{called}: {text}" if text else called

    def _whole(self, name: str, value: object) -> str:
        if issubclass(type(value), type):
            return str(type.__repr__(value))
        special = _special(value)
        if special is not None:
            return self._masker.mask(special)
        return "".join(_until(self._pieces(value, name, ()), LONGEST))

    def _pieces(self, value: object, name: str, around: tuple[int, ...]) -> Iterator[str]:
        """Write a value piece by piece; ``name`` is what it is called, or the name of what holds it."""
        kind = type(value)
        if kind not in _BRACKETS:
            yield self._leaf(value, name, around)
            return
        if id(value) in around or len(around) >= DEEPEST:
            yield "…"
            return
        around, separator, (before, after) = (*around, id(value)), "", _BRACKETS[kind]
        yield before
        if issubclass(kind, dict):
            for key, item in islice(cast(dict[Any, Any], value).items(), ITEMS):
                yield f"{separator}{self._leaf(key, '', around)}: "
                label = key if type(key) is str and is_secret(key) else name
                yield from self._pieces(item, label, around)
                separator = ", "
        else:
            paired = _paired(value)
            for index, item in enumerate(islice(value, ITEMS)):  # type: ignore[call-overload]
                yield separator
                yield from self._pieces(item, paired if paired and index else name, around)
                separator = ", "
        yield f", …{after}" if len(value) > ITEMS else after  # type: ignore[arg-type]

    def _leaf(self, value: object, name: str, around: tuple[int, ...]) -> str:
        kind = type(value)
        hidden = bool(name) and is_secret(name)
        if value is None or kind is bool:
            return repr(value)
        if issubclass(kind, (str, bytes, bytearray)):
            return self._string(value, name, hidden)
        if hidden and is_strong(name):
            self._remember(name, value)
            return "(masked)"
        if kind is int and int.bit_length(value) > _BITS:  # type: ignore[arg-type]
            return f"an integer of about {int.bit_length(value) * 3 // 10:,} digits"  # type: ignore[arg-type]
        if kind in (int, float, complex):
            return repr(value)
        if kind.__repr__ is object.__repr__:
            return self._object(value, around)
        for attribute, item in _attributes(value):
            self._remember(attribute, item)
        return self._masker.mask(_own_repr(value)[: LONGEST + _MARGIN])

    def _string(self, value: Any, name: str, hidden: bool) -> str:
        base = str if isinstance(value, str) else type(value)
        part = base.__getitem__(value, slice(LONGEST + _MARGIN))
        if hidden and isinstance(part, str):
            # As in code: `key = 'colour'` is of a dict more likely than of a lock.
            hidden = is_strong(name) or not is_word(str.__str__(part))
        if not hidden:
            return repr(self._masker.mask(part)) if isinstance(part, str) else self._masker.mask(repr(part))
        if isinstance(part, str):
            part = str.__str__(part)
            sure = is_strong(name) or len(part) >= SHORTEST * 2 or any(c.isdigit() for c in part)
            return self._masker.hide(part, everywhere=sure)
        return self._masker.hide(bytes(part).decode("latin-1")) or repr(part)

    def _remember(self, name: str, value: object) -> None:
        """Have a value known as a secret, if the name is one of a secret: a text, or a long number."""
        kind = type(value)
        if not is_secret(name):
            return
        if issubclass(kind, (str, bytes, bytearray)):
            self._string(value, name, hidden=True)
        elif kind is int and is_strong(name) and int.bit_length(value) <= _BITS:  # type: ignore[arg-type]
            self._masker.hide(repr(value))

    def _object(self, value: object, around: tuple[int, ...]) -> str:
        """An object that has no repr of its own: what it holds."""
        kind, held = type(value), _held(value)
        if held is None or id(value) in around or len(around) >= DEEPEST:
            return f"<{_called(kind)}>"
        around = (*around, id(value))
        fields = [
            f"{name}={''.join(_until(self._pieces(item, name, around), LONGEST))}"
            for name, item in islice(held.items(), ITEMS)
        ]
        return f"<{_called(kind)} {', '.join(fields)}>" if fields else f"<{_called(kind)}>"


def _until(pieces: Iterator[str], limit: int) -> Iterator[str]:
    size = 0
    for piece in pieces:
        yield piece
        size += len(piece)
        if size > limit:
            return


def _own_repr(value: object) -> str:
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever somebody's __repr__ raises
        return f"<{_called(type(value))}, whose repr raises {type(error).__name__}>"
    return str.__str__(text)


def _held(value: object) -> Mapping[str, object] | None:
    """An instance's own dict, unless its class puts a property in that place."""
    for kind in type(value).__mro__:
        found = kind.__dict__.get("__dict__")
        if found is not None:
            held = object.__getattribute__(value, "__dict__") if type(found) is GetSetDescriptorType else None
            return held if type(held) is dict else None
    return None


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """What an instance holds, in its dict and in its slots; no property is run."""
    for name, item in islice((_held(value) or {}).items(), _ATTRIBUTES):
        if type(name) is str:
            yield name, item
    for kind in type(value).__mro__:
        for name, found in kind.__dict__.items():
            if type(found) is MemberDescriptorType and is_secret(name):
                try:
                    yield name, found.__get__(value)
                except AttributeError:
                    continue


def _paired(value: object) -> str:
    """The name in a pair like ``("password", …)``; empty if it is none."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str and is_secret(value[0]):
        return value[0]
    return ""


def _called(kind: type) -> str:
    """The name of a class; of one that a function made, without the function's."""
    return kind.__qualname__.rpartition("<locals>.")[2]


def _size(value: object) -> str:
    kind = type(value)
    if kind in _BRACKETS or kind in (str, bytes, bytearray):
        return f" of {len(value):,}"  # type: ignore[arg-type]
    return ""


def _special(value: object) -> str | None:
    """Functions, modules, arrays and tables, which say more by what they are than by what they hold."""
    kind = type(value)
    if kind is ModuleType:
        return str(value.__dict__.get("__name__", ""))
    if kind is FunctionType:
        code = value.__code__  # type: ignore[attr-defined]
        count = code.co_argcount + code.co_kwonlyargcount
        return f"{code.co_name}({', '.join(code.co_varnames[:count])})"
    if kind in (BuiltinFunctionType, MethodType):
        return str(getattr(value, "__qualname__", ""))
    return _table(value, kind) or _array(value, kind)


def _table(value: Any, kind: type) -> str | None:
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return None
    if issubclass(kind, pandas.DataFrame):
        rows, columns = value.shape
        named = [f"{n!r} {t}" for n, t in islice(zip(value.columns, value.dtypes, strict=True), COLUMNS)]
        more = ", …" if columns > COLUMNS else ""
        return f"{rows:,} rows × {columns:,} columns: {', '.join(named)}{more}"
    if issubclass(kind, pandas.Series):
        return f"{len(value):,} values of {value.dtype}, named {value.name!r}"
    return None


def _array(value: Any, kind: type) -> str | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "ndarray") or not issubclass(kind, numpy.ndarray):
        return None
    said = f"shape {value.shape}, {value.dtype}"
    if value.size > ITEMS or value.dtype.hasobject:
        return said
    return f"{said}: {numpy.array2string(value, separator=', ')}"
