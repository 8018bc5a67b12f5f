"""Read tables of pandas, polars and Arrow: names and types of the columns, and the first rows.

None of these libraries is imported here: a value can only be a table if its library is imported. Only the rows that
are shown are read.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

#: Rows of polars and Arrow that are converted at once.
_CHUNK = 8
_CLASSES = {
    "pandas": ("DataFrame", "Series"),
    "polars": ("DataFrame", "Series"),
    "pyarrow": ("Table", "RecordBatch", "Array", "ChunkedArray"),
}
#: Column of a series without a name.
UNNAMED = "value"
#: Types of short floats, by the format of `struct`: 0.1 would be shown as 0.10000000149011612.
_SHORT_FLOATS = {
    "float32": "f",
    "Float32": "f",
    "float": "f",
    "float16": "e",
    "Float16": "e",
    "halffloat": "e",
}


@dataclass(frozen=True)
class DataColumn:
    """A column, or a level of the index."""

    name: object
    type: str
    #: Yields the first values, as many as given.
    _read: Callable[[int], Iterable[Any]]

    def values(self, count: int) -> Iterator[Any]:
        """Yield the first ``count`` values as they read well."""
        kind = self.type.removesuffix("[pyarrow]").partition("[")[0].partition("(")[0]
        if kind in ("datetime64", "Datetime", "timestamp"):
            return _read_times(self._read, count)
        if kind in _SHORT_FLOATS:
            return (_shorten(value, _SHORT_FLOATS[kind]) for value in self._read(count))
        return iter(self._read(count))


@dataclass(frozen=True)
class DataTable:
    """A table, or the first columns of one; a series is a table of one column."""

    row_count: int
    column_count: int
    columns: Sequence[DataColumn]
    #: Levels of the index; none for one that only counts the rows.
    index: Sequence[DataColumn] = ()
    is_series: bool = False

    def rows(self, count: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """Yield the first rows, each as its labels and its cells."""
        columns = [column.values(count) for column in (*self.index, *self.columns)]
        for _ in range(min(count, self.row_count)):
            row = tuple(next(column) for column in columns)
            yield row[: len(self.index)], row[len(self.index) :]


def is_instance(value: object, module: str, *names: str) -> bool:
    """Return whether a value is of one of these classes of a module, without importing it."""
    classes = tuple(getattr(sys.modules.get(module), name, None) for name in names)
    return any(isinstance(cls, type) and isinstance(value, cls) for cls in classes)


def is_pandas(value: object, *kinds: str) -> bool:
    """Return whether a value is of one of these classes of pandas; DataFrame or Series by default."""
    return is_instance(value, "pandas", *(kinds or _CLASSES["pandas"]))


def is_table(value: object) -> bool:
    """Return whether a value is a table or a series."""
    return any(is_instance(value, module, *names) for module, names in _CLASSES.items())


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT, pandas' NA, or masked in an array."""
    if value is None or type(value).__name__ in ("NaTType", "NAType", "MaskedConstant"):
        return True
    return isinstance(value, float) and value != value


def read_table(value: Any, max_columns: int) -> DataTable:
    """Return a table for reading; at most ``max_columns`` of its columns."""
    if is_pandas(value):
        return _read_pandas(value, max_columns)
    if is_instance(value, "polars", "DataFrame"):
        columns = [_polars_column(column) for column in value[:, :max_columns].get_columns()]
        return DataTable(value.height, value.width, columns)
    if is_instance(value, "polars", "Series"):
        return DataTable(len(value), 1, [_polars_column(value)], is_series=True)
    if is_instance(value, "pyarrow", "Table", "RecordBatch"):
        names = value.schema.names
        columns = [_arrow_column(name, value.column(n)) for n, name in enumerate(names[:max_columns])]
        return DataTable(value.num_rows, value.num_columns, columns)
    return DataTable(len(value), 1, [_arrow_column(UNNAMED, value)], is_series=True)


def first_rows(value: Any, count: int) -> Any:
    """Return the first rows of a table."""
    return value.iloc[:count] if is_pandas(value) else value.slice(0, count)


def column_names(value: Any) -> list[object]:
    """Return the names of a table's columns, or the labels of a series."""
    if is_pandas(value):
        return list(value.keys())
    if is_instance(value, "pyarrow", "Table", "RecordBatch"):
        return list(value.schema.names)
    return list(getattr(value, "columns", ()))


def scalar_value(scalar: Any) -> Any:
    """Return the value of a scalar of Arrow as it reads well."""
    return next(DataColumn("", str(scalar.type), lambda _: _arrow_values([scalar])).values(1))


def _read_pandas(value: Any, max_columns: int) -> DataTable:
    is_series = is_pandas(value, "Series")
    if is_series:
        value = value.to_frame() if value.name is not None else value.to_frame(name=UNNAMED)
    columns = [_pandas_column(name, value.iloc[:, n]) for n, name in enumerate(value.columns[:max_columns])]
    index = [] if _only_counts(value.index) else _index_columns(value.index)
    return DataTable(len(value), value.shape[1], columns, index, is_series)


def _only_counts(index: Any) -> bool:
    return is_pandas(index, "RangeIndex") and index.start == 0 and index.step == 1 and index.name is None


def _index_columns(index: Any) -> list[DataColumn]:
    if not is_pandas(index, "MultiIndex"):
        return [_pandas_column(index.name, index)]
    return [
        DataColumn(name, str(level.dtype), lambda count, n=n: index[:count].get_level_values(n))  # type: ignore[misc]
        for n, (name, level) in enumerate(zip(index.names, index.levels, strict=True))
    ]


def _pandas_column(name: object, values: Any) -> DataColumn:
    rows = values.iloc if is_pandas(values, "Series") else values
    return DataColumn(name, str(values.dtype), lambda count: rows[:count])


def _polars_column(series: Any) -> DataColumn:
    return DataColumn(
        series.name, str(series.dtype), lambda count: _iter_chunks(series, count, lambda part: part.to_list())
    )


def _arrow_column(name: object, array: Any) -> DataColumn:
    return DataColumn(name, str(array.type), lambda count: _iter_chunks(array, count, _arrow_values))


def _arrow_values(scalars: Iterable[Any]) -> list[Any]:
    try:
        return [scalar.as_py() for scalar in scalars]
    except ValueError:  # nanoseconds, which Python's datetime does not have
        return [str(scalar) if scalar.is_valid else None for scalar in scalars]


def _iter_chunks(values: Any, count: int, convert: Callable[[Any], list[Any]]) -> Iterator[Any]:
    for start in range(0, min(count, len(values)), _CHUNK):
        yield from convert(values.slice(start, min(_CHUNK, count - start)))


def _read_times(read: Callable[[int], Iterable[Any]], count: int) -> Iterator[Any]:
    """Yield times as text; dates alone if no value has a time of day."""
    has_times = any(not is_date_only(value) for value in read(count) if not is_missing(value))
    for value in read(count):
        if isinstance(value, datetime) and not is_missing(value):
            yield str(value) if has_times else str(value.date())
        else:
            yield value


def is_date_only(value: object) -> bool:
    """Return whether a datetime is a date at midnight, in no time zone."""
    if not isinstance(value, datetime) or value.tzinfo is not None:
        return False
    return value.time() == time.min and not getattr(value, "nanosecond", 0)


def _shorten(value: Any, code: str) -> Any:
    """Return the shortest float that is the same in fewer bytes."""
    if not isinstance(value, float) or value - value != 0:  # missing, or infinite
        return value
    packed = struct.pack(code, value)
    texts = (f"{value:.{digits}g}" for digits in range(1, 18))
    return next((float(text) for text in texts if _pack(code, float(text)) == packed), value)


def _pack(code: str, value: float) -> bytes | None:
    try:
        return struct.pack(code, value)
    except OverflowError:  # rounded up beyond the largest one
        return None
