"""Read error bodies of any shape, and make errors of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import unescape
from typing import Any

from puq_magics.core.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)
from puq_magics.core.text import one_line

# Characters of an error's body, and of an HTML page, that are read.
_MAX_BODY_CHARS, _MAX_HTML_CHARS = 64_000, 5_000
_STATUS_ERRORS: dict[int, tuple[type[APIStatusError], str, str]] = {
    400: (BadRequestError, "the router rejected the request", "Check the model and the options."),
    401: (
        AuthenticationError,
        "the router does not accept the API key",
        "Log in with a key that is valid for this host: %puq_login",
    ),
    402: (
        PaymentRequiredError,
        "the balance is used up, or the plan's limit is reached",
        "Top up the account.",
    ),
    403: (PermissionDeniedError, "the API key has no access to this", "Grant it in the dashboard."),
    404: (NotFoundError, "the router has no such model or endpoint", "Check the model and the base URL."),
    413: (APIStatusError, "the request is too large for the router", "Send less in one request."),
    422: (
        UnprocessableEntityError,
        "the router cannot process this request",
        "Check the model and the options.",
    ),
    429: (RateLimitError, "too many requests", "Wait a little, then try again."),
}
_FILE_TOO_LARGE = (
    APIStatusError,
    "the file is too large for the router",
    "Send a shorter or a compressed one (MP3, Opus).",
)
# Error texts of several servers for a prompt that is longer than the model can read.
_CONTEXT_LENGTH_PATTERN = (
    r"context[_ ](?:length|window|size)|maximum context|model's context|prompt is too long"
)
_CONTEXT_LENGTH_HINT = (
    "Send less: a shorter prompt, or fewer turns of a conversation (PuqMagics.context_turns)."
)
_SERVER = (ServerError, "the router failed", "Try again; if it persists, contact the router's support.")
_OTHER = (APIStatusError, "the router rejected the request", "Check the base URL.")


def make_status_error(
    status: int,
    body: bytes,
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
    sent_file: bool = False,
) -> APIStatusError:
    """Return the error for an answer with a status of 400 or more; its body may be JSON, HTML, text or empty."""
    detail, code = parse_error_body(body)
    kind, summary, hint = _STATUS_ERRORS.get(status, _SERVER if status >= 500 else _OTHER)
    reason = ""
    if status == 413 and sent_file:
        kind, summary, hint = _FILE_TOO_LARGE
    elif status in (400, 413, 422) and re.search(_CONTEXT_LENGTH_PATTERN, f"{detail} {code}", re.I):
        hint, reason = _CONTEXT_LENGTH_HINT, "context_length"
    return kind(
        append_detail(
            f"{summary} ({status} {_status_phrase(status)})".replace(" )", ")"),
            _strip_status_prefix(detail, status),
        ),
        status=status,
        hint=hint,
        code=code,
        detail=detail,
        request_id=request_id,
        retry_after=retry_after,
        reason=reason,
    )


def raise_for_error_object(answer: Mapping[str, Any]) -> None:
    """Raise InvalidResponseError if a decoded answer of status 200 holds an ``error``."""
    if answer.get("error"):
        detail, _ = parse_error_json(answer)
        raise InvalidResponseError(
            append_detail("the router answered with an error", detail), hint="Try again."
        )


def not_json_error(body: bytes) -> InvalidResponseError:
    """Return the error for a body that is not JSON."""
    detail, _ = parse_error_body(body)
    if not detail:
        return InvalidResponseError(
            "the answer is empty.", hint="Check the base URL; a proxy may be in the way."
        )
    return InvalidResponseError(
        append_detail("the answer is not JSON", detail),
        hint="Check the base URL; a proxy may have answered instead.",
    )


def append_detail(message: str, detail: str) -> str:
    """Return the message, with the router's text after a colon if there is one, as one sentence."""
    text = f"{message}: {detail}" if detail else message
    return text if text.rstrip("”'\")").endswith((".", "!", "?", "…")) else f"{text}."


def _strip_status_prefix(detail: str, status: int) -> str:
    """Remove the status that many servers begin their text with, such as ``Unauthorized:``."""
    phrase = re.escape(_status_phrase(status))
    return re.sub(rf"^(?:(?:{status}|{phrase})\b[\s:.,–-]*)+", "", detail, flags=re.I) if phrase else detail


def parse_error_body(body: bytes) -> tuple[str, str | None]:
    """Return the text of an error's body, as one line without markup, and the router's code for it or None."""
    text = body[:_MAX_BODY_CHARS].decode("utf-8-sig", "replace").strip()
    try:
        return parse_error_json(json.loads(text))
    except (ValueError, RecursionError):
        return one_line(_summarize_html(text) if text.startswith("<") else text), None


def parse_error_json(value: object) -> tuple[str, str | None]:
    """Return the text and the code of a decoded error.

    Its shape is ``{"error": "…", "code": …}``, ``{"error": {"message": …}}`` or a similar one.
    """
    code: object = None
    while isinstance(value, dict):
        code = value.get("code") or code
        fields = [value.get(key) for key in ("error", "message", "detail", "errors")]
        value = next((field for field in fields if field and field is not True), None)
    text = value if isinstance(value, str) else "" if value is None else _to_json(value)
    return one_line(text), one_line(str(code), 80) if isinstance(code, str | int) else None


def _to_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _summarize_html(text: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text[:_MAX_HTML_CHARS])
    title = re.search(r"(?is)<title[^<>]*>([^<]*)", text)
    content = unescape(title.group(1) if title else re.sub(r"<[^<>]*>", " ", text)).strip()
    return f"an HTML page, “{one_line(content, 200)}”" if content else "an HTML page"


def _status_phrase(status: int) -> str:
    from http import HTTPStatus  # by the time that there is a status it is loaded

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
