from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest

from puq_magics.core.errors import InputError
from puq_magics.prompts.schema.instances import to_instance
from puq_magics.prompts.tools.tool import Tool


class Unit(Enum):
    CELSIUS = "c"
    KELVIN = "k"


@dataclass
class Place:
    city: str
    since: date | None = None


class Filter(TypedDict, total=False):
    unit: Unit


def look(
    place: Place,
    /,
    unit: Unit = Unit.CELSIUS,
    days: list[int] | None = None,
    kind: Literal["a", "b"] = "a",
    *,
    only: Annotated[Filter | None, "A filter."] = None,
) -> Any:
    return place, unit, days, kind, only


def test_a_function_of_many_types() -> None:
    tool = Tool.from_function("look", look)
    properties = tool.schema["properties"]
    assert tool.schema["required"] == ["place"]
    assert properties["unit"] == {"type": "string", "enum": ["c", "k"], "default": "c"}
    assert properties["kind"]["enum"] == ["a", "b"]
    assert properties["only"]["description"] == "A filter."
    arguments = {
        "place": {"city": "Oslo", "since": "2026-01-31"},
        "unit": "k",
        "days": [1],
        "only": {"unit": "c"},
    }
    assert tool.violations(arguments) == ()
    assert tool.call(arguments) == (
        Place("Oslo", date(2026, 1, 31)),
        Unit.KELVIN,
        [1],
        "a",
        {"unit": Unit.CELSIUS},
    )
    assert tool.violations({"place": {}}) == ("place: 'city' is a required property",)


def test_a_pydantic_parameter() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Review", stars=(int, pydantic.Field(ge=1, le=5)))

    def rate(review) -> Any:  # type: ignore[no-untyped-def]
        return review

    rate.__annotations__["review"] = model
    tool = Tool.from_function("rate", rate)
    assert tool.violations({"review": {"stars": 9}})
    assert tool.call({"review": {"stars": 3}}) == model(stars=3)


def test_types_of_docstrings_and_defaults() -> None:
    def f(a, b=2, c="x"):  # type: ignore[no-untyped-def]
        """Do it.

        Parameters
        ----------
        a : {'x', 'y'}
            One of them.
        """
        return a, b, c

    properties = Tool.from_function("f", f).schema["properties"]
    assert properties == {
        "a": {"type": "string", "enum": ["x", "y"], "description": "One of them."},
        "b": {"type": "integer", "default": 2},
        "c": {"type": "string", "default": "x"},
    }


class Doubler:
    """A callable object."""

    def __call__(self, n: int) -> int:
        return n

    def method(self, n: int) -> int:
        """Return it."""
        return n


@pytest.mark.parametrize(
    "function",
    [
        Doubler(),
        Doubler().method,
        functools.partial(Doubler().method),
    ],
)
def test_what_else_can_be_called(function: Any) -> None:
    tool = Tool.from_function("f", function)
    assert (tool.schema["required"], tool.call({"n": 3})) == (["n"], 3)


@pytest.mark.parametrize("name", ["Größe", "a" * 65])
def test_names_that_no_server_takes(name: str) -> None:
    with pytest.raises(InputError, match="is not a name for a tool"):
        Tool.from_function(name, Doubler())


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (float, 1, 1.0),
        (int, 3.0, 3),
        (Optional[Place], None, None),  # noqa: UP045 - as people write it
        (int | Place, {"city": "Oslo"}, Place("Oslo")),
        (tuple[int, Unit], [1, "c"], (1, Unit.CELSIUS)),
        (set[int], [1, 2], {1, 2}),
        (Sequence[Place], [{"city": "Oslo"}], [Place("Oslo")]),
        (dict[str, Unit], {"a": "k"}, {"a": Unit.KELVIN}),
        (dict, {"a": 1}, {"a": 1}),
        (list, [1], [1]),
        (Any, {"a": 1}, {"a": 1}),
    ],
)
def test_instances(kind: Any, data: Any, value: Any) -> None:
    made = to_instance(kind, data)
    assert (made, type(made)) == (value, type(value))
