"""Tables as Markdown: data frames, series, and lists of records.

pandas is never imported here: a value can only be a data frame when somebody else has imported it. Only the
rows that are shown are touched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from puq_magics.prompts import truncation as bounded

#: Characters of a cell; a longer one is cut.
CELL = 1_000
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class Extent:
    """How much of a value is wanted: rows, columns, and characters in all and in one cell."""

    rows: int
    columns: int
    characters: int
    cell: int = CELL


@dataclass(frozen=True)
class Table:
    """A table as Markdown, and in words what of it was left out."""

    text: str
    left_out: tuple[str, ...]


def is_pandas(value: object, *kinds: str) -> bool:
    """Whether it is of one of the named classes of pandas: DataFrame or Series unless others are named."""
    pandas = sys.modules.get("pandas")
    classes = tuple(getattr(pandas, kind, None) for kind in kinds or ("DataFrame", "Series"))
    return any(isinstance(cls, type) and isinstance(value, cls) for cls in classes)


def is_records(value: object) -> bool:
    """Whether it is a list of dicts, as far as its first items tell."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value[:20])


def is_missing(value: object) -> bool:
    """Whether it is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    return isinstance(value, float) and value != value


def as_frame(value: Any) -> Any:
    """Return a Series as a DataFrame of one column, a DataFrame as it is."""
    if is_pandas(value, "DataFrame"):
        return value
    return value.to_frame() if value.name is not None else value.to_frame(name="value")


def of_frame(value: Any, extent: Extent) -> Table:
    """Write the first rows and columns of a DataFrame or Series; its index too, unless it only counts."""
    frame = as_frame(value)
    rows, columns = frame.shape
    part = frame.iloc[: extent.rows, : extent.columns]
    names = [_label(name) for name in part.columns]
    if _only_counts(part.index):
        return _table(names, part.itertuples(index=False, name=None), extent, rows, columns)
    records = ((_label(index), *cells) for index, *cells in part.itertuples(index=True, name=None))
    return _table([_label(tuple(frame.index.names)), *names], records, extent, rows, columns)


def of_records(records: Sequence[Any], extent: Extent) -> Table:
    """Write a list of dicts, a column for each key that its shown items have."""
    shown = [record if isinstance(record, dict) else {} for record in records[: extent.rows]]
    keys: list[object] = list(dict.fromkeys(key for record in shown for key in record))
    some = keys[: extent.columns]
    rows = ([record.get(key) for key in some] for record in shown)
    return _table([str(key) for key in some], rows, extent, len(records), len(keys))


def of_mapping(mapping: dict[Any, Any], extent: Extent) -> Table:
    """Write a dict as a table of two columns."""
    return _table(["key", "value"], islice(mapping.items(), extent.rows), extent, len(mapping), 2)


def _only_counts(index: Any) -> bool:
    return is_pandas(index, "RangeIndex") and index.start == 0 and index.step == 1 and index.name is None


def _label(name: Any) -> str:
    """Return a column's or a row's name; the levels of one that has several stand side by side."""
    if isinstance(name, tuple):
        return " / ".join(str(level) for level in name if level is not None)
    return str(name)


def _table(
    header: Sequence[str], records: Iterable[Sequence[object]], extent: Extent, rows: int, columns: int
) -> Table:
    lines = [_row([_cell(name, extent.cell)[0] for name in header]), "|" + " --- |" * len(header)]
    size, shown, cut_cells = sum(map(len, lines)), 0, 0
    for record in records:
        cells = [_cell(item, extent.cell) for item in record]
        line = _row([text for text, _ in cells])
        size += len(line) + 1
        if size > extent.characters:
            break
        lines.append(line)
        shown += 1
        cut_cells += sum(cut for _, cut in cells)
    left_out = []
    if shown < rows:
        left_out.append(f"{shown:,} of {rows:,} rows")
    if extent.columns < columns:
        left_out.append(f"{extent.columns:,} of {columns:,} columns")
    if cut_cells:
        left_out.append(
            f"{cut_cells:,} cell{'' if cut_cells == 1 else 's'} cut at {extent.cell:,} characters"
        )
    if left_out:
        lines += ["", f"({', '.join(left_out)})"]
    return Table("\n".join(lines), tuple(left_out))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object, limit: int) -> tuple[str, bool]:
    """Return a cell's text, and whether it was cut; a missing value is an empty cell."""
    if is_missing(value):
        return "", False
    cut = False
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, (list, tuple, dict, set, frozenset)):
        text, cut = bounded.spell(value, limit)
    else:
        text = str(value)
    cut = cut or len(text) > limit
    return _escape(text[:limit] + ("…" if cut else "")), cut


def _escape(text: str) -> str:
    return _LINE_BREAK.sub("<br>", text.replace("|", r"\|"))
