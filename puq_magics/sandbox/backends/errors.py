"""Errors of a backend, translated for the router's client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from puq_magics.sandbox.validation import VALIDATION_ERROR, ErrorResponse, bad_gateway, invalid

#: Characters that are passed on.
_MOST_WORDS: Final = 500
#: These say something about the router's own account there, which is none of its clients' business.
_OF_OUR_OWN: Final = frozenset({401, 402, 403, 407})
_SEES_NOTHING: Final = "image input is not supported"
#: How servers say that they do not take a field at all.
_NOT_TAKEN: Final = re.compile(
    r"support|unknown|unexpected|unrecogni|extra|not permitted|not allowed|both", re.IGNORECASE
)


@dataclass(frozen=True)
class BackendErrorResponse:
    """An answer other than 200: what it says, in whichever shape."""

    status: int
    headers: Mapping[str, str]
    message: str
    #: The error as an object; empty where it is none.
    error: Mapping[str, Any]

    @classmethod
    def read(
        cls, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]
    ) -> BackendErrorResponse:
        """Parse an error response; ``masked`` removes from its message what clients must not see."""
        said = json_object(body)
        if said is None:
            error: object = _plain(body)
        else:
            error = said.get("error") or said.get("detail") or said.get("message")
        fields = error if isinstance(error, dict) else {}
        message = redact(str(fields.get("message") or error or "it does not say why"))
        return cls(status, headers, message[:_MOST_WORDS], fields)

    def rejects_field(self, field: str) -> bool:
        """True if the backend rejects the field, or its combination with another."""
        return (
            self.status in (400, 422)
            and field in self.message
            and _NOT_TAKEN.search(self.message) is not None
        )

    def to_error_response(self, name: str, code: str) -> ErrorResponse:
        """Return the error for the client, with the backend's name and the model's code."""
        status = self.status
        headers = {"Retry-After": self.headers["Retry-After"]} if "Retry-After" in self.headers else {}
        if self.error.get("type") == "exceed_context_size_error":
            return ErrorResponse(422, self._too_long())
        if _SEES_NOTHING in self.message:  # which llama.cpp calls an error of its own
            return invalid(f"The model {code!r} takes no images")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            return ErrorResponse(503, f"{name} cannot answer now (503): {self.message}", headers=headers)
        if 300 <= status < 400:
            return bad_gateway(f"{name} redirects to another address ({status}), which is not followed")
        if not 400 <= status < 500 or status in _OF_OUR_OWN:
            return bad_gateway(f"{name} refused, with status {status}: {self.message}")
        kind = VALIDATION_ERROR if status == HTTPStatus.BAD_REQUEST else None
        return ErrorResponse(status, f"{name} refused: {self.message}", code=kind, headers=headers)

    def _too_long(self) -> str:
        prompt, context = self.error.get("n_prompt_tokens"), self.error.get("n_ctx")
        if not isinstance(prompt, int) or not isinstance(context, int):
            return self.message
        return f"The prompt is too long: it has {prompt:,} tokens, and the model's context holds {context:,}"


def json_object(data: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _plain(body: bytes) -> str:
    """Text of an error that is not JSON; empty for an HTML page."""
    text = body.decode(errors="replace").strip()
    return "" if text.startswith("<") else text
