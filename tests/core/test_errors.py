"""Errors: how they render, and the fields that they carry."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from puq_magics.core import errors
from puq_magics.core.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    InvalidAnswerError,
    OneLineInterrupt,
    PuqError,
    StreamError,
)

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PuqError)]


def test_it_renders_as_plain_lines() -> None:
    assert PuqError("it broke.", hint="Mend it.")._render_traceback_() == ["PuqError: it broke.", "Mend it."]
    assert StreamError("it broke.")._render_traceback_() == ["StreamError: it broke."]
    assert str(PuqError("it broke.", hint="Mend it.")) == "it broke. Mend it."
    assert str(PuqError("it broke.")) == "it broke."


def test_a_notebook_gets_lines_that_need_no_break_within_a_word(fresh_kernel: Any) -> None:
    words = "word " * 30
    error = fresh_kernel.run(f"import puq_magics\nraise puq_magics.PuqError({words!r})").error
    lines = "\n".join(error["traceback"]).split("\n")
    assert max(map(len, lines)) <= 70
    assert " ".join(lines).split() == ["PuqError:", *words.split()]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_documented_and_survives_a_pickle(kind: type[PuqError]) -> None:
    assert kind.__name__ in (errors.__doc__ or "")
    error = (
        kind("slow.", status=429, code="C", detail="slow", request_id="r", retry_after=2.0)
        if issubclass(kind, APIStatusError)
        else kind("it broke.", hint="Mend it.")
    )
    error.partial = "what came"
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301 - our own
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_failed_requests_are_told_from_refused_input() -> None:
    assert issubclass(APIStatusError, APIError)
    assert not issubclass(errors.InputError, APIError)
    assert not issubclass(errors.ConfigurationError, APIError)


def test_fields_that_are_not_given_are_empty() -> None:
    status, answer = APIStatusError("no.", status=400), InvalidAnswerError("no.")
    assert (status.code, status.detail, status.request_id, status.retry_after) == (None, "", None, None)
    assert (status.hint, status.reason, answer.partial, answer.repair_prompt) == ("", "", "", "")
    assert answer.hint == "The answer's text is kept."
    assert APIConnectionError("no.").was_sent
    assert APIStatusError("no.", status=400, detail="unknown field").rejects_field(["seed"])


def test_a_secret_is_erased_from_all_that_an_error_shows() -> None:
    error = PuqError("no secret.", hint="a secret")
    error.redact_with(lambda text: text.replace("secret", "…"))
    assert (str(error), error.args, repr(error)) == ("no …. a …", ("no ….",), "PuqError('no ….')")
    reported = StreamError("no secret.")
    reported.redact_with(lambda text: text.replace("secret", "…"))
    assert (reported.detail, reported.code) == (None, None)
    reported.detail, reported.code = "no secret", "secret"
    reported.redact_with(lambda text: text.replace("secret", "…"))
    assert (reported.detail, reported.code) == ("no …", "…")


def test_context_is_put_before_the_message() -> None:
    error = PuqError("it broke.", hint="Mend it.")
    error.add_context("the value of -m")
    assert (str(error), error.args) == (
        "the value of -m: it broke. Mend it.",
        ("the value of -m: it broke.",),
    )


def test_an_interrupt_is_one_line() -> None:
    assert OneLineInterrupt("stopped.")._render_traceback_() == ["KeyboardInterrupt: stopped."]


def test_a_hint_for_python_code_is_apart() -> None:
    error = PuqError("it broke.", hint="Mend it.", python_hint="See .partial.")
    assert error._render_traceback_() == ["PuqError: it broke.", "Mend it. See .partial."]
    assert str(error) == "it broke. Mend it. See .partial."
    error.python_hint = ""
    assert str(error) == "it broke. Mend it."


@pytest.mark.parametrize(
    ("status", "detail", "rejects"),
    [
        (400, "", True),
        (422, "Unknown parameter: response_format", True),
        (400, "extra fields not permitted", True),
        (400, "unknown field 'seed'", False),
        (400, "the prompt is too long", False),
        (429, "", False),
        (500, "response_format", False),
        (400, "response_format is for chats alone", True),
    ],
)
def test_rejected_fields(status: int, detail: str, rejects: bool) -> None:
    error = APIStatusError("no.", status=status, detail=detail)
    assert error.rejects_field(["response_format"], others=["model", "seed"]) is rejects
    assert error.rejects_response_format() is (rejects and "response_format" in detail)


@pytest.mark.parametrize(
    ("hint", "sentence", "expected"),
    [
        ("", "Try again.", "Try again."),
        ("Wait.", "Try again.", "Wait. Try again."),
        ("Run %puq_login", "Try again.", "Run %puq_login – Try again."),
        ("Use model X", "Try again.", "Use model X – Try again."),
        ("Wait: ", "", "Wait:"),
        ("Run %puq_login", "", "Run %puq_login"),
    ],
)
def test_a_hint_is_extended(hint: str, sentence: str, expected: str) -> None:
    error = PuqError("bad.", hint=hint)
    error.extend_hint(sentence)
    assert error.hint == expected


def test_errors_carry_what_they_are_given() -> None:
    status = APIStatusError(
        "bad.", status=429, code="C", detail="d", request_id="r", retry_after=2.5, reason="quota"
    )
    assert (status.status, status.code, status.detail, status.request_id, status.retry_after, status.reason) == (
        429, "C", "d", "r", 2.5, "quota",
    )  # fmt: skip
    assert PuqError(message="bad.").args == ("bad.",)
    schema = errors.InvalidAnswerError("bad.", answer="{", repair_prompt="Repair it.")
    assert (schema.partial, schema.repair_prompt) == ("{", "Repair it.")
    status.message = status.hint = "a secret"
    status.redact_with(lambda text: text.replace("secret", "…"))
    assert (status.message, status.hint) == ("a …", "a …")
