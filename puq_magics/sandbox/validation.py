"""What the router says when it refuses, in the API's words and shape."""

from __future__ import annotations

import json
from collections.abc import Mapping

VALIDATION_ERROR = "VALIDATION_ERROR"
INTERNAL_ERROR = "INTERNAL_ERROR"

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


class Refusal(Exception):  # noqa: N818 - an answer to be sent, not a failure of the program
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


class GatewayPage(Refusal):
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


def invalid(message: str) -> Refusal:
    """400: a parameter's value does not fit."""
    return Refusal(400, message, code=VALIDATION_ERROR)


def unauthorized() -> Refusal:
    """401: no key, or not the right one; the API does not say which."""
    return Refusal(401, _PLANNED[401][0])


def payment_required() -> Refusal:
    """402: the balance is 0 or below."""
    return Refusal(402, "Payment Required: the balance is 0 or below")


def unprocessable(message: str) -> Refusal:
    """422: the body is not what this endpoint takes."""
    return Refusal(422, message)


def too_large(limit: int) -> Refusal:
    """413: the body is larger than ``limit`` bytes."""
    return Refusal(413, f"Payload Too Large: this endpoint takes {limit:,} bytes at most")


def bad_gateway(message: str) -> Refusal:
    """502: who was asked to answer did not, or not as it should."""
    return Refusal(502, message, code=INTERNAL_ERROR)


def planned(status: int, *, retry_after: int) -> Refusal:
    """The refusal that a plan of faults asks for; a 429 says when to come back, in seconds."""
    if status in _GATEWAY:
        return GatewayPage(status)
    message, code = _PLANNED.get(status, ("The sandbox was asked to fail", None))
    headers = {"Retry-After": str(retry_after)} if status == 429 else {}
    return Refusal(status, message, code=code, headers=headers)
