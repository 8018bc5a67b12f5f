"""Tables in files: their columns with types, and the first rows. Parquet and Excel."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

from puq_magics.core.text import pluralize
from puq_magics.prompts import markdown_tables, tables
from puq_magics.prompts.documents.document import Document, ReadLimits, require_module

#: Rows of a table that are shown, its columns, and the sheets of a workbook.
HEAD_ROWS, MAX_COLUMNS, MAX_SHEETS = 20, 200, 20


def read_parquet(stream: BinaryIO, limits: ReadLimits) -> Document:
    """Return the schema and the first rows of a Parquet file. Raises InputError."""
    parquet = require_module("pyarrow.parquet", "a Parquet file")
    file = parquet.ParquetFile(stream)
    count = file.metadata.num_rows
    batch = next(file.iter_batches(batch_size=HEAD_ROWS), None)
    head = batch if batch is not None else file.schema_arrow.empty_table()
    size = f"{pluralize(count, 'row')}, {pluralize(file.metadata.num_columns, 'column')}"
    notes = (f"{HEAD_ROWS} of {count:,} rows",) if count > HEAD_ROWS else ()
    return Document(f"{size}\n\n{_describe(head, limits)}", notes=notes, language=None)


def read_workbook(stream: BinaryIO, limits: ReadLimits) -> Document:
    """Return the schema and the first rows of each sheet of an Excel workbook. Raises InputError."""
    pandas = require_module("pandas", "an Excel workbook")
    require_module("openpyxl", "an Excel workbook")
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and rules that it does not read
        with pandas.ExcelFile(stream, engine="openpyxl") as book:
            names = book.sheet_names[:MAX_SHEETS]
            texts = [_format_sheet(book, name, limits, notes) for name in names]
            if len(book.sheet_names) > MAX_SHEETS:
                notes.append(f"{MAX_SHEETS} of {len(book.sheet_names):,} sheets")
    return Document("\n\n".join(texts), notes=notes, language=None)


def _format_sheet(book: Any, name: str, limits: ReadLimits, notes: list[str]) -> str:
    frame = book.parse(name, nrows=HEAD_ROWS + 1)
    if frame.empty and not len(frame.columns):
        return f"Sheet {name!r}: empty"
    declared = getattr(book.book[name], "max_row", None)
    if len(frame) > HEAD_ROWS:
        total = f" of {declared - 1:,}" if isinstance(declared, int) and declared - 1 > HEAD_ROWS else ""
        notes.append(f"sheet {name}: the first {HEAD_ROWS}{total} rows")
    size = pluralize(frame.shape[1], "column")
    return f"Sheet {name!r}: {size}\n\n{_describe(frame.iloc[:HEAD_ROWS], limits)}"


def _describe(head: Any, limits: ReadLimits) -> str:
    """Format the columns with their types, and the rows of a table."""
    columns = tables.read_table(head, MAX_COLUMNS).columns
    fields = [
        {"column": markdown_tables.format_label(column.name), "type": column.type} for column in columns
    ]
    cut = markdown_tables.RenderLimits(MAX_COLUMNS, MAX_COLUMNS, limits.characters)
    schema = markdown_tables.records_to_markdown(fields, cut).text
    return f"{schema}\n\n{markdown_tables.table_to_markdown(head, cut).text}"
