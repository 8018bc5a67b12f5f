"""Tables of pandas, polars and Arrow in prompts."""

from __future__ import annotations

import json
from collections import ChainMap, namedtuple
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puq_magics.core.errors import InputError, MissingVariableError
from puq_magics.prompts.attachments import attach
from puq_magics.prompts.template import FilledText, fill_template

Pair = namedtuple("Pair", "left right")
GROUPED = pd.DataFrame({"city": ["Oslo", "Rome"], "v": [1, 2]}).groupby("city").sum()


def filled(value: Any, filters: str = "", **options: Any) -> FilledText:
    return fill_template(f"{{{{value{filters}}}}}", {"value": value}, **options)


def text(value: Any, filters: str = "") -> str:
    found = filled(value, filters)
    assert found.notes == ()
    return found.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (GROUPED, [{"city": "Oslo", "v": 1}, {"city": "Rome", "v": 2}]),
        (GROUPED.v, [{"city": "Oslo", "v": 1}, {"city": "Rome", "v": 2}]),
        ({"t": [GROUPED]}, {"t": [[{"city": "Oslo", "v": 1}, {"city": "Rome", "v": 2}]]}),
        (pd.Series(["a", "b", "a"]).value_counts(), [{"index": "a", "count": 2}, {"index": "b", "count": 1}]),
        (pd.Series([1, 2], index=["x", "y"]), {"x": 1, "y": 2}),
        (pd.Series([1, 2], index=[1, "1"]), [{"index": 1, "value": 1}, {"index": "1", "value": 2}]),
        (pd.Series([1, 2], index=["x", "x"]), [{"index": "x", "value": 1}, {"index": "x", "value": 2}]),
        (pd.Series([1, 2, 3])[1:], {"1": 2, "2": 3}),
        (pd.Series([1], index=pd.to_datetime(["2024-05-01"])), {"2024-05-01": 1}),
        (pd.DataFrame({"v": [1]}, index=pd.to_datetime(["2024-05-01"])), [{"index": "2024-05-01", "v": 1}]),
        (pd.DataFrame({"v": [1, 2]})[1:], [{"index": 1, "v": 2}]),
        (
            pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]),
            {"columns": ["a", "a", "b"], "rows": [[1, 2, 3]]},
        ),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), {"columns": ["1", "1"], "rows": [[1, 2]]}),
        (
            pd.DataFrame({"k": ["a"], "v": [1]}).set_index("k", drop=False),
            {"columns": ["k", "k", "v"], "rows": [["a", "a", 1]]},
        ),
        (
            pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([("u", 2)], names=["i", None])),
            [{"i": "u", "level_1": 2, "v": 1}],
        ),
        (pd.DataFrame({("a", "b"): [1], ("a", "c"): [2]}), [{"a / b": 1, "a / c": 2}]),
        (pd.DataFrame(index=["a", "b"]), [{"index": "a"}, {"index": "b"}]),
        (pd.DataFrame(GROUPED.T), [{"index": "v", "Oslo": 1, "Rome": 2}]),
        (pd.crosstab(pd.Series(["a"], name="r"), pd.Series(["b"], name="c")), [{"r": "a", "b": 1}]),
        (np.array([(1, "x")], dtype=[("a", int), ("b", "U3")]), [{"a": 1, "b": "x"}]),
        (np.ma.array([1, -9999], mask=[False, True]), [1, None]),
        (Pair(1, 2), {"left": 1, "right": 2}),
        ([Pair(1, [GROUPED.v.iloc[:1]])], [{"left": 1, "right": [[{"city": "Oslo", "v": 1}]]}]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({"c": ChainMap({"a": 1}, {"b": 2})}, {"c": {"a": 1, "b": 2}}),
    ],
)
def test_json_keeps_labels_and_columns(value: Any, expected: Any) -> None:
    assert json.loads(text(value, " | json")) == expected


def test_tables_in_lists_and_dicts_are_rows_too() -> None:
    assert text({"t": GROUPED}) == text({"t": GROUPED}, " | json")
    assert text([GROUPED, {1, 2}]).startswith("[[{'city': 'Oslo', 'v': 1}, ")
    assert text([GROUPED], " | md").startswith('- [{"city": "Oslo", "v": 1}, ')
    found = filled([pd.DataFrame({"n": range(30)})])
    assert json.loads(found.text) == [[{"n": n} for n in range(20)]]
    assert found.notes == ("value: 20 of 30 rows",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.DataFrame({"a": [1], "b": [2]}).columns, '["a", "b"]'),
        (pd.DataFrame({("a", "b"): [1]}).columns, '[["a", "b"]]'),
        (GROUPED.index, '["Oslo", "Rome"]'),
        (pd.RangeIndex(3), "[0, 1, 2]"),
        (pd.to_datetime(["2024-05-01", "2024-05-02"]), '["2024-05-01", "2024-05-02"]'),
        (pd.Categorical(["x", "y"]), '["x", "y"]'),
        (pd.array([1, 2], dtype="Int64"), "[1, 2]"),
        (pd.Timestamp("2024-05-01"), "2024-05-01"),
        (pd.Timestamp("2024-05-01 10:30"), "2024-05-01 10:30:00"),
        (pd.Timestamp("2024-05-01", tz="UTC"), "2024-05-01 00:00:00+00:00"),
        (datetime(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 10, 30), "2024-05-01 10:30:00"),
        ([date(2024, 5, 1), datetime(2024, 5, 1, 10)], '["2024-05-01", "2024-05-01 10:00:00"]'),
        (np.datetime64("2024-05-01T00:00:00", "ns"), "2024-05-01"),
        ([np.datetime64("2024-05-01T10:30", "ns"), np.datetime64("NaT")], '["2024-05-01 10:30:00", null]'),
        (np.array(["2024-05-01"], dtype="datetime64[ns]"), "['2024-05-01']"),
        (
            np.array(["2024-05-01T10:30", "NaT"], dtype="datetime64[ns]"),
            "['2024-05-01T10:30:00',                 'NaT']",
        ),
        ((3, np.int64(2), np.float32(0.1), np.float64(0.5), np.float16(0.1)), "[3, 2, 0.1, 0.5, 0.1]"),
        ([np.timedelta64(3, "D")], '["3 days"]'),
        (pd.DataFrame({"a": [1]}).shape, "[1, 1]"),
        (pd.DataFrame({"a": [0.5, 1.5]}).mean(), "|  | value |\n| --- | --- |\n| a | 1.0 |"),
    ],
)
def test_what_frames_and_numpy_give_reads_well(value: Any, expected: str) -> None:
    assert text(value) == expected


def test_times_of_a_column_are_shown_if_one_has_a_time() -> None:
    frame = pd.DataFrame(
        {"day": pd.to_datetime(["2024-05-01", None]), "at": pd.to_datetime(["2024-05-01 00:00"] * 2)}
    )
    frame.loc[1, "at"] += pd.Timedelta(hours=3)
    assert text(frame).splitlines()[2:] == [
        "| 2024-05-01 | 2024-05-01 00:00:00 |",
        "|  | 2024-05-01 03:00:00 |",
    ]
    assert json.loads(text(frame, " | json"))[0] == {"day": "2024-05-01", "at": "2024-05-01 00:00:00"}


def test_short_floats_are_not_made_longer() -> None:
    frame = pd.DataFrame({"f": np.array([0.1, 16777216, np.nan, np.inf], dtype="float32")})
    assert text(frame).splitlines()[2:] == ["| 0.1 |", "| 16777216.0 |", "|  |", "| inf |"]
    assert text(frame.head(1), " | json") == '[{"f": 0.1}]'


def test_head_of_an_index_is_its_beginning() -> None:
    assert text(pd.RangeIndex(10**12), " | head(2)") == "[0, 1]"


# --- polars and Arrow


def _polars_frame(count: int) -> Any:
    polars = pytest.importorskip("polars")
    return polars.DataFrame({"city": [f"c{n}" for n in range(count)], "v": range(count)})


def _arrow_table(count: int) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.table({"city": [f"c{n}" for n in range(count)], "v": range(count)})


def _arrow_batch(count: int) -> Any:
    return _arrow_table(count).to_batches()[0]


@pytest.fixture(params=[_polars_frame, _arrow_table, _arrow_batch])
def frame(request: Any) -> Any:
    """A table of 100 rows."""
    return request.param(100)


def test_a_table_of_another_library_is_a_table(frame: Any) -> None:
    found = filled(frame)
    assert found.text.startswith("| city | v |\n| --- | --- |\n| c0 | 0 |\n")
    assert found.text.endswith("| c19 | 19 |\n\n(20 of 100 rows)")
    assert found.notes == ("value: 20 of 100 rows",)
    assert text(frame, " | head(3)").splitlines()[2:] == ["| c0 | 0 |", "| c1 | 1 |", "| c2 | 2 |"]
    assert text(frame, " | head(30)").count("\n") == 31
    assert text(frame, " | full").count("\n") == 101
    assert text(frame, " | head(2) | md") == text(frame, " | head(2)")
    assert json.loads(text(frame, " | head(2) | json")) == [{"city": "c0", "v": 0}, {"city": "c1", "v": 1}]
    assert filled(frame, " | json").notes == ("value | json: 20 of 100 rows",)
    assert json.loads(text({"t": frame}, " | full | json"))["t"][99] == {"city": "c99", "v": 99}
    schema = text(frame, " | schema")
    assert schema.startswith("100 rows, 2 columns\n\n| column | type |\n| --- | --- |\n| city | ")
    assert "c0" not in schema
    assert filled(frame, limit=100).notes[0].startswith("value: ")


def test_a_column_of_another_library(frame: Any) -> None:
    found = fill_template("{{value.city | head(2)}}", {"value": frame})
    assert found.text.splitlines()[2:] == ["| c0 |", "| c1 |"]
    assert fill_template("{{value['v'] | head(2) | json}}", {"value": frame}).text == "[0, 1]"
    assert fill_template("{{value['v'][1]}}", {"value": frame}).text == "1"
    with pytest.raises(MissingVariableError) as caught:
        fill_template("{{value.town}}", {"value": frame})
    assert "'town'" in caught.value.message
    with pytest.raises(MissingVariableError) as caught:
        fill_template("{{value.citi}}", {"value": frame})
    assert "'city'" in caught.value.hint


def test_a_table_of_another_library_is_attached(frame: Any) -> None:
    attached = attach(["frame"], {"frame": frame})
    (part,) = attached.parts
    assert part["text"].startswith("Variable frame:\n\n| city | v |\n| --- | --- |\n| c0 | 0 |\n")
    assert part["text"].endswith("| c99 | 99 |")
    assert attached.notes == ()
    assert attach(["frame"], {"frame": frame}, limit=200).notes[0].startswith("frame: ")
    column = attach(["column"], {"column": frame["city"]})
    assert "| c99 |" in column.parts[0]["text"]


def test_values_of_polars() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {
            "day": [datetime(2024, 5, 1), None],
            "date": [date(2024, 5, 1), None],
            "at": [datetime(2024, 5, 1), datetime(2024, 5, 1, 3)],
            "f": polars.Series([0.1, 2.5], dtype=polars.Float32),
            "l": [[1, 2], []],
            "s": [{"x": 1}, {"x": None}],
            "for": [timedelta(hours=1), None],
        }
    )
    first, second = json.loads(text(frame, " | json"))
    assert first == {
        "day": "2024-05-01", "date": "2024-05-01", "at": "2024-05-01 00:00:00", "f": 0.1, "l": [1, 2], "s": {"x": 1},
        "for": "1:00:00",
    }  # fmt: skip
    assert second["day"] is second["for"] is None
    assert (
        text(frame)
        .splitlines()[2]
        .startswith("| 2024-05-01 | 2024-05-01 | 2024-05-01 00:00:00 | 0.1 | [1, 2] | ")
    )
    arrow = frame.to_arrow()
    assert json.loads(text(arrow, " | json")) == [first, second]
    assert text(arrow["f"][0]) == "0.1"
    with pytest.raises(InputError, match="a LazyFrame has no rows yet") as caught:
        text(frame.lazy())
    assert "x = frame.collect()" in caught.value.hint


def test_values_of_arrow() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    twice = pyarrow.table([[1], [2]], names=["a", "a"])
    assert json.loads(text(twice, " | json")) == {"columns": ["a", "a"], "rows": [[1, 2]]}
    assert text(twice) == "| a | a |\n| --- | --- |\n| 1 | 2 |"
    assert text(pyarrow.array([1, None]), " | json") == "[1, null]"
    times = pyarrow.table({"t": pyarrow.array([1, None], pyarrow.timestamp("ns"))})
    assert ".000000001" in text(times)
    assert text(pyarrow.array(["a"]).dictionary_encode(), " | json") == '["a"]'
    assert (
        text(pyarrow.table({"m": [[1, None]], "b": [b"x"]}))
        == "| m | b |\n| --- | --- |\n| [1, null] | b'x' |"
    )


def test_long_strings_of_arrow_are_read_as_far_as_they_are_shown() -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"long": pd.Series(["x" * 200_000] * 50, dtype="string[pyarrow]")})
    for filters in ("", " | json", " | md", " | head(3)"):
        assert len(filled(frame, filters).text) < 30_000
    arrow_column = pd.Series([1.5], dtype="float32[pyarrow]")
    assert text(arrow_column, " | json") == "[1.5]"
