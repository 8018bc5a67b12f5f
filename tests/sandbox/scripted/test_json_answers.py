import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.json_answers import MALFORMED_OPENING, example_for_schema
from puq_magics.sandbox.scripted.scripts import SCRIPTS, Content

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


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
QUESTION = ("user", "Who is it? Ada Lovelace, 36 years old.")
WORDS = (
    f"Answer with one JSON document and nothing else. It has to fit this JSON Schema:\n\n{json.dumps(PERSON)}"
)
ADA = {"name": "Ada Lovelace", "age": 36}


def request(*turns: tuple[str, str], schema: Any = None, **fields: Any) -> ChatRequest:
    body: dict[str, Any] = {
        "model": "sandbox/any",
        "messages": [{"role": role, "content": text} for role, text in turns],
    }
    if schema is not None:
        asked = {"name": "answer", "schema": schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": asked}
    return read_chat_request(json.dumps(body | fields).encode())


def said(name: str, asked: ChatRequest) -> str:
    return "".join(move.text for move in SCRIPTS[f"sandbox/{name}"](asked) if isinstance(move, Content))


@pytest.mark.parametrize("name", ["chat", "short", "think"])
def test_a_document_that_fits_and_nothing_else(name: str) -> None:
    assert json.loads(said(name, request(QUESTION, schema=PERSON))) == ADA


@pytest.mark.parametrize(
    "turns", [[("system", WORDS), QUESTION], [("user", f"{QUESTION[1]}\n\n{WORDS}")]]
)  # fmt: skip
def test_a_schema_in_words_will_do(turns: list[tuple[str, str]]) -> None:
    assert json.loads(said("chat", request(*turns))) == ADA


def test_any_json() -> None:
    made = json.loads(said("chat", request(QUESTION, response_format={"type": "json_object"})))
    assert made.pop("answer").startswith("A script knows none")
    assert made == {"question": QUESTION[1], "scripted": True}


@pytest.mark.parametrize(
    "schema",
    [
        PERSON,
        {"type": "object", "properties": {"tags": {"type": "array"}}, "required": ["tags"]},
        {"type": "object", "properties": {"a": {"type": "string"}}},
    ],
)
def test_clumsy_is_wrong_first_and_right_when_it_comes_back(schema: dict[str, Any]) -> None:
    first = said("clumsy", request(QUESTION, schema=schema))
    wrong = json.loads(
        first.removeprefix(MALFORMED_OPENING).strip().removeprefix("```json").removesuffix("```")
    )
    assert not Draft202012Validator(schema).is_valid(wrong)
    again = ("user", "Your last answer does not fit the JSON Schema:\n\n- age: no. Answer again.")
    second = json.loads(said("clumsy", request(QUESTION, ("assistant", first), again, schema=schema)))
    assert Draft202012Validator(schema).is_valid(second)
    if schema is PERSON:
        assert wrong == {"age": "about 36"}
        assert second == ADA


@pytest.mark.parametrize(
    "fields", [{"response_format": {"type": "json_object"}}, {"schema": {"type": "array"}}]
)
def test_clumsy_without_fields_is_no_json(fields: dict[str, Any]) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(said("clumsy", request(QUESTION, **fields)).partition("```json")[2].removesuffix("```\n"))


def test_clumsy_is_wrong_again_when_asked_anew() -> None:
    first = said("clumsy", request(QUESTION, schema=PERSON))
    turns = [QUESTION, ("assistant", first), ("user", "Again"), ("assistant", json.dumps(ADA)), QUESTION]
    assert said("clumsy", request(*turns, schema=PERSON)) == first


def test_clumsy_speaks_like_anybody() -> None:
    assert said("clumsy", request(QUESTION)) == said("short", request(QUESTION))


def test_echo_and_tour_answer_as_ever() -> None:
    asked = request(QUESTION, schema=PERSON)
    assert '"response_format"' in said("echo", asked)
    assert said("tour", asked) == said("tour", request(QUESTION))


def test_any_json_is_asked_for_in_words() -> None:
    asked = request(
        ("system", "Answer with one JSON document and nothing else."), ("user", "Count these words")
    )
    assert json.loads(said("chat", asked))["question"] == "Count these words"


def test_an_answer_about_json_is_no_wish_for_it() -> None:
    turns = [("user", "Hello"), ("assistant", "Answer with one JSON document, one says."), ("user", "Why?")]
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(said("chat", request(*turns)))
