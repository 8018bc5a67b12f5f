"""Error bodies of any shape, and the errors made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puq_magics.api.error_body import (
    find_error,
    is_quota_spent,
    make_status_error,
    no_answer_error,
    not_json_error,
    parse_error_body,
    parse_error_json,
    raise_for_error_object,
)
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

PAGE = b"<!DOCTYPE html><html><head><style>b{}</style><title>\n502 Bad&nbsp;Gateway </title></head><body>cloud</body>"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, PaymentRequiredError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
        (529, ServerError),
        (418, APIStatusError),
        (499, APIStatusError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[APIStatusError]) -> None:
    error = make_status_error(status, b'{"error": "no", "code": "C"}', request_id="r1", retry_after=3.0)
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, "C", "no", "r1")
    assert error.retry_after == 3.0
    assert error.partial == ""
    assert str(status) in error.message
    assert error.message.endswith(": no.")
    assert error.hint


TEXT_KEYS = (
    "errors", "err", "message", "msg", "err_msg", "detail", "details", "error_description", "errorMessage",
    "error_msg", "status_msg", "reason", "title", "fault", "faultstring", "innererror", "metadata", "raw",
    "base_resp",
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        (b'{"error": "text", "code": "VALIDATION_ERROR"}', "text", "VALIDATION_ERROR"),
        (
            b'{"error": {"message": "text", "code": "model_not_found", "type": "t"}}',
            "text",
            "model_not_found",
        ),
        (b'{"error": {"message": "text", "code": null}, "code": 7}', "text", "7"),
        (b'{"error": {"error": {"message": "text"}}}', "text", None),
        (b'{"error": true, "message": "text"}', "text", None),
        (b'{"error": "", "message": "text"}', "text", None),
        (b'{"success": false, "message": "text"}', "text", None),
        (b'{"detail": "text"}', "text", None),
        (b'{"detail": [{"msg": "t\\u00e9xt"}]}', "téxt", None),
        (b'{"errors": {"message": "text"}}', "text", None),
        (b'{"err": "text"}', "text", None),
        (b'{"fault": {"faultstring": "text"}}', "text", None),
        (b'{"header": {"code": 7, "message": "text"}}', "text", "7"),
        (b'{"response": {"error": {"message": "text"}}}', "text", None),
        (b'{"Error": {"Message": "text", "Code": "X"}}', "text", "X"),
        (b'{"error": {"message": "", "innererror": {"message": "text"}}}', "text", None),
        (b'[{"error": {"message": "text"}}]', "text", None),
        ('{"what": "é"}'.encode(), '{"what": "é"}', None),
        (b'{"error": {"message": false, "detail": "text"}}', "text", None),
        *((json.dumps({key: "text"}).encode(), "text", None) for key in TEXT_KEYS),
        (b'{"error": "text", "pad": "' + b"x" * 63_972 + b'"}', "text", None),
        (b"<html>" + b" " * 4_986 + b"<title>Text", "an HTML page, “T”", None),
        (b'"text"', "text", None),
        (b'\xef\xbb\xbf{"error": "text"}', "text", None),
        (b'{"error": {"code": {"not": "a code"}}}', "", None),
        (b'{"error_code": 1, "description": "text"}', "text", "1"),
        (b'{"code": 500, "info": "text"}', '{"code": 500, "info": "text"}', "500"),
        (b'{"error": {"code": "x", "hint": "text"}}', "text", "x"),
        (b'{"error": {"name": "ZodError", "issues": [{"message": "text"}]}}', "text", None),
        (b'{"code": "E", "userMessage": "text"}', "text", "E"),
        (b'{"error": {"messages": ["text"]}}', "text", None),
        (b'{"non_field_errors": ["text"]}', '{"non_field_errors": ["text"]}', None),
        (b'{"code": 1, "model": ["text"]}', '{"code": 1, "model": ["text"]}', "1"),
        (b'{"choices": [{"finish_reason": "error", "error": {"message": "text"}}]}', "text", None),
        (b'{"code": 1, "details": [], "x": [{}, 1]}', "", "1"),
        (b"{}", "", None),
        (b"null", "", None),
        (b"", "", None),
        (b"  \n", "", None),
        (b"plain\n  text\x1b[31m \xff", "plain text [31m \ufffd", None),
        (b'{"error": "a\\nb\\u001b[2Jc\\u202ed\\ud83d"}', "a b [2Jc d", None),
        (PAGE, "an HTML page, “502 Bad Gateway”", None),
        (
            b"<html><body><h1>Bad</h1><script>let x = 1</script> gateway</body>",
            "an HTML page, “Bad gateway”",
            None,
        ),
        (b"<html></html>", "an HTML page", None),
        (b'{"error": "cut', '{"error": "cut', None),
    ],
)
def test_the_words_of_every_kind_of_body(body: bytes, words: str, code: str | None) -> None:
    assert parse_error_body(body) == (words, code)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            401,
            b'{"error": "Unauthorized: Invalid or expired API key"}',
            "the router does not accept the API key (401 Unauthorized): Invalid or expired API key.",
        ),
        (402, b"", "the balance is used up, or the plan's limit is reached (402 Payment Required)."),
        (
            404,
            b"404 page not found",
            "the router has no such model or endpoint (404 Not Found): page not found.",
        ),
        (404, b"Not Found", "the router has no such model or endpoint (404 Not Found)."),
        (404, b"Nothing found!", "the router has no such model or endpoint (404 Not Found): Nothing found!"),
        (502, PAGE, "the router failed (502 Bad Gateway): an HTML page, “502 Bad Gateway”."),
        (599, b"", "the router failed (599)."),
        (418, b'{"error": "short."}', "the router rejected the request (418 I'm a Teapot): short."),
        (400, b'{"error": "say \\"no.\\""}', 'the router rejected the request (400 Bad Request): say "no."'),
        (400, b"no (none.)", "the router rejected the request (400 Bad Request): no (none.)"),
        (
            429,
            b"out of credits",
            "a quota is used up: this account's, or the router's at its provider (429 Too Many Requests): "
            "out of credits.",
        ),
    ],
)
def test_sentences(status: int, body: bytes, message: str) -> None:
    assert make_status_error(status, body).message == message


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "Check the model and the options."),
        (401, "Log in with a key that is valid for this host: %puq_login"),
        (402, "Top up the account."),
        (403, "Grant it in the dashboard."),
        (404, "Check the model and the base URL."),
        (413, "Send less in one request."),
        (418, "Check the base URL."),
        (422, "Check the model and the options."),
        (429, "Wait a little, then try again."),
    ],
)
def test_what_to_do(status: int, hint: str) -> None:
    assert make_status_error(status, b"").hint == hint


def test_a_long_body_is_cut() -> None:
    assert parse_error_body(b'{"error": "text", "pad": "' + b"x" * 63_973 + b'"}')[0] != "text"
    error = make_status_error(500, b"word " * 100_000)
    assert len(error.message) < 400
    assert error.message.endswith("…")
    assert (
        len(make_status_error(400, json.dumps({"error": "x", "code": "c" * 1000}).encode()).code or "") == 80
    )


def test_an_error_is_found_however_deep_it_is() -> None:
    deep: object = "text"
    for _ in range(5000):
        deep = {"error": deep}
    assert parse_error_json(deep) == ("text", None)
    nested: object = "text"
    for _ in range(100_000):
        nested = [nested]
    assert parse_error_json({"error": nested}) == ("…", None)
    assert parse_error_body(b'{"error": ' + b"[" * 60_000)[0].startswith('{"error": [[')


_KEYS = st.sampled_from(["error", "message", "code", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner),
)


@given(
    body=st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()),
    status=st.integers(400, 599),
)
def test_any_body_makes_one_plain_sentence(body: bytes, status: int) -> None:
    error = make_status_error(status, body)
    assert error.message.isprintable()
    assert error.message.rstrip("”\"')").endswith((".", "!", "?", "…"))
    error.message.encode("utf-8")


def test_too_large() -> None:
    file = make_status_error(413, b'{"error": "25 MB at most"}', sent_file=True)
    assert file.message.startswith("the file is too large for the router (413 ")
    assert file.message.endswith("): 25 MB at most.")
    assert "MP3, Opus" in file.hint
    other = make_status_error(413, b"")
    assert other.message.startswith("the request is too large for the router (413 ")
    assert "base URL" not in file.hint + other.hint


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, {"error": "The prompt is too long: it has 4,051 tokens, and the model's context holds 2,048"}),
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens.", "type": "x"}}),
        (400, {"error": {"message": "Too many tokens", "code": "context_length_exceeded"}}),
    ],
)
def test_who_sent_too_much_is_told_to_send_less(status: int, body: object) -> None:
    error = make_status_error(status, json.dumps(body).encode())
    assert error.hint.startswith("Send less: a shorter prompt")
    assert error.reason == "context_length"


def test_another_context_is_none() -> None:
    assert make_status_error(400, b'{"error": "No context given"}').hint == "Check the model and the options."


CHUNK = {"object": "chat.completion.chunk", "choices": [1]}
ANSWER_KEYS = ("choices", "data", "text", "images", "usage", "models", "segments")


@pytest.mark.parametrize(
    ("answer", "event_type", "error"),
    [
        ({"error": "x"}, "message", ("x", None)),
        ({"Error": "x"}, "message", ("x", None)),
        ({"x_groq": {"error": "x"}}, "message", ("x", None)),
        ({"response": {"error": {"message": "x"}}}, "message", ("x", None)),
        ({"choices": [{"delta": {"error": "x"}}]}, "message", ("x", None)),
        ({"choices": [{"error": {"message": "x", "code": 5}}]}, "message", ("x", "5")),
        ({"error": {"code": 0, "message": "ok"}}, "message", None),
        ({"error": {"message": ""}}, "message", None),
        ({"choices": 1}, "message", None),
        *(
            ({name: "x"}, "message", ("x", None))
            for name in ("detail", "err", "fault", "error_msg", "errmsg")
        ),
        ({"errors": ["x"]}, "message", ("x", None)),
        ({"errors": ["x"], "data": [1]}, "message", None),
        ({"error_message": "x"}, "message", ("x", None)),
        ({"error_description": "x"}, "message", ("x", None)),
        ({"status": 400, "title": "x"}, "message", ("x", None)),
        ({"status": 399, "title": "x"}, "message", None),
        ({"status": "400", "title": "x"}, "message", None),
        ({"success": False, "title": "x"}, "message", ("x", None)),
        ({"success": True, "title": "x"}, "message", None),
        ({"success": True, "code": 0, "msg": "x"}, "message", None),
        *(
            ({"code": code, "title": "x"}, "message", None)
            for code in (0, "200", 201, "OK", "success", False, "")
        ),
        ({"code": 202, "title": "x"}, "message", ("x", "202")),
        ({"code": 5, "msg": "5: x"}, "message", ("5: x", "5")),
        ({"status": "done", "message": "x"}, "message", None),
        ({"object": "error", "message": "x"}, "message", ("x", None)),
        ({"type": "response.failed", "message": "x"}, "message", ("x", None)),
        ({"event": "error", "message": "x"}, "message", ("x", None)),
        *(({key: [1], "detail": "x"}, "message", None) for key in ANSWER_KEYS),
        (CHUNK | {"type": "error", "msg": "x"}, "message", None),
        (CHUNK | {"choices": [], "type": "error", "msg": "x"}, "message", ("x", None)),
        (CHUNK | {"msg": "x"}, "error", ("x", None)),
        (CHUNK | {"msg": "x"}, "other", None),
        ({"msg": "x"}, "other", None),
        ({"text": "", "message": "x"}, "message", None),
        ({"base_resp": "x", "message": "y"}, "message", ("y: x", None)),
        ({"base_resp": {"status_code": 7, "status_msg": "x"}}, "message", ("x", "7")),
        ({"header": {"code": 7, "message": "x"}}, "message", ("x", "7")),
        ({"message": 5}, "message", None),
        ({"message": "ping"}, "message", None),
        ({"message": "x"}, "message", ("x", None)),
    ],
)
def test_errors_of_status_200(
    answer: dict[str, Any], event_type: str, error: tuple[str, str | None] | None
) -> None:
    assert find_error(answer, event_type) == error
    if event_type == "message" and error:
        code = f" ({error[1]})" if error[1] and error[1] not in error[0] else ""
        for body in (answer, [{}, answer]):
            with pytest.raises(InvalidResponseError) as caught:
                raise_for_error_object(body)
            assert caught.value.message == f"the router answered with an error{code}: {error[0]}."


@pytest.mark.parametrize(
    "words",
    [
        "an error", "it failed", "an exception", "invalid key", "size exceeds it", "denied", "unauthorised",
        "forbidden", "not found", "not allowed", "not supported", "not enough", "rate limit", "quota",
        "insufficient funds",
        "unavailable", "time-out", "timed out", "overloaded", "too many", "too long", "too large", "busy", "aborted",
        "canceled", "cancelled", "crashed", "engine died", "unable to", "cannot do it", "can't", "could not",
        "refused", "rejected", "expired", "out of memory", "stopped", "closed", "it went wrong", "broken",
        "interrupted",
    ],
)  # fmt: skip
def test_a_message_of_a_stream_is_an_error_if_it_reads_like_one(words: str) -> None:
    assert find_error({"message": "place 3 in the queue"}, is_event=True) is None
    assert find_error({"message": words}, is_event=True) == (words, None)


@pytest.mark.parametrize(
    ("body", "retry_after", "is_spent"),
    [
        ({"error": "quota exceeded"}, None, True),
        ({"error": "quota exceeded"}, 1.0, False),
        ({"error": "quota exceeded: 3 requests per minute"}, None, False),
        ({"error": "x", "code": "insufficient_quota"}, 1.0, True),
        ({"error": "x"}, None, False),
    ],
)
def test_a_spent_quota_is_no_rate(body: dict[str, Any], retry_after: float | None, is_spent: bool) -> None:
    assert is_quota_spent(json.dumps(body).encode(), retry_after) is is_spent
    for status in (400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503):
        error = make_status_error(status, json.dumps(body).encode(), retry_after=retry_after)
        assert (error.reason == "quota") == (is_spent and status in (400, 403, 429, 503))


def test_reasons_of_a_status() -> None:
    plan = make_status_error(402, b'{"error": "x", "code": "SUBSCRIPTION_LIMIT"}')
    assert (plan.reason, plan.hint) == ("plan", "Change the plan in the dashboard.")
    assert plan.message.startswith("the limit of the plan is reached (402 ")
    assert make_status_error(500, b"").hint == "Try again; if it persists, contact the router's support."
    long = make_status_error(413, b'{"error": "the prompt is too long"}')
    assert long.reason == "context_length"
    assert make_status_error(413, b"x", sent_file=True).message.startswith("the file is too large")


def test_an_answer_that_is_none() -> None:
    assert not_json_error(b"").message == "the answer is empty."
    assert not_json_error(b"hello").message == "the answer is not JSON: hello."
    assert no_answer_error({"detail": "x"}, "text").message == "the answer holds no text: x."
    assert no_answer_error([], "text").message == "the answer holds no text."


def wrapped(value: object, times: int) -> object:
    return {"message": wrapped(value, times - 1)} if times else value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"error": {"message": "a b", "innererror": {"message": "b"}}}, "a b"),
        ({"error": {"message": "b", "metadata": {"raw": '{"error": "a b"}'}}}, "a b"),
        ({"error": {"message": "a", "metadata": {"raw": '{"error": "c"}'}}}, "a: c"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too small"}]}, "body.n: too small"),
        ({"detail": [{"loc": ["body", "n"], "msg": "a", "message": "b"}]}, "body.n: a"),
        ({"error": {"foo": {"bar": {"x": 1}}}}, '{"x": 1}'),
        ({"message": "a", "foo": {"message": "b"}}, "a"),
        (wrapped("x", 6), "x"),
        (wrapped("x", 7), '{"message": "x"}'),
        ({"message": ' {"error": "x"}'}, "x"),
        ({"message": '["x"]'}, '["x"]'),
        ({"errors": [f"e{n}" for n in range(7)]}, "e0: e1: e2: e3: e4"),
        ([[[[[["x"]]]]]], "x"),
        ([[[[[[["x"]]]]]]], '["x"]'),
    ],
)
def test_texts_of_an_error(value: object, text: str) -> None:
    assert parse_error_json(value)[0] == text
