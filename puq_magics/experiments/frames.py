"""Tables of every kind as columns of values, and new tables of the same kind with more columns."""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.prompts.tables import UNNAMED, is_instance, is_missing, is_pandas

#: Tables that are accepted, as a text.
ACCEPTED = (
    "a pandas or polars DataFrame or Series, a list of dicts, or the path of a CSV, JSONL or Parquet file"
)
#: Texts of a CSV that are numbers, and no identifiers such as ``007``; longer ones would lose digits.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+([eE][+-]?\d{1,2})?)?")
_MAX_FLOAT_CHARS = 16
#: Texts that stand for no value in a column of numbers, where in a column of texts they are texts: NA is Namibia.
_NO_NUMBER = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
_MAX_CELL_CHARS = 1 << 30
#: New columns by their names.
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Frame:
    """A table for reading."""

    #: The values of each column; of a cell without a value None, NaN or NaT.
    columns: Columns
    row_count: int
    #: Returns a table of the same kind and index with new columns, of the rows at these positions.
    extend: Callable[[Columns, Sequence[int]], Any]

    def row(self, position: int) -> dict[str, Any]:
        """Return a row as a dict."""
        return {name: values[position] for name, values in self.columns.items()}

    def positions(self, limit: int | None = None, sample: int | None = None) -> Sequence[int]:
        """Return the positions of the first rows, or of so many at random (the same ones each time).

        Raises InputError for both.
        """
        if sample is not None and limit is not None:
            raise InputError("both the first rows and a sample are asked for.", hint="Give one of the two.")
        if sample is not None:
            chosen = random.Random(0).sample(range(self.row_count), min(sample, self.row_count))  # noqa: S311
            return sorted(chosen)
        return range(self.row_count if limit is None else min(limit, self.row_count))


def read_frame(source: Any) -> Frame:
    """Read a table. Raises InputError for any other value, an empty table, and two columns of one name.

    Raises ConfigurationError for a Parquet file without the packages that read it.
    """
    if isinstance(source, str | Path):
        frame = read_frame(_read_file(Path(source)))
    elif is_pandas(source):
        frame = _read_pandas(source)
    elif is_instance(source, "polars", "DataFrame", "Series"):
        frame = _read_polars(source)
    elif is_instance(source, "pyarrow", "Table"):
        frame = _read_arrow(source)
    elif isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        frame = _read_records(source)
    else:
        raise InputError(f"a value of type {type(source).__name__} is not a table.", hint=f"Give {ACCEPTED}.")
    if not frame.row_count:
        raise InputError("the table has no rows.", hint="Check how it was made.")
    if not frame.columns:
        raise InputError("the table has no columns.", hint="Check how it was made.")
    return frame


def _unique(names: Iterable[object]) -> list[str]:
    """Return the names of columns as texts. Raises InputError for one that occurs twice."""
    texts = [str(name) for name in names]
    twice = [name for name, number in Counter(texts).items() if number > 1]
    if twice:
        raise InputError(f"the table has two columns named {twice[0]!r}.", hint="Rename one of them.")
    return texts


def _read_pandas(source: Any) -> Frame:
    if is_pandas(source, "Series"):
        source = source.to_frame(name=UNNAMED if source.name is None else str(source.name))
    names = _unique(source.columns)
    columns = {name: source.iloc[:, n].tolist() for n, name in enumerate(names)}

    def extend(new: Columns, positions: Sequence[int]) -> Any:
        import pandas as pd

        rows = source.iloc[list(positions)].copy()
        added = {name: pd.array(values, dtype=_pandas_dtype(values)).copy() for name, values in new.items()}
        return pd.concat([rows, pd.DataFrame(added, index=rows.index)], axis=1)

    return Frame(columns, len(source), extend)


def _pandas_dtype(values: Sequence[Any]) -> Any:
    """Return a type that keeps whole numbers and truth values beside missing ones."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "boolean" if None in values else "bool"
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return "Int64" if None in values else "int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return "object"


def _read_polars(source: Any) -> Frame:
    if is_instance(source, "polars", "Series"):
        source = source.alias(source.name or UNNAMED).to_frame()

    def extend(new: Columns, positions: Sequence[int]) -> Any:
        import polars as pl

        added = [
            # Without a value the type is not known; that of errors and texts fits most.
            pl.Series(
                name,
                list(values),
                strict=False,
                dtype=None if any(value is not None for value in values) else pl.String,
            )
            for name, values in new.items()
        ]
        return source[list(positions)].with_columns(added)

    return Frame({name: source[name].to_list() for name in source.columns}, source.height, extend)


def _read_arrow(source: Any) -> Frame:
    names = _unique(source.schema.names)

    def extend(new: Columns, positions: Sequence[int]) -> Any:
        import pyarrow as pa

        table = source.take(list(positions))
        for name, values in new.items():
            table = table.append_column(name, pa.array(list(values)))
        return table

    return Frame({name: source.column(name).to_pylist() for name in names}, source.num_rows, extend)


def _read_records(source: Sequence[Mapping[str, Any]]) -> Frame:
    names = dict.fromkeys(str(name) for row in source for name in row)

    def extend(new: Columns, positions: Sequence[int]) -> Any:
        return [
            {**source[position], **{name: values[n] for name, values in new.items()}}
            for n, position in enumerate(positions)
        ]

    return Frame({name: [row.get(name) for row in source] for name in names}, len(source), extend)


def _read_file(path: Path) -> Any:
    """Read a file as a table of pandas where that is installed, CSV and JSONL else as a list of dicts."""
    from puq_magics.core.files import expand_path, missing_file_error, path_exists, read_error

    target = expand_path(path)
    if not path_exists(target):
        raise missing_file_error(str(path), target)
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(target.suffix.lower())
    if reader is None:
        raise InputError(f"{target.name} is not a table.", hint=f"Give {ACCEPTED}.")
    try:
        return reader(target)
    except (OSError, ValueError, UnicodeError, csv.Error) as error:
        raise read_error(target.name, error) from None


def _read_csv(path: Path) -> Any:
    with _large_cells(), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names = _unique(name or f"Unnamed: {n}" for n, name in enumerate(next(reader, [])))
        rows = []
        for row in filter(None, reader):
            if len(row) > len(names):
                raise ValueError(f"line {reader.line_num} has {len(row)} values for {len(names)} columns")
            rows.append(row + [""] * (len(names) - len(row)))
    return _make_table({name: _typed([row[n] for row in rows]) for n, name in enumerate(names)})


@contextmanager
def _large_cells() -> Iterator[None]:
    """Let the csv module read large cells."""
    before = csv.field_size_limit(_MAX_CELL_CHARS)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _typed(texts: Sequence[str]) -> Sequence[Any]:
    """Return a column as numbers or truth values if all of its texts are plainly that; empty ones are None."""
    values = [None if text in _NO_NUMBER else text for text in texts]
    present = {value for value in values if value is not None}
    if present and present <= {"True", "False"}:
        return [None if value is None else value == "True" for value in values]
    if present and all(map(_NUMBER.fullmatch, present)):
        if not any("." in value for value in present):
            return [None if value is None else int(value) for value in values]
        if all(len(value) <= _MAX_FLOAT_CHARS for value in present):
            return [None if value is None else float(value) for value in values]
    return [text or None for text in texts]


def _make_table(columns: Columns) -> Any:
    """Return columns as a table of pandas where that is installed, else as a list of dicts."""
    if find_spec("pandas") is None:
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    import pandas as pd

    kinds = {name: _pandas_dtype(values) for name, values in columns.items()}
    return pd.DataFrame(
        {
            name: list(values) if kinds[name] == "object" else pd.array(list(values), dtype=kinds[name])
            for name, values in columns.items()
        }
    )


def _read_jsonl(path: Path) -> Any:
    with path.open(encoding="utf-8-sig") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    return _make_table({name: [row.get(name) for row in rows] for name in dict.fromkeys(chain(*rows))})


def _read_parquet(path: Path) -> Any:
    if find_spec("pyarrow") is None:
        raise missing_data_error("Parquet files")
    if find_spec("pandas") is not None:
        import pandas as pd

        return pd.read_parquet(path)
    import pyarrow.parquet as pq

    return pq.read_table(path)


def is_blank(value: object) -> bool:
    """Return whether a cell has no value, or only white space."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def missing_data_error(what: str) -> ConfigurationError:
    """Return the error for what needs a package of the extra ``data`` that is not installed."""
    return ConfigurationError(
        f"{what} need packages that are not installed.", hint='Install them: pip install "puq_magics[data]"'
    )
