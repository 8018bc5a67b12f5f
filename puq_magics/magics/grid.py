"""Run a grid of models, settings and wordings, by options, and show its progress and its summary."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from puq_magics.core.errors import PuqError
from puq_magics.core.text import pluralize
from puq_magics.experiments.arms import level_name, parse_vary
from puq_magics.experiments.frames import is_blank
from puq_magics.experiments.grid import Grid, run_grid
from puq_magics.experiments.grid_result import REPEAT, GridResult, Record
from puq_magics.experiments.mapping import ANSWER, ERROR
from puq_magics.experiments.row_prompts import ROW
from puq_magics.experiments.runner import OnEvent, RunSettings
from puq_magics.magics.dry_run import show_run_dry_run
from puq_magics.magics.map import find_source
from puq_magics.magics.options import chat_params
from puq_magics.magics.runs import (
    error_lines,
    find_executor,
    full_cost_lines,
    journal_path,
    run_footer,
    show_run,
)
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown.feed import escape_inline, sanitize_table_cell
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.footer import format_credits
from puq_magics.outputs.tables.table import Column, Table
from puq_magics.prompts.schema.schema import Schema
from puq_magics.session.budget import CallInfo
from puq_magics.session.session import Session

_LINE_MARKS = re.compile(r"^[ \t]*(?:(?:>|#{1,6}(?=[ \t]))[ \t]*)+", re.MULTILINE)
_MAX_ROWS_SHOWN, _MAX_CHARS_SHOWN, _MAX_ROW_CHARS = 20, 160, 40
#: Columns that a narrow terminal may leave out, those with the highest rank first.
_SPARE_RANKS = {"tokens": 3, "seconds (median, 95th)": 2, "failures": 1}


@dataclass
class GridAnswers(DisplayOnce, GridResult):
    """Value of ``%%puq_grid``: the long table, shown as a summary by factor."""

    #: Further sentences of the summary, such as the cost of the whole grid.
    summary_lines: Sequence[str] = ()

    @classmethod
    def from_result(cls, result: GridResult, summary_lines: Sequence[str] = ()) -> GridAnswers:
        """Return a result that a cell can show."""
        return cls(
            **{each.name: getattr(result, each.name) for each in fields(GridResult)},
            summary_lines=summary_lines,
        )

    def labelled_answers(self) -> Iterator[tuple[str, str]]:
        """Yield the answer, or the error, of each call."""
        repeats = any(record[REPEAT] > 0 for record in self.records)
        for record in self.records:
            label = [f"row {record[ROW]}"] if self.frame is not None else []
            label += [level_name(name, record[name]) for name in self.factors]
            label += [f"repeat {record[REPEAT]}"] if repeats else []
            error = record[ERROR]
            yield ", ".join(label), f"no answer: {error}" if error else str(record[ANSWER])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        errors = self.errors()
        answered = len(self.records) - sum(errors.values())
        head = f"{answered:,} of {len(self.records):,} calls answered"
        if len(self.records) < self.total:
            head = f"{head} (of {self.total:,} in the grid)"
        lines = [*error_lines(errors), *self.summary_lines]
        footer = run_footer(self.progress, self.journal, self.notes)
        table = self.summary()._repr_mimebundle_()
        listed = "".join(f"\n- {escape_inline(line)}" for line in lines)
        markdown = f"**{head}**\n\n{table['text/markdown']}\n{listed}"
        plain = strip_control_chars("\n".join([head, table["text/plain"], *lines]))
        return {
            "text/markdown": footer.append_to_markdown(markdown),
            "text/plain": f"{plain}\n[{footer.to_text()}]",
        }

    def summary(self, *factors: str) -> SummaryTable:
        """Return the figures of each level of the factors, one record a level, which a cell shows as a table."""
        return SummaryTable(super().summary(*factors), list(factors) or self.factors)

    def pivot(self, rows: str, columns: str, value: str | None = None) -> PivotTable:
        """Return the mean of a column for each two levels, which a cell shows as a table."""
        return PivotTable(rows, super().pivot(rows, columns, value))

    def show(self, rows: int = _MAX_ROWS_SHOWN) -> AnswerMatrix:
        """Return a matrix of the answers to look at: one row a row of the table, one column an arm.

        Answers are shortened, and of repeats the first is shown.
        """
        return AnswerMatrix(self, rows)

    def __repr__(self) -> str:
        return f"<GridResult of {len(self.records):,} calls>"


class SummaryTable(list[Record]):
    """Records of a summary, shown as a table."""

    def __init__(self, records: Sequence[Record], factors: Sequence[str]) -> None:
        super().__init__(records)
        self.factors = factors

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return table_bundle(*summary_table(self, self.factors), names=len(self.factors))

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])


class PivotTable(dict[Any, dict[Any, float | None]]):
    """Means for each two levels, shown as a table; ``pandas.DataFrame(table).T`` calculates with them."""

    def __init__(self, factor: str, matrix: Mapping[Any, dict[Any, float | None]]) -> None:
        super().__init__(matrix)
        self.factor = factor

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        header = [self.factor, *map(str, next(iter(self.values())))]
        rows = [
            [str(level), *("" if mean is None else f"{mean:.3g}" for mean in means.values())]
            for level, means in self.items()
        ]
        return table_bundle(header, rows, names=1)

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self._repr_mimebundle_()["text/plain"])


@dataclass(repr=False)
class AnswerMatrix(DisplayOnce):
    """Answers of a grid side by side, shortened; of repeats the first."""

    result: GridResult
    rows: int

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        factors = self.result.factors
        arms = list(dict.fromkeys(tuple(record[name] for name in factors) for record in self.result.records))
        firsts: dict[tuple[Any, tuple[Any, ...]], Record] = {}
        for record in self.result.records:
            firsts.setdefault((record[ROW], tuple(record[name] for name in factors)), record)
        positions = list(dict.fromkeys(row for row, _ in firsts))
        names = [_arm_name(factors, arm) for arm in arms]
        rows = [
            (self._row_name(row), [firsts.get((row, arm)) for arm in arms]) for row in positions[: self.rows]
        ]
        notes = "".join(f"\n\n{note}" for note in self._notes(len(positions)))
        lines = [[_escape_name(name), *map(_answer_markdown, records)] for name, records in rows]
        texts = [
            line
            for name, records in rows
            for line in (
                f"row {name}",
                *(f"- {arm}: {_answer_text(record)}" for arm, record in zip(names, records, strict=True)),
            )
        ]
        return {
            "text/markdown": _join_table(["row", *map(_escape_name, names)], lines, len(names) + 1) + notes,
            "text/plain": strip_control_chars("\n".join(texts) + notes),
        }

    def _to_terminal(self, text: str) -> str:
        from puq_magics.outputs.views.terminal_text import format_for_terminal

        return "\n".join(map(format_for_terminal, text.split("\n")))  # what was shortened ends with its line

    def _notes(self, row_count: int) -> list[str]:
        """Return what is not shown."""
        repeats = 1 + max(record[REPEAT] for record in self.result.records)
        notes = [f"Of {repeats:,} repeats the first is shown; .to_frame() has all."] if repeats > 1 else []
        more = row_count - self.rows
        return [*notes, f"{pluralize(more, 'more row')}: .show(rows={row_count})"] if more > 0 else notes

    def _row_name(self, row: int) -> str:
        """Return a row's position, and its values in the columns of the prompt."""
        frame = self.result.frame
        values = () if frame is None else (frame.columns[name][row] for name in self.result.columns)
        texts = (
            _shorten(" ".join(str(value).split()), _MAX_ROW_CHARS) for value in values if not is_blank(value)
        )
        return ": ".join([str(row), *filter(None, [", ".join(texts)])])


def _answer_text(record: Record | None) -> str:
    """Return the beginning of an answer, or its error, in one line."""
    if record is None:
        return ""
    text = record["answer"] if record["error"] is None else f"⚠ {record['error']}"
    return _shorten(_join_lines(text))


def _answer_markdown(record: Record | None) -> str:
    """Return the same as safe Markdown."""
    if record is None or record["error"] is not None:
        return escape_inline(_answer_text(record))
    return sanitize_table_cell(_join_lines(record["answer"]), _MAX_CHARS_SHOWN)


def _arm_name(factors: Sequence[str], levels: Sequence[Any]) -> str:
    return " · ".join(map(level_name, factors, levels))


def run_study(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> GridAnswers | None:
    """Run the grid that the options describe, and show it; None for a dry run. Raises PuqError."""
    source, notes = (None, []) if args.over is None else find_source(args.over, variables)
    models = args.model or [None]
    grid = Grid(
        [session.model("chat", model, suggest_models=not args.dry_run) for model in models],
        prompt,
        vary=parse_vary(args.vary or ()),
        over=source,
        repeat=args.repeat,
        limit=args.limit,
        sample=args.sample,
        schema=None if args.schema is None else Schema.from_spec(args.schema, variables),
        system=session.system_prompt(args.system),
        params={key: value for key, value in chat_params(args, session).items() if value is not None},
        variables=variables,
        max_value_chars=session.settings.max_value_chars,
    )
    folder = journal_path(session, args, prompt)
    if args.dry_run:
        plan = grid.plan()
        specs = {cell.spec.key: cell.spec for cell in plan.cells if cell.spec is not None}
        show_run_dry_run(
            session, args, f"{len(plan.cells):,} calls", list(specs.values()), folder, plan.notes
        )
        return None

    def start(
        settings: RunSettings, on_event: OnEvent, on_interrupt: Callable[[GridResult], None]
    ) -> tuple[GridResult, PuqError | None]:
        return run_grid(
            grid, settings, folder, fresh=args.fresh, on_event=on_event, on_interrupt=on_interrupt
        )

    def store(result: GridResult) -> GridAnswers:
        result.notes = (*notes, *args.option_notes, *result.notes)
        summary_lines = (
            []
            if len(result.records) == result.total
            else full_cost_lines(session, f"All {result.total:,} calls", result.cost_of_all())
        )
        answers = GridAnswers.from_result(result, summary_lines)
        session.store_result(answers, args.out)
        return answers

    info = CallInfo("grid", ", ".join(grid.models), content=prompt, params=grid.params)
    return show_run(session, args, info, find_executor(session, args, variables), start, store)


def summary_table(records: Sequence[Record], factors: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a summary, as texts."""
    has_scores = any("score" in record for record in records)
    has_failures = any(record["failures"] for record in records)
    header = [*factors, "calls", *(["failures"] if has_failures else [])]
    header += [*(["score (95\u00a0%)"] if has_scores else []), "cost", "seconds (median, 95th)", "tokens"]
    rows = []
    for record in records:
        row = [str(record[name]) for name in factors]
        row.append(f"{record['calls']:,}")
        if has_failures:
            row.append(f"{record['failures']:,}")
        if has_scores:
            row.append(_score_text(record))
        row.append("" if record["cost"] is None else format_credits(record["cost"]).removesuffix(" credits"))
        median, p95 = record["seconds_p50"], record["seconds_p95"]
        row.append("" if median is None else f"{median:.2f}, {p95:.2f}")
        row.append(f"{record['tokens']:,}")
        rows.append(row)
    return header, rows


def _score_text(record: Record) -> str:
    if record.get("score") is None:
        return ""
    score, low, high, rows = record["score"], record["low"], record["high"], record["rows"]
    if record["is_rate"]:
        return f"{100 * score:.0f} % ({100 * low:.0f}–{100 * high:.0f}) of {rows:,}"
    return f"{score:.3g} ({low:.3g}–{high:.3g})" if rows > 1 else f"{score:.3g}"


def _join_lines(text: str) -> str:
    """Return Markdown on one line, without the marks of headings and quotations, which would stand in its middle."""
    return " ".join(_LINE_MARKS.sub("", text).split())


def _shorten(text: str, length: int = _MAX_CHARS_SHOWN) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def table_bundle(header: Sequence[str], rows: Sequence[Sequence[str]], *, names: int) -> dict[str, str]:
    """Return a table whose first columns are names, which may be cut, and the others figures."""
    columns = [
        Column(title, align="left" if n < names else "right", spare_rank=_SPARE_RANKS.get(title, 0))
        for n, title in enumerate(header)
    ]
    return {
        "text/markdown": markdown_table(header, rows, names=names),
        "text/plain": Table(columns, rows).text(),
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, names: int) -> str:
    """Return a table in Markdown; what follows the first columns is aligned to the right."""
    lines = [[*map(_escape_name, row[:names]), *map(_escape_figure, row[names:])] for row in rows]
    titles = ["<br>(".join(map(escape_inline, title.split(" ("))) for title in header]  # on two lines
    return _join_table(titles, lines, names)


def _escape_name(name: str) -> str:
    """Return what names a row or a column as Markdown, which a narrow page may break after a slash."""
    return escape_inline(name).replace("/", "/<wbr>")


def _escape_figure(figure: str) -> str:
    """Return a figure as Markdown; a narrow page breaks neither its range nor what belongs to a number."""
    return re.sub(r" (?=%|&#37;)|(?<= of) ", "\u00a0", escape_inline(figure)).replace("–", "–\u2060")


def _join_table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    rule = "|" + " --- |" * names + " ---: |" * (len(header) - names)
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])
