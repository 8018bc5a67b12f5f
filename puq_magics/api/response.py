"""An answer's body as a whole, and what all answers have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from puq_magics.api.chat import not_json_error
from puq_magics.core.errors import APIError, InvalidResponseError, PuqError

if TYPE_CHECKING:
    from puq_magics.api.transport import Response

#: Bytes of an answer's body, at most.
MAX_BODY_BYTES = 256 << 20
_MAX_ERROR_BYTES = 1 << 16  # bytes
_ERROR_READ_TIMEOUT = 5.0  # seconds for each part of an error's body


def iter_body(response: Response, limit: int = MAX_BODY_BYTES) -> Iterator[bytes]:
    """The body as it comes; closes the response. Raises InvalidResponseError past ``limit`` bytes."""
    size = 0
    try:
        while (part := response.receive()) != b"":
            size += len(part or b"")
            if size > limit:
                raise InvalidResponseError(
                    f"the answer is larger than {limit:,} bytes.", hint="Check the base URL."
                )
            yield part or b""
    finally:
        response.close()


def read_body(response: Response, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises InvalidResponseError past ``limit`` bytes."""
    return b"".join(iter_body(response, limit))


def read_json(response: Response) -> Any:
    """The body's JSON. Raises InvalidResponseError when it is not."""
    body = read_body(response)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        with redact_errors(response):
            raise not_json_error(body) from None


def read_error_body(response: Response) -> bytes:
    """An error's body, as far as anyone reads it and as it came: the status is known, and says more."""
    body = b""
    try:
        while len(body) < _MAX_ERROR_BYTES and (part := response.receive(_ERROR_READ_TIMEOUT)):
            body += part
    except APIError:
        pass
    finally:
        response.close()
    return body


@contextmanager
def redact_errors(response: Response) -> Iterator[None]:
    """Errors that quote the answer quote it without the key."""
    try:
        yield
    except PuqError as error:
        error.redact_with(response.redact)
        raise


def request_id(response: Response) -> str | None:
    """The router's id for the request; None when it gave none."""
    value = response.headers.get("x-request-id")
    return value if value is None else "".join(c for c in value[:200] if c.isprintable())
