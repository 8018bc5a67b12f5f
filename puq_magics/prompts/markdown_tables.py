"""Format tables as Markdown: data frames, series, and lists of records.

pandas is never imported here: a value can only be a data frame if it is imported. Only the rows that are shown
are read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from puq_magics.prompts import truncation

#: Limit of a cell, in characters.
MAX_CELL_CHARS = 1_000
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class RenderLimits:
    """Limits of a value: rows, columns, and characters in all and in one cell."""

    rows: int
    columns: int
    characters: int
    cell: int = MAX_CELL_CHARS


@dataclass(frozen=True)
class MarkdownTable:
    """A table as Markdown, and descriptions of what was omitted."""

    text: str
    omitted: tuple[str, ...]


def is_pandas(value: object, *kinds: str) -> bool:
    """Return whether a value is of one of these classes of pandas; DataFrame or Series by default."""
    pandas = sys.modules.get("pandas")
    classes = tuple(getattr(pandas, kind, None) for kind in kinds or ("DataFrame", "Series"))
    return any(isinstance(cls, type) and isinstance(value, cls) for cls in classes)


def is_records(value: object) -> bool:
    """Return whether a value is a list of dicts, judged by its first items."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value[:20])


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    return isinstance(value, float) and value != value


def to_dataframe(value: Any) -> Any:
    """Return a Series as a DataFrame of one column, a DataFrame as it is."""
    if is_pandas(value, "DataFrame"):
        return value
    return value.to_frame() if value.name is not None else value.to_frame(name="value")


def frame_to_markdown(value: Any, limits: RenderLimits) -> MarkdownTable:
    """Format the first rows and columns of a DataFrame or Series, and its index unless that is a default one."""
    frame = to_dataframe(value)
    rows, columns = frame.shape
    part = frame.iloc[: limits.rows, : limits.columns]
    names = [_format_label(name) for name in part.columns]
    if _is_default_index(part.index):
        return _build_table(names, part.itertuples(index=False, name=None), limits, rows, columns)
    records = ((_format_label(index), *cells) for index, *cells in part.itertuples(index=True, name=None))
    return _build_table([_format_label(tuple(frame.index.names)), *names], records, limits, rows, columns)


def records_to_markdown(records: Sequence[Any], limits: RenderLimits) -> MarkdownTable:
    """Format a list of dicts, with a column for each key of the shown items."""
    shown = [record if isinstance(record, dict) else {} for record in records[: limits.rows]]
    keys: list[object] = list(dict.fromkeys(key for record in shown for key in record))
    columns = keys[: limits.columns]
    rows = ([record.get(key) for key in columns] for record in shown)
    return _build_table([str(key) for key in columns], rows, limits, len(records), len(keys))


def mapping_to_markdown(mapping: dict[Any, Any], limits: RenderLimits) -> MarkdownTable:
    """Format a dict as a table of two columns."""
    return _build_table(["key", "value"], islice(mapping.items(), limits.rows), limits, len(mapping), 2)


def _is_default_index(index: Any) -> bool:
    return is_pandas(index, "RangeIndex") and index.start == 0 and index.step == 1 and index.name is None


def _format_label(name: Any) -> str:
    """Return the name of a column or row; levels of a multi-index are joined."""
    if isinstance(name, tuple):
        return " / ".join(str(level) for level in name if level is not None)
    return str(name)


def _build_table(
    header: Sequence[str], records: Iterable[Sequence[object]], limits: RenderLimits, rows: int, columns: int
) -> MarkdownTable:
    lines = [
        _format_row([_format_cell(name, limits.cell)[0] for name in header]),
        "|" + " --- |" * len(header),
    ]
    size, shown, cut_cells = sum(map(len, lines)), 0, 0
    for record in records:
        cells = [_format_cell(item, limits.cell) for item in record]
        line = _format_row([text for text, _ in cells])
        size += len(line) + 1
        if size > limits.characters:
            break
        lines.append(line)
        shown += 1
        cut_cells += sum(cut for _, cut in cells)
    omitted = []
    if shown < rows:
        omitted.append(f"{shown:,} of {rows:,} rows")
    if limits.columns < columns:
        omitted.append(f"{limits.columns:,} of {columns:,} columns")
    if cut_cells:
        omitted.append(f"{cut_cells:,} cell{'' if cut_cells == 1 else 's'} cut at {limits.cell:,} characters")
    if omitted:
        lines += ["", f"({', '.join(omitted)})"]
    return MarkdownTable("\n".join(lines), tuple(omitted))


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_cell(value: object, limit: int) -> tuple[str, bool]:
    """Return a cell's text, and whether it was cut; a missing value is an empty cell."""
    if is_missing(value):
        return "", False
    cut = False
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, (list, tuple, dict, set, frozenset)):
        text, cut = truncation.format_truncated(value, limit)
    else:
        text = str(value)
    cut = cut or len(text) > limit
    return _escape_cell(text[:limit] + ("…" if cut else "")), cut


def _escape_cell(text: str) -> str:
    return _LINE_BREAK.sub("<br>", text.replace("|", r"\|"))
