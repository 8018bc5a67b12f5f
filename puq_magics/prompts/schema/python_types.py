"""The JSON Schema of a Python type: a dataclass, a TypedDict, and what their fields may hold.

A field without a default is required. What is not known here (a class without fields, say) is an `InputError`
that names the field. Models of pydantic bring a schema of their own, also within a dataclass.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from typing import Any

from puq_magics.core.errors import InputError

_PLAIN: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    object: {},
    Any: {},
    decimal.Decimal: {"type": "number"},
    pathlib.Path: {"type": "string"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
}
_DEFS = "#/$defs/"
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def is_model(value: object) -> bool:
    """Whether a value is a pydantic model's class: by what it has, as pydantic is not imported for that."""
    return isinstance(value, type) and callable(getattr(value, "model_json_schema", None))


def is_type(value: object) -> bool:
    """Whether a value is something that `schema_of_type` reads."""
    has_fields = isinstance(value, type) and (dataclasses.is_dataclass(value) or typing.is_typeddict(value))
    return is_model(value) or has_fields or typing.get_origin(value) is not None


def schema_of_type(kind: Any) -> dict[str, Any]:
    """Return the schema of a type; raise `InputError` for one that has none."""
    writer = _Writer()
    schema = writer.of(kind, getattr(kind, "__name__", str(kind)))
    if writer.definitions and schema.keys() == {"$ref"}:
        # The root itself stands in the open, as servers want it; only what is named again is defined apart.
        pointer = schema["$ref"]
        own = _named(pointer)
        schema = dict(writer.definitions[own])
        if pointer not in _pointers(writer.definitions):
            del writer.definitions[own]
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    """Writes the schema of one type; classes with fields are defined once, so that they may hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: dict[object, str] = {}

    def of(self, kind: Any, where: str) -> dict[str, Any]:
        """Return the schema of a type; ``where`` is what an error calls it."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is not None:
            return self._generic(origin, arguments, where)
        if isinstance(kind, typing.NewType):
            return self.of(kind.__supertype__, where)
        if isinstance(kind, collections.abc.Hashable) and kind in _PLAIN:
            return dict(_PLAIN[kind])
        if kind in (*_SETS, *_LISTS):
            return {"type": "array", "items": {}, **({"uniqueItems": True} if kind in _SETS else {})}
        if isinstance(kind, type):
            return self._class(kind, where)
        raise _unknown(kind, where)

    def _generic(self, origin: Any, arguments: tuple[Any, ...], where: str) -> dict[str, Any]:
        if origin is typing.Annotated:
            schema = self.of(arguments[0], where)
            words = [word for word in arguments[1:] if isinstance(word, str)]
            return {**schema, "description": words[0]} if words else schema
        if origin in (typing.Required, typing.NotRequired):
            return self.of(arguments[0], where)
        if origin in (typing.Union, types.UnionType):
            return _either([self.of(kind, where) for kind in arguments])
        if origin is typing.Literal:
            return _one_of(arguments, where)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            places = [self.of(kind, where) for kind in arguments]
            return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
        if origin in (*_SETS, *_LISTS):
            items = {"type": "array", "items": self.of(arguments[0], where)}
            return {**items, "uniqueItems": True} if origin in _SETS else items
        if origin in _MAPPINGS:
            if arguments[0] is not str:
                raise InputError(f"{where}: JSON has names that are words only.", hint="Write dict[str, …].")
            return {"type": "object", "additionalProperties": self.of(arguments[1], where)}
        raise _unknown(origin, where)

    def _class(self, kind: type, where: str) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            return _one_of([member.value for member in kind], where)
        if not (is_model(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
            raise _unknown(kind, where)
        if kind not in self._names:
            self._names[kind] = name = self._free_name(kind.__name__)
            self.definitions[name] = {}  # the name is taken while its fields are read
            self.definitions[name] = self._model(kind, name) if is_model(kind) else self._fields(kind)
        return {"$ref": f"{_DEFS}{self._names[kind]}"}

    def _free_name(self, name: str) -> str:
        number = 2
        free = name
        while free in self.definitions:
            free, number = f"{name}{number}", number + 1
        return free

    def _model(self, kind: Any, name: str) -> dict[str, Any]:
        """The schema that a pydantic model gives; what it defines stands with our own definitions.

        A model that holds itself is among them, and its schema only points there: it is ``name`` here.
        """
        schema = dict(model_schema(kind))
        defined: dict[str, Any] = schema.pop("$defs", {})
        own = _named(_root_pointer(schema))
        names = {each: each for each in defined}
        if own in defined:
            schema = dict(defined.pop(own))
            names[own] = name
        taken = any(self.definitions.get(each, defined[each]) != defined[each] for each in defined)
        if taken or names.get(own, own) != own:  # another has that name: none of these is surely the same
            for each in defined:
                names[each] = self._free_name(each)
                self.definitions[names[each]] = {}
        self.definitions.update({names[each]: _renamed(defined[each], names) for each in defined})
        renamed: dict[str, Any] = _renamed(schema, names)
        return renamed

    def _fields(self, kind: type) -> dict[str, Any]:
        hints = _hints(kind)
        if dataclasses.is_dataclass(kind):
            fields = [field for field in dataclasses.fields(kind) if field.init]
            required = [field.name for field in fields if _has_no_default(field)]
            hints = {field.name: hints[field.name] for field in fields}
        else:
            required = [name for name in hints if name in kind.__required_keys__]  # type: ignore[attr-defined]
        properties = {name: self.of(hint, f"{kind.__name__}.{name}") for name, hint in hints.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        words = _docstring(kind)
        return {**schema, "additionalProperties": False, **({"description": words} if words else {})}


def _named(pointer: str) -> str:
    return pointer.removeprefix(_DEFS)


def _root_pointer(schema: dict[str, Any]) -> str:
    """Where a schema that only points somewhere does so, or nothing; some versions of pydantic wrap it."""
    wrapped = schema.get("allOf")
    if isinstance(wrapped, list) and len(wrapped) == 1 and isinstance(wrapped[0], dict):
        schema = wrapped[0]
    pointer = schema.get("$ref")
    return pointer if isinstance(pointer, str) else ""


def _pointers(value: object) -> set[str]:
    """What every ``$ref`` of a JSON value names."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_pointers, value.values()))
    return set().union(*map(_pointers, value)) if isinstance(value, list) else set()


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """The same with what points at definitions under their new names: each ``$ref``, and what discriminates."""
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if isinstance(value, str) and value.startswith(_DEFS):
        return _DEFS + names.get(_named(value), _named(value))
    return value


def model_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a pydantic model's class."""
    try:
        schema: dict[str, Any] = kind.model_json_schema()
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{kind.__name__} has no JSON Schema: {said}", hint="Give it fields that JSON has."
        ) from error
    return schema


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"The types of {kind.__name__}'s fields cannot be read: {said}",
            hint="Define what they name before it, in the notebook itself.",
        ) from error


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _docstring(kind: type) -> str:
    """The class's own docstring; not the one that `dataclass` writes, which is the signature."""
    words = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    return "" if words.startswith(f"{kind.__name__}(") else words


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One of several; of plain types, shorter."""
    if all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}
    return {"anyOf": schemas}


def _one_of(values: collections.abc.Iterable[object], where: str) -> dict[str, Any]:
    values = [value.value if isinstance(value, enum.Enum) else value for value in values]
    if not values or not all(value is None or isinstance(value, (str, int, float)) for value in values):
        raise InputError(
            f"{where}: JSON has no notation for one of its values.", hint="Use words or numbers."
        )
    if all(isinstance(value, str) for value in values):
        return {"type": "string", "enum": values}
    return {"enum": values}


def _unknown(kind: object, where: str) -> InputError:
    name = getattr(kind, "__name__", None) or str(kind)
    return InputError(
        f"{where}: JSON Schema has nothing for the type {name}.",
        hint="Use str, int, float, bool, list, dict, Literal, Enum, dates, dataclasses, TypedDicts.",
    )
