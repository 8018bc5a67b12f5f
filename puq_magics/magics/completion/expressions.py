"""Completion of ``{{`` expressions in prompts: names, keys, attributes and filters.

Values are inspected statically: no property, ``__getattr__`` or ``__getitem__`` of the user's runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import getattr_static
from itertools import islice
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
from typing import Any

from puq_magics.prompts.template import MAX_EXPRESSION_CHARS

#: Pairs of a name and its kind, which is shown beside it.
NamesAndKinds = Iterator[tuple[str, str]]

_OPENING = re.compile(r"(?<!\{)\{\{(?!\{)")
_STRING = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
_PATH_STEP = r"""\s*\.\s*\w+|\s*\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d+)\s*\]"""
_PATH = rf"(?<![\w.\"'])(?P<path>[^\W\d]\w*(?:{_PATH_STEP})*)\s*"
_KEY = re.compile(rf"""{_PATH}\[\s*(?P<word>["'][^"']*|\d*)$""")
_ATTRIBUTE = re.compile(rf"{_PATH}\.\s*(?P<word>\w*)$")
_FILTER = re.compile(r"(?<!\|)\|\s*(?P<word>\w*)$")
_NAME = re.compile(r"(?:^|[^\w.\"'|)\]}])(?P<word>(?:[^\W\d]\w*)?)$")
_STEPS = re.compile(r"""\.\s*(?P<name>\w+)|\[\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<index>\d+))""")

_MAX_KEYS = 1_000  # keys of one value that are inspected
_METHOD_TYPES = (
    FunctionType,
    BuiltinFunctionType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    WrapperDescriptorType,
    classmethod,
    staticmethod,
)
# Methods that change a value, which the sandbox of the expressions forbids: immutable types do not have them.
_MUTATING_METHODS = (
    (set(dir(list)) - set(dir(tuple)))
    | (set(dir(set)) - set(dir(frozenset)))
    | (set(dir(dict)) - set(dir(MappingProxyType)))
) - {"copy", "fromkeys"}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class PartialExpression:
    """The end of an unfinished expression: ``kind`` is ``name``, ``filter``, ``attribute`` or ``key`` of ``path``."""

    kind: str
    fragment: str
    path: str = ""


def parse_partial_expression(before: str) -> PartialExpression | None:
    """Parse the unfinished expression at the end of ``before``.

    Returns None outside of ``{{``, and a PartialExpression of kind ``other`` where nothing can be completed, such as
    in a string.
    """
    line = before[before.rfind("\n") + 1 :][-MAX_EXPRESSION_CHARS:]
    openings = list(_OPENING.finditer(line))
    if not openings:
        return None
    source = line[openings[-1].end() :]
    masked = _STRING.sub(
        lambda match: "_" * len(match.group()), source
    )  # braces and bars in strings do not count
    if "}}" in masked:
        return None
    is_open_string = '"' in masked or "'" in masked
    for kind, pattern in (("key", _KEY), ("attribute", _ATTRIBUTE), ("filter", _FILTER), ("name", _NAME)):
        found = pattern.search(source)
        if found and (kind == "key" or not is_open_string):
            return PartialExpression(
                kind, found["word"], found["path"] if "path" in found.groupdict() else ""
            )
    return PartialExpression("other", "")


def resolve_path(path: str, namespace: Mapping[str, Any]) -> object:
    """Return the value of a path such as ``row["title"].words[0]``; if it cannot be read, one without members."""
    root = re.match(r"\w+", path)
    value = namespace.get(root.group(), _MISSING) if root else _MISSING
    for step in _STEPS.finditer(path):
        if step["index"] is not None:
            value = _get_item(value, int(step["index"]))
        elif step["name"] is not None:
            value = _get_attribute(value, step["name"])
        else:
            value = _get_item(value, step["double"] if step["double"] is not None else step["single"])
    return value


def _get_item(value: Any, key: int | str) -> object:
    if isinstance(key, int) and issubclass(type(value), list | tuple):
        items: Any = list if issubclass(type(value), list) else tuple
        return items.__getitem__(value, key) if key < items.__len__(value) else _MISSING
    if issubclass(type(value), dict):
        return dict.get(value, key, _MISSING)
    return _get_attribute(value, key) if isinstance(key, str) else _MISSING


def _get_attribute(value: Any, name: str) -> object:
    inside = _instance_dict(value)
    if name in inside:
        return inside[name]
    found = getattr_static(type(value), name, _MISSING)
    if isinstance(found, MemberDescriptorType):  # a slot
        try:
            return found.__get__(value, type(value))
        except AttributeError:
            return _MISSING
    fields = getattr_static(type(value), "_fields", ())
    if issubclass(type(value), tuple) and name in fields:  # of a named tuple
        return tuple.__getitem__(value, fields.index(name))
    return dict.get(value, name, _MISSING) if issubclass(type(value), dict) else _MISSING


def _instance_dict(value: object) -> Mapping[str, Any]:
    """Return the attributes of a value, unless its class computes ``__dict__`` itself."""
    for cls in _classes(value):
        descriptor = _class_dict(cls).get("__dict__")
        if isinstance(descriptor, GetSetDescriptorType | MemberDescriptorType):
            inside = descriptor.__get__(value, type(value))
            return inside if type(inside) is dict else {}
        if descriptor is not None:
            return {}
    return {}


def _classes(value: object) -> tuple[type, ...]:
    classes: tuple[type, ...] = type.__dict__["__mro__"].__get__(type(value))
    return classes


def _class_dict(cls: type) -> Mapping[str, Any]:
    members: Mapping[str, Any] = type.__dict__["__dict__"].__get__(cls)
    return members


def iter_keys(value: Any) -> NamesAndKinds:
    """Yield the keys and columns for ``value["…"]``, without quotes."""
    if _is_frame(value):
        keys: Any = value.columns
    else:
        keys = dict.keys(value) if issubclass(type(value), dict) else ()
    for key in islice(keys, _MAX_KEYS):
        if type(key) is str:
            yield key, "column" if not issubclass(type(value), dict) else _type_name(dict.get(value, key))
        elif type(key) is int and key >= 0:
            yield str(key), "key"


def iter_columns(table: Any) -> NamesAndKinds:
    """Yield the columns that a prompt can name: of a DataFrame, or of the first row of a list of dicts."""
    if type(table) is list and table and issubclass(type(table[0]), dict):
        table = table[0]
    elif not _is_frame(table):
        return
    yield from ((name, "column") for name, _ in iter_keys(table) if name.isidentifier())


def iter_members(value: object) -> NamesAndKinds:
    """Yield the members for ``value.…``: data, then properties, then methods; none that begin with ``_``."""
    if value is not _MISSING:
        yield from ((name, kind) for name, kind in _members(value) if name.isidentifier() and name[0] != "_")


def _members(value: object) -> NamesAndKinds:
    yield from (
        (name, _type_name(inside)) for name, inside in islice(_instance_dict(value).items(), _MAX_KEYS)
    )
    yield from iter_keys(value)
    methods: list[str] = []
    for cls in _classes(value)[:-1]:
        for name, member in _class_dict(cls).items():
            if not isinstance(member, _METHOD_TYPES):
                yield name, "property" if isinstance(member, property) else "attribute"
            elif cls.__module__ != "builtins" or name not in _MUTATING_METHODS:
                methods.append(name)
    yield from ((name, "method") for name in methods)


def _is_frame(value: object) -> bool:
    """Return True for a DataFrame, judged by its real class, not by ``__class__``."""
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)
    return isinstance(frame, type) and issubclass(type(value), frame)


def _type_name(value: object) -> str:
    return type(value).__name__


def iter_filters() -> NamesAndKinds:
    """Yield the filters for ``|``: this package's first."""
    from puq_magics.prompts.filters import JINJA_FILTERS, PUQ_FILTERS

    yield from ((name, "filter") for name in (*PUQ_FILTERS, *sorted(JINJA_FILTERS)))
