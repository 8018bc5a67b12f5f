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

from puq_magics.prompts.diagnosis.redaction import (
    MIN_SECRET_CHARS,
    SecretMasker,
    is_definite_secret_name,
    is_plain_word,
    is_secret_name,
)

#: Characters of one value.
MAX_CHARS = 240
#: Items of a container, and containers within containers.
MAX_ITEMS, MAX_DEPTH = 12, 3
#: Columns of a table.
MAX_COLUMNS = 25
# A secret may be cut in its middle unless more is looked at than is shown.
_EXTRA_CHARS = 4_096
_MAX_INT_BITS = 1_000
# Attributes of an object that are looked through for secrets.
_MAX_ATTRIBUTES = 1_000

_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}"), deque: ("[", "]"),
    dict: ("{", "}"), OrderedDict: ("{", "}"), defaultdict: ("{", "}"), Counter: ("{", "}"),
}  # fmt: skip


class VariableSummarizer:
    """Looks at values, with the secrets among them masked."""

    def __init__(self, masker: SecretMasker) -> None:
        self._masker = masker

    def summarize(self, name: str, value: object) -> str:
        """Return what a variable is, on one line, such as ``list of 3: [1, 2, 3]``."""
        kind = type(value)
        try:
            text = self._format_value(name, value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever the value's own code raises
            text = f"(its repr raises {type(error).__name__})"
        text = " ".join(text.split())
        text = text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
        type_label = f"{_class_name(kind)}{_format_length(value)}"
        return f"{type_label}: {text}" if text else type_label

    def _format_value(self, name: str, value: object) -> str:
        if issubclass(type(value), type):
            return str(type.__repr__(value))
        special = _summarize_special(value)
        if special is not None:
            return self._masker.mask(special)
        return "".join(_limit_chunks(self._iter_chunks(value, name, ()), MAX_CHARS))

    def _iter_chunks(self, value: object, name: str, ancestors: tuple[int, ...]) -> Iterator[str]:
        """Write a value piece by piece; ``name`` is what it is called, or the name of what holds it."""
        kind = type(value)
        if kind not in _BRACKETS:
            yield self._format_scalar(value, name, ancestors)
            return
        if id(value) in ancestors or len(ancestors) >= MAX_DEPTH:
            yield "…"
            return
        ancestors, separator, (before, after) = (*ancestors, id(value)), "", _BRACKETS[kind]
        yield before
        if issubclass(kind, dict):
            for key, item in islice(cast(dict[Any, Any], value).items(), MAX_ITEMS):
                yield f"{separator}{self._format_scalar(key, '', ancestors)}: "
                label = key if type(key) is str and is_secret_name(key) else name
                yield from self._iter_chunks(item, label, ancestors)
                separator = ", "
        else:
            paired = _secret_pair_name(value)
            for index, item in enumerate(islice(value, MAX_ITEMS)):  # type: ignore[call-overload]
                yield separator
                yield from self._iter_chunks(item, paired if paired and index else name, ancestors)
                separator = ", "
        yield f", …{after}" if len(value) > MAX_ITEMS else after  # type: ignore[arg-type]

    def _format_scalar(self, value: object, name: str, ancestors: tuple[int, ...]) -> str:
        kind = type(value)
        hidden = bool(name) and is_secret_name(name)
        if value is None or kind is bool:
            return repr(value)
        if issubclass(kind, (str, bytes, bytearray)):
            return self._format_string(value, name, hidden)
        if hidden and is_definite_secret_name(name):
            self._record_secret(name, value)
            return "(masked)"
        if kind is int and int.bit_length(value) > _MAX_INT_BITS:  # type: ignore[arg-type]
            return f"an integer of about {int.bit_length(value) * 3 // 10:,} digits"  # type: ignore[arg-type]
        if kind in (int, float, complex):
            return repr(value)
        if kind.__repr__ is object.__repr__:
            return self._format_object(value, ancestors)
        for attribute, item in _iter_attributes(value):
            self._record_secret(attribute, item)
        return self._masker.mask(_safe_repr(value)[: MAX_CHARS + _EXTRA_CHARS])

    def _format_string(self, value: Any, name: str, hidden: bool) -> str:
        base = str if isinstance(value, str) else type(value)
        part = base.__getitem__(value, slice(MAX_CHARS + _EXTRA_CHARS))
        if hidden and isinstance(part, str):
            # As in code: `key = 'colour'` is of a dict more likely than of a lock.
            hidden = is_definite_secret_name(name) or not is_plain_word(str.__str__(part))
        if not hidden:
            return repr(self._masker.mask(part)) if isinstance(part, str) else self._masker.mask(repr(part))
        if isinstance(part, str):
            part = str.__str__(part)
            sure = (
                is_definite_secret_name(name)
                or len(part) >= MIN_SECRET_CHARS * 2
                or any(c.isdigit() for c in part)
            )
            return self._masker.mask_secret(part, everywhere=sure)
        return self._masker.mask_secret(bytes(part).decode("latin-1")) or repr(part)

    def _record_secret(self, name: str, value: object) -> None:
        """Have a value known as a secret, if the name is one of a secret: a text, or a long number."""
        kind = type(value)
        if not is_secret_name(name):
            return
        if issubclass(kind, (str, bytes, bytearray)):
            self._format_string(value, name, hidden=True)
        elif kind is int and is_definite_secret_name(name) and int.bit_length(value) <= _MAX_INT_BITS:  # type: ignore[arg-type]
            self._masker.mask_secret(repr(value))

    def _format_object(self, value: object, ancestors: tuple[int, ...]) -> str:
        """An object that has no repr of its own: what it holds."""
        kind, held = type(value), _instance_dict(value)
        if held is None or id(value) in ancestors or len(ancestors) >= MAX_DEPTH:
            return f"<{_class_name(kind)}>"
        ancestors = (*ancestors, id(value))
        fields = [
            f"{name}={''.join(_limit_chunks(self._iter_chunks(item, name, ancestors), MAX_CHARS))}"
            for name, item in islice(held.items(), MAX_ITEMS)
        ]
        return f"<{_class_name(kind)} {', '.join(fields)}>" if fields else f"<{_class_name(kind)}>"


def _limit_chunks(pieces: Iterator[str], limit: int) -> Iterator[str]:
    size = 0
    for piece in pieces:
        yield piece
        size += len(piece)
        if size > limit:
            return


def _safe_repr(value: object) -> str:
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever somebody's __repr__ raises
        return f"<{_class_name(type(value))}, whose repr raises {type(error).__name__}>"
    return str.__str__(text)


def _instance_dict(value: object) -> Mapping[str, object] | None:
    """An instance's own dict, unless its class puts a property in that place."""
    for kind in type(value).__mro__:
        found = kind.__dict__.get("__dict__")
        if found is not None:
            held = object.__getattribute__(value, "__dict__") if type(found) is GetSetDescriptorType else None
            return held if type(held) is dict else None
    return None


def _iter_attributes(value: object) -> Iterator[tuple[str, object]]:
    """What an instance holds, in its dict and in its slots; no property is run."""
    for name, item in islice((_instance_dict(value) or {}).items(), _MAX_ATTRIBUTES):
        if type(name) is str:
            yield name, item
    for kind in type(value).__mro__:
        for name, found in kind.__dict__.items():
            if type(found) is MemberDescriptorType and is_secret_name(name):
                try:
                    yield name, found.__get__(value)
                except AttributeError:
                    continue


def _secret_pair_name(value: object) -> str:
    """The name in a pair like ``("password", …)``; empty if it is none."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str and is_secret_name(value[0]):
        return value[0]
    return ""


def _class_name(kind: type) -> str:
    """The name of a class; of one that a function made, without the function's."""
    return kind.__qualname__.rpartition("<locals>.")[2]


def _format_length(value: object) -> str:
    kind = type(value)
    if kind in _BRACKETS or kind in (str, bytes, bytearray):
        return f" of {len(value):,}"  # type: ignore[arg-type]
    return ""


def _summarize_special(value: object) -> str | None:
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
    return _summarize_table(value, kind) or _summarize_array(value, kind)


def _summarize_table(value: Any, kind: type) -> str | None:
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return None
    if issubclass(kind, pandas.DataFrame):
        rows, columns = value.shape
        named = [f"{n!r} {t}" for n, t in islice(zip(value.columns, value.dtypes, strict=True), MAX_COLUMNS)]
        more = ", …" if columns > MAX_COLUMNS else ""
        return f"{rows:,} rows × {columns:,} columns: {', '.join(named)}{more}"
    if issubclass(kind, pandas.Series):
        return f"{len(value):,} values of {value.dtype}, named {value.name!r}"
    return None


def _summarize_array(value: Any, kind: type) -> str | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "ndarray") or not issubclass(kind, numpy.ndarray):
        return None
    said = f"shape {value.shape}, {value.dtype}"
    if value.size > MAX_ITEMS or value.dtype.hasobject:
        return said
    return f"{said}: {numpy.array2string(value, separator=', ')}"
