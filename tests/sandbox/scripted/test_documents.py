import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from puq_magics.sandbox.chat_request import ChatRequest, read_chat_request
from puq_magics.sandbox.scripted.json_answers import MALFORMED_OPENING
from puq_magics.sandbox.scripted.scripts import SCRIPTS, Content

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
    assert made == {"question": QUESTION[1], "words": 8, "longest": "Lovelace", "scripted": True}


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
    assert json.loads(said("chat", asked))["words"] == 3


def test_an_answer_about_json_is_no_wish_for_it() -> None:
    turns = [("user", "Hello"), ("assistant", "Answer with one JSON document, one says."), ("user", "Why?")]
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(said("chat", request(*turns)))
