"""A study: models, settings and wordings over the rows of a table, with repeats, in one long table."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

from puq_magics.api.client import Router
from puq_magics.core.errors import InputError, MissingVariableError, PuqError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.experiments.arms import MODEL, plan_arms
from puq_magics.experiments.calls import CallOutcome, CallSpec, SpecBuilder, repair_notes
from puq_magics.experiments.comparison import Comparison, RepeatAgreement, compare_arms, repeat_agreement
from puq_magics.experiments.frames import Frame, is_blank, missing_data_error, read_frame
from puq_magics.experiments.journal import Journal
from puq_magics.experiments.judging import AskAll, Judgement, find_contests, judge_contests
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.mapping import ANSWER, ERROR, NO_VALUE, NOT_ASKED, ROW, journal_folder
from puq_magics.experiments.runner import Meter, OnEvent, Run, RunProgress, RunSettings
from puq_magics.experiments.statistics import bootstrap_mean, quantiles, wilson_interval
from puq_magics.prompts.schema.schema import Schema
from puq_magics.prompts.template import MAX_VALUE_CHARS, PromptTemplate

REPEAT, SCORE = "repeat", "score"
_MAX_CALLS = 1_000_000


@dataclass(frozen=True)
class Cell:
    """One call's place in a grid."""

    #: The level of each factor: the model and what varies.
    levels: Mapping[str, Any]
    #: Position of the row in the table; 0 without one.
    row: int
    repeat: int
    #: The call; None for a row without a value in the columns of the prompt.
    spec: CallSpec | None


@dataclass(frozen=True)
class Grid:
    """The calls of a study: each model × each setting and wording × each row × each repeat.

    ``vary`` has the values of each factor beside the model: a name in ``{{}}`` of the template, or a setting such as
    ``temperature``. Raises InputError for anything that cannot be planned; nothing is sent.
    """

    models: Sequence[str]
    template: str
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    over: Any = None
    repeat: int = 1
    schema: Schema | None = None
    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    max_value_chars: int = MAX_VALUE_CHARS

    def plan(self) -> list[Cell]:
        """Return the calls, in an order in which a part of them is a fair sample: by repeat, row, then arm."""
        frame = self.frame
        prompt = PromptTemplate(self.template, limit=self.max_value_chars, images=None)
        arms = plan_arms(self.models, self.vary, prompt.names)
        self._check(prompt, frame)
        rows = range(1 if frame is None else frame.row_count)
        if len(arms) * len(rows) * self.repeat > _MAX_CALLS:
            raise InputError(
                f"the grid has more than {_MAX_CALLS:,} calls.", hint="Take fewer rows, values or repeats."
            )
        form = {} if self.schema is None else {"response_format": self.schema.response_format}
        builders = [SpecBuilder(arm.model, {**form, **self.params, **arm.params}) for arm in arms]
        head = [{"role": "system", "content": self.system}] if self.system else []
        cells = []
        for repeat, row in product(range(self.repeat), rows):
            values = {} if frame is None else frame.row(row)
            used = [value for name, value in values.items() if name in prompt.names]
            if used and all(map(is_blank, used)):
                cells += [Cell(arm.levels, row, repeat, None) for arm in arms]
                continue
            values = {name: "" if is_blank(value) else value for name, value in values.items()}
            for arm, builder in zip(arms, builders, strict=True):
                text = prompt.fill({**self.variables, ROW: values, **values, **arm.levels}).text
                spec = builder.build([*head, {"role": "user", "content": text}], repeat)
                cells.append(Cell(arm.levels, row, repeat, spec))
        return cells

    @cached_property
    def frame(self) -> Frame | None:
        """The table of ``over``; None without one."""
        return None if self.over is None else read_frame(self.over)

    def _check(self, prompt: PromptTemplate, frame: Frame | None) -> None:
        """Raise InputError for levels that are there twice, and for names that mean nothing or two things."""
        for name, values in ((MODEL, self.models), *self.vary.items()):
            twice = [value for value, number in Counter(map(str, values)).items() if number > 1]
            if twice:
                raise InputError(f"{name} {twice[0]!r} is there twice.", hint="Use --repeat to ask again.")
        if self.repeat < 1:
            raise InputError("the number of repeats is below 1.", hint="Write --repeat 3, or leave it out.")
        columns = [] if frame is None else list(frame.columns)
        for name in self.vary:
            if name in columns:
                raise InputError(f"{name!r} is a column of the table, too.", hint="Rename one of them.")
        known = {*columns, *self.vary, *self.variables, ROW}
        for name in prompt.names:
            if name not in known:
                raise MissingVariableError(
                    f"there is no column, factor or variable named {name!r}.",
                    hint=did_you_mean(name, [*columns, *self.vary, *self.variables]),
                )

    def run(
        self,
        router: Router,
        *,
        workers: int = 16,
        executor: Executor | None = None,
        get_key: GetKey | None = None,
        journal: str | Path | None = None,
        fresh: bool = False,
        meter: Meter | None = None,
        on_event: OnEvent = lambda _: None,
    ) -> GridResult:
        """Make the calls, and return the long table.

        Finished calls are kept in the folder ``journal``, from which a later run goes on, as in `map_rows`. Raises
        JournalError, and at the end the error that stopped the run, if one did.
        """
        folder = Path(journal) if journal is not None else journal_folder(Path(), self.template)
        settings = RunSettings(router, workers, meter, executor, get_key)
        result, problem = run_grid(self, settings, folder, fresh=fresh, on_event=on_event)
        if problem is not None:
            raise problem
        return result


def run_grid(
    grid: Grid,
    settings: RunSettings,
    folder: Path,
    *,
    fresh: bool = False,
    on_event: OnEvent = lambda _: None,
    on_interrupt: Callable[[GridResult], None] = lambda _: None,
) -> tuple[GridResult, PuqError | None]:
    """Run a grid; return its table, and the error that stopped the run early, if one did.

    At an interrupt ``on_interrupt`` gets the table so far.
    """
    cells = grid.plan()
    about = {"template": grid.template, "models": list(grid.models), "vary": dict(grid.vary)}
    journal = Journal(folder, about, fresh=fresh)
    specs = [cell.spec for cell in cells if cell.spec is not None]
    run = Run(specs, settings, journal, grid.schema)

    def result() -> GridResult:
        notes = (*journal.notes, *repair_notes(run.outcomes.values()))
        table = GridResult.from_outcomes(grid, cells, run.outcomes, run.progress, folder, notes)
        table.ask = partial(_ask_all, settings, folder)
        return table

    try:
        run.run(on_event)
    except KeyboardInterrupt:
        on_interrupt(result())
        raise
    return result(), run.problem


Record = dict[str, Any]


@dataclass
class GridResult:
    """Long table of a study: ``records`` has one dict a call, with its factors, answer, error and costs."""

    grid: Grid
    records: list[Record]
    progress: RunProgress
    journal: Path
    notes: Sequence[str] = ()
    #: Prompts of the records.
    tasks: Sequence[str] = field(default=(), repr=False)
    #: Makes the calls of a judge; set by who ran the grid.
    ask: AskAll | None = field(default=None, repr=False)

    @classmethod
    def from_outcomes(
        cls,
        grid: Grid,
        cells: Sequence[Cell],
        outcomes: Mapping[str, CallOutcome],
        progress: RunProgress,
        journal: Path,
        notes: Sequence[str],
    ) -> GridResult:
        """Return the table of calls in the order of the plan."""
        records = [
            _record(cell, None if cell.spec is None else outcomes.get(cell.spec.key), grid.schema)
            for cell in cells
        ]
        tasks = ["" if cell.spec is None else str(cell.spec.messages[-1]["content"]) for cell in cells]
        return cls(grid, records, progress, journal, notes, tasks)

    @property
    def factors(self) -> list[str]:
        """The factors with more than one level; the model if none has."""
        names = [MODEL, *self.grid.vary]
        return [name for name in names if len(self.levels(name)) > 1] or [MODEL]

    def levels(self, factor: str) -> list[Any]:
        """Return the levels of a factor, in the order of the plan. Raises InputError for another name."""
        if factor not in (MODEL, *self.grid.vary):
            known = [MODEL, *self.grid.vary]
            raise InputError(
                f"there is no factor {factor!r}.",
                hint=f"{did_you_mean(factor, known)} The factors are {', '.join(known)}.".strip(),
            )
        return list(dict.fromkeys(record[factor] for record in self.records))

    def to_frame(self) -> Any:
        """Return the long table as a DataFrame of pandas. Raises ConfigurationError without pandas."""
        return _pandas().DataFrame(self.records)

    def score(self, function: Callable[..., Any], name: str = SCORE) -> GridResult:
        """Score each answer: ``function(answer)`` or ``function(answer, row)`` returns a truth value or a number.

        ``answer`` is the text, or with a schema the data; ``row`` is the table's row as a dict. Calls without an
        answer get no score. Returns the same table, with the column ``name``.
        """
        takes_row = _takes_row(function)
        frame = self.grid.frame
        for record in self.records:
            if record[ERROR] is not None:
                record[name] = None
                continue
            row = {} if frame is None else frame.row(record[ROW])
            value = function(
                record["data"] if self.grid.schema else record[ANSWER], *([row] if takes_row else [])
            )
            record[name] = _score(value)
        return self

    def summary(self, *factors: str) -> list[Record]:
        """Return the figures of each level of the factors, one record a level.

        They are calls, failures, rate or mean of the score with its interval, seconds (median and 95th percentile),
        tokens and cost.
        """
        names = list(factors) or self.factors
        for name in names:
            self.levels(name)
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in self.records:
            groups.setdefault(tuple(record[name] for name in names), []).append(record)
        return [dict(zip(names, key, strict=True)) | _summarize(group) for key, group in groups.items()]

    def pivot(self, rows: str, columns: str, value: str | None = None) -> dict[Any, dict[Any, float | None]]:
        """Return the mean of a column for each two levels; of the score, or of the share of answers without one."""
        matrix: dict[Any, dict[Any, float | None]] = {}
        for row, column in product(self.levels(rows), self.levels(columns)):
            cell = [each for each in self.records if each[rows] == row and each[columns] == column]
            values = [number for each in cell if (number := _number(each, value)) is not None]
            matrix.setdefault(row, {})[column] = sum(values) / len(values) if values else None
        return matrix

    def compare(self, factor: str = MODEL, value: str = SCORE) -> Comparison:
        """Compare the levels of a factor on the same rows; a row's repeats and other factors are averaged.

        Raises InputError without scores.
        """
        if not any(record.get(value) is not None for record in self.records):
            raise InputError(
                "there is nothing to compare yet.", hint="Score the answers first: .score(function)"
            )
        means = {
            level: _means_by_row([record for record in self.records if record[factor] == level], value)
            for level in self.levels(factor)
        }
        return compare_arms(factor, means)

    def judge(self, model: str, rubric: str, factor: str = MODEL) -> Judgement:
        """Let a model judge the answers of each two levels of a factor, in both orders, by a rubric.

        A verdict that changes with the order counts as a tie. The calls have a journal of their own in the folder of
        the grid's. Raises InputError without two answers to compare, and the error that stopped the judge's run.
        """
        self.levels(factor)
        others = [name for name in (MODEL, *self.grid.vary) if name != factor]
        if self.ask is None:
            raise InputError("this table has no router.", hint="Run its cell again.")
        return judge_contests(
            find_contests(self.records, factor, others, self.tasks), model, rubric, self.ask
        )

    def agreement(self) -> list[RepeatAgreement]:
        """Return for each arm how often its repeats agree, and the first difference.

        Raises InputError without repeats.
        """
        if self.grid.repeat < 2:
            raise InputError("there are no repeats.", hint="Ask more than once: --repeat 3")
        return repeat_agreement(self.records, self.factors)

    def save(self, path: str | Path) -> Path:
        """Save the long table as .csv, .jsonl or .parquet, and return the path. Raises InputError."""
        from puq_magics.core.files import expand_path, save_text

        target = expand_path(path)
        suffix = target.suffix.lower()
        if suffix == ".jsonl":
            lines = (json.dumps(record, ensure_ascii=False, default=str) for record in self.records)
            return save_text("".join(f"{line}\n" for line in lines), target, force=True)
        if suffix == ".csv":
            return save_text(self.to_frame().to_csv(index=False), target, force=True)
        if suffix == ".parquet":
            try:
                self.to_frame().astype({ANSWER: "string"}).to_parquet(target)
            except ImportError:
                raise missing_data_error("Parquet files") from None
            return target
        raise InputError(
            f"{target.name} is no table file.", hint="Write a name like runs.csv, .jsonl or .parquet."
        )

    def plot(self, factor: str | None = None) -> Any:
        """Draw the score (or the seconds, without one) of each level with its interval; return matplotlib's Axes.

        Raises ConfigurationError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise missing_data_error("plots") from None
        names = [factor] if factor else self.factors
        rows = self.summary(*names)
        has_scores = any(row.get(SCORE) is not None for row in rows)
        key = SCORE if has_scores else "seconds_p50"
        rows = [row for row in rows if row.get(key) is not None]  # others have no answer
        labels = [" · ".join(str(row[name]) for name in names) for row in rows]
        values = [row[key] for row in rows]
        figure = Figure(figsize=(7, 0.6 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        positions = range(len(rows))
        bounds = [
            [max(0.0, value - row.get("low", value)) for value, row in zip(values, rows, strict=True)],
            [max(0.0, row.get("high", value) - value) for value, row in zip(values, rows, strict=True)],
        ]
        axes.errorbar(values, positions, xerr=bounds if has_scores else None, fmt="o", capsize=4)
        axes.set_yticks(list(positions), labels)
        axes.invert_yaxis()
        axes.set_xlabel(f"{key} (95 % interval)" if has_scores else "seconds (median)")
        axes.grid(axis="x", alpha=0.3)
        return axes


def _ask_all(
    settings: RunSettings, folder: Path, specs: Sequence[CallSpec], schema: Schema
) -> Mapping[str, CallOutcome]:
    """Make the calls of a judge, with a journal in the folder of the grid's. Raises what stopped the run."""
    run = Run(specs, settings, Journal(folder / "judge", {"template": "judge"}), schema)
    run.run()
    if run.problem is not None:
        raise run.problem
    return run.outcomes


def _record(cell: Cell, outcome: CallOutcome | None, schema: Schema | None) -> Record:
    failed = outcome is None or bool(outcome.error)
    record: Record = {**cell.levels, ROW: cell.row, REPEAT: cell.repeat}
    record[ANSWER] = None if failed or outcome is None else outcome.text
    if schema is not None:
        record["data"] = None if failed or outcome is None else outcome.data
    missing = NO_VALUE if cell.spec is None else NOT_ASKED
    record[ERROR] = missing if outcome is None else outcome.error or None
    for name in ("seconds", "prompt_tokens", "completion_tokens", "cost", "attempts", "finish_reason"):
        record[name] = None if outcome is None else getattr(outcome, name)
    return record


def _summarize(group: Sequence[Record]) -> Record:
    """Return the figures of a group of calls; the interval is over rows, of which repeats are no more."""
    answered = [record for record in group if record[ERROR] is None]
    seconds = [record["seconds"] for record in answered if record["seconds"] is not None]
    costs = [record["cost"] for record in group if record["cost"] is not None]
    median, p95 = quantiles(seconds, 0.5, 0.95) if seconds else (None, None)
    figures: Record = {"calls": len(group), "failures": len(group) - len(answered), "rows": None}
    if by_row := _means_by_row(answered, SCORE):
        means = list(by_row.values())
        is_rate = all(isinstance(record.get(SCORE), bool | None) for record in answered)
        interval = wilson_interval(sum(means), len(means)) if is_rate else bootstrap_mean(means)
        figures |= {"rows": len(means), SCORE: interval.value, "low": interval.low, "high": interval.high}
        figures["is_rate"] = is_rate
    return figures | {
        "seconds_p50": median,
        "seconds_p95": p95,
        "tokens": sum(
            (record["prompt_tokens"] or 0) + (record["completion_tokens"] or 0) for record in group
        ),
        "cost": sum(costs) if costs else None,
    }


def _takes_row(function: Callable[..., Any]) -> bool:
    """Return whether a function of a score takes the row, too; those of C tell nothing, and do not."""
    try:
        return len(inspect.signature(function).parameters) > 1
    except ValueError:
        return False


def _score(value: Any) -> bool | int | float | None:
    """Return what a function of a score returned, as a number of Python's own. Raises InputError."""
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        return float(value)  # of numpy
    except (TypeError, ValueError):
        raise InputError(
            f"the score {str(value)[:40]!r} is not a number.", hint="Return True, False or a number."
        ) from None


def _means_by_row(records: Sequence[Record], value: str) -> dict[Any, float]:
    """Return the mean of a column for each row: repeats, and levels of other factors, are averaged."""
    by_row: dict[Any, list[float]] = {}
    for record in records:
        if record.get(value) is not None:
            by_row.setdefault(record[ROW], []).append(float(record[value]))
    return {row: sum(values) / len(values) for row, values in by_row.items()}


def _number(record: Record, value: str | None) -> float | None:
    if value is None:
        value = SCORE if SCORE in record else None
    if value is None:
        return float(record[ERROR] is None)
    number = record.get(value)
    return None if number is None else float(number)


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise missing_data_error("tables") from None
    return pd
