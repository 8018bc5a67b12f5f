"""Validation of requests, and errors in the API's shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from puq_magics.sandbox.tokens import MAX_HEAD_CHARS

VALIDATION_ERROR = "VALIDATION_ERROR"
INTERNAL_ERROR = "INTERNAL_ERROR"
#: Code of a rate limit in an answer whose status was sent before, as by a stream.
RATE_LIMIT = "RATE_LIMIT"
#: Limits of a JSON body: its values, its levels, and the characters of its text; and its bytes but for ``data:`` URLs
#: (a character may take twelve of them).
MAX_JSON_VALUES = 50_000
_MAX_OTHER_BYTES = 8 << 20
MAX_JSON_DEPTH = 100
MAX_TEXT_CHARS = 500_000

#: What a planned fault of a status says; other statuses say that they were planned, and no more.
_PLANNED: Mapping[int, tuple[str, str | None]] = {
    400: ("A parameter's value is invalid", VALIDATION_ERROR),
    401: ("Unauthorized: Invalid or expired API key", None),
    402: ("Payment Required: the plan's limit is reached", "SUBSCRIPTION_LIMIT"),
    403: ("Forbidden: this API key is not granted the model", None),
    404: ("Not Found", None),
    422: ("The body cannot be processed", None),
    429: ("Rate limit exceeded", None),
    500: ("Internal server error", INTERNAL_ERROR),
}
#: These come from the proxy in front of a router, which knows no JSON.
_GATEWAY = {502: "Bad Gateway", 504: "Gateway Time-out"}


class ErrorResponse(Exception):  # noqa: N818 - an answer to be sent, not a failure of the program
    """An answer other than 200: its status, its body, and headers of its own."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.content_type = "application/json"

    @property
    def body(self) -> str:
        """The body to send: ``{"error": text}``, with the ``code`` where there is one."""
        return json.dumps(error_object(self.message, self.code))


class GatewayErrorPage(ErrorResponse):
    """The HTML of a proxy that got no answer from the router behind it."""

    def __init__(self, status: int) -> None:
        super().__init__(status, _GATEWAY[status])
        self.content_type = "text/html"

    @property
    def body(self) -> str:
        """A page as proxies send it."""
        title = f"{self.status} {self.message}"
        return f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"


def error_object(message: str, code: str | None = None) -> dict[str, str]:
    """An error in the API's shape, as a body or as an event of a stream."""
    return {"error": message} if code is None else {"error": message, "code": code}


def invalid(message: str) -> ErrorResponse:
    """400: a parameter's value does not fit."""
    return ErrorResponse(400, message, code=VALIDATION_ERROR)


def unauthorized() -> ErrorResponse:
    """401: no key, or not the right one; the API does not say which."""
    return ErrorResponse(401, _PLANNED[401][0])


def payment_required() -> ErrorResponse:
    """402: the balance is 0 or below."""
    return ErrorResponse(402, "Payment Required: the balance is 0 or below")


def unprocessable(message: str) -> ErrorResponse:
    """422: the body is not what this endpoint takes."""
    return ErrorResponse(422, message)


def prompt_too_long(chars: int) -> ErrorResponse:
    """422: more text than a model of the sandbox reads."""
    return unprocessable(
        f"The prompt is too long: the request has {chars:,} characters or more, and {MAX_TEXT_CHARS:,} are the most"
    )


def too_large(limit: int) -> ErrorResponse:
    """413: the body is larger than ``limit`` bytes."""
    return ErrorResponse(413, f"Payload Too Large: this endpoint takes {limit:,} bytes at most")


def too_many_bytes() -> ErrorResponse:
    """429: one key's requests are too large together."""
    return ErrorResponse(
        429, "Rate limit exceeded: too many large requests at once", headers={"Retry-After": "1"}
    )


def bad_gateway(message: str) -> ErrorResponse:
    """502: who was asked to answer did not, or not as it should."""
    return ErrorResponse(502, message, code=INTERNAL_ERROR)


def planned_fault(status: int, *, retry_after: int) -> ErrorResponse:
    """The refusal that a plan of faults asks for; a 429 says when to come back, in seconds."""
    if status in _GATEWAY:
        return GatewayErrorPage(status)
    message, code = _PLANNED.get(status, ("The sandbox was asked to fail", None))
    headers = {"Retry-After": str(retry_after)} if status == 429 else {}
    return ErrorResponse(status, message, code=code, headers=headers)


Json: TypeAlias = Mapping[str, object]
_DATA_URL = re.compile(rb'"data:[^,"]{0,200};base64,')


def read_object(raw: bytes | bytearray) -> Json:
    """Read a JSON object, of long ``data:`` URLs the beginning; raises ErrorResponse (422) for anything else."""
    try:
        body = json.loads(_shorten(bytes(raw)), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise unprocessable("The body is not JSON") from error
    if not isinstance(body, dict):
        raise unprocessable("The body is not a JSON object")
    _check_size(body)
    return body


def _shorten(raw: bytes) -> bytes:
    """Return a body with its long ``data:`` URLs cut. Raises ErrorResponse for one whose parse would take long.

    Nothing else runs while JSON is parsed, not even in another thread.
    """
    parts: list[bytes] = []
    copied = end = values = size = 0
    while end < len(raw):
        start = raw.find(b'"', end)
        start = len(raw) if start < 0 else start
        stop = _end_of_string(raw, start)
        between = raw[end:start]
        values += sum(map(between.count, (b",", b"[", b"{")))
        size += stop - end
        if stop - start > MAX_HEAD_CHARS + 300 and (head := _DATA_URL.match(raw, start)) is not None:
            if raw.find(b"\\", start, stop) < 0:
                parts.append(raw[copied : head.end() + MAX_HEAD_CHARS])
                copied = stop - 1
            if raw.find(b"\\u", start, stop) < 0:
                size -= stop - start
        end = stop
        if values > MAX_JSON_VALUES:
            raise unprocessable(f"The body has more than {MAX_JSON_VALUES:,} values")
        if size > _MAX_OTHER_BYTES:
            raise unprocessable(f"The body has more than {_MAX_OTHER_BYTES:,} bytes apart from images")
    return b"".join([*parts, raw[copied:]])


def _end_of_string(raw: bytes, start: int) -> int:
    """Return where the string of JSON that begins at ``start`` ends, or the body; by ``find``, which is quick."""
    end = start
    while (end := raw.find(b'"', end + 1)) >= 0:
        escapes = end
        while raw[escapes - 1] == 0x5C:  # a backslash
            escapes -= 1
        if (end - escapes) % 2 == 0:
            return end + 1
    return len(raw)


def _check_size(body: Json) -> None:
    """Refuse what is nested too deeply, or has too much text apart from ``data:`` URLs."""
    level: list[object] = [body]
    size = 0
    for _ in range(MAX_JSON_DEPTH):
        values: list[object] = []
        for value in level:
            if isinstance(value, dict):
                values += value.values()
                size += sum(map(len, value))
            elif isinstance(value, list):
                values += value
            elif isinstance(value, str) and not value.startswith("data:"):
                size += len(value)
        if size > MAX_TEXT_CHARS:
            raise prompt_too_long(size)
        if not values:
            return
        level = values
    raise unprocessable(f"The body is nested more than {MAX_JSON_DEPTH} levels deep")


def json_object(data: bytes) -> dict[str, Any] | None:
    """Read a JSON object; return None for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_json(value: object) -> bytes:
    """Return compact JSON in UTF-8."""
    # A lone surrogate is valid in JSON's escapes but has no UTF-8.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


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
    """Return a field that must be one of some strings."""
    value = body.get(name)
    if value is None:
        return default
    if value not in options:
        raise invalid(f"{name!r} must be one of {', '.join(options)}; it is {value!r}")
    return str(value)
