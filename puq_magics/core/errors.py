"""Exception hierarchy.

PuqError
├── ConfigurationError               a setting, an option or an environment variable is invalid
│   ├── MissingKeyError              no API key for the router's host
│   └── InvalidURLError              the base URL is invalid, or not allowed
├── InputError                       the input cannot be sent
│   ├── EmptyFileError               a file or variable holds nothing to send
│   └── MissingVariableError         a prompt names a variable that does not exist
├── BudgetError                      the call would exceed the session's budget
├── PolicyError                      a teacher's policy forbids the call
├── JournalError                     a run's journal cannot be read or written
└── APIError                         a request failed
    ├── RecordingError               a cassette has no recording of a request, or it cannot be read
    ├── APIConnectionError           no answer: no connection, an unknown host name, a cut connection
    │   └── APITimeoutError          no byte within the time limit
    ├── InvalidResponseError         the answer is not what the API promises
    │   ├── InvalidAnswerError       the model's answer does not have the requested form: ``repair_prompt``
    │   │   ├── NotJSONError         the answer is not JSON
    │   │   └── SchemaMismatchError  the answer does not match the schema: ``violations``
    │   ├── RedirectError            the router redirects; the request was not sent on
    │   └── StreamError              a stream ended in an error; ``partial`` holds its beginning
    └── APIStatusError               the router rejected the request: ``status``, ``code``, ``request_id``
        ├── BadRequestError          400
        ├── AuthenticationError      401
        ├── PaymentRequiredError     402
        ├── PermissionDeniedError    403
        ├── NotFoundError            404
        ├── UnprocessableEntityError 422
        ├── RateLimitError           429
        └── ServerError              5xx

``message`` says what is wrong, ``hint`` what to do. IPython shows the lines of ``_render_traceback_`` in place of a
traceback; the cell still fails, and Run All stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

#: What to do about a fault of this package.
BUG_HINT = "This is a bug in puq_magics: report it with this message."
_UNKNOWN_FIELD = re.compile(
    r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|additional|extra|invalid)[\w ]*"
    r"(?:field|param|propert|argument|key|input|option)",
    re.IGNORECASE,
)


_RESPONSE_FORMAT = re.compile(r"response_format|json_schema|json_object|structured output", re.IGNORECASE)


class OneLineInterrupt(KeyboardInterrupt):
    """An interrupt by the user that IPython renders as its message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        from puq_magics.core.text import wrap_error

        return wrap_error([f"KeyboardInterrupt: {self}"])


class PuqError(Exception):
    """Base class of all errors that this package raises on purpose."""

    #: What is wrong, in one sentence.
    message: str
    #: What to do about it; may be empty.
    hint: str
    #: What to do about it in Python code; a front end that does it already clears this.
    python_hint: str
    #: The part of an answer received before it failed: text, bytes of audio, or images; empty without one.
    partial: Any = ""

    def __init__(self, message: str, *, hint: str = "", python_hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.python_hint = python_hint

    def __str__(self) -> str:
        return " ".join(filter(None, (self.message, self.hint, self.python_hint)))

    def extend_hint(self, sentence: str) -> None:
        """Add a sentence to the hint."""
        # A hint can end with a command or a path, which a full stop would be taken for a part of.
        end = "" if not (self.hint and sentence) or self.hint[-1] in ".!?:…" else " –"
        self.hint = f"{self.hint}{end} {sentence}".strip()

    def add_context(self, subject: str) -> None:
        """Put what the error is about before the message."""
        self.message = f"{subject}: {self.message}"
        self.args = (self.message,)

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Apply a redaction function to the message and the hint, which may quote a secret."""
        self.message, self.hint = redact(self.message), redact(self.hint)
        self.args = (self.message,)

    def _render_traceback_(self) -> list[str]:
        from puq_magics.core.text import wrap_error

        hint = f"{self.hint} {self.python_hint}".strip()
        return wrap_error([f"{type(self).__name__}: {self.message}", *([hint] if hint else [])])


class ConfigurationError(PuqError):
    """A setting, an option or an environment variable is invalid."""


class MissingKeyError(ConfigurationError):
    """No API key for the router's host."""


class InvalidURLError(ConfigurationError):
    """The base URL is invalid, or not allowed."""


class InputError(PuqError):
    """The input cannot be sent."""


class BudgetError(PuqError):
    """A call would exceed the budget; nothing was sent."""


class PolicyError(PuqError):
    """A teacher's policy forbids the call; nothing was sent."""


class EmptyFileError(InputError):
    """A file, or a variable in place of one, holds nothing to send."""


class JournalError(PuqError):
    """A run's journal cannot be read or written."""


class MissingVariableError(InputError):
    """A prompt names a variable that does not exist."""


class APIError(PuqError):
    """A request failed."""


class RecordingError(APIError):
    """A cassette has no recording of a request, or the recording cannot be read; nothing was sent."""


class APIConnectionError(APIError):
    """No answer: no connection, an unknown host name, a cut connection."""

    #: False if the request surely did not reach the router.
    was_sent: bool = True


class APITimeoutError(APIConnectionError):
    """No byte came within the time limit."""


class InvalidResponseError(APIError):
    """The answer is not what the API promises."""


class InvalidAnswerError(InvalidResponseError):
    """The model's answer does not have the requested form; ``partial`` is its text."""

    #: Message to the model that asks for a corrected answer.
    repair_prompt: str

    def __init__(
        self,
        message: str,
        *,
        answer: str = "",
        repair_prompt: str = "",
        hint: str = "The answer's text is kept.",
    ) -> None:
        super().__init__(message, hint=hint)
        self.partial = answer
        self.repair_prompt = repair_prompt


class NotJSONError(InvalidAnswerError):
    """The answer is not JSON."""


class SchemaMismatchError(InvalidAnswerError):
    """The answer does not match the schema."""

    #: Problems in the answer, one line each; a single one if it is not JSON.
    violations: tuple[str, ...] = ()


class RedirectError(InvalidResponseError):
    """The router redirects; neither the request nor the key was sent on."""


class StreamError(InvalidResponseError):
    """A stream ended in an error; ``partial`` holds the text before it."""

    #: Error text sent by the router, as one line of plain text; None if the router reported no error.
    detail: str | None = None
    #: The router's own code for the error; None without one.
    code: str | None = None

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Apply a redaction function to the message, the hint, and what the router sent."""
        super().redact_with(redact)
        self.detail = self.detail and redact(self.detail)
        self.code = self.code and redact(self.code)


class APIStatusError(APIError):
    """The router rejected a request."""

    #: The HTTP status, such as 402.
    status: int
    #: The router's own code for the error, such as ``VALIDATION_ERROR``; None without one.
    code: str | None
    #: Error text sent by the router, as one line of plain text; empty without one.
    detail: str
    #: The router's id for the request, to quote to its support; None without one.
    request_id: str | None
    #: Seconds to wait before the next try, as the router asks; None if it does not.
    retry_after: float | None
    #: ``context_length`` if the prompt is longer than the model can read, ``quota`` if one is spent, ``plan`` if the
    #: plan's limit is reached; empty for any other reason.
    reason: str

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
        reason: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after
        self.reason = reason

    def rejects_field(self, names: Iterable[str], others: Iterable[str] = ()) -> bool:
        """Return whether the router may have rejected one of the request's fields ``names``.

        True if its text names one of them, or an unknown field without naming one of ``others``, or if it is empty.
        """
        if self.status not in (400, 422):
            return False
        if not self.detail or any(name in self.detail for name in names):
            return True
        other = "|".join(map(re.escape, others))
        names_other = other and re.search(rf"\b(?:{other})\b", self.detail)
        return bool(_UNKNOWN_FIELD.search(self.detail)) and not names_other

    def rejects_response_format(self) -> bool:
        """Return whether the router has rejected the request's ``response_format``."""
        return self.status in (400, 422) and bool(_RESPONSE_FORMAT.search(self.detail))

    def __reduce__(self) -> tuple[Callable[..., APIStatusError], tuple[Any, ...], dict[str, Any]]:
        return _unpickle_status_error, (type(self), self.message, self.status), self.__dict__


def _unpickle_status_error(kind: type[APIStatusError], message: str, status: int) -> APIStatusError:
    return kind(message, status=status)


class BadRequestError(APIStatusError):
    """400: a parameter's value is invalid."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or expired."""


class PaymentRequiredError(APIStatusError):
    """402: the balance is used up, or the plan's limit is reached."""


class PermissionDeniedError(APIStatusError):
    """403: the key has no access, for example to a model."""


class NotFoundError(APIStatusError):
    """404: the model or the endpoint does not exist."""


class UnprocessableEntityError(APIStatusError):
    """422: the request's body cannot be processed."""


class RateLimitError(APIStatusError):
    """429: too many requests for now."""


class ServerError(APIStatusError):
    """5xx: the router, a proxy, or the model's provider failed."""
