"""Values of ``%puq_chats``: the table of conversations, and a conversation as a readable transcript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from puq_magics.core.text import pluralize
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.footer import format_credits
from puq_magics.outputs.tables.table import (
    SORT_SCRIPT,
    CellValue,
    Column,
    Table,
    format_number,
    make_dataframe,
)


def _format_cost(value: float | None) -> str:
    return "unknown" if value is None else format_credits(value).removesuffix(" credits")


_COLUMNS = (
    Column("name"),
    Column("turns", format_number, "right"),
    (_BRANCHES := Column("branches", format_number, "right")),
    Column("tokens", format_number, "right"),
    Column("estimated cost", _format_cost, "right"),
    (_SYSTEM := Column("system")),
    Column("last question"),
)
#: Left out where nothing is in them.
_SPARE_COLUMNS = (_BRANCHES, _SYSTEM)


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """One conversation, summed up."""

    name: str
    turns: int
    branches: int
    #: What it holds, estimated.
    tokens: int
    #: Credits that all its answers cost, those in branches too; None where that is not known.
    estimated_cost: float | None
    system: str
    last_question: str

    @property
    def cells(self) -> tuple[CellValue, ...]:
        """Cells of its table row."""
        facts = (self.turns, self.branches, self.tokens, self.estimated_cost)
        return (self.name, *facts, self.system, self.last_question)


class ConversationTable(DisplayOnce, Sequence[ConversationRow]):
    """Conversations as a sequence that shows itself as a table."""

    script = SORT_SCRIPT

    def __init__(self, rows: Sequence[ConversationRow]) -> None:
        self._rows = tuple(rows)

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row a conversation. Raises ConfigurationError without pandas."""
        names = [column.title.replace(" ", "_") for column in _COLUMNS]
        return make_dataframe(names, [row.cells for row in self._rows])

    @overload
    def __getitem__(self, index: int) -> ConversationRow: ...
    @overload
    def __getitem__(self, index: slice) -> ConversationTable: ...
    def __getitem__(self, index: int | slice) -> ConversationRow | ConversationTable:
        return ConversationTable(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ConversationRow]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<ConversationTable {', '.join(row.name for row in self._rows) or 'no conversations'}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        caption = f"{pluralize(len(self), 'conversation')}; costs in credits"
        rows = [row.cells for row in self._rows]
        empty = "no conversations yet; a cell begins one: %%puq_chat -c main"
        shown = [
            i
            for i, column in enumerate(_COLUMNS)
            if column not in _SPARE_COLUMNS or any(row[i] for row in rows)
        ]
        cells = [[row[i] for i in shown] for row in rows]
        return Table([_COLUMNS[i] for i in shown], cells, caption, empty=empty).bundle()


class ConversationTranscript(DisplayOnce):
    """A conversation to read. ``conversation`` is the conversation itself."""

    def __init__(self, conversation: Any, markdown: str, facts: Sequence[str] = ()) -> None:
        self.conversation = conversation
        self._markdown = markdown
        self._facts = tuple(facts)

    def __str__(self) -> str:
        return self._markdown

    def __repr__(self) -> str:
        return f"<ConversationTranscript of {self.conversation!r}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from puq_magics.outputs.markdown.feed import sanitize_markdown, strip_control_chars
        from puq_magics.outputs.results.footer import Footer

        footer = Footer(self._facts)
        return {
            "text/markdown": footer.append_to_markdown(sanitize_markdown(self._markdown)),
            "text/plain": footer.append_to_text(strip_control_chars(self._markdown).rstrip()),
        }

    def _to_terminal(self, text: str) -> str:
        from puq_magics.outputs.views.terminal_text import format_for_terminal

        return format_for_terminal(text)
