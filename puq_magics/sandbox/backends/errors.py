"""Errors of a backend, translated for the router's client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from puq_magics.sandbox.validation import (
    VALIDATION_ERROR,
    ErrorResponse,
    bad_gateway,
    invalid,
    json_object,
)

_MAX_MESSAGE_CHARS: Final = 500
#: Statuses that concern the router's own account at the backend, not its clients.
_ACCOUNT_STATUSES: Final = frozenset({401, 402, 403, 407})
# Other people's servers say these only in their messages.
_NO_IMAGES: Final = "image input is not supported"
_REJECTED: Final = re.compile(
    r"support|unknown|unexpected|unrecogni|extra|not permitted|not allowed|both", re.IGNORECASE
)


@dataclass(frozen=True)
class BackendErrorResponse:
    """Response with a status other than 200, in any of the usual shapes."""

    status: int
    headers: Mapping[str, str]
    message: str
    #: The error object; empty if there is none.
    error: Mapping[str, Any]

    @classmethod
    def read(
        cls, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]
    ) -> BackendErrorResponse:
        """Parse an error response; ``redact`` removes from its message what clients must not see."""
        content = json_object(body)
        if content is None:
            text = body.decode(errors="replace").strip()
            error: object = "" if text.startswith("<") else text  # an HTML page
        else:
            error = content.get("error") or content.get("detail") or content.get("message")
        fields = error if isinstance(error, dict) else {}
        message = redact(str(fields.get("message") or error or "it does not say why"))
        return cls(status, headers, message[:_MAX_MESSAGE_CHARS], fields)

    def rejects_field(self, field: str) -> bool:
        """True if the backend rejects the field, or its combination with another."""
        return (
            self.status in (400, 422) and field in self.message and _REJECTED.search(self.message) is not None
        )

    def to_error_response(self, name: str, code: str) -> ErrorResponse:
        """Return the error for the client, with the backend's name and the model's code."""
        status = self.status
        headers = {"Retry-After": self.headers["Retry-After"]} if "Retry-After" in self.headers else {}
        if self.error.get("type") == "exceed_context_size_error":
            return ErrorResponse(422, self._context_message())
        if _NO_IMAGES in self.message:  # llama.cpp sends it with status 500
            return invalid(f"The model {code!r} takes no images")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return ErrorResponse(503, f"{name} cannot answer now (503): {self.message}", headers=headers)
        if 300 <= status < 400:
            return bad_gateway(f"{name} redirects to another address ({status}), which is not followed")
        if not 400 <= status < 500 or status in _ACCOUNT_STATUSES:
            return bad_gateway(f"{name} refused, with status {status}: {self.message}")
        kind = VALIDATION_ERROR if status == HTTPStatus.BAD_REQUEST else None
        return ErrorResponse(status, f"{name} refused: {self.message}", code=kind, headers=headers)

    def _context_message(self) -> str:
        prompt, context = self.error.get("n_prompt_tokens"), self.error.get("n_ctx")
        if not isinstance(prompt, int) or not isinstance(context, int):
            return self.message
        return f"The prompt is too long: it has {prompt:,} tokens, and the model's context holds {context:,}"
