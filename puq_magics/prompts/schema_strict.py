"""A schema as servers want it whose promise to fit is strict.

They refuse objects that are open, and fields that may be absent. Asking for more than the schema does would make
a model invent what it does not know: what cannot be closed without that is sent as it is, and not called strict.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

#: Keywords that only combine or refine: with them, closing an object could leave nothing that fits.
_COMBINING = frozenset(
    {
        *(
            "allOf",
            "oneOf",
            "not",
            "if",
            "then",
            "else",
            "patternProperties",
            "propertyNames",
            "dependencies",
        ),
        *("dependentSchemas", "dependentRequired", "unevaluatedProperties", "unevaluatedItems"),
        *("$dynamicRef", "$recursiveRef"),
    }
)


def closed(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as strict servers want it, or None where it cannot be had without asking for more.

    Objects take no further fields and have all of theirs; a field that may be absent has to allow null then.
    """
    if schema.get("type") != "object" and "$ref" not in schema:
        return None
    return _closed_part(schema) if all(_can_close(part) for part in _parts(schema)) else None


def _parts(schema: object) -> Iterator[dict[str, Any]]:
    """The schema and every schema in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            for part in value.values():
                yield from _parts(part)
        elif key == "anyOf" and isinstance(value, list):
            for part in value:
                yield from _parts(part)
        elif key == "items":
            yield from _parts(value)


def _can_close(schema: dict[str, Any]) -> bool:
    if _COMBINING & schema.keys() or schema.get("additionalProperties", False) is not False:
        return False
    if "prefixItems" in schema or not schema.keys() - {"description", "title", "default"}:
        return False  # places of a list, or anything at all
    if not _is_object(schema):
        return True
    properties = schema.get("properties", {})
    if not properties or "anyOf" in schema:
        return False  # an object of any fields is open
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


def _closed_part(schema: dict[str, Any]) -> dict[str, Any]:
    closed = deepcopy(schema)
    for part in _parts(closed):
        part.pop("default", None)
        if _is_object(part):
            part["additionalProperties"] = False
            part["required"] = list(part["properties"])
    return closed
