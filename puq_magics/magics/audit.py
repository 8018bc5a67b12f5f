"""Audit a saved notebook: list its answers, and export what was asked and answered."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from puq_magics.core.text import one_line, pluralize
from puq_magics.magics.views import show_value
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.results.provenance import BLIND_KIND, RUN_KINDS, Provenance, hash_cell
from puq_magics.outputs.tables.audit import (
    EDITED,
    MATCHES,
    NOT_RUN,
    UNRECORDED,
    UNSAVED,
    AuditReport,
    AuditRow,
)
from puq_magics.prompts.conversation.export import blockquote, export
from puq_magics.prompts.conversation.turns import NO_TIME, Branch, Turn
from puq_magics.session.notebook_file import SavedAnswer, SavedCell, find_notebook, read_cells
from puq_magics.session.session import Session


@dataclass(frozen=True)
class _AuditedCell:
    """A cell with an answer; without one, a cell that asks and has no record."""

    cell: SavedCell
    state: str
    answer: SavedAnswer | None = None

    @property
    def provenance(self) -> Provenance | None:
        """Record of the answer."""
        return None if self.answer is None else self.answer.provenance


def audit(session: Session, args: argparse.Namespace, name: str) -> AuditReport:
    """List the answers of a notebook, this one if ``name`` is empty, and export them. Raises InputError."""
    path = find_notebook(name)
    ran = set() if name else {hash_cell(session.cells.source(number)) for number in session.cells.numbers}
    audited = list(_audited_cells(read_cells(path), ran))
    notes = []
    if not name:
        saved_at = datetime.fromtimestamp(path.stat().st_mtime)
        notes = [
            f"As saved at {saved_at:%H:%M:%S}: for later answers save the notebook, then run this again."
        ]
    if args.export is not None:
        saved = export(_Handout(path.name, audited), args.export, args.force)
        notes.append(f"What was asked and answered is written to {saved}.")
    rows = [AuditRow(each.cell.place, each.cell.number, each.state, each.provenance) for each in audited]
    return show_value(session, AuditReport(one_line(path.name, 80), rows, notes), args, is_result=False)


def _audited_cells(cells: Sequence[SavedCell], ran: Collection[str]) -> Iterator[_AuditedCell]:
    """Yield the answers of each cell; one that is shown in several cells counts once, where it was asked for.

    ``ran`` are the hashes of the cells of this session.
    """
    places = {cell.hash: cell.place for cell in cells}
    shown = {
        repr(answer.provenance)
        for cell in cells
        for answer in cell.answers
        if answer.provenance.cell_hash == cell.hash
    }
    # The cell of a vote shows the answers with their names; where outputs are not updated, the blind one stays.
    voted = {
        answer.provenance.cell_hash
        for cell in cells
        for answer in cell.answers
        if answer.provenance.cell_hash != cell.hash and answer.provenance.kind == "chat"
    }
    for cell in cells:
        for answer in cell.answers:
            record = answer.provenance
            is_own = record.cell_hash == cell.hash
            is_voted = record.kind == BLIND_KIND and record.cell_hash in voted
            if is_voted or (not is_own and repr(record) in shown):
                continue
            shown.add(repr(record))
            if is_own:
                state = MATCHES
            elif not record.cell_hash:
                state = "no cell"
            else:
                place = places.get(record.cell_hash)
                state = EDITED if place is None else f"of cell {place}"
            yield _AuditedCell(cell, state, answer)
        if cell.asks and not cell.answers:
            not_run = UNSAVED if cell.hash in ran else NOT_RUN
            yield _AuditedCell(cell, not_run if cell.number is None else UNRECORDED)


@dataclass(frozen=True)
class _Handout:
    """Questions and answers of a notebook, as the export of a conversation takes it."""

    name: str
    audited: Sequence[_AuditedCell]
    system: str | None = None
    branches: tuple[Branch, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The cells as questions, with their answers."""
        return tuple(_turn(each) for each in self.audited if each.answer is not None)


def _missing_answers(answer: SavedAnswer) -> str:
    """Return a sentence on the answers of a run that the notebook has in part or not at all; else nothing."""
    number, missing = len(answer.answers), []
    if not number:
        missing.append("no answers of this run")
    elif number < answer.total:
        missing.append(f"the first {number:,} of {answer.total:,} answers of this run")
    if answer.cut:
        missing.append(f"only the beginning of {pluralize(answer.cut, 'answer')}")
    kept = ", and ".join(missing)
    return f"*The notebook has {kept}. All are in the run's journal, if it was kept.*\n\n" if kept else ""


def _turn(audited: _AuditedCell) -> Turn:
    answer = audited.answer
    assert answer is not None  # noqa: S101
    record = answer.provenance
    note = "*The cell was edited after this answer.*\n\n" if audited.state == EDITED else ""
    text = answer.text
    if record.kind in RUN_KINDS:
        note += _missing_answers(answer)
        text += "".join(
            f"\n\n**{escape_inline(name)}**\n\n{blockquote(each)}" for name, each in answer.answers
        )
    return Turn(
        None,
        audited.cell.source,
        note + text,
        record.model or record.requested_model,
        at=record.at or NO_TIME,
    )
