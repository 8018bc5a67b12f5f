"""A server that sends the key back: what is shown of its answer does not hold it."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest
from clients import KEY, ask, router_for, words
from raw_server import RawServer, answer, chunked, delta, event, responds

from puq_magics.core.errors import APIError, InvalidResponseError

PAGE = f"<html><title>Log in, Token {KEY}</title></html>".encode()


@pytest.mark.parametrize(
    "said",
    [
        chunked(event(delta("some words")), event({"error": {"message": f"no such Token {KEY}"}})),
        chunked(event(delta("some words")), f"data: not JSON, Token {KEY}\n\n".encode()),
        chunked(PAGE),
    ],
    ids=["an error in mid-stream", "an event that is not JSON", "a page"],
)
def test_a_stream_that_quotes_it(said: bytes) -> None:
    with RawServer(responds(said)) as server, router_for(server) as router, pytest.raises(APIError) as caught:
        words(ask(router))
    error = caught.value
    assert "Token …" in error.message
    assert KEY not in f"{error!r} {error} {error.args} {error._render_traceback_()}"


@pytest.mark.parametrize("said", [PAGE, b"not JSON, Token " + KEY.encode()])
def test_an_answer_that_quotes_it(said: bytes) -> None:
    script = responds(answer(said))
    with (
        RawServer(script) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError) as caught,
    ):
        router.chat("Hello", model="maker/model")
    assert "Token …" in caught.value.message
    assert KEY not in f"{caught.value!r} {caught.value.args}"


def test_an_error_in_an_answer_that_quotes_it() -> None:
    script = responds(answer({"error": f"no such Token {KEY}"}))
    with (
        RawServer(script) as server,
        router_for(server) as router,
        pytest.raises(InvalidResponseError) as caught,
    ):
        router.chat("Hello", model="maker/model")
    assert "Token …" in caught.value.message


def test_names_with_control_characters_become_one_line() -> None:
    listed = {"data": [{"id": "a/b\x1b]0;x\x07\nc"}, {"id": "a/d", "name": "D\x1b[31m\nE"}]}
    with RawServer(responds(answer(listed))) as server, router_for(server) as router:
        (model,) = router.models()
    assert (model.code, model.name) == ("a/d", "D [31m E")


ESCAPED = "".join(f"\\u{ord(sign):04x}" for sign in KEY)


@pytest.mark.parametrize(
    "spelled", [KEY, ESCAPED, quote(KEY, safe="")[:-1] + "%6A", b64encode(KEY.encode()).decode()]
)
def test_no_field_but_the_models_text_holds_it(spelled: str) -> None:
    body = (
        '{"id": "%s", "model": "%s", "service": {"%s": ["%s"]}, '
        '"choices": [{"message": {"content": "mine: %s"}, "finish_reason": "%s"}]}'
    ) % ((spelled,) * 6)
    said = answer(body.encode(), **{"x-request-id": "req " + KEY})
    with RawServer(responds(said)) as server, router_for(server) as router:
        completion = router.chat("Hello", model="maker/model")
    assert completion.text.startswith("mine: ")
    assert "…" not in completion.text
    completion.raw["choices"][0]["message"].clear()
    told = f"{completion.model} {completion.request_id} {completion.finish_reason} {completion.raw}"
    assert KEY not in told
    assert spelled not in told
    assert completion.request_id == "req …"
    assert completion.model in ("…", "…g==")  # of base64 the last sign stands for some bits of the next


@pytest.mark.parametrize("spelled", [KEY, ESCAPED])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_no_field_of_an_error_holds_it(status: int, spelled: str) -> None:
    body = '{"error": "%s is wrong", "code": "%s"}' % (spelled, spelled)  # noqa: UP031 - braces
    said = answer(body.encode(), status=status, **{"x-request-id": KEY})
    with RawServer(responds(said)) as server, router_for(server) as router, pytest.raises(APIError) as caught:
        router.chat("Hello", model="maker/model")
    assert KEY not in f"{caught.value} {vars(caught.value)}"
    assert "…" in caught.value.message


def test_no_name_of_a_model_holds_it() -> None:
    listed = {"data": [{"id": f"a/{KEY}", "name": KEY, "description": f"for {KEY}"}]}
    with RawServer(responds(answer(listed))) as server, router_for(server) as router:
        (model,) = router.models()
    assert (model.code, model.name, model.description) == ("a/…", "…", "for …")
