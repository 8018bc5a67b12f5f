"""Rules for a prompt that is asked for each row of a table: the values it takes, and the columns it must name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.experiments.frames import Frame, is_blank

#: Name of the variable that is the whole row, for columns whose names are not identifiers.
ROW = "row"


def row_values(frame: Frame, position: int, names: Collection[str]) -> dict[str, Any] | None:
    """Return a row's values for a prompt that has these names; None if it names columns and all are blank there.

    Blank values are empty texts.
    """
    takes_row = ROW in names and ROW not in frame.columns
    taken = frame.columns if takes_row else [name for name in names if name in frame.columns]
    row = {name: frame.columns[name][position] for name in taken}
    if row and not takes_row and all(map(is_blank, row.values())):
        return None
    row = {name: "" if is_blank(value) else value for name, value in row.items()}
    return {ROW: row, **row} if takes_row else row


def check_names_a_column(names: Collection[str], columns: Sequence[str], alternative: str = "") -> None:
    """Raise InputError for a prompt that names no column; ``alternative`` continues the hint."""
    if {*columns, ROW} & {*names}:
        return
    plain = next((name for name in columns if name.isidentifier()), None)
    example = f"{{{{{plain}}}}}" if plain else f"{{{{{ROW}[{columns[0]!r}]}}}}"
    raise InputError(
        "the prompt names no column: every row would get the same question.",
        hint=f"Write {example}{alternative}.",
    )


def group_notes(notes: Iterable[str]) -> list[str]:
    """Return the first note on each expression, and how many more there are."""
    groups: dict[str, list[str]] = {}
    for note in notes:
        groups.setdefault(note.partition(":")[0], []).append(note)
    return [
        group[0] if len(group) == 1 else f"{group[0]} (and {len(group) - 1:,} more)"
        for group in groups.values()
    ]
