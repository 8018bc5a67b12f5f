"""Columns of secrets in printed tables: of pandas, of databases and of Markdown, with delimiters, and Series."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

#: Where a secret stands in a text, and the name of its column.
Cell = tuple[int, int, str]

_DELIMITERS = ("│", "┆", "|", "\t", ";", ",")
_WORD = re.compile(r"[^\W\d][\w.-]*")
_NAME = re.compile(r"[^\W\d][\w.-]{0,60}")
#: Cells that are divided by more than one blank.
_ALIGNED_CELL = re.compile(r"\S+(?:[ ]\S+)*")
_SERIES_END = re.compile(r"Name: (?P<name>[^,\n]{1,60}),(?: Length: \d+,)? dtype: ")
#: The end of a row of a table that was printed as a Series.
_ROW_END = re.compile(r"Name: [^,\n]{1,60}, dtype: (?:object|str)")
_NO_VALUE = re.compile(
    r"\W*\Z|(?:NaN|None|NaT|null|nan|object|str|string|<NA>)\Z|<secret \d+>\Z", re.IGNORECASE
)
_MAX_ROWS, _MAX_TABLES = 1_000, 20


def find_table_cells(text: str, is_secret_name: Callable[[str], bool]) -> Iterator[Cell]:
    """Yield the cells below each heading that is a secret's name, and the values of each Series of such a name."""
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*", text) if match[0]]
    headings = (
        n for n, (_, line) in enumerate(lines) if any(map(is_secret_name, _WORD.findall(line[:4_000])))
    )
    for number, (_, line) in enumerate(lines):
        if _ROW_END.match(line):
            values = _series_cells(lines[max(0, number - _MAX_ROWS) : number])
            yield from (value for value in values if is_secret_name(value[2]))
    for number in islice(headings, _MAX_TABLES):
        line = lines[number][1]
        rows = lines[number + 1 : number + 1 + _MAX_ROWS]
        if (end := _SERIES_END.match(line)) is not None and is_secret_name(end["name"]):
            cells = _series_cells(lines[max(0, number - _MAX_ROWS) : number])
            yield from ((begin, stop, end["name"]) for begin, stop, _ in cells)
        elif rows:
            delimiter = next((sign for sign in _DELIMITERS if sign in line), "")
            cells = _delimited_cells(line, rows, delimiter) if delimiter else _aligned_cells(line, rows)
            yield from (cell for cell in cells if is_secret_name(cell[2]))


def _delimited_cells(heading: str, rows: list[tuple[int, str]], delimiter: str) -> Iterator[Cell]:
    first, *others = _split(heading, delimiter)
    first = re.split(r"[\"']+(?=\w)", first)[-1]  # the text may begin in a line of code
    names = [cell.strip().strip("\"'") for cell in (first, *others)]
    if not all(_NAME.fullmatch(name) for name in names if name) or not any(names):
        return
    for start, line in rows:
        cells = _split(line, delimiter)
        if len(cells) != len(names):
            if not re.search(r"\w", line):  # a rule between the heading and the rows
                continue
            return
        for name, cell in zip(names, cells, strict=True):
            value = cell.strip().strip("\"'")
            if name and not _NO_VALUE.match(value):
                begin = start + cell.index(value)
                yield begin, begin + len(value), name
            start += len(cell) + len(delimiter)


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == "│":
        line = line.replace("┆", "│")
    return line.split(delimiter)


def _aligned_cells(heading: str, rows: list[tuple[int, str]]) -> Iterator[Cell]:
    """Yield the cells of columns that are aligned by blanks, the first of which is an index without a name."""
    words = list(re.finditer(r"\S+", heading))
    is_index_name = len(words) == 1 and words[0].start() == 0
    if not (heading[:1] == " " or is_index_name) or not all(_NAME.fullmatch(word[0]) for word in words):
        return
    for start, line in rows:
        cells = list(_ALIGNED_CELL.finditer(line))
        if len(cells) < 2 or line[:1] == "[":
            return
        for word in words:
            for cell in cells:
                overlaps = cell.start() < word.end() and cell.end() > word.start()
                if overlaps and not _NO_VALUE.match(cell[0]):
                    yield start + cell.start(), start + cell.end(), word[0]


def _series_cells(lines: list[tuple[int, str]]) -> Iterator[Cell]:
    """Yield the values of a Series, with the labels of their rows."""
    for start, line in reversed(lines):
        cells = list(_ALIGNED_CELL.finditer(line))
        if len(cells) < 2:
            return
        if not _NO_VALUE.match(cells[-1][0]):
            yield start + cells[-1].start(), start + cells[-1].end(), cells[0][0]
