from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from puq_magics.sandbox.scripted.json_answers import example_for_schema

PROMPT = (
    "The people: Ada Lovelace is 36 and likes poetry, Grace Hopper is 85 and happy. Their zip code 53111."
)
TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "left": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
            "required": ["value", "left", "children"],
        }
    },
}


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def fits(schema: Any, value: object) -> bool:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 30, "maxLength": 31},
        {"type": "string", "maxLength": 2},
        *({"type": "string", "format": name} for name in ("date", "date-time", "time", "email", "uri", "uuid")),
        *({"type": "string", "format": name} for name in ("ipv4", "ipv6", "hostname", "duration")),
        {"type": "integer", "minimum": 3, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 10, "exclusiveMaximum": 12},
        {"type": "integer", "minimum": -5, "maximum": -1, "multipleOf": 2},
        {"type": "integer", "maximum": -1000},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25},
        {"minimum": 1000},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "integer"]},
        {"const": {"a": [1]}},
        {"enum": [None, 3, "x"]},
        {"type": "string", "enum": ["sad", "happy"]},
        {"anyOf": [{"type": "null"}, record(a={"type": "number"})]},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"type": "array", "items": {"type": "integer"}, "minItems": 7, "maxItems": 9},
        {"type": "array", "items": {"type": "string"}, "maxItems": 1},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "maxItems": 0},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 40},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
        {"type": "object", "required": ["a", "b"]},
        {"allOf": [record(a={"type": "integer"}) | {"additionalProperties": True}, {"required": ["b"]}]},
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        record(name={"type": "string"}, when={"type": "string", "format": "date"}, deep=record(x={"type": "array"})),
        TREE,
        True,
        {},
    ],
)  # fmt: skip
@pytest.mark.parametrize("prompt", [PROMPT, "", "日本 7 \ud800"])
def test_what_is_made_fits(schema: Any, prompt: str) -> None:
    value = example_for_schema(schema, prompt)
    assert fits(schema, value)
    assert example_for_schema(schema, prompt) == value


@given(st.integers(-1000, 1000), st.integers(0, 50), st.integers(1, 5), st.text(max_size=20))
def test_whole_numbers_within_bounds(low: int, width: int, step: int, prompt: str) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + width + step, "multipleOf": step}
    assert fits(schema, example_for_schema(schema, prompt))


def test_names_numbers_and_choices_are_the_prompts() -> None:
    person = record(
        name={"type": "string"}, age={"type": "integer", "maximum": 120}, mood={"enum": ["sad", "happy"]}
    )
    made = example_for_schema(record(people={"type": "array", "items": person}), PROMPT)
    assert made == {
        "people": [
            {"name": "Ada Lovelace", "age": 36, "mood": "happy"},
            {"name": "Grace Hopper", "age": 85, "mood": "happy"},
        ]
    }


def test_a_number_beside_its_fields_name() -> None:
    made = example_for_schema(record(age={"type": "integer"}, zip_code={"type": "integer"}), PROMPT)
    assert made["zip_code"] == 53111


def test_another_prompt_is_answered_otherwise() -> None:
    schema = record(when={"type": "string", "format": "date-time"})
    assert example_for_schema(schema, "one") != example_for_schema(schema, "two")


def test_a_schema_without_an_end_ends() -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert "a" in example_for_schema(endless, PROMPT)
    assert isinstance(example_for_schema({"$ref": "#"}, PROMPT), str)
