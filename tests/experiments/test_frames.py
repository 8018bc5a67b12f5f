"""Tables of every kind, with the new columns of the same kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from puq_magics import InputError
from puq_magics.experiments.frames import read_frame

NEW = {"n": [1, None], "good": [True, None], "note": ["a", None]}


def test_pandas_keeps_index_order_and_types() -> None:
    frame = pd.DataFrame({"text": ["x", "y"], "f": [0.5, 1.5]}, index=pd.Index([7, 7], name="id"))
    new = read_frame(frame).extend(NEW, [0, 1])
    assert list(new.index) == [7, 7]
    assert new.index.name == "id"
    assert [str(new[name].dtype) for name in ("n", "good", "f")] == ["Int64", "boolean", "float64"]
    assert list(frame.columns) == ["text", "f"]
    assert list(read_frame(frame).extend({"n": [3]}, [1])["text"]) == ["y"]


def test_a_series_becomes_a_table() -> None:
    assert list(read_frame(pd.Series(["x", "y"])).columns) == ["value"]
    assert list(read_frame(pd.Series(["x", "y"], name="text")).extend(NEW, [0, 1]).columns) == ["text", *NEW]


def test_records_may_lack_fields() -> None:
    rows = [{"a": 1}, {"b": [2]}]
    frame = read_frame(rows)
    assert dict(frame.columns) == {"a": [1, None], "b": [None, [2]]}
    assert frame.extend({"n": [5, 6]}, [0, 1]) == [{"a": 1, "n": 5}, {"b": [2], "n": 6}]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_files(tmp_path: Path, name: str) -> None:
    table = pd.DataFrame({"text": ["x", "y"], "n": [1, 2]})
    if name.endswith("csv"):
        table.to_csv(tmp_path / name, index=False)
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, table.to_dict("records"))))
    else:
        pytest.importorskip("pyarrow")
        table.to_parquet(tmp_path / name)
    frame = read_frame(str(tmp_path / name))
    assert dict(frame.columns) == {"text": ["x", "y"], "n": [1, 2]}


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["007", "12"], ["007", "12"]),
        (["7", "NA"], [7, None]),
        (["Namibia", "NA"], ["Namibia", "NA"]),
        (["1.50", "2"], [1.5, 2.0]),
        (["1.5", "123456789012345678"], ["1.5", "123456789012345678"]),
        (["1234567890123456789012", "1"], ["1234567890123456789012", "1"]),
        (["+49", "1e5"], ["+49", "1e5"]),
        (["True", ""], [True, None]),
        (["yes", ""], ["yes", None]),
    ],
)
@pytest.mark.parametrize("has_pandas", [True, False])
def test_a_csv_is_read_faithfully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], values: list[Any], has_pandas: bool
) -> None:
    if not has_pandas:
        monkeypatch.setattr("puq_magics.experiments.frames.find_spec", lambda _: None)
    (tmp_path / "t.csv").write_text("id,long\n" + "".join(f"{text},{'x' * 200_000}\n" for text in texts))
    read = read_frame(tmp_path / "t.csv").columns
    assert [None if pd.isna(value) else value for value in read["id"]] == values
    assert len(read["long"][0]) == 200_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("a,b\n1,2,3\n", "line 2 has 3 values for 2 columns"),
        ('a,b\n"x,2\n', "unexpected end of data"),
        ("a,b\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_what_a_csv_does_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_frame(tmp_path / "t.csv")


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    frame = read_frame(pl.DataFrame({"text": ["x", "y"]}))
    new = frame.extend({**NEW, "error": [None, None]}, [0, 1])
    assert new.schema == {
        "text": pl.String,
        "n": pl.Int64,
        "good": pl.Boolean,
        "note": pl.String,
        "error": pl.String,
    }
    assert read_frame(pl.Series("text", ["x"])).extend({"n": [1]}, [0]).columns == ["text", "n"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns named 'a'"),
        (pd.DataFrame({"a": []}), "has no rows"),
        ([1, 2], "a value of type list is not a table"),
        ("words", "words"),
        (None, "a value of type NoneType is not a table"),
    ],
)
def test_what_is_no_table(table: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_frame(table)
    assert said in str(caught.value)
