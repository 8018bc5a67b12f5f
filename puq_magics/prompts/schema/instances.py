"""Instances of Python types, made of JSON data that fits the schema of the type."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from puq_magics.prompts.schema.python_types import is_pydantic_model, schema_of_type
from puq_magics.prompts.schema.validation import find_violations

_FROM_TEXT: dict[Any, Callable[[Any], Any]] = {
    decimal.Decimal: lambda value: decimal.Decimal(str(value)),
    pathlib.Path: pathlib.Path,
    datetime.date: datetime.date.fromisoformat,
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.time: datetime.time.fromisoformat,
    uuid.UUID: uuid.UUID,
}


def to_instance(kind: Any, data: Any) -> Any:
    """Return JSON data as a value of a type: dataclasses, pydantic models, enums, dates, and containers of them.

    The data must fit the schema of the type. A class may still reject it, with any exception of its own.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return to_instance(arguments[0], data)
    if isinstance(kind, typing.NewType):
        return to_instance(kind.__supertype__, data)
    if origin in (typing.Union, types.UnionType):
        return to_instance(_fitting(arguments, data), data)
    if origin is typing.Literal:
        return next((each for each in arguments if getattr(each, "value", each) == data), data)
    if is_pydantic_model(kind):  # also one of a list, or of null
        # By JSON's rules: there, a strict model takes a date as a text.
        return kind.model_validate_json(json.dumps(data))
    if data is None:
        return None
    if isinstance(data, list):
        return _to_sequence(kind, origin, arguments, data)
    if origin is not None and isinstance(data, dict):
        return {key: to_instance(arguments[1], value) for key, value in data.items()}
    return _to_object(kind, data)


def _fitting(alternatives: tuple[Any, ...], data: Any) -> Any:
    """Return the first of the types whose schema the data fits."""
    return next((each for each in alternatives if not find_violations(schema_of_type(each), data)), Any)


def _to_sequence(kind: Any, origin: Any, arguments: tuple[Any, ...], data: list[Any]) -> Any:
    container = origin or kind
    if container is tuple and arguments and arguments[-1] is not Ellipsis:
        return tuple(to_instance(each, value) for each, value in zip(arguments, data, strict=True))
    values = [to_instance(arguments[0], value) for value in data] if arguments else data
    if container in (set, collections.abc.Set, collections.abc.MutableSet):
        return set(values)
    return container(values) if container in (tuple, frozenset) else values


def _to_object(kind: Any, data: Any) -> Any:
    if not isinstance(kind, type):
        return data
    if issubclass(kind, enum.Enum):
        return kind(data)
    if kind is float:
        return float(data)
    if kind is int:
        return int(data)
    if kind in _FROM_TEXT:
        return _FROM_TEXT[kind](data)
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(**{name: to_instance(hints.get(name, Any), value) for name, value in data.items()})
    return data


def build_from_schema(schema: Mapping[str, Any], classes: Mapping[str, Any], data: Any) -> Any:
    """Return data with instances where its schema refers to a class; ``classes`` has them by their ``$ref``."""
    return _build_part(schema, schema.get("$defs", {}), classes, data)


def _build_part(schema: Mapping[str, Any], definitions: Any, classes: Mapping[str, Any], data: Any) -> Any:
    if schema.get("$ref") in classes:
        return to_instance(classes[schema["$ref"]], data)
    if "anyOf" in schema:
        parts = (
            part for part in schema["anyOf"] if not find_violations({**part, "$defs": definitions}, data)
        )
        return _build_part(next(parts, {}), definitions, classes, data)
    if isinstance(data, dict) and "properties" in schema:
        fields = schema["properties"]
        return {name: _build_part(fields[name], definitions, classes, value) for name, value in data.items()}
    if isinstance(data, list) and "items" in schema:
        return [_build_part(schema["items"], definitions, classes, value) for value in data]
    return data
