"""Format tables as Markdown: data frames, series, and lists of records."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from puq_magics.core.text import pluralize
from puq_magics.prompts import tables, truncation

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


def is_records(value: object) -> bool:
    """Return whether a value is a list of dicts, judged by its first items."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value[:20])


def table_to_markdown(value: Any, limits: RenderLimits) -> MarkdownTable:
    """Format the first rows and columns of a table, and its index unless that only counts the rows."""
    table = tables.read_table(value, limits.columns)
    names = [format_label(column.name) for column in table.columns]
    if table.index:
        names.insert(0, format_label(tuple(level.name for level in table.index)))
    rows = (
        (*([format_label(labels)] if labels else []), *cells) for labels, cells in table.rows(limits.rows)
    )
    return _build_table(names, rows, limits, table.row_count, table.column_count)


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


def rows_to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of texts; the first one is the header."""
    width = max(map(len, rows))
    header, *others = ([*row, *[""] * (width - len(row))] for row in rows)
    limits = RenderLimits(len(others), width, sys.maxsize, sys.maxsize)
    return _build_table(header, others, limits, len(others), width).text


def format_label(name: Any) -> str:
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
        omitted.append(f"{pluralize(cut_cells, 'cell')} cut at {limits.cell:,} characters")
    if omitted:
        lines += ["", f"({', '.join(omitted)})"]
    return MarkdownTable("\n".join(lines), tuple(omitted))


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_cell(value: object, limit: int) -> tuple[str, bool]:
    """Return a cell's text, and whether it was cut; a missing value is an empty cell."""
    if tables.is_missing(value):
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
