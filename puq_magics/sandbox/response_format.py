"""The field ``response_format`` of a chat request: read strictly, refused in the words of a strict server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from puq_magics.sandbox.fields import Json, boolean
from puq_magics.sandbox.validation import invalid

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPES: Final = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class Wanted:
    """What an answer is to look like; without a schema, it may be any object."""

    schema: Any = None


def read_response_format(body: Json) -> Wanted | None:
    """What JSON is asked for, or None for words; raises Refusal (400) for what does not fit."""
    value = body.get("response_format")
    if value is None:
        return None
    if not isinstance(value, dict) or value.get("type") not in _TYPES:
        raise invalid(f"'response_format' must be an object whose type is one of {', '.join(_TYPES)}")
    if value["type"] != "json_schema":
        return Wanted({}) if value["type"] == "json_object" else None
    named = value.get("json_schema")
    if not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        raise invalid("'response_format' lacks json_schema: an object with a name and a schema")
    if not isinstance(named.get("name"), str) or _NAME.fullmatch(named["name"]) is None:
        raise invalid("The name of 'json_schema' must be 1 to 64 letters, digits, _ or -")
    if boolean(named, "strict"):
        _check_strict(named["schema"])
    return Wanted(named["schema"])


def schema_in_words(text: str) -> Wanted | None:
    """What JSON a prompt asks for in its words: any schema behind the words "JSON Schema"."""
    found = re.search(r"JSON Schema[^{]{0,80}(?=\{)", text)
    if found is None:
        return None
    try:
        schema, _ = json.JSONDecoder().raw_decode(text, found.end())
    except (ValueError, RecursionError):
        return None
    return Wanted(schema)


def _check_strict(schema: Json) -> None:
    """Refuse what servers refuse that promise to fit: open objects, fields that may be absent, no object at all."""
    if schema.get("type") != "object" and "$ref" not in schema:
        raise invalid("A strict schema must be of type object")
    for part in _parts(schema):
        properties = part.get("properties")
        if part.get("type") != "object" and properties is None:
            continue
        if part.get("additionalProperties") is not False:
            raise invalid("A strict schema must have 'additionalProperties': false in each object")
        missing = set(properties or {}) - set(part.get("required") or [])
        if missing:
            raise invalid(f"A strict schema must require every property; it lacks {sorted(missing)[0]!r}")


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """The schema and those in it; the names of properties are none."""
    if isinstance(value, list):
        for item in value:
            yield from _parts(item)
    if not isinstance(value, dict):
        return
    yield value
    for key, item in value.items():
        if key in ("properties", "$defs", "definitions") and isinstance(item, dict):
            for part in item.values():
                yield from _parts(part)
        elif key in ("items", "anyOf", "allOf", "oneOf"):
            yield from _parts(item)
