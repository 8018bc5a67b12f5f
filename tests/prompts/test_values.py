import json
import math
import tracemalloc
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from functools import lru_cache, partial
from itertools import count
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.display import Image, Markdown

from puq_magics.core.errors import InputError
from puq_magics.prompts.template import FilledText, fill_template


def filled(value: Any, filters: str = "", **options: Any) -> FilledText:
    return fill_template(f"{{{{value{filters}}}}}", {"value": value}, **options)


def text(value: Any, filters: str = "", **options: Any) -> str:
    found = filled(value, filters, **options)
    assert found.notes == ()
    return found.text


class Color(str, Enum):  # noqa: UP042
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: int


class Result:
    text = "not this"

    def _puq_text_(self) -> str:
        return "the answer"


class Shown:
    def _repr_markdown_(self) -> tuple[str, dict[str, str]]:
        return "**shown**", {}


class Picture:
    def _repr_png_(self) -> bytes:
        return b""


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("as | it\n{is}", "as | it\n{is}"),
        ("", ""),
        (Color.RED, "red"),
        (Level.HIGH, "3"),
        (3, "3"),
        (0.1 + 0.2, "0.30000000000000004"),
        (True, "True"),
        (None, "None"),
        (2j, "2j"),
        (Decimal("1.50"), "1.50"),
        (date(2024, 2, 29), "2024-02-29"),
        (PurePosixPath("a/b"), "a/b"),
        (Point(1), "Point(x=1)"),
        (Pair(1, 2), "Pair(left=1, right=2)"),
        (Result(), "the answer"),
        (Shown(), "**shown**"),
        (Markdown("*m*"), "*m*"),
        (ValueError("no"), "no"),
        ([1, 2.5, "é\n", None, True], '[1, 2.5, "é\\n", null, true]'),
        (
            {"a": [{"b": 1}], 2: None, None: 1.5, True: ()},
            '{"a": [{"b": 1}], "2": null, "null": 1.5, "true": []}',
        ),
        ((1,), "[1]"),
        ([], "[]"),
        ({}, "{}"),
        (Counter("aab"), '{"a": 2, "b": 1}'),
        ([Color.RED, Level.HIGH], '["red", 3]'),
        ([np.int64(3), np.float32(0.5), np.str_("s"), np.bool_(True)], '[3, 0.5, "s", true]'),
        ({np.int64(3): 1}, '{"3": 1}'),
        ([date(2024, 2, 29), "it's"], '["2024-02-29", "it\'s"]'),
        ([(1,), (1, 2), (), {3}, b"b"], "[(1,), (1, 2), (), {3}, b'b']"),
        ({(1, 2): {"a"}}, "{(1, 2): {'a'}}"),
        ({3, 1, 2}, "{1, 2, 3}"),
        ({"b", 1}, "{'b', 1}"),
        (frozenset(), "frozenset()"),
        (deque([1, 2]), "deque([1, 2])"),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.items(), '[["a", 1]]'),
        (map(str, [1, 2]), '["1", "2"]'),
        (range(3), "range(0, 3)"),
        (int, "<class 'int'>"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2],\n [3, 4]]"),
        (np.float64(1.5), "1.5"),
        (np.array(7), "7"),
    ],
)
def test_values(value: Any, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (b"x", "{{value}}: bytes cannot be inserted.", "-a"),
        (bytearray(b"x"), "bytes", "-a"),
        (memoryview(b"x"), "bytes", "-a"),
        (Image(data=b"\x89PNG\r\n\x1a\n"), "{{value}}: an image cannot be inserted as text.", "| image"),
        (Picture(), "an image", "-a"),
        (len, "{{value}}: 'len' is a function", "Call it in a cell, and insert the result"),
        ("x".join, "'join' is a function", '["join"]'),
        (lambda: 1, "is a function", "Call it in a cell"),
        (partial(len), "is a function", "Call it in a cell"),
        (lru_cache(len), "'len' is a function", "Call it in a cell"),
        (np.sin, "'sin' is a function", "Call it in a cell"),
        (math.sqrt, "'sqrt' is a function", "Call it in a cell"),
        (date.today, "'today' is a function", "Call it in a cell"),
        (object(), "{{value}}: a value of type object has no text of its own.", "__str__"),
        pytest.param(10**5000, "{{value}} raised ValueError", "cell of its own", id="a large number"),
    ],
)
def test_values_without_text_are_refused(value: Any, message: str, hint: str) -> None:
    for filters in ("", " | md"):
        with pytest.raises(InputError) as caught:
            filled(value, filters)
        assert message.replace("value}}", f"value{filters}}}}}") in caught.value.message
        assert hint in caught.value.hint


def test_a_coroutine_is_refused_and_closed() -> None:
    async def answer() -> str:
        return "later"

    with pytest.raises(InputError, match="a coroutine cannot be inserted"):
        fill_template("{{coming}}", {"coming": answer()})


def test_what_holds_itself_ends() -> None:
    items: list[Any] = [1]
    items.append({"items": items})
    assert text(items) == "[1, {'items': …}]"
    assert text([items[:1], items[:1]]) == "[[1], [1]]"
    twice = [1]
    assert text([twice, twice]) == "[[1], [1]]"
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert text(nested) == "[" * 60 + "…" + "]" * 60
    for endless in (items, nested):
        with pytest.raises(InputError, match="cannot be written as JSON: it holds itself"):
            filled(endless, " | json")


@pytest.mark.parametrize(
    ("value", "filters", "note"),
    [
        ("a" * 30, "", "cut at 10 of 30 characters"),
        ([7] * 30, "", "cut at 10 characters; 30 items in all"),
        (["a" * 30], "", "cut at 10 characters; 1 item in all"),
        ([{1}] * 30, "", "cut at 10 characters; 30 items in all"),
        ({n: n for n in range(30)}, " | json", "cut at 10 characters; 30 items in all"),
        (["item"] * 30, " | md", "cut at 10 characters; 30 items in all"),
        (Decimal("1." + "2" * 30), "", "cut at 10 of 32 characters"),
        (Result(), " ~ '" + "a" * 20 + "' | upper", None),
    ],
)
def test_long_values_are_cut(value: Any, filters: str, note: str | None) -> None:
    found = filled(value, filters, limit=10)
    assert found.notes
    said = note or found.notes[0].partition(": ")[2]
    assert found.notes[0].endswith(f": {said}")
    shown, _, said_in_text = found.text.partition("… (")
    assert len(shown) == 10
    assert said_in_text == f"{said})"


def test_exactly_the_limit_is_not_cut() -> None:
    assert text("a" * 10, limit=10) == "a" * 10
    assert text([12345678], limit=10) == "[12345678]"


class Watched(list[int]):
    seen = 0

    def __iter__(self) -> Iterator[int]:
        for item in super().__iter__():
            self.seen += 1
            yield item


def test_only_what_is_shown_is_visited() -> None:
    for filters in ("", " | json", " | md"):
        many = Watched(range(100_000))
        assert filled(many, filters, limit=100).notes
        assert many.seen < 60
    lazy = map(int, count())
    assert filled(lazy, limit=100).text.startswith("[0, 1, 2, ")
    assert next(lazy) == 101
    assert filled(map(int, count()), " | md", limit=100).text.startswith("- 0\n- 1\n")
    assert filled(map(int, count()), " | json", limit=100).text.startswith("[0, 1, 2, ")


@pytest.mark.parametrize(
    "make",
    [
        lambda: "é" * 5_000_000,
        lambda: ["é" * 5_000_000],
        lambda: {"k": {"é" * 5_000_000: {1}}},
        lambda: list(range(500_000)),
        lambda: dict.fromkeys(range(300_000)),
        lambda: np.zeros((1_000, 1_000)),
        # As objects: an array of Arrow, which pandas makes of strings where pyarrow is installed, holds them all.
        lambda: pd.DataFrame(
            {"n": range(300_000), "long": pd.Series(["é" * 200_000] * 300_000, dtype=object)}
        ),
        lambda: pd.Series(["é" * 5_000_000] * 30, dtype=object),
    ],
)
@pytest.mark.parametrize("filters", ["", " | json", " | md", " | schema", " | head(3)"])
def test_cutting_costs_what_is_shown(make: Callable[[], Any], filters: str) -> None:
    value = make()
    fill_template("{{a | md}}", {"a": 1})  # imports
    tracemalloc.start()
    try:
        found = filled(value, filters)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.text) < 30_000
    assert most < 2_000_000


def test_full_shows_all() -> None:
    assert text("a" * 30_000, " | full") == "a" * 30_000
    assert len(text(list(range(30_000)), " | full | json")) > 30_000
    assert text(pd.DataFrame({"n": range(300)}), " | full").count("\n") == 301
    assert text(pd.DataFrame({"n": ["a" * 5_000]}), " | full").count("a") == 5_000
    assert "..." not in text(np.arange(5_000), " | full")
    assert text((n for n in range(30_000)), " | full").endswith("29999]")
    with pytest.raises(InputError, match="apply full before other filters"):
        filled("a", " | md | full")


def test_a_frame_is_a_table() -> None:
    frame = pd.DataFrame({"city": ["Rīga", "a|b", "two\nlines"], "n": [1, 2, 3], "x": [0.5, None, 1e-9]})
    assert text(frame) == (
        "| city | n | x |\n"
        "| --- | --- | --- |\n"
        "| Rīga | 1 | 0.5 |\n"
        "| a\\|b | 2 |  |\n"
        "| two<br>lines | 3 | 1e-09 |"
    )
    assert text(frame) == text(frame, " | md")


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (pd.DataFrame({"a": [1]}, index=["r"]), "|  | a |\n| --- | --- |\n| r | 1 |"),
        (pd.DataFrame({"a": [1, 2, 3]})[1:2], "|  | a |\n| --- | --- |\n| 1 | 2 |"),
        (pd.DataFrame({"a": [1]}, index=pd.RangeIndex(1, name="i")), "| i | a |\n| --- | --- |\n| 0 | 1 |"),
        (
            pd.DataFrame({("a", "b"): [1]}, index=pd.MultiIndex.from_tuples([("u", 1)], names=["i", "j"])),
            "| i / j | a / b |\n| --- | --- |\n| u / 1 | 1 |",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "| a | a |\n| --- | --- |\n| 1 | 2 |"),
        (pd.DataFrame({"a": [[1, "b"], {"k": None}]}), '| a |\n| --- |\n| [1, "b"] |\n| {"k": null} |'),
        (
            pd.DataFrame({"a": [pd.Timestamp("2024-02-29"), pd.NaT]}),
            "| a |\n| --- |\n| 2024-02-29 |\n|  |",
        ),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), "| a |\n| --- |\n| 1 |\n|  |"),
        (pd.DataFrame({"a|b": []}), "| a\\|b |\n| --- |"),
        (pd.Series([1.5], index=["p"], name="v"), "|  | v |\n| --- | --- |\n| p | 1.5 |"),
        (pd.Series([1]), "| value |\n| --- |\n| 1 |"),
    ],
)
def test_frames_and_series(frame: Any, expected: str) -> None:
    assert text(frame) == expected


def test_what_a_table_leaves_out_is_said_in_it_and_in_a_note() -> None:
    frame = pd.DataFrame({f"c{n}": range(10_000) for n in range(60)})
    found = filled(frame)
    lines = found.text.splitlines()
    assert len(lines) == 2 + 20 + 2
    assert lines[0].count("|") == 51
    assert lines[-1] == "(20 of 10,000 rows, 50 of 60 columns)"
    assert found.notes == ("value: 20 of 10,000 rows, 50 of 60 columns",)


def test_a_long_cell_is_cut_and_a_long_table_ends_with_a_row() -> None:
    found = filled(pd.DataFrame({"a": ["x" * 1_001, "y" * 1_000]}))
    assert found.notes == ("value: 1 cell cut at 1,000 characters",)
    assert "x" * 1_000 + "… |\n" in found.text
    found = filled(pd.DataFrame({"a": ["x" * 40] * 10}), limit=100)
    assert found.text.endswith(f"| {'x' * 40} |\n\n(1 of 10 rows)")


def test_head() -> None:
    frame = pd.DataFrame({"n": range(1_000)})
    assert text(frame, " | head").count("\n") == 6
    assert text(frame, " | head(50)").count("\n") == 51
    assert text(frame.n, " | head(50)").count("\n") == 51
    assert text(frame, " | head(50) | length") == "50"
    assert json.loads(text(frame, " | head(30) | json")) == [{"n": n} for n in range(30)]
    assert text([1, 2, 3], " | head(2)") == "[1, 2]"
    assert text({"a": 1, "b": 2}, " | head(1)") == '{"a": 1}'
    assert text({"b", "a"} - {"b"}, " | head(1)") == '["a"]'
    assert text(map(int, count()), " | head(3)") == "[0, 1, 2]"
    assert text(np.arange(2_000), " | head(1500)").endswith("1499]")
    assert text("a\nb\nc", " | head(2)") == "a\nb"
    assert text("a\n\nc", " | head(2)") == "a\n"
    assert text("a\nb", " | head(9)") == "a\nb"
    assert text("a\nb", " | head(0)") == ""


@pytest.mark.parametrize("n", ["-1", "2.5", "'3'", "none"])
def test_head_takes_a_whole_number(n: str) -> None:
    with pytest.raises(InputError, match="head takes a whole number, not "):
        filled([1], f" | head({n})")


def test_what_head_allows_ends_with_its_expression() -> None:
    frame = pd.DataFrame({"n": range(100)})
    assert fill_template("{{f | head(30)}} {{f}}", {"f": frame}).notes == ("f: 20 of 100 rows",)


def test_md() -> None:
    records = [{"t": "a", "n": 1}, {"t": "b|", "m": [1]}]
    assert text(records, " | md") == "| t | n | m |\n| --- | --- | --- |\n| a | 1 |  |\n| b\\| |  | [1] |"
    assert text({"a": 1, "b": "x"}, " | md") == "| key | value |\n| --- | --- |\n| a | 1 |\n| b | x |"
    assert text(["a", "b\nc", [1]], " | md") == "- a\n- b\n  c\n- [1]"
    assert text([], " | md") == ""
    assert text("as is", " | md") == "as is"
    assert text(Result(), " | md") == "the answer"
    assert filled([{"n": 1}] * 30, " | md").notes == ("value | md: 20 of 30 rows",)
    assert filled({n: n for n in range(30)}, " | md").notes == ("value | md: 20 of 30 rows",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\"b'", '"a\\"b\'"'),
        ([1, float("nan"), None, pd.NA, pd.NaT], "[1, null, null, null, null]"),
        ({(1, 2): date(2024, 2, 29)}, '{"(1, 2)": "2024-02-29"}'),
        ([Decimal("1.5"), PurePosixPath("a")], '["1.5", "a"]'),
        ({3}, "[3]"),
        ([{3}, deque([1])], "[[3], [1]]"),
        (np.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (np.array(7), "7"),
        ({"a": np.array([0.5]), "b": np.int64(2)}, '{"a": [0.5], "b": 2}'),
        (OrderedDict(a=1), '{"a": 1}'),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), '[{"a": 1, "b": "x"}, {"a": 2, "b": null}]'),
        (pd.Series([1.5, None], name="v"), "[1.5, null]"),
        ({"f": pd.DataFrame({"a": [1]})}, '{"f": [{"a": 1}]}'),
        ((n for n in range(2)), "[0, 1]"),
    ],
)
def test_json(value: Any, expected: str) -> None:
    found = text(value, " | json")
    assert found == expected
    json.loads(found)


@pytest.mark.parametrize(
    "value", [float("-inf"), [np.inf], np.array([1, np.inf]), pd.DataFrame({"a": [np.inf]})]
)
def test_infinity_in_json_is_said(value: Any) -> None:
    assert "null" in filled(value, " | json").text
    assert filled(value, " | json").notes == ("value | json: JSON has no infinity, it is null",)


def test_json_of_a_long_frame_is_whole_rows_and_a_note() -> None:
    found = filled(pd.DataFrame({"n": range(100)}), " | json")
    assert json.loads(found.text) == [{"n": n} for n in range(20)]
    assert found.notes == ("value | json: 20 of 100 rows",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            pd.DataFrame({"secret": [1.5], "a|b": [True]}),
            "1 row, 2 columns\n\n| column | type |\n| --- | --- |\n| secret | float64 |\n| a\\|b | bool |",
        ),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "1 row, 2 columns\n\n| column | type |\n| --- | --- |\n| a | int64 |\n| a | int64 |",
        ),
        (
            pd.Series([1, 2], name="n"),
            "2 rows, 1 column\n\n| column | type |\n| --- | --- |\n| n | int64 |",
        ),
        (np.zeros((3, 4)), "array of float64, shape 3 × 4"),
        ({"a": 1, "b": ["x", None]}, "{'a': int, 'b': list of 2 items: str | NoneType}"),
        ([{"a": 1}] * 5, "list of 5 items: {'a': int}"),
        ((), "tuple of 0 items"),
        ("text", "str"),
    ],
)
def test_schema_is_the_shape_without_the_data(value: Any, expected: str) -> None:
    assert text(value, " | schema") == expected


def test_schema_of_what_is_wide_or_endless() -> None:
    assert "… (60 keys)" in text({str(n): n for n in range(60)}, " | schema")
    items: list[Any] = []
    items.append(items)
    assert text(items, " | schema").endswith("list")


def test_a_large_array_shows_its_edges() -> None:
    found = filled(np.zeros((50, 40)))
    assert found.text.endswith("(the edges of an array of shape 50 × 40, float64)")
    assert found.notes == ("value: the edges of an array of shape 50 × 40",)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(JSON_VALUES, max_size=4) | st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_lists_and_dicts_are_json_both_ways(value: Any) -> None:
    assert text(value) == json.dumps(value, ensure_ascii=False)
    assert text(value, " | json") == text(value)


@settings(deadline=None)
@given(JSON_VALUES, st.integers(min_value=1, max_value=60))
def test_no_value_exceeds_its_limit(value: Any, limit: int) -> None:
    for filters in ("", " | json"):
        found = filled(value, filters, limit=limit)
        assert len(found.text) <= limit + (len("… ()") + len(found.notes[0]) if found.notes else 0)
