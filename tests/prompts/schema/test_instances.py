from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict
from uuid import UUID

import pydantic
import pytest

from puq_magics.core.errors import InputError, SchemaMismatchError
from puq_magics.prompts.schema.schema import Schema


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Author:
    name: str
    born: datetime.date | None = None


@dataclass
class Book:
    """A dataclass of all kinds of fields."""

    title: str
    author: Author
    price: Decimal
    mood: Mood
    tags: set[str] = field(default_factory=set)
    sizes: tuple[int, float] = (0, 0.0)
    others: list[Book] = field(default_factory=list)
    by_name: dict[str, Author] = field(default_factory=dict)
    what: Author | str = ""
    file: Path | None = None


class Row(TypedDict):
    mood: Mood
    author: NotRequired[Author]


class Review(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    score: Annotated[int, pydantic.Field(ge=1, le=5)]
    when: datetime.date = datetime.date(2026, 1, 1)
    text: str = pydantic.Field("", alias="Text")


class Reviews(pydantic.RootModel[list[Review]]):
    pass


@dataclass
class Checked:
    age: int

    def __post_init__(self) -> None:
        if self.age > 150:
            raise ValueError("nobody is that old")
        if self.age == 99:
            raise TypeError("a fault of the class")


Years = NewType("Years", int)
ANN = Author("Ann", datetime.date(1990, 1, 2))
ANN_DATA = {"name": "Ann", "born": "1990-01-02"}
BOOK = Book("A", ANN, Decimal("1.1"), Mood.BAD)
FEBRUARY = datetime.date(2026, 2, 3)
BOOK_DATA = {"title": "A", "author": ANN_DATA, "price": 1.1, "mood": "bad"}


@pytest.mark.parametrize(
    ("kind", "data", "instance"),
    [
        (Author, ANN_DATA, ANN),
        (Author, {"name": "Bob", "born": None}, Author("Bob")),
        (Book, BOOK_DATA, BOOK),
        (
            Book,
            {
                **BOOK_DATA,
                "tags": ["x"],
                "sizes": [1, 2],
                "others": [BOOK_DATA],
                "by_name": {"a": ANN_DATA},
                "what": {"name": "Ann"},
                "file": "a.txt",
            },
            Book("A", ANN, Decimal("1.1"), Mood.BAD, {"x"}, (1, 2.0), [BOOK],
                 {"a": ANN}, Author("Ann"), Path("a.txt")),
        ),
        (Row, {"mood": "good", "author": ANN_DATA}, {"mood": Mood.GOOD, "author": ANN}),
        (Review, {"score": 5, "when": "2026-02-03", "Text": "x"}, Review(score=5, when=FEBRUARY, Text="x")),
        (list[Review], [{"score": 1}], [Review(score=1)]),
        (Reviews, [{"score": 1}], Reviews([Review(score=1)])),
        (list[Author], [], []),
        (dict[str, Author], {"a": ANN_DATA}, {"a": ANN}),
        (Optional[Author], None, None),  # noqa: UP045 - the older spelling
        (Author | Review, {"score": 2}, Review(score=2)),
        (Sequence[Mood], ["bad"], [Mood.BAD]),
        (frozenset[int], [1, 2], frozenset({1, 2})),
        (tuple[datetime.time, ...], ["10:00:00Z"], (datetime.time(10, tzinfo=datetime.UTC),)),
        (list[Literal[Mood.BAD, "x"]], ["bad", "x"], [Mood.BAD, "x"]),
        (list[UUID], [str(UUID(int=7))], [UUID(int=7)]),
        (list[Years], [3.0], [3]),
        (list[datetime.datetime], ["2026-02-03T00:00:00Z"], [datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC)]),
        (list[Any], [{"a": 1}], [{"a": 1}]),
    ],
)  # fmt: skip
def test_instances_and_the_json_beside_them(kind: Any, data: Any, instance: Any) -> None:
    answer = Schema.from_spec("Kind", {"Kind": kind}).read_answer(json.dumps(data))
    assert answer.parsed == instance
    assert type(answer.parsed) is type(instance)
    assert answer.data == data
    assert (answer.problem, answer.repairs) == (None, ())


@pytest.mark.parametrize(
    ("spec", "data", "instance"),
    [
        ("[Author]", [ANN_DATA], [ANN]),
        ("list[Author]", [ANN_DATA], [ANN]),
        ("authors [Author]", {"authors": [ANN_DATA]}, {"authors": [ANN]}),
        ("authors list[Author], n int 1..3", {"authors": [], "n": 2}, {"authors": [], "n": 2}),
        ("who Author?, mood Mood", {"who": None, "mood": "bad"}, {"who": None, "mood": Mood.BAD}),
        ("who Author|null", {"who": ANN_DATA}, {"who": ANN}),
        ("who Author|Review", {"who": {"score": 3}}, {"who": Review(score=3)}),
        ("[who Author, moods [Mood]]", [{"who": ANN_DATA, "moods": ["bad"]}], [{"who": ANN, "moods": [Mood.BAD]}]),
        ("at {who Author, n int}", {"at": {"who": ANN_DATA, "n": 1}}, {"at": {"who": ANN, "n": 1}}),
        ("a Book, b Author", {"a": BOOK_DATA, "b": ANN_DATA}, {"a": BOOK, "b": ANN}),
        ("name, mood good|bad", {"name": "x", "mood": "bad"}, {"name": "x", "mood": "bad"}),
    ],
)  # fmt: skip
def test_classes_in_the_short_form(spec: str, data: Any, instance: Any) -> None:
    answer = Schema.from_spec(spec, globals()).read_answer(json.dumps(data))
    assert (answer.parsed, answer.data) == (instance, data)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (Checked, {"age": 200}, "nobody is that old"),
        (list[Author], [{"name": "a", "born": "soon"}], "[0].born: 'soon' is not a 'date'"),
        (Review, {"score": 9}, "9 is greater than the maximum of 5"),
    ],
)
def test_what_a_class_refuses_is_asked_again(kind: Any, data: Any, said: str) -> None:
    with pytest.raises(SchemaMismatchError) as caught:
        Schema.from_spec(kind).read_answer(json.dumps(data))
    assert said in caught.value.message
    assert said in caught.value.repair_prompt


def test_pydantic_names_the_field_that_its_check_refuses() -> None:
    class Even(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def _is_even(cls, value: int) -> int:
            assert value % 2 == 0, "must be even"
            return value

    with pytest.raises(SchemaMismatchError, match=r"number: .*must be even"):
        Schema.from_spec(list[Even]).read_answer('[{"number": 1}]')


def test_a_fault_of_the_class_keeps_the_data() -> None:
    answer = Schema.from_spec(Checked).read_answer('{"age": 99}')
    assert (answer.data, answer.parsed) == ({"age": 99}, None)
    assert answer.problem is not None
    assert "TypeError: a fault of the class" in answer.problem.message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("dict[str, Author]", "Kind = dict[str, Author]"),
        ("Optional[Author]", "Kind = Optional[Author]"),
        ("Author | None", "Kind = Author | None"),
        ("list[Author]|Review", "Kind = list[Author]|Review"),
        ("[Auhtor]", "'Auhtor' in the schema is not a type. Did you mean 'Author'?"),
        ("who Author|Reveiw", "'Reveiw' in the schema is not a type. Did you mean 'Review'?"),
        ("Author, n int", "Author in the schema is a class, not a field."),
        ("Author?", "Author in the schema is a class, not a field."),
        ("[Author, Review]", 'Write "author Author"'),
        ("{{Author}}", "not a field name"),
        (str(Author), "Write the class's name without braces."),
    ],
)
def test_what_is_no_class_and_no_field(spec: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Schema.from_spec(spec, globals())
    assert said in str(caught.value)
