import datetime
import enum
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NotRequired, Optional, TypedDict

import pydantic
import pytest
from jsonschema import Draft202012Validator

from puq_magics.core.errors import InputError
from puq_magics.prompts.schema.python_types import is_schema_type, schema_of_type


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Place:
    """Where it is."""

    city: str
    zip_code: Annotated[int | None, "five digits"] = None
    hidden: int = field(init=False, default=0)


@dataclass
class Node:
    value: int
    children: list["Node"]


class Bound:
    """As annotated-types' ``Le`` is."""

    le = 5


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Model(pydantic.BaseModel):
    place: Place
    count: int = pydantic.Field(default=3, ge=0)


@dataclass
class Holder:
    model: Model
    place: Place
    movies: list[Movie]


class Tree(pydantic.BaseModel):
    name: str
    sub: Optional["Tree"] = None


class Left(pydantic.BaseModel):
    rights: list["Right"]


class Right(pydantic.BaseModel):
    left: Left | None = None
    tree: Tree | None = None


class Forest(pydantic.BaseModel):
    trees: list[Tree]


@dataclass
class Trees:
    first: Tree
    others: list[Tree]
    forest: Forest | None = None


def another() -> Any:
    """A model that holds itself and another of the name of one above."""

    class Place(pydantic.BaseModel):
        number: int

    class Tree(pydantic.BaseModel):
        place: Place
        subs: list["Tree"]

    Tree.model_rebuild(_types_namespace={"Tree": Tree, "Place": Place})

    @dataclass
    class Both:
        place: GlobalPlace
        tree: GlobalTree
        other: Tree

    Both.__annotations__["other"] = Tree
    return Both


GlobalPlace, GlobalTree = Place, Tree
STR = {"type": "string"}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (list[str], {"type": "array", "items": STR}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (tuple[str, ...], {"type": "array", "items": STR}),
        (
            tuple[str, int],
            {"type": "array", "prefixItems": [STR, {"type": "integer"}], "minItems": 2, "maxItems": 2},
        ),
        (str | None, {"type": ["string", "null"]}),
        (list[str] | int, {"anyOf": [{"type": "array", "items": STR}, {"type": "integer"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, "b", None], {"enum": [1, "b", None]}),
        (list[Color], {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}}),
        (list[datetime.date], {"type": "array", "items": {"type": "string", "format": "date"}}),
        (list[Decimal | bool], {"type": "array", "items": {"type": ["number", "boolean"]}}),
        (list[Any], {"type": "array", "items": {}}),
    ],
)
def test_types(kind: object, schema: dict[str, Any]) -> None:
    assert is_schema_type(kind)
    assert schema_of_type(kind) == schema


def test_a_dataclass() -> None:
    assert schema_of_type(Place) == {
        "type": "object",
        "properties": {"city": STR, "zip_code": {"type": ["integer", "null"], "description": "five digits"}},
        "required": ["city"],
        "additionalProperties": False,
        "description": "Where it is.",
    }


def test_a_typed_dict() -> None:
    schema = schema_of_type(Movie)
    assert (schema["required"], list(schema["properties"])) == (["title"], ["title", "year"])
    assert schema["properties"]["year"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            Node,
            {"value": 1, "children": [{"value": 2, "children": []}]},
            {"value": 1, "children": [{"value": "2"}]},
        ),
        (Model, {"place": {"city": "Bonn"}}, {"place": {}, "count": 1}),
        (
            Holder,
            {"model": {"place": {"city": "Bonn"}}, "place": {"city": "Rome"}, "movies": [{"title": "M"}]},
            {"model": {"place": {"city": 1}}, "place": {"city": "Rome"}, "movies": []},
        ),
        (Tree, {"name": "a", "sub": {"name": "b"}}, {"name": "a", "sub": {"name": 1}}),
        (
            Left,
            {"rights": [{"left": {"rights": []}, "tree": {"name": "a"}}]},
            {"rights": [{"left": {"rights": [1]}}]},
        ),
        (
            Trees,
            {"first": {"name": "a"}, "others": [{"name": "b", "sub": {"name": "c"}}], "forest": None},
            {"first": {"name": "a"}, "others": [{"name": "b", "sub": {"name": 1}}], "forest": None},
        ),
        (
            Trees,
            {"first": {"name": "a"}, "others": [], "forest": {"trees": [{"name": "b"}]}},
            {"first": {"name": "a"}, "others": [], "forest": {"trees": [{"name": 1}]}},
        ),
        (
            another(),
            {
                "place": {"city": "Bonn"},
                "tree": {"name": "a"},
                "other": {"place": {"number": 1}, "subs": [{"place": {"number": 2}, "subs": []}]},
            },
            {
                "place": {"city": "Bonn"},
                "tree": {"name": "a"},
                "other": {"place": {"number": 1}, "subs": [{"place": {"city": "Bonn"}, "subs": []}]},
            },
        ),
    ],
)
def test_classes_that_hold_others(kind: type, good: object, bad: object) -> None:
    schema = json.loads(json.dumps(schema_of_type(kind)))
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert Draft202012Validator(schema).is_valid(good)
    assert not Draft202012Validator(schema).is_valid(bad)


def test_a_list_of_what_holds_itself() -> None:
    schema = schema_of_type(list[Tree])
    assert schema["items"] == {"$ref": "#/$defs/Tree"}
    assert Draft202012Validator(schema).is_valid([{"name": "a", "sub": {"name": "b"}}])
    assert not Draft202012Validator(schema).is_valid([{"name": "a", "sub": {"name": 1}}])


def test_what_nothing_points_at_is_defined_once() -> None:
    assert schema_of_type(Forest)["$defs"].keys() == {"Tree"}
    assert schema_of_type(Trees)["$defs"].keys() == {"Tree", "Forest"}


@dataclass
class Odd:
    z: complex


@dataclass
class Lost:
    x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Keys:
    x: dict[int, str]


@dataclass
class Plain:
    x: Literal[b"a"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Odd, "Odd.z: .* does not support the type complex"),
        (Lost, "Nowhere"),
        (Keys, "Keys.x"),
        (Plain, "Plain.x"),
    ],
)
def test_fields_that_json_has_nothing_for(kind: type, said: str) -> None:
    with pytest.raises(InputError, match=said):
        schema_of_type(kind)


@pytest.mark.parametrize("value", [int, "Place", Place("Bonn"), {"type": "object"}, None])
def test_what_is_no_type_with_fields(value: object) -> None:
    assert not is_schema_type(value)


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (
            Annotated[int, pydantic.Field(ge=1, description="stars")],
            {"type": "integer", "minimum": 1, "description": "stars"},
        ),
        (Annotated[int, Bound(), "stars"], {"type": "integer", "maximum": 5, "description": "stars"}),
        (
            Annotated[float, pydantic.Field(gt=0, lt=1, multiple_of=0.5)],
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.5},
        ),
        (
            Annotated[str, pydantic.Field(min_length=1, max_length=9, pattern="^a")],
            {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a"},
        ),
        (
            Annotated[list[int], pydantic.Field(max_length=2)],
            {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        ),
        (Annotated[dict[str, int], pydantic.Field(min_length=1)], {"minProperties": 1}),
        (Annotated[int, None, object(), int], {"type": "integer"}),
        (Final[int], {"type": "integer"}),
    ],
)
def test_bounds_of_annotations(kind: Any, schema: dict[str, Any]) -> None:
    assert schema_of_type(kind).items() >= schema.items()
