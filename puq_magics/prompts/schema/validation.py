"""Validation of JSON Schemas, and of data against them, with short messages; strict schemas.

Nothing is fetched: a schema with a $ref into the network is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from puq_magics.core.errors import ConfigurationError, InputError

_COMBINING = """
allOf oneOf not if then else patternProperties propertyNames dependencies dependentSchemas dependentRequired
unevaluatedProperties unevaluatedItems $dynamicRef $recursiveRef
"""
#: Keywords that combine or refine: closing an object that has them could leave nothing that matches.
_UNSUPPORTED_KEYWORDS = frozenset(_COMBINING.split())
#: Accepted forms of a schema, for hints of errors.
SCHEMA_HINT = (
    "A schema is a JSON Schema (a dict or a .json file), a pydantic model, a dataclass, a TypedDict, "
    'or the short form "name, age int, tags [str]".'
)
_RESTRICTING = """
type enum const properties required additionalProperties patternProperties items prefixItems contains anyOf oneOf
allOf not if $ref $dynamicRef $recursiveRef minimum maximum minLength minItems pattern format
"""
#: Keywords of which at least one is required: everything matches any other dict.
SCHEMA_KEYWORDS = frozenset(_RESTRICTING.split())
_CIRCULAR_REF_HINT = "Let a $ref lead somewhere else."
#: Violations that are reported, and characters of each.
_MAX_VIOLATIONS, _MAX_MESSAGE_CHARS = 20, 200


def to_strict_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema as strict servers require it, or None if that would demand more than the schema does.

    Objects are closed and all their fields are required; an optional field must allow null.
    """
    if schema.get("type") != "object" and "$ref" not in schema:
        return None
    return _close_objects(schema) if all(_can_be_strict(part) for part in _iter_subschemas(schema)) else None


def _iter_subschemas(schema: object) -> Iterator[dict[str, Any]]:
    """Yield the schema and every schema in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            for part in value.values():
                yield from _iter_subschemas(part)
        elif key == "anyOf" and isinstance(value, list):
            for part in value:
                yield from _iter_subschemas(part)
        elif key == "items":
            yield from _iter_subschemas(value)


def _can_be_strict(schema: dict[str, Any]) -> bool:
    if _UNSUPPORTED_KEYWORDS & schema.keys() or schema.get("additionalProperties", False) is not False:
        return False
    if "prefixItems" in schema or not schema.keys() - {"description", "title", "default"}:
        return False  # a tuple, or a schema that anything matches
    if not _is_object(schema):
        return True
    properties = schema.get("properties", {})
    if not properties or "anyOf" in schema:
        return False  # an open object
    required = schema.get("required", [])
    return all(name in required or _allows_null(part) for name, part in properties.items())


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)


def _allows_null(schema: object) -> bool:
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    is_null = (
        kind == "null" or (isinstance(kind, list) and "null" in kind) or (kind is None and "enum" in schema)
    )
    is_choice = any(_allows_null(part) for part in schema.get("anyOf", []))
    return (is_null and None in schema.get("enum", [None])) or is_choice


def _close_objects(schema: dict[str, Any]) -> dict[str, Any]:
    closed = deepcopy(schema)
    for part in _iter_subschemas(closed):
        part.pop("default", None)
        if _is_object(part):
            part["additionalProperties"] = False
            part["required"] = list(part["properties"])
    return closed


def _create_validator(schema: dict[str, Any]) -> Any:
    """Return a validator that fetches nothing."""
    try:
        from jsonschema.validators import Draft202012Validator, validator_for
        from jsonschema_specifications import REGISTRY
    except ImportError:
        raise ConfigurationError(
            "checking answers against a schema needs jsonschema.",
            hint="Install it: %pip install 'puq_magics[schema]'",
        ) from None
    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER, registry=REGISTRY)


def check_schema(schema: dict[str, Any]) -> None:
    """Raise InputError for an invalid JSON Schema, or one whose $ref leads outside of it."""
    validator = _create_validator(schema)
    from jsonschema.exceptions import SchemaError

    try:
        type(validator).check_schema(schema)
    except SchemaError as error:
        raise InputError(
            f"this is not a JSON Schema: {_format_violation(error)}.", hint=SCHEMA_HINT
        ) from None
    except RecursionError:
        raise InputError("the schema is nested too deep.", hint=SCHEMA_HINT) from None
    if "$id" not in json.dumps(schema):
        _check_references(schema)
    if not schema.keys() & SCHEMA_KEYWORDS:
        names = ", ".join(repr(name) for name in list(schema)[:3]) or "an empty one"
        raise InputError(
            f"this is not a JSON Schema: {names} restricts nothing.",
            hint='Write {"type": "object", "properties": {…}}, or the short form "name, age int".',
        )


def _check_references(schema: dict[str, Any]) -> None:
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = REGISTRY.with_resource("", root).resolver()
    pointers = {part["$ref"] for part in _iter_objects(schema) if isinstance(part.get("$ref"), str)}
    for pointer in sorted(pointers):
        passed: set[str] = set()
        while isinstance(pointer, str):
            if pointer in passed:
                raise InputError(
                    f"the schema has a circular $ref at {pointer[:100]!r}.", hint=_CIRCULAR_REF_HINT
                )
            passed.add(pointer)
            try:
                target = resolver.lookup(pointer).contents
            except Unresolvable:
                raise InputError(
                    f"the schema has a $ref to {pointer[:100]!r}, which is not in it.",
                    hint="Put the target into its $defs; nothing is fetched.",
                ) from None
            pointer = target.get("$ref") if isinstance(target, dict) else None


def _iter_objects(value: object) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _iter_objects(item)


def find_violations(schema: dict[str, Any], data: object) -> tuple[str, ...]:
    """Return the first violations in the order of the document, a line each."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(
            _create_validator(schema).iter_errors(data), key=lambda error: [str(step) for step in error.path]
        )
    except Unresolvable as error:
        raise InputError(
            f"the schema has a $ref that leads outside of it: {str(error)[:100]}", hint=SCHEMA_HINT
        ) from None
    except RecursionError:
        raise InputError("the schema has a circular $ref.", hint=_CIRCULAR_REF_HINT) from None
    except OverflowError:
        return ("a number is too large to be checked",)
    # Of an anyOf, the error of the choice that fits best.
    return tuple(
        dict.fromkeys(_format_violation(best_match([error]) or error) for error in errors[:_MAX_VIOLATIONS])
    )


def _format_violation(error: Any) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    message = _shorten_message(error.message, error.instance)
    return f"{path.removeprefix('.')}: {message}" if path else message


def _shorten_message(message: str, instance: object) -> str:
    """Return jsonschema's message on one line, with a long value shortened in its middle."""
    shown = repr(instance)
    if len(shown) > _MAX_MESSAGE_CHARS // 2:
        message = message.replace(shown, f"{shown[:40]} … {shown[-20:]}", 1)
    line = " ".join(message.split()).rstrip(".")
    return line if len(line) <= _MAX_MESSAGE_CHARS else f"{line[: _MAX_MESSAGE_CHARS - 1]}…"
