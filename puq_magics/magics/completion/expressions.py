"""What is being typed after ``{{`` in a prompt, and what could stand there: names, keys, attributes, filters.

Values are looked at, never asked: no property, no ``__getattr__`` and no ``__getitem__`` of the user's runs.
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
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)
from typing import Any

from puq_magics.prompts.template import LONGEST

#: What can be said of a value: the word, and what it is.
Words = Iterator[tuple[str, str]]

_OPENING = re.compile(r"(?<!\{)\{\{(?!\{)")
_STRING = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
_STEP = r"""\s*\.\s*\w+|\s*\[\s*(?:"[^"\\]*"|'[^'\\]*'|\d+)\s*\]"""
_PATH = rf"(?<![\w.\"'])(?P<path>[^\W\d]\w*(?:{_STEP})*)\s*"
_KEY = re.compile(rf"""{_PATH}\[\s*(?P<word>["'][^"']*|\d*)$""")
_ATTRIBUTE = re.compile(rf"{_PATH}\.\s*(?P<word>\w*)$")
_FILTER = re.compile(r"(?<!\|)\|\s*(?P<word>\w*)$")
_NAME = re.compile(r"(?:^|[^\w.\"'|)\]}])(?P<word>(?:[^\W\d]\w*)?)$")
_STEPS = re.compile(r"""\.\s*(?P<name>\w+)|\[\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<index>\d+))""")

_MOST = 1_000  # keys of one value that are looked at
_METHODS = (
    FunctionType,
    BuiltinFunctionType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    WrapperDescriptorType,
    classmethod,
    staticmethod,
)
# What changes a value, which the sandbox of the expressions does not let happen.
_CHANGING = frozenset(
    (
        *(
            "add",
            "append",
            "clear",
            "difference_update",
            "discard",
            "extend",
            "insert",
            "intersection_update",
        ),
        *(
            "pop",
            "popitem",
            "remove",
            "reverse",
            "setdefault",
            "sort",
            "symmetric_difference_update",
            "update",
        ),
    )
)
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Expression:
    """The end of an unfinished expression: ``kind`` is ``name``, ``filter``, ``attribute`` or ``key`` of ``path``."""

    kind: str
    fragment: str
    path: str = ""


def unfinished(before: str) -> Expression | None:
    """What is being typed in a ``{{`` that is still open at the end of ``before``.

    None outside of one; an Expression of the kind ``other`` where nothing can be offered, as in a string.
    """
    line = before[before.rfind("\n") + 1 :][-LONGEST:]
    openings = list(_OPENING.finditer(line))
    if not openings:
        return None
    source = line[openings[-1].end() :]
    bare = _STRING.sub(lambda match: "_" * len(match.group()), source)  # what strings hold hides nothing
    if "}}" in bare:
        return None
    is_open_string = '"' in bare or "'" in bare
    for kind, pattern in (("key", _KEY), ("attribute", _ATTRIBUTE), ("filter", _FILTER), ("name", _NAME)):
        found = pattern.search(source)
        if found and (kind == "key" or not is_open_string):
            return Expression(kind, found["word"], found["path"] if "path" in found.groupdict() else "")
    return Expression("other", "")


def value_at(path: str, namespace: Mapping[str, Any]) -> object:
    """The value of ``row["title"].words[0]``, as far as plain reading gets; else a value without members."""
    begun = re.match(r"\w+", path)
    value = namespace.get(begun.group(), _NOTHING) if begun else _NOTHING
    for step in _STEPS.finditer(path):
        if step["index"] is not None:
            value = _item(value, int(step["index"]))
        elif step["name"] is not None:
            value = _attribute(value, step["name"])
        else:
            value = _item(value, step["double"] if step["double"] is not None else step["single"])
    return value


def _item(value: Any, key: int | str) -> object:
    if isinstance(key, int) and issubclass(type(value), list | tuple):
        items: Any = list if issubclass(type(value), list) else tuple
        return items.__getitem__(value, key) if key < items.__len__(value) else _NOTHING
    if issubclass(type(value), dict):
        return dict.get(value, key, _NOTHING)
    return _attribute(value, key) if isinstance(key, str) else _NOTHING


def _attribute(value: Any, name: str) -> object:
    inside = _instance_dict(value)
    if name in inside:
        return inside[name]
    found = getattr_static(type(value), name, _NOTHING)
    if isinstance(found, MemberDescriptorType):  # a slot
        try:
            return found.__get__(value, type(value))
        except AttributeError:
            return _NOTHING
    fields = getattr_static(type(value), "_fields", ())
    if issubclass(type(value), tuple) and name in fields:  # of a named tuple
        return tuple.__getitem__(value, fields.index(name))
    return dict.get(value, name, _NOTHING) if issubclass(type(value), dict) else _NOTHING


def _instance_dict(value: object) -> Mapping[str, Any]:
    """Its attributes, unless a class of its own makes them up."""
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


def keys_of(value: Any) -> Words:
    """What can stand in ``value["…"]``: keys and columns, as they are written there, without the quotes of words."""
    if _is_frame(value):
        keys: Any = value.columns
    else:
        keys = dict.keys(value) if issubclass(type(value), dict) else ()
    for key in islice(keys, _MOST):
        if type(key) is str:
            yield key, "column" if not issubclass(type(value), dict) else _kind(dict.get(value, key))
        elif type(key) is int and key >= 0:
            yield str(key), "key"


def members_of(value: object) -> Words:
    """What can stand in ``value.…``: data first, then properties, then methods; nothing that begins with ``_``."""
    if value is not _NOTHING:
        yield from ((name, kind) for name, kind in _members(value) if name.isidentifier() and name[0] != "_")


def _members(value: object) -> Words:
    yield from ((name, _kind(inside)) for name, inside in islice(_instance_dict(value).items(), _MOST))
    yield from keys_of(value)
    methods: list[str] = []
    for cls in _classes(value)[:-1]:
        for name, member in _class_dict(cls).items():
            if not isinstance(member, _METHODS):
                yield name, "property" if isinstance(member, property) else "attribute"
            elif cls.__module__ != "builtins" or name not in _CHANGING:
                methods.append(name)
    yield from ((name, "method") for name in methods)


def _is_frame(value: object) -> bool:
    """Whether it is a DataFrame: by its class, not by what it says of itself."""
    frame = getattr(sys.modules.get("pandas"), "DataFrame", None)
    return isinstance(frame, type) and issubclass(type(value), frame)


def _kind(value: object) -> str:
    return type(value).__name__


def filters() -> Words:
    """What can stand behind ``|``: our own filters first."""
    from puq_magics.prompts.filters import JINJA_FILTERS, OUR_FILTERS

    yield from ((name, "filter") for name in OUR_FILTERS)
    yield from ((name, "filter of Jinja") for name in sorted(JINJA_FILTERS))
