"""An answer's body as a whole, and what all answers have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from puq_magics.api.chat import not_json
from puq_magics.core.errors import AnswerError, APIError, PuqError

if TYPE_CHECKING:
    from puq_magics.api.transport import Response

#: Bytes of an answer's body, at most.
LARGEST_BODY = 256 << 20
_LONGEST_ERROR = 1 << 16  # bytes
_ERROR_PATIENCE = 5.0  # seconds for each part of an error's body


def parts_of(response: Response, limit: int = LARGEST_BODY) -> Iterator[bytes]:
    """The body as it comes; closes the response. Raises AnswerError past ``limit`` bytes."""
    size = 0
    try:
        while (part := response.receive()) != b"":
            size += len(part or b"")
            if size > limit:
                raise AnswerError(f"the answer is larger than {limit:,} bytes.", hint="Check the base URL.")
            yield part or b""
    finally:
        response.close()


def read_all(response: Response, limit: int = LARGEST_BODY) -> bytes:
    """The whole body. Raises AnswerError past ``limit`` bytes."""
    return b"".join(parts_of(response, limit))


def read_json(response: Response) -> Any:
    """The body's JSON. Raises AnswerError when it is not."""
    body = read_all(response)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        with redacted(response):
            raise not_json(body) from None


def read_beginning(response: Response) -> bytes:
    """An error's body, as far as anyone reads it and as it came: the status is known, and says more."""
    body = b""
    try:
        while len(body) < _LONGEST_ERROR and (part := response.receive(_ERROR_PATIENCE)):
            body += part
    except APIError:
        pass
    finally:
        response.close()
    return body


@contextmanager
def redacted(response: Response) -> Iterator[None]:
    """Errors that quote the answer quote it without the key."""
    try:
        yield
    except PuqError as error:
        error.rewrite(response.redact)
        raise


def request_id(response: Response) -> str | None:
    """The router's id for the request; None when it gave none."""
    value = response.headers.get("x-request-id")
    return value if value is None else "".join(c for c in value[:200] if c.isprintable())
