"""Value of ``%puq_usage``: calls, tokens, seconds and estimated costs, by model and by cell."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, overload

from puq_magics.core.text import pluralize
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.tables.table import (
    SORT_SCRIPT,
    CellValue,
    Column,
    Table,
    format_number,
    make_dataframe,
    missing_package_error,
)


class LedgerEntryLike(Protocol):
    """An entry of the ledger, as far as it is looked at here."""

    @property
    def session(self) -> str: ...  # noqa: D102
    @property
    def cell(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def prompt_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def completion_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def images(self) -> int | None: ...  # noqa: D102
    @property
    def characters(self) -> int | None: ...  # noqa: D102
    @property
    def audio_seconds(self) -> float | None: ...  # noqa: D102
    @property
    def seconds(self) -> float | None: ...  # noqa: D102
    @property
    def time_to_first_token(self) -> float | None: ...  # noqa: D102
    @property
    def cost(self) -> float | None: ...  # noqa: D102
    @property
    def has_failed(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Totals of a group of calls."""

    #: The model, the cell, or ``total``.
    name: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    images: int
    #: Characters that were spoken, and seconds of audio.
    characters: int
    audio_seconds: float
    #: Seconds of all calls together.
    seconds: float
    #: The mean, in seconds, of the calls that have one.
    time_to_first_token: float | None
    #: The sum of the estimates, in credits; None where no call has one.
    estimated_cost: float | None
    #: Calls that have no estimate.
    without_cost: int
    #: Calls that gave no whole answer, and not because a person stopped them.
    failures: int

    @property
    def media(self) -> str:
        """Images, characters that were spoken and seconds of audio, as words."""
        amounts = (
            pluralize(self.images, "image") if self.images else "",
            f"{self.characters:,} characters spoken" if self.characters else "",
            f"{self.audio_seconds:,.1f} s of audio" if self.audio_seconds else "",
        )
        return ", ".join(filter(None, amounts))

    @classmethod
    def from_entries(cls, name: str, entries: Sequence[LedgerEntryLike]) -> UsageRow:
        """The row of these entries."""
        firsts = [e.time_to_first_token for e in entries if e.time_to_first_token is not None]
        costs = [entry.cost for entry in entries if entry.cost is not None]
        return cls(
            name=name,
            calls=len(entries),
            prompt_tokens=sum(entry.prompt_tokens or 0 for entry in entries),
            completion_tokens=sum(entry.completion_tokens or 0 for entry in entries),
            images=sum(entry.images or 0 for entry in entries),
            characters=sum(entry.characters or 0 for entry in entries),
            audio_seconds=sum(entry.audio_seconds or 0.0 for entry in entries),
            seconds=sum(entry.seconds or 0.0 for entry in entries),
            time_to_first_token=sum(firsts) / len(firsts) if firsts else None,
            estimated_cost=sum(costs) if costs else None,
            without_cost=len(entries) - len(costs),
            failures=sum(entry.has_failed for entry in entries),
        )


def _format_count(value: int) -> str:
    return f"{value:,}" if value else ""


def _format_seconds(value: float | None) -> str:
    return f"{value:,.1f}" if value else ""


def _format_first_token(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def format_cost(value: float | None) -> str:
    """Two significant digits, as it is an estimate."""
    if value is None:
        return "unknown"
    if 0 < value < _LEAST_COST:
        return f"< {_LEAST_COST}"
    return format_number(float(f"{value:.2g}") if abs(value) < 10 else round(value, 2))


_LEAST_COST = 0.0001  # credits; what is less is not told exactly


def _number_column(title: str, form: Callable[[Any], str], spare_rank: int = 0) -> Column:
    return Column(title, form, "right", spare_rank)


#: By the field; those in which all is empty are left out, but for the first two. Narrow terminals lose the last ones.
_COLUMNS: dict[str, Column] = {
    "estimated_cost": _number_column("estimated cost", format_cost),
    "calls": _number_column("calls", format_number),
    "failures": _number_column("failed", _format_count),
    "prompt_tokens": _number_column("prompt tokens", _format_count, 2),
    "completion_tokens": _number_column("completion tokens", _format_count, 1),
    "seconds": _number_column("seconds", _format_seconds, 3),
    "time_to_first_token": _number_column("to first token", _format_first_token, 4),
}
_ALWAYS_SHOWN = ("estimated_cost", "calls")
_ROW_FIELDS = tuple(UsageRow.__slots__)


class UsageReport(DisplayOnce, Sequence[UsageRow]):
    """A sequence of what each model used, the dearest first, that shows itself as tables."""

    script = SORT_SCRIPT

    def __init__(
        self, entries: Iterable[LedgerEntryLike], *, title: str = "this session", notes: Sequence[str] = ()
    ) -> None:
        entries = tuple(entries)
        self._title = title
        self._notes = tuple(notes)
        self._entries = entries
        self._one_session = len({entry.session for entry in entries}) < 2
        rows = _group_by(entries, lambda entry: entry.model, lambda entry: entry.model)
        #: A row for each model, the dearest first.
        self.by_model = tuple(sorted(rows, key=_by_cost))
        #: A row for each cell, in the order of their first calls; those of several sessions stay apart.
        self.by_cell = tuple(_group_by(entries, lambda entry: (entry.session, entry.cell), self._cell_name))
        #: All together.
        self.total = UsageRow.from_entries("total", entries)

    def to_frame(self, by: str = "model") -> Any:
        """A pandas DataFrame, one row a ``model``, ``cell`` or ``call``. Raises ConfigurationError without pandas."""
        if by == "call":
            return _calls_frame(self._entries)
        names = (by, *_ROW_FIELDS[1:])
        return make_dataframe(names, [[getattr(row, name) for name in _ROW_FIELDS] for row in self._rows(by)])

    def plot(self, what: str | None = None) -> Any:
        """Plot bars by model, as matplotlib Axes: ``cost`` or ``tokens``; by default the cost if any is known.

        Raises ConfigurationError without matplotlib, and ValueError for another quantity.
        """
        what = what or ("cost" if self.total.estimated_cost is not None else "tokens")
        if what not in ("cost", "tokens"):
            raise ValueError(f"plot() shows 'cost' or 'tokens', not {what!r}")
        try:
            from matplotlib import pyplot
        except ImportError:
            raise missing_package_error("matplotlib", "a plot") from None
        rows = self.by_model[::-1]
        _, axes = pyplot.subplots(figsize=(7, 1 + 0.4 * len(rows)), layout="constrained")
        names = [row.name.replace("$", r"\$") for row in rows]  # no formulas
        if what == "cost":
            axes.barh(names, [row.estimated_cost or 0.0 for row in rows])
            axes.set_xlabel("estimated cost, credits")
        else:
            prompts = [row.prompt_tokens for row in rows]
            axes.barh(names, prompts, label="prompt")
            axes.barh(names, [row.completion_tokens for row in rows], left=prompts, label="completion")
            axes.set_xlabel("tokens")
            axes.legend()
        axes.set_title(f"Usage of {self._title}")
        return axes

    def _rows(self, by: str) -> Sequence[UsageRow]:
        if by not in ("model", "cell"):
            raise ValueError(f"to_frame() takes 'model', 'cell' or 'call', not {by!r}")
        return self.by_model if by == "model" else self.by_cell

    def _cell_name(self, entry: LedgerEntryLike) -> str:
        name = f"In [{entry.cell}]" if entry.cell.isdecimal() else entry.cell or "no cell"
        return name if self._one_session else f"{name} of session {entry.session[:8]}"

    def _tables(self) -> list[Table]:
        caption = f"Usage of {self._title}"
        total = self.total if len(self.by_model) > 1 else None
        if len(self.by_cell) < 2 or not self._one_session:  # cells of old sessions tell nobody anything
            return [_make_table(self.by_model, "model", caption, self._note_lines(), total=total)]
        return [
            _make_table(self.by_model, "model", caption, (), total=total),
            _make_table(self.by_cell, "cell", "By cell", self._note_lines(), ".to_frame('cell') holds all."),
        ]

    def _note_lines(self) -> list[str]:
        notes = [f"Media: {self.total.media}."] if self.total.media else []
        if self.total.estimated_cost is not None:
            notes.append(
                "Costs are estimates in credits, from list prices, or from the change in balance; "
                "%puq_balance is authoritative."
            )
            if self.total.without_cost:
                count = self.total.without_cost
                notes.append(
                    f"{count:,} call{' has' if count == 1 else 's have'} no estimate and"
                    f" {'is' if count == 1 else 'are'} not in the cost."
                )
        return [*notes, *self._notes]

    @overload
    def __getitem__(self, index: int) -> UsageRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[UsageRow]: ...
    def __getitem__(self, index: int | slice) -> UsageRow | Sequence[UsageRow]:
        return self.by_model[index]

    def __len__(self) -> int:
        return len(self.by_model)

    def __iter__(self) -> Iterator[UsageRow]:
        return iter(self.by_model)

    def __repr__(self) -> str:
        total = self.total
        amount = format_cost(total.estimated_cost)
        about = "" if amount.startswith("<") else "about "
        cost = "" if total.estimated_cost is None else f", {about}{amount} credits"
        tokens = total.prompt_tokens + total.completion_tokens
        calls = pluralize(total.calls, "call")
        return f"<UsageReport of {self._title}: {calls}, {tokens:,} tokens{cost}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        tables = self._tables()
        return {
            "text/html": "".join(table.html() for table in tables),
            "text/plain": "\n\n".join(table.text() for table in tables),
        }


def _group_by(
    entries: Iterable[LedgerEntryLike],
    key: Callable[[LedgerEntryLike], Hashable],
    name: Callable[[LedgerEntryLike], str],
) -> list[UsageRow]:
    groups: dict[Hashable, list[LedgerEntryLike]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return [UsageRow.from_entries(name(group[0]), group) for group in groups.values()]


def _by_cost(row: UsageRow) -> tuple[float, int]:
    return -(row.estimated_cost or 0.0), -(row.prompt_tokens + row.completion_tokens)


def _make_table(
    rows: Sequence[UsageRow],
    first: str,
    caption: str,
    notes: Sequence[str],
    more: str = ".to_frame() holds all.",
    total: UsageRow | None = None,
) -> Table:
    shown = [
        name
        for name, column in _COLUMNS.items()
        if name in _ALWAYS_SHOWN or any(column.format(getattr(row, name)) for row in rows)
    ]
    columns = [Column(first), *(_COLUMNS[name] for name in shown)]

    def _row_cells(row: UsageRow) -> list[CellValue]:
        return [row.name, *(getattr(row, name) for name in shown)]

    foot = None if total is None else _row_cells(total)
    cells = [_row_cells(row) for row in rows]
    return Table(columns, cells, caption, foot=foot, notes=notes, more=more, empty="no calls yet")


def _calls_frame(entries: Sequence[Any]) -> Any:
    """One row an entry, with all that the ledger holds of it."""
    names = [column.name for column in fields(entries[0])] if entries else ["at", "session", "cell", "model"]
    return make_dataframe(names, [[getattr(entry, name) for name in names] for entry in entries])
