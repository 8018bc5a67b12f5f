"""Value of ``%puq_audit``: the answers of a notebook, whether they match their cells, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

from puq_magics.core.text import pluralize
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.provenance import RUN_KINDS, Provenance
from puq_magics.outputs.tables.table import SORT_SCRIPT, CellValue, Column, Table, make_dataframe
from puq_magics.outputs.tables.usage_report import format_cost

#: Values of ``AuditRow.state``.
MATCHES, EDITED, UNRECORDED, NOT_RUN, UNSAVED = "matches", "edited", "no record", "not run", "not saved"


def _format_cost(value: float | str | None) -> str:
    return value if isinstance(value, str) else format_cost(value)


_COLUMNS = (
    Column("cell"),
    Column("estimated cost", _format_cost, "right"),
    Column("state"),
    Column("model", breaks_words=False),
    Column("kind", spare_rank=1),
    Column("at (UTC)", spare_rank=2, breaks_words=False),
    Column("parameters", spare_rank=3),
)


@dataclass(frozen=True)
class AuditRow:
    """One answer of a notebook, or a cell that asks and has no record of an answer."""

    #: Place of the cell in the notebook, from 1, and n of its ``In[n]``; None if it was not run.
    cell: int
    number: int | None
    #: ``matches``, ``edited`` (after the answer), ``of cell 3``, ``no cell``, ``no record``, ``not run`` or ``not
    #: saved`` (since it was run).
    state: str
    #: None without a record.
    provenance: Provenance | None = None

    @property
    def cells(self) -> tuple[CellValue, ...]:
        """Cells of its table row."""
        name = f"{self.cell}, In [{self.number}]" if self.number is not None else f"{self.cell}"
        record = self.provenance
        if record is None:
            return name, "", self.state, "", "", "", ""
        answered = record.model if record.model != record.requested_model else ""
        model = f"{record.requested_model} → {answered}" if answered else record.requested_model
        at = f"{record.at:%Y-%m-%d %H:%M}" if record.at else ""
        params = ", ".join(f"{key} {value}" for key, value in record.params.items())
        return name, record.cost, self.state, model, record.kind, at, params


class AuditReport(DisplayOnce, Sequence[AuditRow]):
    """Answers of a notebook in the order of its cells, shown as a table."""

    script = SORT_SCRIPT

    def __init__(self, name: str, rows: Sequence[AuditRow], notes: Sequence[str] = ()) -> None:
        self._name = name
        self._rows = tuple(rows)
        self._notes = tuple(notes)

    @property
    def edited(self) -> tuple[AuditRow, ...]:
        """Answers whose cell was edited after them."""
        return tuple(row for row in self._rows if row.state == EDITED)

    @property
    def cost(self) -> float | None:
        """Sum of the estimates, in credits; None if there is none."""
        costs = [
            row.provenance.cost
            for row in self._recorded
            if row.provenance and row.provenance.cost is not None
        ]
        return sum(costs) if costs else None

    @property
    def _recorded(self) -> list[AuditRow]:
        return [row for row in self._rows if row.provenance is not None]

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row an answer. Raises ConfigurationError without pandas."""
        names = [each.name for each in fields(Provenance)]
        records = [
            [row.cell, row.number, row.state, *(getattr(row.provenance, name, None) for name in names)]
            for row in self._rows
        ]
        return make_dataframe(["cell", "number", "state", *names], records)

    def _headline(self) -> str:
        recorded, edited = len(self._recorded), len(self.edited)
        missing = sum(row.state == UNRECORDED for row in self._rows)
        unsaved = sum(row.state == UNSAVED for row in self._rows)
        parts = [pluralize(recorded, "answer")]
        if edited:
            parts.append(f"{edited:,} no longer {'matches its cell' if edited == 1 else 'match their cells'}")
        if missing:
            parts.append(f"{missing:,} without a record")
        if unsaved:
            parts.append(f"{unsaved:,} not saved yet")
        return f"{self._name}: {', '.join(parts)}"

    def _table(self) -> Table:
        recorded = [row.provenance for row in self._rows if row.provenance]
        notes = list(self._notes)
        if recorded:
            unknown = sum(record.cost is None for record in recorded)
            without = f"; {pluralize(unknown, 'answer')} without an estimate" if unknown else ""
            runs = any(record.kind in RUN_KINDS for record in recorded)
            from_journal = "; that of a run is of all its answers, those from its journal too" if runs else ""
            notes.insert(
                0,
                f"Costs are estimates in credits{from_journal}{without}. "
                "Anybody can edit the records of a file.",
            )
        foot = ("total", self.cost, *[""] * (len(_COLUMNS) - 2)) if len(recorded) > 1 else None
        rows = [row.cells for row in self._rows]
        kept = {0, 1, 2} if recorded else {0, 2}
        shown = [i for i, _ in enumerate(_COLUMNS) if i in kept or any(row[i] for row in rows)]
        return Table(
            [_COLUMNS[i] for i in shown],
            [[row[i] for i in shown] for row in rows],
            self._headline() if rows else "",
            foot=foot and [foot[i] for i in shown],
            notes=notes,
            more=".to_frame() holds all.",
            empty=f"{self._name}: no cell asks a model",
        )

    @overload
    def __getitem__(self, index: int) -> AuditRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[AuditRow]: ...
    def __getitem__(self, index: int | slice) -> AuditRow | Sequence[AuditRow]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[AuditRow]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<AuditReport of {self._headline()}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return self._table().bundle()
