"""Responses: the interface of a transport's answer, and how to read its body."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from puq_magics.api.error_body import not_json_error
from puq_magics.core.errors import APIError, InvalidResponseError, PuqError
from puq_magics.core.secret import drop_unfinished_secret

#: Bytes of an answer's body, at most.
MAX_BODY_BYTES = 256 << 20
#: Values in a body of JSON, at most: small ones take 30 times as much memory as text, and no interrupt ends a parse.
_MAX_JSON_VALUES = 1_000_000
#: Bytes of a value in a large body, on average, at least.
_MIN_VALUE_BYTES = 8
_MAX_ERROR_BYTES = 1 << 16  # bytes
_MAX_RETRY_AFTER = 366 * 86_400.0  # seconds
_ERROR_READ_TIMEOUT = 5.0  # seconds for each part of an error's body


class Response(Protocol):
    """An answer whose status and headers have been received."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Return the next bytes of the body: ``b""`` at its end, None if none came within ``timeout`` seconds."""

    def redact(self, text: str) -> str:
        """Return the text without the API key, which a router may echo."""

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""


def too_large_error(
    limit: int, hint: str = "Check the base URL.", python_hint: str = ""
) -> InvalidResponseError:
    """Return the error for a body of more than ``limit`` bytes."""
    return InvalidResponseError(
        f"the answer is larger than {limit:,} bytes.", hint=hint, python_hint=python_hint
    )


def iter_body(response: Response, limit: int = MAX_BODY_BYTES) -> Iterator[bytes]:
    """Yield the parts of the body and close the response. Raises InvalidResponseError past ``limit`` bytes."""
    size = 0
    try:
        while (part := response.receive()) != b"":
            size += len(part or b"")
            if size > limit:
                raise too_large_error(limit)
            yield part or b""
    finally:
        response.close()


def read_json(response: Response, limit: int = MAX_BODY_BYTES) -> Any:
    """Return the decoded JSON of the body, of ``limit`` bytes at most.

    Raises InvalidResponseError if it is not JSON, or too large.
    """
    body = b"".join(iter_body(response, limit))
    try:
        return decode_json(body, limit)
    except (ValueError, RecursionError):
        with redact_errors(response):
            raise not_json_error(body) from None


def decode_json(body: bytes, limit: int = MAX_BODY_BYTES) -> Any:
    """Decode a body that may have ``limit`` bytes. Raises InvalidResponseError for too many values, ValueError."""
    max_values = min(_MAX_JSON_VALUES, limit // _MIN_VALUE_BYTES)
    if (
        body.lstrip()[:1] in (b"{", b"[")
        and sum(body.count(mark) for mark in (b",", b"[", b"{")) > max_values
    ):
        raise InvalidResponseError(
            f"the answer holds more than {max_values:,} values.", hint="Check the base URL."
        )
    return json.loads(body)


def read_error_body(response: Response, timeout: float = _ERROR_READ_TIMEOUT) -> bytes:
    """Return the beginning of an error's body, up to where it was cut: the status says more.

    ``timeout`` limits the wait for each part, in seconds.
    """
    body, part = b"", None
    try:
        while len(body) < _MAX_ERROR_BYTES and (part := response.receive(timeout)):
            body += part
    except APIError:
        pass
    finally:
        response.close()
    text = response.redact(body.decode("utf-8", "surrogateescape"))
    text = text if part == b"" else drop_unfinished_secret(text)
    return text.encode("utf-8", "surrogateescape")


@contextmanager
def redact_errors(response: Response) -> Iterator[None]:
    """Remove the API key from errors that quote the answer."""
    try:
        yield
    except PuqError as error:
        error.redact_with(response.redact)
        raise


def read_request_id(response: Response) -> str | None:
    """Return the router's id for the request, or None."""
    value = response.headers.get("x-request-id")
    if value is None:
        return None
    return "".join(c for c in response.redact(value[:4_000])[:200] if c.isprintable())


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header, given as a number or as a date; None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return min(max(0.0, float(value)), _MAX_RETRY_AFTER)
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None
