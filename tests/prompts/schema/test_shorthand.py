from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.prompts.schema.shorthand import parse_short_form

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
        ("score int 1..5", record(score={"type": "integer", "minimum": 1, "maximum": 5})),
        ("n 1..5, x 0..1.5", record(
            n={"type": "integer", "minimum": 1, "maximum": 5}, x={"type": "number", "minimum": 0.0, "maximum": 1.5}
        )),
        ("x float -1..1, y int 0.., z ..-2", record(
            x={"type": "number", "minimum": -1, "maximum": 1},
            y={"type": "integer", "minimum": 0},
            z={"type": "integer", "maximum": -2},
        )),
        ("score int 1..5? - stars", record(score={
            "anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "null"}], "description": "stars"
        })),
        ("marks [int 1..6], n [1..2]", record(
            marks={"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 6}},
            n={"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 2}},
        )),
        ("[score 1..5]", {"type": "array", "items": record(score={"type": "integer", "minimum": 1, "maximum": 5})}),
        ("list[str]", {"type": "array", "items": STR}),
        ("list [str]", record(list={"type": "array", "items": STR})),
        ("mood good|bad|mixed, note str?", record(
            mood={"type": "string", "enum": ["good", "bad", "mixed"]}, note={"type": ["string", "null"]}
        )),
        ("naïve-name int", record(**{"naïve-name": INT})),
    ],
)  # fmt: skip
def test_short_forms(text: str, schema: dict[str, Any]) -> None:
    assert parse_short_form(text, {})[0] == schema


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
        ("score int 5..1", "the range 5..1 is empty"),
        ("score int 0.5..1", "no whole numbers"),
        ("name str 1..5", "no range of str"),
        ("score ..", "no range"),
        ("score int ..", "no range of int"),
        ("score int 1...5", "unexpected"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_short_form(text, {})
    assert named in str(caught.value)
    assert caught.value.hint.endswith(('tags [str]".', 'age int 0..".', "limit first."))
