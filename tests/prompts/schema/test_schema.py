import builtins
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest
from jsonschema import Draft202012Validator

from puq_magics.core.errors import ConfigurationError, InputError, SchemaMismatchError
from puq_magics.prompts.schema.schema import GUESSED, Schema

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SHORT = Schema.from_spec("name, age int, tags [str]")


@dataclass
class Person:
    name: str
    nick: str | None = None


class Model(pydantic.BaseModel):
    name: str
    nick: str | None = None


def test_each_spelling(tmp_path: Path) -> None:
    path = tmp_path / "per son.json"
    path.write_text(json.dumps(PERSON), encoding="utf-8-sig")
    variables = {
        "d": PERSON,
        "P": Person,
        "M": Model,
        "words": "name, age int",
        "path": path,
        "l": list[Person],
    }
    made = {name: Schema.from_spec(name, variables) for name in variables}
    assert {name: schema.name for name, schema in made.items()} == {
        "d": "d", "P": "Person", "M": "Model", "words": "words", "path": "per_son", "l": "l"
    }  # fmt: skip
    assert made["d"].json == made["path"].json == Schema.from_spec(str(path)).json == PERSON
    assert Schema.from_spec(path).source == "the file per son.json"
    assert made["P"].source == "the variable P"
    assert Schema.from_spec(json.dumps(PERSON)).json == PERSON
    assert Schema.from_spec(Person).json == made["P"].json
    assert list(made["words"].json["properties"]) == ["name", "age"]


def test_a_file_wins_over_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("thing").write_text('{"type": "array"}', encoding="utf-8")
    schema = Schema.from_spec("thing", {"thing": PERSON})
    assert (schema.json, schema.source) == ({"type": "array"}, "the file thing")


def test_a_name_with_a_comma_is_a_field_unless_it_is_a_variable() -> None:
    assert list(Schema.from_spec("name,").json["properties"]) == ["name"]
    assert Schema.from_spec("Person,", {"Person": Person}).source == "the variable Person"
    assert list(Schema.from_spec("name, age int,").json["properties"]) == ["name", "age"]


def test_what_changes_later_changes_nothing() -> None:
    mine = json.loads(json.dumps(PERSON))
    schema = Schema.from_spec(mine)
    mine["required"].append("age")
    schema.response_format["json_schema"]["schema"]["required"].append("age")
    assert schema.json == PERSON


@pytest.mark.parametrize(
    ("spec", "variables", "said"),
    [
        ("", {}, "empty"),
        ("Persn", {"Person": Person}, "Did you mean 'Person'?"),
        ("persn", {}, 'write "persn str"'),
        ("Nope", {"open": open, "Node": Person}, "Did you mean 'Node'?"),
        ("gone.json", {}, "no schema file 'gone.json'"),
        ("./gone", {}, "no schema file"),
        ("name, age itn", {}, "Did you mean 'int'?"),
        ('{"type": ', {}, "not JSON"),
        ("n", {"n": 5}, "the variable n is not a schema"),
        ("n", {"n": int}, "it is int"),
        ("n", {"n": Person("Ada")}, "Give its class: Person."),
        ("n", {"n": Model(name="Ada")}, "Give its class: Model."),
        ("n", {"n": "n"}, "no variable and no file named 'n'"),
        ("pydantic.BaseModel", {}, "no variable and no file named 'pydantic.BaseModel'"),
        ("module.Preson", {"module.Person": 1}, "Did you mean 'module.Person'?"),
        ("typing.List", {}, "Assign the class to a variable first"),
        ("typing.Dict[str, int]", {}, "no variable and no file named 'typing.Dict[str, int]'"),
        ("full-name", {}, 'write "full-name str"'),
        ("a" * 300 + ".b", {}, "a…'"),
        ("n", {"n": {"type": "strin"}}, "type: 'strin' is not valid"),
        ("n", {"n": {"typ": "object"}}, "'typ' restricts nothing"),
        ("n", {"n": {}}, "an empty one restricts nothing"),
        ("n", {"n": {"type": object}}, "not JSON serializable"),
        ("n", {"n": {"properties": {"a": {"$ref": "#/$defs/b"}}}}, "$ref to '#/$defs/b'"),
        ("n", {"n": {"$ref": "http://127.0.0.1:9/x"}}, "nothing is fetched"),
        ("x" * 5000 + "/", {}, "is not a field name"),
    ],
)
def test_what_is_no_schema(spec: str, variables: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Schema.from_spec(spec, variables)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "held", [b"\xff\xfe\xfa", b"{", b"[]", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_a_file_that_holds_none(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(held)
    with pytest.raises(InputError) as caught:
        Schema.from_spec(path)
    assert "bad.json" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "strict"),
    [
        ("name, age int, at {city}, all [a, b int|str?]", True),
        (PERSON, True),
        (Person, True),
        (Model, True),
        ("[name str]", False),
        ("[str]", False),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, False),  # asking for it would invent it
        ({"type": "object", "additionalProperties": {"type": "integer"}}, False),
        ({"type": "object"}, False),
        ({**PERSON, "allOf": [{"properties": {"age": {}}}]}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
    ],
)
def test_strict_is_only_what_can_be(spec: object, strict: bool) -> None:
    sent = Schema.from_spec(spec).response_format
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", strict)
    schema = sent["json_schema"]["schema"]
    Draft202012Validator.check_schema(schema)
    if strict:
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
    else:
        assert schema == Schema.from_spec(spec).json


@pytest.mark.parametrize("kind", [Person, Model])
def test_what_fits_as_sent_fits_as_given(kind: type) -> None:
    schema = Schema.from_spec(kind)
    assert schema.read_answer('{"name": "Ada", "nick": null}').data == {"name": "Ada", "nick": None}
    assert schema.read_answer('{"name": "Ada"}').data == {"name": "Ada"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"name": "a", "age": "x", "tags": []}', "age: 'x' is not of type 'integer'."),
        ('{"name": "a", "age": 1, "tags": ["x", 2]}', "tags[1]: 2 is not of type 'string'."),
        ('{"name": "a", "age": 1}', "'tags' is a required property."),
        ("{}", "(and 2 more)"),
        ('{"name": 1, "age": 1, "tags": [' + "1," * 5000 + "1]}", "(and 1"),
        ('{"name": {"a": "' + "x" * 10_000 + '"}, "age": 1, "tags": []}', "…"),
        ("Sorry.", "the answer is not JSON."),
        ("", "the answer is not JSON: it is empty."),
        ('{"name": "a", "age": "', "the answer is not JSON: "),
        ('{"name": "a", "age": "1", "tags": [],}', "age: '1' is not of type 'integer'."),
        ("I cannot say {sorry}, [nor] that.", "the answer is not JSON."),
    ],
)
def test_an_answer_that_does_not_fit(answer: str, said: str) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        SHORT.read_answer(answer)
    error = caught.value
    assert said in error.message
    assert len(str(error)) < 400
    assert error.partial == answer
    assert error.violations[0] in error.repair_prompt or "not JSON" in error.repair_prompt
    assert json.dumps(SHORT.json) in error.repair_prompt
    assert len(error.repair_prompt) < 3000
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(copy), copy.repair_prompt, copy.partial) == (str(error), error.repair_prompt, error.partial)


def test_an_answer_that_fits_in_words_and_fences() -> None:
    data = {"name": "Ada", "age": 36, "tags": []}
    assert SHORT.read_answer(f"Sure:\n\n```json\n{json.dumps(data, indent=1)}\n```\nRight?").data == data
    assert SHORT.read_answer(f"It is {json.dumps(data)}.").data == data


def test_formats_are_checked() -> None:
    with pytest.raises(SchemaMismatchError, match="'2020-13-45' is not a 'date'"):
        Schema.from_spec("when date").read_answer('{"when": "2020-13-45"}')


def test_of_several_choices_the_nearest_is_told() -> None:
    schema = Schema.from_spec(
        {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"type": "integer"}}}]}
    )
    with pytest.raises(SchemaMismatchError, match="a: 'x' is not of type 'integer'"):
        schema.read_answer('{"a": "x"}')


def test_a_schema_that_goes_round_in_circles() -> None:
    with pytest.raises(InputError, match=r"circular \$ref"):
        Schema.from_spec(
            {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}
        ).read_answer("{}")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        },
    ],
)
def test_references_that_lead_only_to_themselves_are_refused_at_once(schema: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"circular \$ref at '#"):
        Schema.from_spec(schema)


def test_a_schema_may_hold_itself() -> None:
    tree = {"type": "object", "properties": {"sub": {"$ref": "#"}}, "additionalProperties": False}
    assert Schema.from_spec(tree).read_answer('{"sub": {"sub": {}}}').data == {"sub": {"sub": {}}}
    with pytest.raises(SchemaMismatchError):
        Schema.from_spec(tree).read_answer('{"sub": {"sub": 1}}')


def test_the_instructions_hold_the_schema() -> None:
    words = SHORT.instructions
    assert json.loads(words[words.index("{") :]) == SHORT.json


def test_without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("jsonschema"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"puq_magics\[schema\]"):
        Schema.from_spec("name, age int")


@pytest.mark.parametrize(
    ("text", "repairs", "needs_library"),
    [
        ("{'name': 'a', 'age': 1, 'tags': [],}", ("single quotes", "trailing comma"), False),
        ('{"name": "a" "age": 1, "tags": []}', (GUESSED,), True),
        ('```json\n{"name": "a", "age": 1, "tags": []\n```', (GUESSED,), True),
    ],
)
@pytest.mark.parametrize("has_library", [True, False])
def test_what_is_nearly_json_is_repaired(
    monkeypatch: pytest.MonkeyPatch, text: str, repairs: Sequence[str], needs_library: bool, has_library: bool
) -> None:
    if not has_library:
        monkeypatch.setitem(sys.modules, "json_repair", None)
    schema = Schema.from_spec("name, age int, tags [str]")
    if needs_library and not has_library:
        with pytest.raises(SchemaMismatchError, match="not JSON"):
            schema.read_answer(text)
        return
    answer = schema.read_answer(text)
    assert (answer.data, answer.repairs) == ({"name": "a", "age": 1, "tags": []}, repairs)
    if needs_library:
        with pytest.raises(SchemaMismatchError, match="not JSON"):
            schema.read_answer(text, is_complete=False)
