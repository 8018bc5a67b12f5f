from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.prompts.schema.shorthand import parse_shorthand

STR, INT = {"type": "string"}, {"type": "integer"}


def record(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("name, age int", record(name=STR, age=INT)),
        (" name ,\n age: int,\n", record(name=STR, age=INT)),
        ("a\nb int", record(a=STR, b=INT)),
        ("tags [str], rows [[float]]", record(
            tags={"type": "array", "items": STR},
            rows={"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        )),
        ("people [name, age int]", record(people={"type": "array", "items": record(name=STR, age=INT)})),
        ("[name, age int]", {"type": "array", "items": record(name=STR, age=INT)}),
        ("[str]", {"type": "array", "items": STR}),
        ("at {street, no int}", record(at=record(street=STR, no=INT))),
        ("size small|medium | large", record(size={"type": "string", "enum": ["small", "medium", "large"]})),
        ("sizes [s|m]", record(sizes={"type": "array", "items": {"type": "string", "enum": ["s", "m"]}})),
        ("age int?, who?", record(age={"type": ["integer", "null"]}, who={"type": ["string", "null"]})),
        ("x int|null", record(x={"type": ["integer", "null"]})),
        ("x int|str", record(x={"anyOf": [INT, STR]})),
        ("kind a|b?", record(kind={"type": ["string", "null"], "enum": ["a", "b", None]})),
        ("when date?", record(when={"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]})),
        ("when datetime, ok bool, x any", record(
            when={"type": "string", "format": "date-time"}, ok={"type": "boolean"}, x={}
        )),
        ("age int - in years", record(age={"type": "integer", "description": "in years"})),
        ("naïve-name int", record(**{"naïve-name": INT})),
    ],
)  # fmt: skip
def test_short_forms(text: str, schema: dict[str, Any]) -> None:
    assert parse_shorthand(text) == schema


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name, age itn", "'itn' in the schema is not a type. Did you mean 'int'?"),
        ("tags [strr]", "'strr' in the schema is not a type. Did you mean 'str'?"),
        ("x foo", "The types are str"),
        ("name str age", "'age' is unexpected after the field 'name'"),
        ("a, b, a", "two fields named 'a'"),
        ("a [b, c", "no closing ]"),
        ("a {b", "no closing }"),
        ("a [str", "no closing ]"),
        ("a ]", "']'"),
        ("a [b, c}", "'}'"),
        ("a b|", "its end is not a choice"),
        ("[a, b] c", "'c' is unexpected"),
        ("? int", "'?' is not a field name"),
        ("", "no fields"),
        (", ,", "no fields"),
        ("a []", "no fields"),
        ("a " + "[" * 100, "deep"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_shorthand(text)
    assert named in str(caught.value)
    assert "Write fields between commas" in caught.value.hint
