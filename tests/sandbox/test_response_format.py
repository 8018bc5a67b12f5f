from typing import Any

import pytest

from puq_magics.sandbox.chat_request import JsonFormat, find_schema_in_text, read_response_format
from puq_magics.sandbox.validation import ErrorResponse

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
