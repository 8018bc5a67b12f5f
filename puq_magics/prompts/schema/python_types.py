"""JSON Schemas of Python types: dataclasses, TypedDicts, and the types of their fields.

A field without a default is required. An unsupported type (a class without fields, for example) is an InputError that
names the field. Pydantic models provide their own schema, within a dataclass too.
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

_SIMPLE_TYPES: dict[object, dict[str, Any]] = {
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
_DEFS_PREFIX = "#/$defs/"
_SET_TYPES = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_LIST_TYPES = (
    list,
    tuple,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
)
#: Keywords for the bounds that annotated-types and pydantic name so.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {"array": "Items", "object": "Properties"}  # of strings: Length
_MAPPING_TYPES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def is_pydantic_model(value: object) -> bool:
    """Return whether a value is the class of a pydantic model, without importing pydantic."""
    return isinstance(value, type) and callable(getattr(value, "model_json_schema", None))


def is_schema_type(value: object) -> bool:
    """Return whether `schema_of_type` accepts a value."""
    has_fields = isinstance(value, type) and (dataclasses.is_dataclass(value) or typing.is_typeddict(value))
    return is_pydantic_model(value) or has_fields or typing.get_origin(value) is not None


def schema_of_type(kind: Any) -> dict[str, Any]:
    """Return the schema of a type. Raises InputError for an unsupported one."""
    builder = SchemaBuilder()
    schema = builder.build(kind, getattr(kind, "__name__", str(kind)))
    if builder.definitions and schema.keys() == {"$ref"}:
        # Servers require the root schema inline; only what is referenced again stays a definition.
        ref = schema["$ref"]
        own = _definition_name(ref)
        schema = dict(builder.definitions[own])
        if ref not in _collect_refs(builder.definitions):
            del builder.definitions[own]
    return {**schema, "$defs": builder.definitions} if builder.definitions else schema


class SchemaBuilder:
    """Builds the schema of one type; classes are defined once, so that they may be recursive."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: dict[object, str] = {}

    def build(self, kind: Any, label: str) -> dict[str, Any]:
        """Return the schema of a type; ``label`` names it in errors."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is not None:
            return self._build_generic(origin, arguments, label)
        if isinstance(kind, typing.NewType):
            return self.build(kind.__supertype__, label)
        if isinstance(kind, collections.abc.Hashable) and kind in _SIMPLE_TYPES:
            return dict(_SIMPLE_TYPES[kind])
        if kind in (*_SET_TYPES, *_LIST_TYPES):
            return {"type": "array", "items": {}, **({"uniqueItems": True} if kind in _SET_TYPES else {})}
        if isinstance(kind, type):
            return self._build_class(kind, label)
        raise _unsupported_type_error(kind, label)

    def _build_generic(self, origin: Any, arguments: tuple[Any, ...], label: str) -> dict[str, Any]:
        if origin is typing.Annotated:
            schema = self.build(arguments[0], label)
            return {**schema, **_read_annotations(arguments[1:], schema.get("type"))}
        if origin in (typing.Required, typing.NotRequired, typing.Final):
            return self.build(arguments[0], label)
        if origin in (typing.Union, types.UnionType):
            return _any_of([self.build(kind, label) for kind in arguments])
        if origin is typing.Literal:
            return _enum_schema(arguments, label)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            places = [self.build(kind, label) for kind in arguments]
            return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
        if origin in (*_SET_TYPES, *_LIST_TYPES):
            items = {"type": "array", "items": self.build(arguments[0], label)}
            return {**items, "uniqueItems": True} if origin in _SET_TYPES else items
        if origin in _MAPPING_TYPES:
            if arguments[0] is not str:
                raise InputError(f"{label}: keys of a JSON object are strings.", hint="Write dict[str, …].")
            return {"type": "object", "additionalProperties": self.build(arguments[1], label)}
        raise _unsupported_type_error(origin, label)

    def _build_class(self, kind: type, label: str) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            return _enum_schema([member.value for member in kind], label)
        if not (is_pydantic_model(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
            raise _unsupported_type_error(kind, label)
        if kind not in self._names:
            self._names[kind] = name = self._unused_name(kind.__name__)
            self.definitions[name] = {}  # reserves the name
            self.definitions[name] = (
                self._build_pydantic(kind, name) if is_pydantic_model(kind) else self._build_fields(kind)
            )
        return {"$ref": f"{_DEFS_PREFIX}{self._names[kind]}"}

    def define(self, kind: type) -> str:
        """Return the ``$ref`` of a class that has fields, or of an enum."""
        schema = self._build_class(kind, kind.__name__)
        if "$ref" in schema:
            return str(schema["$ref"])
        self._names[kind] = name = self._names.get(kind) or self._unused_name(kind.__name__)
        self.definitions[name] = schema
        return f"{_DEFS_PREFIX}{name}"

    def _unused_name(self, name: str) -> str:
        number = 2
        free = name
        while free in self.definitions:
            free, number = f"{name}{number}", number + 1
        return free

    def _build_pydantic(self, kind: Any, name: str) -> dict[str, Any]:
        """Return the schema of a pydantic model, and merge its definitions into our own.

        The schema of a recursive model is only a $ref to one of them, which becomes ``name``.
        """
        schema = dict(pydantic_schema(kind))
        defined: dict[str, Any] = schema.pop("$defs", {})
        own = _definition_name(_root_ref(schema))
        names = {each: each for each in defined}
        if own in defined:
            schema = dict(defined.pop(own))
            names[own] = name
        taken = any(self.definitions.get(each, defined[each]) != defined[each] for each in defined)
        if taken or names.get(own, own) != own:  # a name is taken, so rename them all
            for each in defined:
                names[each] = self._unused_name(each)
                self.definitions[names[each]] = {}
        self.definitions.update({names[each]: _rename_refs(defined[each], names) for each in defined})
        renamed: dict[str, Any] = _rename_refs(schema, names)
        return renamed

    def _build_fields(self, kind: type) -> dict[str, Any]:
        hints = _type_hints(kind)
        if dataclasses.is_dataclass(kind):
            fields = [field for field in dataclasses.fields(kind) if field.init]
            required = [field.name for field in fields if _is_required(field)]
            hints = {field.name: hints[field.name] for field in fields}
        else:
            required = [name for name in hints if name in kind.__required_keys__]  # type: ignore[attr-defined]
        properties = {name: self.build(hint, f"{kind.__name__}.{name}") for name, hint in hints.items()}
        schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        description = _docstring(kind)
        return {
            **schema,
            "additionalProperties": False,
            **({"description": description} if description else {}),
        }


def _definition_name(ref: str) -> str:
    return ref.removeprefix(_DEFS_PREFIX)


def _root_ref(schema: dict[str, Any]) -> str:
    """Return the $ref of a schema, or an empty string; some versions of pydantic wrap it in an allOf."""
    wrapped = schema.get("allOf")
    if isinstance(wrapped, list) and len(wrapped) == 1 and isinstance(wrapped[0], dict):
        schema = wrapped[0]
    ref = schema.get("$ref")
    return ref if isinstance(ref, str) else ""


def _collect_refs(value: object) -> set[str]:
    """Return the targets of every ``$ref`` in a JSON value."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_collect_refs, value.values()))
    return set().union(*map(_collect_refs, value)) if isinstance(value, list) else set()


def _rename_refs(value: Any, names: dict[str, str]) -> Any:
    """Rename the targets of every ``$ref`` and discriminator."""
    if isinstance(value, dict):
        return {key: _rename_refs(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_rename_refs(item, names) for item in value]
    if isinstance(value, str) and value.startswith(_DEFS_PREFIX):
        return _DEFS_PREFIX + names.get(_definition_name(value), _definition_name(value))
    return value


def pydantic_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a pydantic model's class."""
    try:
        schema: dict[str, Any] = kind.model_json_schema()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{kind.__name__} has no JSON Schema: {reason}", hint="Use field types that JSON supports."
        ) from error
    return schema


def _type_hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the types of {kind.__name__}'s fields cannot be read: {reason}",
            hint="Define the types before the class, in the notebook itself.",
        ) from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _docstring(kind: type) -> str:
    """Return the class's own docstring, not the signature that `dataclass` generates."""
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    return "" if text.startswith(f"{kind.__name__}(") else text


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine alternatives; plain types in the short notation."""
    if all(schema.keys() == {"type"} and isinstance(schema["type"], str) for schema in schemas):
        return {"type": list(dict.fromkeys(schema["type"] for schema in schemas))}
    return {"anyOf": schemas}


def _enum_schema(values: collections.abc.Iterable[object], label: str) -> dict[str, Any]:
    values = [value.value if isinstance(value, enum.Enum) else value for value in values]
    if not values or not all(value is None or isinstance(value, (str, int, float)) for value in values):
        raise InputError(f"{label}: JSON cannot represent one of its values.", hint="Use strings or numbers.")
    if all(isinstance(value, str) for value in values):
        return {"type": "string", "enum": values}
    return {"enum": values}


def _read_annotations(notes: collections.abc.Iterable[Any], json_type: object) -> dict[str, Any]:
    """Return the description and the bounds in the notes of ``Annotated``: texts, a Field, annotated-types."""
    fields: dict[str, Any] = {}
    for note in notes:
        text = note if isinstance(note, str) else getattr(note, "description", None)
        if isinstance(text, str) and text:
            fields.setdefault("description", text)
        if isinstance(parts := getattr(note, "metadata", None), (list, tuple)):  # of a Field
            fields |= _read_annotations(parts, json_type)
        for attribute, keyword in _BOUNDS.items():
            if isinstance(bound := getattr(note, attribute, None), (int, float, str)):
                fields[keyword] = bound
        for attribute, prefix in (("min_length", "min"), ("max_length", "max")):
            if isinstance(bound := getattr(note, attribute, None), int):
                fields[prefix + _LENGTHS.get(str(json_type), "Length")] = bound
    return fields


def _unsupported_type_error(kind: object, label: str) -> InputError:
    name = getattr(kind, "__name__", None) or str(kind)
    return InputError(
        f"{label}: JSON Schema does not support the type {name}.",
        hint="Use str, int, float, bool, list, dict, Literal, Enum, dates, dataclasses, TypedDicts.",
    )
