"""What can go wrong, as one tree.

PuqError
├── ConfigurationError           a setting, an option or an environment variable does not fit
│   ├── MissingKeyError          no API key for the router's host
│   └── InvalidURLError          the base URL is not one, or not one that may be used
├── InputError                   what was typed cannot be sent
│   └── MissingVariableError     a prompt names a variable that does not exist
├── BudgetError                  the call would pass the session's budget
└── APIError                     a request was made, and failed
    ├── APIConnectionError             no answer: no connection, a name that does not resolve, a cut connection
    │   └── APITimeoutError  no byte came for as long as the time limit says
    ├── InvalidResponseError              an answer came that is not what the API promises
    │   ├── RedirectError        the router points elsewhere; the key does not go along
    │   └── StreamError          a stream ended in error; ``partial`` holds the text that came
    └── APIStatusError              the router refused: ``status``, ``code``, ``request_id``
        ├── BadRequestError          400
        ├── AuthenticationError      401
        ├── PaymentRequiredError     402
        ├── PermissionDeniedError    403
        ├── NotFoundError            404
        ├── UnprocessableEntityError       422
        ├── RateLimitError           429
        └── ServerError              5xx

An error is a sentence that says what is wrong, and a ``hint`` that says what to do. IPython asks an exception
for ``_render_traceback_`` and shows these lines in place of a traceback; the cell still fails, Run All stops.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

# Of an error's body: characters that are read, and those of an HTML page.
_MAX_BODY_CHARS, _MAX_HTML_CHARS = 64_000, 5_000


class PuqError(Exception):
    """Anything that this package raises on purpose."""

    #: What is wrong, in one sentence.
    message: str
    #: What to do about it; empty when there is nothing to say.
    hint: str
    #: What had come of an answer when it failed: its text, audio's bytes, or images; empty when nothing had.
    partial: Any = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Change the words, where they quote somebody who may have sent a secret back."""
        self.message, self.hint = redact(self.message), redact(self.hint)
        self.args = (self.message,)

    def _render_traceback_(self) -> list[str]:
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(self.hint)
        return lines


class ConfigurationError(PuqError):
    """A setting, an option or an environment variable does not fit."""


class MissingKeyError(ConfigurationError):
    """There is no API key for the router's host."""


class InvalidURLError(ConfigurationError):
    """The base URL is not a URL, or not one that may be used."""


class InputError(PuqError):
    """What was typed cannot be sent."""


class BudgetError(PuqError):
    """A call would pass the budget; nothing was sent."""


class MissingVariableError(InputError):
    """A prompt names a variable that does not exist."""


class APIError(PuqError):
    """A request was made, and failed."""


class APIConnectionError(APIError):
    """No answer: no connection, a name that does not resolve, a connection that was cut."""


class APITimeoutError(APIConnectionError):
    """No byte came for as long as the time limit says."""


class InvalidResponseError(APIError):
    """An answer came that is not what the API promises."""


class RedirectError(InvalidResponseError):
    """The router points elsewhere; the request, and the key, did not go along."""


class StreamError(InvalidResponseError):
    """A stream ended in error; ``partial`` holds the text that came before."""


class APIStatusError(APIError):
    """The router refused a request."""

    #: The HTTP status, such as 402.
    status: int
    #: The router's own code for what went wrong, such as ``VALIDATION_ERROR``; None when it gave none.
    code: str | None
    #: The words of the router, one line, without markup; empty when it sent none.
    detail: str
    #: The request's id at the router, to quote when asking its people; None when it gave none.
    request_id: str | None
    #: Seconds after which the router says to try again; None when it does not say.
    retry_after: float | None

    def __init__(
        self,
        message: str,
        *,
        status: int,
        hint: str = "",
        code: str | None = None,
        detail: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Callable[..., APIStatusError], tuple[Any, ...], dict[str, Any]]:
        return _unpickle_status_error, (type(self), self.message, self.status), self.__dict__


def _unpickle_status_error(kind: type[APIStatusError], message: str, status: int) -> APIStatusError:
    return kind(message, status=status)


class BadRequestError(APIStatusError):
    """400: a parameter's value is invalid."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PaymentRequiredError(APIStatusError):
    """402: the balance is spent, or the plan's limit is reached."""


class PermissionDeniedError(APIStatusError):
    """403: the key has no access, to a model that it is not granted, say."""


class NotFoundError(APIStatusError):
    """404: no such model, or no such endpoint."""


class UnprocessableEntityError(APIStatusError):
    """422: the request's body cannot be processed."""


class RateLimitError(APIStatusError):
    """429: too many requests for now."""


class ServerError(APIStatusError):
    """5xx: the router, or what stands in front of or behind it, failed."""


_STATUS_ERRORS: dict[int, tuple[type[APIStatusError], str, str]] = {
    400: (BadRequestError, "the router does not take this request", "Check the model and the options."),
    401: (
        AuthenticationError,
        "the router does not accept the API key",
        "Give it a key that is valid for this host: %puq_login",
    ),
    402: (
        PaymentRequiredError,
        "the balance is spent, or the plan's limit is reached",
        "Top up the account.",
    ),
    403: (PermissionDeniedError, "the API key has no access to this", "Have it granted in the dashboard."),
    404: (NotFoundError, "the router has no such model or endpoint", "Check the model and the base URL."),
    413: (APIStatusError, "the request is too large for the router", "Send less at once."),
    422: (
        UnprocessableEntityError,
        "the router cannot process this request",
        "Check the model and the options.",
    ),
    429: (RateLimitError, "the router has had too many requests", "Wait a little, then try again."),
}
_FILE_TOO_LARGE = (
    APIStatusError,
    "the file is too large for the router",
    "Send a shorter or a compressed one (MP3, Opus).",
)
# What servers say, each in its own way, of a prompt that is longer than the model can read.
_CONTEXT_LENGTH_PATTERN = (
    r"context[_ ](?:length|window|size)|maximum context|model's context|prompt is too long"
)
_CONTEXT_LENGTH_HINT = (
    "Send less: a shorter prompt, or fewer turns of a conversation (PuqMagics.context_turns)."
)
_SERVER = (ServerError, "the router failed", "Try again; if it goes on, ask the router's people.")
_OTHER = (APIStatusError, "the router refused the request", "Check the base URL.")


def make_status_error(
    status: int,
    body: bytes,
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
    sent_file: bool = False,
) -> APIStatusError:
    """The error for an answer with a status of 400 or more; its body may be JSON, HTML, text or nothing."""
    detail, code = parse_error_body(body)
    kind, summary, hint = _STATUS_ERRORS.get(status, _SERVER if status >= 500 else _OTHER)
    if status == 413 and sent_file:
        kind, summary, hint = _FILE_TOO_LARGE
    elif status in (400, 413, 422) and re.search(_CONTEXT_LENGTH_PATTERN, f"{detail} {code}", re.I):
        hint = _CONTEXT_LENGTH_HINT
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
    )


def append_detail(message: str, words: str) -> str:
    """One sentence: ours, and behind a colon the words of another, if there are any."""
    text = f"{message}: {words}" if words else message
    return text if text.rstrip("”'\")").endswith((".", "!", "?", "…")) else f"{text}."


def _strip_status_prefix(detail: str, status: int) -> str:
    """The words without the status that many servers begin them with, such as ``Unauthorized:``."""
    phrase = re.escape(_status_phrase(status))
    return re.sub(rf"^(?:(?:{status}|{phrase})\b[\s:.,–-]*)+", "", detail, flags=re.I) if phrase else detail


def parse_error_body(body: bytes) -> tuple[str, str | None]:
    """What an error's body says, as one line of plain text, and the router's code for it, if any."""
    text = body[:_MAX_BODY_CHARS].decode("utf-8-sig", "replace").strip()
    try:
        return parse_error_json(json.loads(text))
    except (ValueError, RecursionError):
        return _one_line(_summarize_html(text) if text.startswith("<") else text), None


def parse_error_json(value: object) -> tuple[str, str | None]:
    """The same of a JSON value, ``{"error": "…", "code": …}`` or ``{"error": {"message": …}}`` or their kin."""
    code: object = None
    while isinstance(value, dict):
        code = value.get("code") or code
        said = [value.get(key) for key in ("error", "message", "detail", "errors")]
        value = next(
            (words for words in said if words and words is not True), None
        )  # "error": true says nothing
    words = value if isinstance(value, str) else "" if value is None else _as_json(value)
    return _one_line(words), _one_line(str(code), 80) if isinstance(code, str | int) else None


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _summarize_html(text: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text[:_MAX_HTML_CHARS])
    title = re.search(r"(?is)<title[^<>]*>([^<]*)", text)
    words = unescape(title.group(1) if title else re.sub(r"<[^<>]*>", " ", text)).strip()
    return f"an HTML page, “{_one_line(words, 200)}”" if words else "an HTML page"


def _one_line(text: str, limit: int = 300) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 10]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _status_phrase(status: int) -> str:
    from http import HTTPStatus  # by the time that there is a status it is loaded

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
