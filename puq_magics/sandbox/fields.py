"""Fields of a request's body: read strictly, refused in the API's words.

What cannot be processed at all is a 422 (no JSON, a field missing), a value that does not fit a 400.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, TypeAlias

from puq_magics.sandbox.validation import invalid, unprocessable

Json: TypeAlias = Mapping[str, object]


def read_object(raw: bytes | bytearray) -> Json:
    """Read a JSON object; raises Refusal (422) for anything else."""
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise unprocessable("The body is not JSON") from error
    if not isinstance(body, dict):
        raise unprocessable("The body is not a JSON object")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, the standard does not


def model_code(value: object) -> str:
    """A model's name, ``provider/model_name``."""
    if value is None:
        raise unprocessable("'model' is required")
    if not isinstance(value, str):
        raise invalid("'model' must be a string")
    provider, slash, name = value.partition("/")
    if not (provider and slash and name):
        raise invalid(f"'model' must be provider/model_name, such as sandbox/short; it is {value!r}")
    return value


def boolean(body: Json, name: str) -> bool:
    """True or false; false where it is not given."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name!r} must be true or false")
    return bool(value)


def text(body: Json, name: str, most: int) -> str:
    """A text that is required, of 1 to ``most`` characters."""
    value = body.get(name)
    if value is None:
        raise unprocessable(f"{name!r} is required")
    if not isinstance(value, str):
        raise invalid(f"{name!r} must be a string")
    if not value.strip():
        raise invalid(f"{name!r} is empty")
    if len(value) > most:
        raise invalid(f"{name!r} has {len(value):,} characters; {most:,} is the most")
    return value


def number(body: Json, name: str, default: float, least: float, most: float) -> float:
    """A number from ``least`` to ``most``."""
    value = body.get(name)
    if value is None:
        return default
    # In Python a bool is an int; in JSON it is no number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise invalid(f"{name!r} must be a number from {least:g} to {most:g}")
    return value


def whole_number(body: Json, name: str, default: int, least: int, most: int) -> int:
    """A whole number from ``least`` to ``most``."""
    value = number(body, name, default, least, most)
    if not isinstance(value, int):
        raise invalid(f"{name!r} must be a whole number from {least} to {most}")
    return value


def choice(body: Json, name: str, options: tuple[str, ...], default: str) -> str:
    """One of some words."""
    value = body.get(name)
    if value is None:
        return default
    if value not in options:
        raise invalid(f"{name!r} must be one of {', '.join(options)}; it is {value!r}")
    return str(value)
