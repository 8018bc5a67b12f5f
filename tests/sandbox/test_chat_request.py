import json
from base64 import b64encode
from typing import Any

import pytest

from puq_magics.sandbox.chat_request import (
    TOKENS_PER_IMAGE,
    JsonFormat,
    Message,
    find_schema_in_text,
    read_chat_request,
    read_response_format,
)
from puq_magics.sandbox.validation import ErrorResponse

HELLO = [{"role": "user", "content": "Hello"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "sandbox/short", "messages": HELLO, **fields}).encode()


def test_the_least_there_can_be() -> None:
    request = read_chat_request(body())
    assert (request.model, request.messages) == ("sandbox/short", (Message("user", "Hello"),))
    assert (request.stream, request.include_usage, request.max_completion_tokens) == (False, False, None)
    assert request.prompt_tokens == 1


def test_all_there_can_be() -> None:
    request = read_chat_request(
        body(
            stream=True,
            stream_options={"include_usage": True},
            temperature=0.7,
            max_completion_tokens=9,
            seed=1,
        )
    )
    assert (request.stream, request.include_usage, request.max_completion_tokens) == (True, True, 9)
    assert request.body["seed"] == 1


def test_null_is_the_same_as_absent() -> None:
    request = read_chat_request(
        body(stream=None, stream_options=None, temperature=None, max_completion_tokens=None)
    )
    assert (request.stream, request.include_usage, request.max_completion_tokens) == (False, False, None)


def test_parts_are_read() -> None:
    parts = [{"type": "text", "text": "Look"}, IMAGE, {"type": "text", "text": "here"}]
    request = read_chat_request(body(messages=[{"role": "user", "content": parts}]))
    assert request.messages == (Message("user", "Look\n\nhere", ("of an unknown format",)),)
    assert request.prompt_tokens == 2 + TOKENS_PER_IMAGE


def test_the_question_is_the_last_of_the_user() -> None:
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    request = read_chat_request(body(messages=[{"role": role, "content": text} for role, text in turns]))
    assert request.last_user_message.text == "three"


@pytest.mark.parametrize("value", [0, 1, 2, 0.5, 2.0])
def test_temperatures(value: float) -> None:
    assert read_chat_request(body(temperature=value)).body["temperature"] == value


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 2.1},
        {"temperature": -0.1},
        {"temperature": "hot"},
        {"temperature": True},
        {"stream": "yes"},
        {"stream": 1},
        {"stream": True, "stream_options": True},
        {"stream": True, "stream_options": {"include_usage": 1}},
        {"max_completion_tokens": 0},
        {"max_completion_tokens": 1.5},
        {"max_completion_tokens": True},
        {"max_completion_tokens": "10"},
        {"model": 7},
        {"model": "gpt"},
        {"model": "/gpt"},
        {"model": "openai/"},
    ],
)
def test_a_wrong_value_is_a_400(fields: dict[str, Any]) -> None:
    with pytest.raises(ErrorResponse) as caught:
        read_chat_request(body(**fields))
    assert (caught.value.status, caught.value.code) == (400, "VALIDATION_ERROR")
    assert (
        next(reversed(fields)).split("_")[0] in caught.value.message
        or "include_usage" in caught.value.message
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe\xfa",
        b"[]",
        b"null",
        b'{"temperature": NaN}',
        b"[" * 100_000,
        body(model=None),
        body(messages=None),
        body(messages=[]),
        body(messages="Hello"),
        body(messages=["Hello"]),
        body(messages=[{"content": "Hello"}]),
        body(messages=[{"role": "robot", "content": "Hello"}]),
        body(messages=[{"role": ["user"], "content": "Hello"}]),
        body(messages=[{"role": "user"}]),
        body(messages=[{"role": "user", "content": ""}]),
        body(messages=[{"role": "user", "content": []}]),
        body(messages=[{"role": "user", "content": [{"type": "video"}]}]),
        body(messages=[{"role": "user", "content": [{"type": "text", "text": None}]}]),
        body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}]),
    ],
)
def test_what_cannot_be_processed_is_a_422(raw: bytes) -> None:
    with pytest.raises(ErrorResponse) as caught:
        read_chat_request(raw)
    assert caught.value.status == 422


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT = {**OPEN, "required": ["a"], "additionalProperties": False}


def asked(schema: Any, **fields: Any) -> dict[str, Any]:
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, **fields},
        }
    }


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, None),
        ({"response_format": None}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, JsonFormat({})),
        (asked(OPEN), JsonFormat(OPEN)),
        (asked(OPEN, strict=False), JsonFormat(OPEN)),
        (asked(STRICT, strict=True), JsonFormat(STRICT)),
    ],
)
def test_what_is_wanted(body: dict[str, Any], wanted: JsonFormat | None) -> None:
    assert read_response_format(body) == wanted


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"response_format": "json"}, "must be an object"),
        ({"response_format": {"type": "yaml"}}, "one of text, json_object, json_schema"),
        ({"response_format": {"type": "json_schema"}}, "lacks json_schema"),
        (asked(None), "lacks json_schema"),
        (asked(OPEN, name="a b"), "64 letters"),
        (asked(OPEN, strict="yes"), "'strict' must be true or false"),
        (asked(OPEN, strict=True), "'additionalProperties': false"),
        (asked({**OPEN, "additionalProperties": False}, strict=True), "it lacks 'a'"),
        (asked({"type": "array", "items": STRICT}, strict=True), "of type object"),
        (asked({**STRICT, "properties": {"a": OPEN}}, strict=True), "'additionalProperties': false"),
        (asked({**STRICT, "$defs": {"x": OPEN}}, strict=True), "'additionalProperties': false"),
    ],
)
def test_what_does_not_fit_is_a_400(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ErrorResponse) as caught:
        read_response_format(body)
    assert (caught.value.status, caught.value.code) == (400, "VALIDATION_ERROR")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('It has to fit this JSON Schema:\n\n{"type": "array"}\n\nThanks', JsonFormat({"type": "array"})),
        ("What is a JSON Schema?", None),
        ('A JSON Schema: {"type": ', None),
        ("{}", None),
    ],
)
def test_a_schema_in_words(text: str, wanted: JsonFormat | None) -> None:
    assert find_schema_in_text(text) == wanted


def _with_image(url: str, text: str = "What is it?") -> bytes:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return json.dumps({"model": "a/b", "messages": [{"role": "user", "content": parts}]}).encode()


@pytest.mark.parametrize("escape", [False, True])
def test_of_a_large_image_the_beginning_is_parsed(escape: bool) -> None:
    url = "data:image/gif;base64," + b64encode(b"GIF89a\x02\x00\x03\x00" + b"\xff" * 3_000_000).decode()
    raw = _with_image(url, 'say "data:," \\" \\\\')
    raw = raw.replace(b"/", b"\\/") if escape else raw
    request = read_chat_request(raw)
    assert request.last_user_message.image_descriptions == ("2x3 GIF",)
    assert request.last_user_message.text == 'say "data:," \\" \\\\'
    assert (len(str(request.body)) < 2_000_000) == (not escape)
    assert request.whole_body == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a": "' + b"x" * 9_000_000, "bytes apart from images"),
        (b'{"a": 1.' + b"1" * 9_000_000 + b"}", "bytes apart from images"),
        (b" " * 9_000_000 + b"{}", "bytes apart from images"),
        (_with_image("data:image/gif;base64," + "\u00e9" * 3_000_000), "bytes apart from images"),
        (b'{"a": [' + b"{}," * 60_000 + b"1]}", "more than 50,000 values"),
        (b'{"a": "\\', "not JSON"),
        (b'"', "not JSON"),
    ],
    ids=range(7),
)
def test_what_would_take_long_to_parse_is_refused_before(raw: bytes, said: str) -> None:
    with pytest.raises(ErrorResponse, match=said):
        read_chat_request(raw)


def test_commas_in_text_are_no_values() -> None:
    assert read_chat_request(_with_image("https://a.example/x.png", "a,[{" * 60_000)).prompt_tokens > 60_000
