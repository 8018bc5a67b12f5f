"""Run a grid of models, settings and wordings, by options, and show its progress and its summary."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from puq_magics.core.files import expand_path
from puq_magics.experiments.grid import Grid, GridResult, Record, parse_vary
from puq_magics.experiments.journal import check_is_journal_path, read_outcomes
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.mapping import ROW, journal_folder
from puq_magics.experiments.runner import RunProgress
from puq_magics.magics.map import find_source
from puq_magics.magics.options import chat_params
from puq_magics.magics.runs import (
    RunInterrupted,
    SessionMeter,
    call_info,
    count_calls,
    find_executor,
    format_progress,
    format_seconds,
)
from puq_magics.magics.views import is_live
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.footer import Footer, format_credits
from puq_magics.outputs.results.media_html import notebook_folder
from puq_magics.outputs.views.run import RunView
from puq_magics.prompts.schema.schema import Schema
from puq_magics.session.session import Session

_MAX_ROWS_SHOWN, _MAX_CHARS_SHOWN = 20, 160


@dataclass
class GridAnswers(DisplayOnce, GridResult):
    """Value of ``%%puq_grid``: the long table, shown as a summary by factor."""

    @classmethod
    def from_result(cls, result: GridResult) -> GridAnswers:
        """Return a result that a cell can show."""
        return cls(**{each.name: getattr(result, each.name) for each in fields(GridResult)})

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        failed = sum(record["error"] is not None for record in self.records)
        head = f"{len(self.records) - failed:,} of {len(self.records):,} calls answered"
        header, rows = summary_table(self.summary(), self.factors)
        progress = self.progress
        facts = [count_calls(progress.done - progress.from_journal)]
        if progress.from_journal:
            facts.append(f"{progress.from_journal:,} of {progress.total:,} were there")
        if progress.cost is not None:
            facts.append(f"about {format_credits(progress.cost)}")
        facts += [format_seconds(progress.seconds), f"journal: {self.journal.name}"]
        footer = Footer(tuple(facts), tuple(self.notes))
        table = _markdown_table(header, rows)
        return {
            "text/markdown": footer.append_to_markdown(f"**{head}**\n\n{table}"),
            "text/plain": f"{head}\n{_plain_table(header, rows)}\n[{footer.to_text()}]",
        }

    def show(self, rows: int = _MAX_ROWS_SHOWN) -> AnswerMatrix:
        """Return a matrix of the answers to look at: one row a row of the table, one column an arm."""
        return AnswerMatrix(self, rows)

    def __repr__(self) -> str:
        return f"<GridResult of {len(self.records):,} calls>"


@dataclass(repr=False)
class AnswerMatrix(DisplayOnce):
    """Answers of a grid side by side, shortened; of repeats the first."""

    result: GridResult
    rows: int

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        factors = self.result.factors
        arms = list(dict.fromkeys(tuple(record[name] for name in factors) for record in self.result.records))
        cells: dict[tuple[Any, tuple[Any, ...]], str] = {}
        for record in self.result.records:
            key = (record[ROW], tuple(record[name] for name in factors))
            text = record["answer"] if record["error"] is None else f"⚠ {record['error']}"
            cells.setdefault(key, " ".join(text.split()))
        positions = list(dict.fromkeys(row for row, _ in cells))
        header = ["row", *(" · ".join(map(str, arm)) for arm in arms)]
        lines = [
            [str(row), *(_shorten(cells.get((row, arm), "")) for arm in arms)]
            for row in positions[: self.rows]
        ]
        more = len(positions) - self.rows
        note = f"\n\n{more:,} more rows: .show(rows={len(positions)})" if more > 0 else ""
        return {
            "text/markdown": _markdown_table(header, lines) + note,
            "text/plain": strip_control_chars(
                "\n".join(
                    f"{arm}, row {line[0]}: {text}"
                    for line in lines
                    for arm, text in zip(header[1:], line[1:], strict=True)
                )
                + note
            ),
        }


def run_grid(
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
        schema=None if args.schema is None else Schema.from_spec(args.schema, variables),
        system=session.settings.system if args.system is None else args.system,
        params={
            key: value for key, value in chat_params(args, session.settings).items() if value is not None
        },
        variables=variables,
        max_value_chars=session.settings.max_value_chars,
    )
    folder = (
        journal_folder(notebook_folder(), prompt)
        if args.journal is None
        else check_is_journal_path(expand_path(args.journal))
    )
    if args.dry_run:
        _show_dry_run(session, grid, folder, args.fresh)
        return None
    remote = find_executor(session, args, variables)
    return _run(session, args, grid, folder, [*notes, *args.option_notes], *remote)


def _run(
    session: Session,
    args: argparse.Namespace,
    grid: Grid,
    folder: Path,
    notes: Sequence[str],
    executor: Executor | None,
    get_key: GetKey | None,
) -> GridAnswers:
    router, account = session.router(), session.account()
    account.model_list.fetch_in_background(balance=True)
    account.model_list.wait()  # the prices, by which each call is recorded
    view = RunView(in_notebook=session.in_notebook, live=is_live(session), quiet=args.quiet)
    partial: list[GridResult] = []
    make = grid.start(
        router,
        folder,
        workers=args.workers,
        executor=executor,
        get_key=get_key,
        fresh=args.fresh,
        meter=SessionMeter(session, account, router.address.host, over_budget=args.over_budget),
        on_interrupt=partial.append,
    )

    def show(progress: RunProgress) -> None:
        lowered = progress.limit < min(args.workers, 20)
        view.show_progress(progress.done, progress.total, format_progress(progress, lowered))

    def finish(result: GridResult) -> GridAnswers:
        result.notes = (*notes, *result.notes)
        answers = GridAnswers.from_result(result)
        session.store_result(answers, args.out)
        view.show_summary(answers._repr_mimebundle_())
        session.mark_displayed(answers, is_quiet=args.quiet)
        return answers

    try:
        result, problem = make(show)
    except KeyboardInterrupt:
        if partial:
            finish(partial[0])
        raise RunInterrupted(
            "the run was interrupted; what has arrived is in the journal. Run the cell again to go on."
        ) from None
    answers = finish(result)
    if problem is not None:
        problem.extend_hint("The answers so far are kept; run the cell again to go on.")
        raise problem
    return answers


def _show_dry_run(session: Session, grid: Grid, folder: Path, fresh: bool) -> None:
    """Print the number of calls, those that are there, and an estimate."""
    cells = grid.plan()
    specs = {cell.spec.key: cell.spec for cell in cells if cell.spec is not None}
    kept = {} if fresh else read_outcomes(folder)
    waiting = [spec for key, spec in specs.items() if key not in kept]
    costs = [session.account().estimate(call_info(spec)).cost for spec in waiting]
    known = [cost for cost in costs if cost is not None]
    price = f"at most about {format_credits(sum(known))}" if known else "the cost is not known"
    lines = [
        f"{len(cells):,} calls; {len(specs) - len(waiting):,} are in the journal {folder.name}",
        f"{price}; nothing was sent",
    ]
    if waiting:
        router = session.router(allow_keyless=True)
        request = router.chat_request(
            waiting[0].messages, model=waiting[0].model, extra_body=waiting[0].params
        )
        lines += ["", "the first request:", request.to_curl(router.address, router.auth_scheme)]
    print(strip_control_chars("\n".join(lines)))  # noqa: T201 - what was asked for


def summary_table(records: Sequence[Record], factors: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a summary, as texts."""
    has_scores = any("score" in record for record in records)
    header = [*factors, "calls", "failures", *(["score (95 %)"] if has_scores else [])]
    header += ["seconds (median, 95th)", "tokens", "cost"]
    rows = []
    for record in records:
        row = [str(record[name]) for name in factors]
        row += [f"{record['calls']:,}", f"{record['failures']:,}"]
        if has_scores:
            row.append(_score_text(record))
        median, p95 = record["seconds_p50"], record["seconds_p95"]
        row.append("" if median is None else f"{median:.2f}, {p95:.2f}")
        row.append(f"{record['tokens']:,}")
        row.append("" if record["cost"] is None else format_credits(record["cost"]).removesuffix(" credits"))
        rows.append(row)
    return header, rows


def _score_text(record: Record) -> str:
    if record.get("score") is None:
        return ""
    score, low, high, rows = record["score"], record["low"], record["high"], record["rows"]
    if low >= 0 and high <= 1:
        return f"{100 * score:.0f} % ({100 * low:.0f}–{100 * high:.0f}) of {rows:,}"
    return f"{score:.3g} ({low:.3g}–{high:.3g})" if rows > 1 else f"{score:.3g}"


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARS_SHOWN else f"{text[:_MAX_CHARS_SHOWN]}…"


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(escape_inline(cell) for cell in cells)} |"

    return "\n".join([line(header), "|" + " --- |" * len(header), *map(line, rows)])


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    )
    return strip_control_chars("\n".join(line.rstrip() for line in lines))
