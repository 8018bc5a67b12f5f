"""Tables for people: aligned columns in a terminal, and in a notebook HTML that a click on a header sorts.

Everything in a cell is text that others wrote: it is escaped, and what steers a terminal or the eye is dropped.
The script that sorts runs where an output is trusted; elsewhere the front end takes it out, and a plain table stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice, repeat
from textwrap import wrap
from typing import Any, Literal, overload

from IPython.display import display

from puq_magics.api.types import Model, model_kind
from puq_magics.core.errors import ConfigurationError
from puq_magics.core.text import pluralize, wrap_for_terminal
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.views.terminal_text import char_width


def show_fields(rows: Sequence[tuple[str, str]], *, in_notebook: bool) -> None:
    """Show labels and values."""
    rows = [(label, strip_control_chars(words).replace("\n", " ")) for label, words in rows]
    width = max(len(label) for label, _ in rows)
    text = "\n".join(f"{label:<{width}}  {words}" for label, words in rows)
    if not in_notebook:
        print("\n".join(wrap_for_terminal([text], indent=width + 2)))  # noqa: T201 - what was asked for
        return
    lines = "".join(
        f"<tr><th style='text-align: left'>{escape(label)}</th>"
        f"<td style='text-align: left'>{escape(words)}</td></tr>"
        for label, words in rows
    )
    display({"text/plain": text, "text/html": f"<table>{lines}</table>"}, raw=True)


#: Rows that are shown if nobody says otherwise, and characters of a cell.
MAX_ROWS, MAX_CELL_CHARS = 200, 80
_MAX_ROOMY_COLUMNS = 6  # more of them stand closer together
_MAX_UNSCROLLED_ROWS = 40  # a longer table scrolls by itself
_MIN_COLUMN_WIDTH, _MIN_NAME_WIDTH = 8, 40  # columns of a terminal, for words, and for what names a row
_MAX_CAPTION_LINE = 60  # characters that a page of 700 pixels has room for
_COLUMN_GAP = "  "
#: Keeps front ends from reading formulas into names with dollar signs.
_NO_MATH_CLASSES = "puq-table tex2jax_ignore mathjax_ignore"

#: Sorts by the numbers in ``data-n``, else by the words; cells without either stay last. It is an output of its own,
#: which converters to Markdown and LaTeX leave out, and looks for tables near ``element`` once that is in the page.
SORT_SCRIPT = """
setTimeout(() => element.getRootNode().querySelectorAll(".puq-table > table").forEach(table => {
  if (table.dataset.sorts) return;
  table.dataset.sorts = "yes";
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], rows = [...body.rows];
  const value = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.n ? Number(cell.dataset.n) : cell.textContent;
  };
  const compare = (a, b) => typeof a == "number" && typeof b == "number" ? a - b
    : String(a).localeCompare(String(b), undefined, {numeric: true});
  heads.forEach((head, i) => {
    const button = document.createElement("button"), arrow = document.createElement("span");
    button.type = "button";
    button.dataset.lmSuppressShortcuts = "true";  // or JupyterLab takes its keys: dd deletes the cell
    button.title = "Sort the rows shown";
    button.style.cssText = "all: unset; cursor: pointer";
    button.onfocus = () => { if (button.matches(":focus-visible")) button.style.outline = "2px solid"; };
    button.onblur = () => { button.style.outline = ""; };
    arrow.setAttribute("aria-hidden", "true");
    button.append(...head.childNodes, arrow);
    head.replaceChildren(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") == "ascending";
      for (const other of heads) {
        other.removeAttribute("aria-sort");
        other.querySelector("span").textContent = "";
      }
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      arrow.textContent = down ? " \\u25bc" : " \\u25b2";
      const keyed = rows.map(row => [value(row, i), row]);
      keyed.sort(([a], [b]) => (a === "") - (b === "") || (down ? compare(b, a) : compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    };
  });
}));
"""

CellValue = str | int | float | bool | None


def format_number(value: CellValue) -> str:
    """A number in full, without an exponent unless it is tiny; nothing for None."""
    if not isinstance(value, int | float):
        return value or ""
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    if abs(value) < 1e-6 or abs(value) >= 1e15:
        return f"{value:.3g}"
    return f"{value:,.10f}".rstrip("0").rstrip(".")


def format_text(value: CellValue) -> str:
    """Words on one line, yes and no for flags."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and how its cells become text."""

    title: str
    format: Callable[[Any], str] = format_text
    align: Literal["left", "right"] = "left"
    #: Where a terminal is too narrow for all columns, those with the highest rank are left out; 0 is never.
    spare_rank: int = 0
    #: Whether a narrow page may break a word such as a date at its hyphens.
    breaks_words: bool = True


@dataclass(frozen=True)
class Table:
    """Rows to be shown: the first ``limit`` of them, and ``more`` says how to see the rest."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[CellValue]]
    caption: str = ""
    #: A last row that sums up, and stays where it is.
    foot: Sequence[CellValue] | None = None
    #: Sentences below it.
    notes: Sequence[str] = ()
    limit: int = MAX_ROWS
    #: How many rows there are, where ``rows`` holds only the first.
    total: int | None = None
    more: str = ""
    #: What stands there without any rows.
    empty: str = "nothing"

    def text(self, width: int | None = None) -> str:
        """Aligned columns, fitted to a width in characters: the terminal's, if none is given."""
        if not self.rows:
            return "\n".join(
                [*_caption_lines(self.caption), f"({_one_line(self.empty)})", *self._note_lines()]
            )
        width = width or shutil.get_terminal_size((110, 24)).columns
        foot = [] if self.foot is None else [self._format_cells(self.foot)]
        body = [*self._formatted_rows(), *foot]
        heads = [[column.title] for column in self.columns]
        if _total_width(_natural_widths(range(len(heads)), heads, body)) > width:
            heads = [column.title.rsplit(" ", 1) for column in self.columns]  # on two lines
        places, widths = _fit_columns(self.columns, heads, body, width)
        height = max(len(heads[i]) for i in places)
        titles = [[([""] * height + head)[line - height] for head in heads] for line in range(height)]
        shown = [self.columns[i] for i in places]
        lines = [_format_row([cells[i] for i in places], widths, shown) for cells in (*titles, *body)]
        rule = _COLUMN_GAP.join("─" * size for size in widths)
        if foot:
            lines.insert(-1, rule)
        hidden = [column.title for i, column in enumerate(self.columns) if i not in places]
        notes = [*self._note_lines(), *([f"No room for: {', '.join(hidden)}."] if hidden else [])]
        below = [line for note in notes for line in wrap(note, max(width, 20), break_long_words=False)]
        return "\n".join([*_caption_lines(self.caption), *lines[:height], rule, *lines[height:], *below])

    def html(self) -> str:
        """A table; where ``SORT_SCRIPT`` runs, its headers are buttons that sort the rows shown."""
        keep = "; white-space: nowrap" if len(self.caption) <= _MAX_CAPTION_LINE else ""
        caption = (
            f"<caption style='text-align: left{keep}'>{escape(_one_line(self.caption))}</caption>"
            if self.caption
            else ""
        )
        below = "".join(f"<div>{escape(note)}</div>" for note in self._note_lines())
        if not self.rows:
            return (
                f"<div class='tex2jax_ignore mathjax_ignore'>({escape(_one_line(self.empty))}){below}</div>"
            )
        padding = "; padding: 0.4em 0.45vw" if len(self.columns) > _MAX_ROOMY_COLUMNS else ""
        aligned = [f" style='text-align: {column.align}{padding}'" for column in self.columns]
        cells = [f"{aligned[0][:-1]}; white-space: nowrap'", *aligned[1:]]
        heads = "".join(
            f"<th scope='col'{style}>{escape(column.title)}</th>"
            for column, style in zip(self.columns, aligned, strict=True)
        )
        sources = islice(self.rows, self.limit)
        body = "".join(map(_html_row, sources, self._formatted_rows(), repeat(cells), repeat(self.columns)))
        bold = [f"{style[:-1]}; font-weight: bold; border-top: 1px solid'" for style in cells]
        foot = (
            ""
            if self.foot is None
            else _html_row(self.foot, self._format_cells(self.foot), bold, self.columns)
        )
        scroll = "; max-height: 32em" if min(len(self.rows), self.limit) > _MAX_UNSCROLLED_ROWS else ""
        return (
            f"<div class='{_NO_MATH_CLASSES}' style='overflow: auto{scroll}'>"
            f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>{below}</div>"
        )

    def bundle(self) -> dict[str, str]:
        """Both, by their MIME types."""
        return {"text/html": self.html(), "text/plain": self.text()}

    def _formatted_rows(self) -> list[list[str]]:
        return [self._format_cells(row) for row in islice(self.rows, self.limit)]

    def _format_cells(self, row: Sequence[CellValue]) -> list[str]:
        return [_one_line(column.format(cell)) for column, cell in zip(self.columns, row, strict=True)]

    def _note_lines(self) -> list[str]:
        rest = (len(self.rows) if self.total is None else self.total) - min(len(self.rows), self.limit)
        more = [f"… and {rest:,} more{f': {self.more}' if self.more else '.'}"] if rest > 0 else []
        return [_one_line(line, 400) for line in (*more, *self.notes)]


def _caption_lines(caption: str) -> list[str]:
    return [_one_line(caption, 400)] if caption else []


def _one_line(text: str, limit: int = MAX_CELL_CHARS) -> str:
    """Untrusted text as one line of plain text."""
    if not (text.isascii() and text.isprintable()):
        text = " ".join(strip_control_chars(text[: 4 * limit]).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _html_row(
    row: Sequence[CellValue], texts: Sequence[str], styles: Sequence[str], columns: Sequence[Column]
) -> str:
    return f"<tr>{''.join(map(_html_cell, row, texts, styles, columns))}</tr>"


def _html_cell(value: CellValue, text: str, style: str, column: Column) -> str:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    sorting = f" data-n='{float(value or 0)!r}'" if numeric else ""
    words = [escape(text)]
    if not column.breaks_words:
        words = [f"<span style='white-space: nowrap'>{escape(word)}</span>" for word in text.split()]
    return f"<td{style}{sorting}>{' '.join(words)}</td>"


def _display_width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return len(text) if text.isascii() else sum(map(char_width, text))


def _total_width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_COLUMN_GAP) * (len(widths) - 1)


def _natural_widths(
    places: Iterable[int], heads: Sequence[Sequence[str]], body: Sequence[Sequence[str]]
) -> list[int]:
    """Widths of the columns at these places with nothing cut."""
    return [max(map(_display_width, (*heads[i], *(cells[i] for cells in body)))) for i in places]


def _fit_columns(
    columns: Sequence[Column], heads: Sequence[Sequence[str]], body: Sequence[Sequence[str]], total: int
) -> tuple[list[int], list[int]]:
    """Narrow spare columns, then leave them out, then narrow others, until all fit; return places and widths."""
    places = list(range(len(columns)))
    while True:
        widths = _natural_widths(places, heads, body)
        spare = max(places, key=lambda i: columns[i].spare_rank)
        is_spare = columns[spare].spare_rank > 0
        _fit_widths(widths, total, [columns[i] for i in places], spare_only=is_spare)
        if _total_width(widths) <= total or not is_spare:
            return places, widths
        places.remove(spare)


def _fit_widths(widths: list[int], total: int, columns: Sequence[Column], *, spare_only: bool) -> None:
    """Narrow the widest text columns until all fit or none can shrink further."""
    over = _total_width(widths) - total
    # The first column names the row: it gives last, for a name that is cut cannot be typed.
    shrinkable = [
        i
        for i, column in enumerate(columns)
        if i and column.align == "left" and column.breaks_words and (column.spare_rank or not spare_only)
    ]
    while over > 0:
        widest = max(shrinkable, key=widths.__getitem__, default=0)
        if widths[widest] <= _MIN_COLUMN_WIDTH:
            widest = 0
        if widest == 0 and (spare_only or columns[0].align != "left" or widths[0] <= _MIN_NAME_WIDTH):
            return
        widths[widest] -= 1
        over -= 1


def _format_row(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    fitted = [_pad(*piece) for piece in zip(cells, widths, columns, strict=True)]
    return _COLUMN_GAP.join(fitted).rstrip()


def _pad(text: str, width: int, column: Column) -> str:
    if _display_width(text) > width:
        while _display_width(text) >= width:
            text = text[:-1]
        text += "…"
    blank = " " * (width - _display_width(text))
    return blank + text if column.align == "right" else text + blank


# --- models --------------------------------------------------------------------------------------------------------

#: What a model is for: by a function of the model, or by its code.
KindLookup = Callable[[Model], str] | Mapping[str, str]

MODEL_COLUMNS = (
    Column("code"),
    Column("name", spare_rank=1),
    Column("provider", spare_rank=2),
    Column("kind"),
    Column("input price", format_number, "right"),
    Column("output price", format_number, "right"),
    Column("enabled"),
)


class ModelTable(DisplayOnce, Sequence[Model]):
    """Models as a sequence that shows itself as a table. ``kind_of`` says what they are for; else their names do."""

    script = SORT_SCRIPT

    def __init__(
        self,
        models: Sequence[Model],
        *,
        kind_of: KindLookup | None = None,
        price_unit: str = "credits per 1M tokens",
        empty: str = "no models",
    ) -> None:
        self._models = tuple(models)
        self._empty = empty
        self._kind_of = kind_of
        self._price_unit = price_unit

    def kind(self, model: Model) -> str:
        """Kind of model, such as ``chat``."""
        if callable(self._kind_of):
            return self._kind_of(model)
        return (self._kind_of or {}).get(model.code) or model_kind(model.code)

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row a model. Raises ConfigurationError without pandas."""
        names = [column.title.replace(" ", "_") for column in MODEL_COLUMNS]
        return make_dataframe(names, [self._row(model) for model in self._models])

    def table(self) -> Table:
        """Table to show."""
        count = f"{pluralize(len(self), 'model')}; prices in {self._price_unit}"
        more = "name words, --kind or --provider to see fewer; .to_frame() holds all."
        if not self._models:
            return Table((), (), empty=self._empty)
        shown = self._models[:MAX_ROWS]
        number = len(MODEL_COLUMNS) - all(model.enabled for model in shown)  # all "yes" tells nothing
        rows = [self._row(model)[:number] for model in shown]
        return Table(MODEL_COLUMNS[:number], rows, count, total=len(self), more=more)

    def _row(self, model: Model) -> tuple[CellValue, ...]:
        prices = (model.input_price, model.output_price)
        return (model.code, model.name, model.provider, self.kind(model), *prices, model.enabled)

    @overload
    def __getitem__(self, index: int) -> Model: ...
    @overload
    def __getitem__(self, index: slice) -> ModelTable: ...
    def __getitem__(self, index: int | slice) -> Model | ModelTable:
        if isinstance(index, slice):
            return ModelTable(self._models[index], kind_of=self._kind_of, price_unit=self._price_unit)
        return self._models[index]

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __repr__(self) -> str:
        first_codes = ", ".join(_one_line(model.code) for model in self._models[:3])
        more = ", …" if len(self) > 3 else ""
        return f"<ModelTable {len(self):,} models{': ' if first_codes else ''}{first_codes}{more}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return self.table().bundle()


def make_dataframe(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    """A pandas DataFrame. Raises ConfigurationError without pandas."""
    try:
        from pandas import DataFrame
    except ImportError:
        raise missing_package_error("pandas", "a DataFrame") from None
    return DataFrame([list(row) for row in rows], columns=list(names))


def missing_package_error(package: str, purpose: str) -> ConfigurationError:
    """The error where a package of the extra ``data`` is missing."""
    return ConfigurationError(
        f"{purpose} needs {package}.", hint="Install it: %pip install 'puq_magics[data]'"
    )
