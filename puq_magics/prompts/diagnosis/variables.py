"""One-line summaries of variables: the type and the shortened value, with secrets masked.

Reading a value is cheap and changes nothing: containers are formatted only as far as they are shown, tables by their
columns, other objects by their attributes. No property is run, and a failing ``__repr__`` is reported.
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
from typing import Any

from puq_magics.prompts import tables
from puq_magics.prompts.redaction.masking import (
    MIN_SECRET_CHARS,
    SecretMasker,
    is_definite_secret_name,
    is_plain_word,
    is_secret_name,
)
from puq_magics.prompts.truncation import ValueFormat, iter_chunks, join_truncated

#: Characters of a value.
MAX_CHARS = 240
#: Items of a container; nesting of containers.
MAX_ITEMS, MAX_DEPTH = 12, 3
#: Columns of a table.
MAX_COLUMNS = 25
# Strings are masked with so many characters more than are shown, so that no secret is cut in its middle.
_EXTRA_CHARS = 4_096
_MAX_INT_BITS = 1_000
# Attributes of an object that are searched for secrets.
_MAX_ATTRIBUTES = 1_000

_BRACKETS: Mapping[type, tuple[str, str]] = {
    list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}"), deque: ("[", "]"),
    dict: ("{", "}"), OrderedDict: ("{", "}"), defaultdict: ("{", "}"), Counter: ("{", "}"),
}  # fmt: skip


class VariableSummarizer:
    """Summarizes variables; secrets in their values are masked, and known to the masker from then on."""

    def __init__(self, masker: SecretMasker) -> None:
        self._masker = masker

    def summarize(self, name: str, value: object) -> str:
        """Return a variable's type and value on one line, such as ``list of 3: [1, 2, 3]``."""
        kind: Any = type(value)
        try:
            text, cut = self._format_value(name, value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - the value's own code may raise anything
            text, cut = f"(its repr raises {type(error).__name__})", False
        text = _one_line(text)
        text = f"{text[:MAX_CHARS]}…" if cut or len(text) > MAX_CHARS else text
        type_label = f"{_class_name(kind)}{_format_length(value)}"
        return f"{type_label}: {text}" if text else type_label

    def _format_value(self, name: str, value: object) -> tuple[str, bool]:
        if issubclass(type(value), type):
            return str(type.__repr__(value)), False
        special = _summarize_special(value, is_secret_name(name))
        if special is not None:
            return self._masker.mask(special), False
        return join_truncated(iter_chunks(value, _SummaryFormat(self._masker, name)), MAX_CHARS)


class _SummaryFormat(ValueFormat):
    """``repr`` of exact built-in types, with secrets masked; ``name`` is that of the variable, key or attribute."""

    max_depth = MAX_DEPTH

    def __init__(self, masker: SecretMasker, name: str) -> None:
        super().__init__(MAX_CHARS + _EXTRA_CHARS)
        self._masker = masker
        self._name = name

    def convert(self, value: object) -> object:
        return value

    def brackets(self, value: Any) -> tuple[str, str] | None:
        kind: Any = type(value)
        if kind in _BRACKETS:
            before, after = _BRACKETS[kind]
            return before, f", …{after}" if len(value) > MAX_ITEMS else after
        if kind.__repr__ is object.__repr__ and not self._is_hidden and _instance_dict(value):
            return f"<{_class_name(kind)} ", ">"
        return None

    def items(self, value: Any) -> Iterator[tuple[str, object, ValueFormat]]:
        kind: Any = type(value)
        if kind not in _BRACKETS:
            self._record_secrets(value)
            for name, item in islice((_instance_dict(value) or {}).items(), MAX_ITEMS):
                yield f"{name}=", item, _SummaryFormat(self._masker, name)
        elif issubclass(kind, dict):
            for key, item in islice(value.items(), MAX_ITEMS):
                is_name = type(key) is str and is_secret_name(key)
                yield (
                    f"{self.format_key(key)}: ",
                    item,
                    _SummaryFormat(self._masker, key) if is_name else self,
                )
        else:
            pair_name = _secret_pair_name(value)
            for index, item in enumerate(islice(value, MAX_ITEMS)):
                yield "", item, _SummaryFormat(self._masker, pair_name) if pair_name and index else self

    def format_key(self, value: object) -> str:
        return _SummaryFormat(self._masker, "").format_scalar(value)

    def format_recursion(self, value: object) -> str:
        return "…" if type(value) in _BRACKETS else f"<{_class_name(type(value))}>"

    @property
    def _is_hidden(self) -> bool:
        return bool(self._name) and is_definite_secret_name(self._name)

    def format_scalar(self, value: Any) -> str:
        kind: Any = type(value)
        if value is None or kind is bool:
            return repr(value)
        if issubclass(kind, (str, bytes, bytearray)):
            return self._format_string(value, self._name, bool(self._name) and is_secret_name(self._name))
        if self._is_hidden:
            self._record_secret(self._name, value)
            return "(masked)"
        if kind is int and int.bit_length(value) > _MAX_INT_BITS:
            return f"an integer of about {int.bit_length(value) * 3 // 10:,} digits"
        if kind in (int, float, complex):
            return repr(value)
        if kind.__repr__ is object.__repr__:
            return f"<{_class_name(kind)}>"
        self._record_secrets(value)
        return _one_line(self._masker.mask(_safe_repr(value)[: self._limit]))

    def _format_string(self, value: Any, name: str, hidden: bool) -> str:
        base = str if isinstance(value, str) else type(value)
        part = base.__getitem__(value, slice(self._limit))
        if hidden and isinstance(part, str):
            # As in code: `key = 'colour'` is more likely the key of a dict than a secret.
            hidden = is_definite_secret_name(name) or not is_plain_word(str.__str__(part))
        if not hidden:
            return repr(self._masker.mask(part)) if isinstance(part, str) else self._masker.mask(repr(part))
        if isinstance(part, str):
            part = str.__str__(part)
            certain = (
                is_definite_secret_name(name)
                or len(part) >= MIN_SECRET_CHARS * 2
                or any(c.isdigit() for c in part)
            )
            return self._masker.mask_secret(part, everywhere=certain)
        return self._masker.mask_secret(bytes(part).decode("latin-1")) or repr(part)

    def _record_secrets(self, value: object) -> None:
        for attribute, item in _iter_attributes(value):
            self._record_secret(attribute, item)

    def _record_secret(self, name: str, value: object) -> None:
        """Register a value as a secret if its name says so, and it is a string or a long number."""
        kind: Any = type(value)
        if not is_secret_name(name):
            return
        if issubclass(kind, (str, bytes, bytearray)):
            self._format_string(value, name, hidden=True)
        elif kind is int and is_definite_secret_name(name) and int.bit_length(value) <= _MAX_INT_BITS:  # type: ignore[arg-type]
            self._masker.mask_secret(repr(value))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _safe_repr(value: object) -> str:
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the value's own code may raise anything
        return f"<{_class_name(type(value))}, whose repr raises {type(error).__name__}>"
    return str.__str__(text)


def _instance_dict(value: object) -> Mapping[str, object] | None:
    """Return an instance's own dict, unless its class replaces it by a property."""
    for kind in type(value).__mro__:
        slot = kind.__dict__.get("__dict__")
        if slot is not None:
            held = object.__getattribute__(value, "__dict__") if type(slot) is GetSetDescriptorType else None
            return held if type(held) is dict else None
    return None


def _iter_attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield attributes in an instance's dict and secret ones in its slots, without running properties."""
    for name, item in islice((_instance_dict(value) or {}).items(), _MAX_ATTRIBUTES):
        if type(name) is str:
            yield name, item
    for kind in type(value).__mro__:
        for name, member in kind.__dict__.items():
            if type(member) is MemberDescriptorType and is_secret_name(name):
                try:
                    yield name, member.__get__(value)
                except AttributeError:
                    continue


def _secret_pair_name(value: object) -> str:
    """Return the name in a pair like ``("password", …)``, or an empty string."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str and is_secret_name(value[0]):
        return value[0]
    return ""


def _class_name(kind: type) -> str:
    """Return the name of a class, without that of a function that it was defined in."""
    return kind.__qualname__.rpartition("<locals>.")[2]


def _format_length(value: object) -> str:
    kind = type(value)
    if kind in _BRACKETS or kind in (str, bytes, bytearray):
        return f" of {len(value):,}"  # type: ignore[arg-type]
    return ""


def _summarize_special(value: object, is_secret: bool) -> str | None:
    """Summarize functions, modules, arrays and tables; None for other values."""
    kind = type(value)
    if kind is ModuleType:
        return str(value.__dict__.get("__name__", ""))
    if kind is FunctionType:
        code = value.__code__  # type: ignore[attr-defined]
        count = code.co_argcount + code.co_kwonlyargcount
        return f"{code.co_name}({', '.join(code.co_varnames[:count])})"
    if kind in (BuiltinFunctionType, MethodType):
        return str(getattr(value, "__qualname__", ""))
    return _summarize_table(value, kind) or _summarize_array(value, kind, is_secret)


def _summarize_table(value: Any, kind: type) -> str | None:
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return _summarize_other_table(value)
    if issubclass(kind, pandas.DataFrame):
        rows, columns = value.shape
        named = [f"{n!r} {t}" for n, t in islice(zip(value.columns, value.dtypes, strict=True), MAX_COLUMNS)]
        more = ", …" if columns > MAX_COLUMNS else ""
        return f"{rows:,} rows × {columns:,} columns: {', '.join(named)}{more}"
    if issubclass(kind, pandas.Series):
        return f"{len(value):,} values of {value.dtype}, named {value.name!r}"
    return _summarize_other_table(value)


def _summarize_other_table(value: Any) -> str | None:
    """Summarize a table of polars or Arrow, whose repr shows values."""
    if not tables.is_table(value):
        return None
    table = tables.read_table(value, MAX_COLUMNS)
    named = ", ".join(f"{column.name!r} {column.type}" for column in table.columns)
    more = ", …" if table.column_count > MAX_COLUMNS else ""
    return f"{table.row_count:,} rows × {table.column_count:,} columns: {named}{more}"


def _summarize_array(value: Any, kind: type, is_secret: bool) -> str | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "ndarray") or not issubclass(kind, numpy.ndarray):
        return None
    summary = f"shape {value.shape}, {value.dtype}"
    if is_secret or value.size > MAX_ITEMS or value.dtype.hasobject:
        return summary
    return f"{summary}: {numpy.array2string(value, separator=', ')}"
