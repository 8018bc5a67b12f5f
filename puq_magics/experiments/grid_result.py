"""The long table of a study: scores, figures by factor, comparisons, a judge."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.experiments.arms import MODEL
from puq_magics.experiments.calls import CallOutcome, CallSpec, cost_range
from puq_magics.experiments.comparison import Agreements, Comparison, compare_arms, repeat_agreement
from puq_magics.experiments.frames import Frame, missing_data_error
from puq_magics.experiments.judging import Judgement, RunCalls, find_contests, judge_contests
from puq_magics.experiments.mapping import ANSWER, ERROR, NO_VALUE, NOT_ASKED
from puq_magics.experiments.row_prompts import ROW
from puq_magics.experiments.runner import RunProgress
from puq_magics.experiments.statistics import bootstrap_mean, quantiles, wilson_interval

DATA, REPEAT, SCORE = "data", "repeat", "score"
#: Facts of a call that its record has, too.
_FACTS = ("seconds", "prompt_tokens", "completion_tokens", "cost", "attempts", "finish_reason")
#: Columns of the long table besides those of factors.
OWN_COLUMNS = (ROW, REPEAT, ANSWER, DATA, ERROR, *_FACTS, SCORE)
Record = dict[str, Any]


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


@dataclass
class GridResult:
    """Long table of a study: ``records`` has one dict a call, with its factors, answer, error and costs."""

    records: list[Record]
    #: The model and what varies, those with one level among them.
    all_factors: Sequence[str]
    progress: RunProgress
    journal: Path
    #: The table that the prompt was asked for; None without one.
    frame: Frame | None = None
    #: Its columns that the prompt names.
    columns: Sequence[str] = ()
    #: Calls of the whole grid, of which a pilot makes a part.
    total: int = 0
    #: Estimated cost of its calls in credits, those from the journal among them; None if unknown.
    cost: float | None = None
    notes: Sequence[str] = ()
    #: Prompts of the records.
    tasks: Sequence[str] = field(default=(), repr=False)
    #: Makes the calls of a judge; set by who ran the grid.
    run_calls: RunCalls | None = field(default=None, repr=False)

    @property
    def factors(self) -> list[str]:
        """The factors with more than one level; the model if none has."""
        return [name for name in self.all_factors if len(self.levels(name)) > 1] or [MODEL]

    def levels(self, factor: str) -> list[Any]:
        """Return the levels of a factor, in the order of the plan. Raises InputError for another name."""
        if factor not in self.all_factors:
            near, known = did_you_mean(factor, self.all_factors), ", ".join(self.all_factors)
            raise InputError(
                f"there is no factor {factor!r}.", hint=f"{near} The factors are {known}.".strip()
            )
        return list(dict.fromkeys(record[factor] for record in self.records))

    def errors(self) -> dict[str, int]:
        """Return the errors, and how many calls have each; the most frequent first."""
        errors = (record[ERROR] for record in self.records)
        return dict(Counter(error for error in errors if error is not None).most_common())

    def cost_of_all(self) -> tuple[float, float] | None:
        """Return the likely cost of the whole grid in credits, as a range (95 %); None if unknown."""
        by_arm: dict[tuple[Any, ...], list[float | None]] = {}  # their prices differ, which is no uncertainty
        for record in self.records:
            by_arm.setdefault(tuple(record[name] for name in self.all_factors), []).append(record["cost"])
        ranges = [cost_range(costs, self.total // len(by_arm)) for costs in by_arm.values()]
        known = [each for each in ranges if each is not None]
        return (sum(low for low, _ in known), sum(high for _, high in known)) if known else None

    def to_frame(self) -> Any:
        """Return the long table as a DataFrame of pandas. Raises ConfigurationError without pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise missing_data_error("tables") from None
        return pd.DataFrame(self.records)

    def score(self, function: Callable[..., Any], name: str = SCORE) -> GridResult:
        """Score each answer: ``function(answer)`` or ``function(answer, row)`` returns a truth value or a number.

        ``answer`` is the text, or with a schema the data; ``row`` is the table's row as a dict. Calls without an
        answer get no score. Returns the same table, with the column ``name``. Raises InputError for what is no
        function, for a result that is no number, and for a ``name`` that another column has.
        """
        if not callable(function):
            raise InputError("a score is a function.", hint='Write it like lambda answer: "yes" in answer')
        if name not in (SCORE, *self.score_names) and name in self.records[0]:
            raise InputError(f"the table has a column {name!r} already.", hint="Choose another name.")
        takes_row = _takes_row(function)

        def score(record: Record) -> bool | int | float | None:
            if record[ERROR] is not None:
                return None
            row = {} if self.frame is None else self.frame.row(record[ROW])
            return _score(function(record.get(DATA, record[ANSWER]), *([row] if takes_row else [])))

        scores = [score(record) for record in self.records]
        for record, value in zip(self.records, scores, strict=True):
            record[name] = value
        return self

    @property
    def score_names(self) -> list[str]:
        """Names of the columns of scores."""
        own = {*self.all_factors, *OWN_COLUMNS}
        return [name for name in self.records[0] if name == SCORE or name not in own]

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
        is_rate = self._is_rate(SCORE)
        return [
            dict(zip(names, key, strict=True)) | _summarize(group, is_rate) for key, group in groups.items()
        ]

    def pivot(self, rows: str, columns: str, value: str | None = None) -> dict[Any, dict[Any, float | None]]:
        """Return the mean of a column for each two levels; of the score, or of the share of answers without one."""
        if value is None and SCORE in self.records[0]:
            value = SCORE
        if value is not None:
            self._check_numbers(value)
        matrix: dict[Any, dict[Any, float | None]] = {}
        for row, column in product(self.levels(rows), self.levels(columns)):
            cell = [each for each in self.records if each[rows] == row and each[columns] == column]
            values = [
                float(each[ERROR] is None if value is None else each[value])
                for each in cell
                if value is None or each[value] is not None
            ]
            matrix.setdefault(row, {})[column] = sum(values) / len(values) if values else None
        return matrix

    def compare(self, factor: str = MODEL, value: str = SCORE) -> Comparison:
        """Compare the levels of a factor on the same rows; a row's repeats and other factors are averaged.

        ``value`` is a column of numbers: a score, or ``seconds``, of which more counts as better. Raises InputError
        without scores.
        """
        self.levels(factor)
        if not any(record.get(value) is not None for record in self.records):
            raise InputError(
                f"there is no {value} to compare yet.", hint="Score the answers first: .score(function)"
            )
        self._check_numbers(value)
        means = {
            level: _means_by_row([record for record in self.records if record[factor] == level], value)
            for level in self.levels(factor)
        }
        return compare_arms(factor, means, is_rate=self._is_rate(value))

    def judge(self, model: str, rubric: str, factor: str = MODEL) -> Judgement:
        """Let a model judge the answers of each two levels of a factor, in both orders, by a rubric.

        A verdict that changes with the order counts as a tie. The calls have a journal of their own in the folder of
        the grid's. Raises InputError without two answers to compare, and the error that stopped the judge's run.
        """
        self.levels(factor)
        others = [name for name in self.all_factors if name != factor]
        if self.run_calls is None:
            raise InputError("this table has no router.", hint="Run its cell again.")
        contests = find_contests(self.records, factor, others, self.tasks)
        return judge_contests(contests, model, rubric, self.run_calls)

    def agreement(self) -> Agreements:
        """Return for each arm how often its repeats agree, and the first difference.

        Raises InputError without repeats.
        """
        if not any(record[REPEAT] for record in self.records):
            raise InputError("there are no repeats.", hint="Ask more than once: --repeat 3")
        return repeat_agreement(self.records, self.factors)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Save the long table as .csv, .jsonl or .parquet, and return the path.

        Raises InputError for an existing file, unless ``force``, and for another kind of file; ConfigurationError
        without the packages that .csv and .parquet need.
        """
        from puq_magics.core.files import check_save_path, save_bytes, save_text

        target = check_save_path(path, force, force_hint="force=True")
        suffix = target.suffix.lower()
        if suffix == ".jsonl":
            lines = (json.dumps(record, ensure_ascii=False, default=str) for record in self.records)
            return save_text("".join(f"{line}\n" for line in lines), target, force=force)
        if suffix == ".csv":
            return save_text(self.to_frame().to_csv(index=False), target, force=force)
        if suffix == ".parquet":
            return save_bytes(self._to_parquet(), target, force=force)
        raise InputError(
            f"{target.name} is no table file.", hint="Write a name like runs.csv, .jsonl or .parquet."
        )

    def _to_parquet(self) -> bytes:
        try:
            return bytes(self.to_frame().astype({ANSWER: "string", ERROR: "string"}).to_parquet(None))
        except ImportError:
            raise missing_data_error("Parquet files") from None
        except (
            TypeError,
            ValueError,
        ) as error:  # of a factor with numbers and texts, or of data of several shapes
            raise InputError(
                f"this table does not fit into Parquet: {error}", hint="Save it as .jsonl."
            ) from None

    def plot(self, factor: str | None = None) -> Any:
        """Draw the score (or the seconds, without one) of each level with its interval; return matplotlib's Axes.

        Raises ConfigurationError without matplotlib.
        """
        from puq_magics.experiments.plots import plot_summary

        names = [factor] if factor else self.factors
        return plot_summary(self.summary(*names), names)

    def _is_rate(self, name: str) -> bool:
        """Return whether all values of a column are yes or no."""
        return all(record.get(name) in (None, 0, 1) for record in self.records)

    def _check_numbers(self, name: str) -> None:
        """Raise InputError if a column is not there, or holds something else than numbers."""
        values = [record.get(name) for record in self.records]
        numbers = [each for each in self.records[0] if each in (*_FACTS[:-1], *self.score_names)]
        if name not in self.records[0] or not all(isinstance(v, bool | int | float | None) for v in values):
            raise InputError(
                f"{name!r} is not a column of numbers.",
                hint=f"{did_you_mean(name, numbers)} Those are {', '.join(numbers)}.".strip(),
            )


def make_record(cell: Cell, outcome: CallOutcome | None, *, has_data: bool) -> Record:
    """Return the record of a call; ``has_data`` if there is a schema."""
    answered = None if outcome is None or outcome.error else outcome
    record: Record = {**cell.levels, ROW: cell.row, REPEAT: cell.repeat}
    record[ANSWER] = answered and answered.text
    if has_data:
        record[DATA] = answered and answered.data
    missing = NO_VALUE if cell.spec is None else NOT_ASKED
    record[ERROR] = missing if outcome is None else outcome.error or None
    return record | {name: None if outcome is None else getattr(outcome, name) for name in _FACTS}


def _summarize(group: Sequence[Record], is_rate: bool) -> Record:
    """Return the figures of a group of calls; the interval is over rows, of which repeats are no more."""
    answered = [record for record in group if record[ERROR] is None]
    seconds = [record["seconds"] for record in answered if record["seconds"] is not None]
    costs = [record["cost"] for record in group if record["cost"] is not None]
    median, p95 = quantiles(seconds, 0.5, 0.95) if seconds else (None, None)
    figures: Record = {"calls": len(group), "failures": len(group) - len(answered), "rows": None}
    if by_row := _means_by_row(answered, SCORE):
        means = list(by_row.values())
        interval = wilson_interval(sum(means), len(means)) if is_rate else bootstrap_mean(means)
        figures |= {"rows": len(means), SCORE: interval.value, "low": interval.low, "high": interval.high}
        figures["is_rate"] = is_rate
    tokens = sum((record["prompt_tokens"] or 0) + (record["completion_tokens"] or 0) for record in group)
    cost = sum(costs) if costs else None
    return figures | {"seconds_p50": median, "seconds_p95": p95, "tokens": tokens, "cost": cost}


def _takes_row(function: Callable[..., Any]) -> bool:
    """Return whether a function of a score takes the row, too; those of C tell nothing, and do not."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return False
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and (places[1].default is places[1].empty or places[1].name == ROW)


def _score(value: Any) -> bool | int | float | None:
    """Return what a function of a score returned, as a number of Python's own. Raises InputError."""
    try:
        number = value if value is None or isinstance(value, bool | int | float) else float(value)  # of numpy
    except (TypeError, ValueError):
        raise InputError(
            f"the score {str(value)[:40]!r} is not a number.", hint="Return True, False or a number."
        ) from None
    return None if isinstance(number, float) and isnan(number) else number


def _means_by_row(records: Sequence[Record], value: str) -> dict[Any, float]:
    """Return the mean of a column for each row: repeats, and levels of other factors, are averaged."""
    by_row: dict[Any, list[float]] = {}
    for record in records:
        if record.get(value) is not None:
            by_row.setdefault(record[ROW], []).append(float(record[value]))
    return {row: sum(values) / len(values) for row, values in by_row.items()}
