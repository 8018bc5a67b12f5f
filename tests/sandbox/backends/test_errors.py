import pytest

from puq_magics.sandbox.backends.errors import BackendErrorResponse
from puq_magics.sandbox.validation import json_object


def read(body: bytes, status: int = 400) -> BackendErrorResponse:
    return BackendErrorResponse.read(status, {}, body, lambda words: words.replace("secret", "…"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "so"}}', "so"),
        (b'{"error": {"code": 5}}', "{'code': 5}"),
        (b'{"error": "so"}', "so"),
        (b'{"detail": "so"}', "so"),
        (b'{"message": "so"}', "so"),
        (b'{"detail": [{"loc": 1}]}', "[{'loc': 1}]"),
        (b"so", "so"),
        (b"", "it does not say why"),
        (b"{}", "it does not say why"),
        (b"<html>", "it does not say why"),
        (b'{"error": "a secret"}', "a …"),
        (b"a secret", "a …"),
    ],
)
def test_its_words(body: bytes, words: str) -> None:
    assert read(body).message == words


def test_long_words_are_cut_without_showing_half_a_key() -> None:
    words = read(b"x" * 497 + b"secret").message
    assert words == "x" * 497 + "…"
    assert len(read(b"x" * 10_000).message) == 500


@pytest.mark.parametrize(
    ("status", "body", "takes_no"),
    [
        (400, b"Unsupported parameter: max_tokens", True),
        (422, b"Extra inputs are not permitted: max_tokens", True),
        (400, b"max_tokens and max_completion_tokens cannot both be set", True),
        (400, b"max_tokens is larger than the context", False),
        (400, b"Unsupported parameter: seed", False),
        (500, b"Unsupported parameter: max_tokens", False),
    ],
)
def test_fields_that_are_not_taken(status: int, body: bytes, takes_no: bool) -> None:
    assert read(body, status).rejects_field("max_tokens") is takes_no


def test_a_context_without_numbers() -> None:
    body = b'{"error": {"type": "exceed_context_size_error", "message": "too long"}}'
    refusal = read(body).to_error_response("The engine", "local/x")
    assert (refusal.status, refusal.message) == (422, "too long")


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object(data: bytes) -> None:
    assert json_object(data) is None
