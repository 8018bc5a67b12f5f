"""One prompt for each row of a table: plan the calls, run them, and return a new table."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puq_magics.api.client import Router
from puq_magics.api.finish_reason import is_cut_off
from puq_magics.core.errors import InputError, MissingVariableError, PuqError
from puq_magics.core.files import filename_stem
from puq_magics.core.suggestions import did_you_mean
from puq_magics.experiments.calls import (
    CallOutcome,
    CallSpec,
    SpecBuilder,
    cost_range,
    total_cost,
)
from puq_magics.experiments.frames import Frame, read_frame
from puq_magics.experiments.journal import Journal
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.row_prompts import ROW, check_names_a_column, group_notes, row_values
from puq_magics.experiments.runner import Meter, OnEvent, Run, RunProgress, RunSettings
from puq_magics.prompts.schema.schema import Schema
from puq_magics.prompts.template import MAX_VALUE_CHARS, PromptTemplate

ANSWER, ERROR = "answer", "error"
NO_VALUE, NOT_ASKED = "no value in the columns of the prompt", "not asked yet"
_RUNS_FOLDER = "puq_runs"
_DETAILS = ("attempts", "seconds", "prompt_tokens", "completion_tokens", "cost", "model", "finish_reason")


@dataclass(frozen=True)
class MapPlan:
    """The calls for some rows of a table."""

    frame: Frame
    template: str
    model: str
    schema: Schema | None
    #: Positions of the rows that are asked for, and the call of each; None for a row without a value.
    positions: Sequence[int]
    specs: Sequence[CallSpec | None]
    #: What a reader should know, such as values that were cut.
    notes: Sequence[str] = ()

    @property
    def columns(self) -> Sequence[str]:
        """The names of the new columns, without that of errors."""
        return field_names(self.schema)

    @property
    def calls(self) -> list[CallSpec]:
        """The calls, each key once."""
        return list({spec.key: spec for spec in self.specs if spec is not None}.values())


def field_names(schema: Schema | None) -> Sequence[str]:
    """Return the columns of an answer: the fields of an object, else one."""
    properties = schema.json.get("properties") if schema is not None else None
    return list(properties) if isinstance(properties, dict) and properties else [ANSWER]


def plan_map(
    frame: Any,
    template: str,
    *,
    model: str,
    schema: Schema | None = None,
    system: str | None = None,
    params: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    max_value_chars: int = MAX_VALUE_CHARS,
) -> MapPlan:
    """Plan one call a row; nothing is sent.

    ``limit`` takes the first rows, ``sample`` so many at random (the same ones each time). Raises InputError for a
    template without a column, and for a name that is neither a column nor one of ``variables``.
    """
    table, variables = read_frame(frame), variables or {}
    prompt = PromptTemplate(template, limit=max_value_chars, images=None)
    notes = _check_names(prompt, table, variables)
    _check_new_columns(table, field_names(schema))
    fields: dict[str, Any] = {**({} if schema is None else {"response_format": schema.response_format})}
    builder = SpecBuilder(model, {**fields, **(params or {})})
    head = [] if not system else [{"role": "system", "content": system}]
    positions = table.positions(limit, sample)
    specs: list[CallSpec | None] = []
    cut: list[str] = []
    constants = {name: variables[name] for name in prompt.names if name in variables}
    for position in positions:
        values = row_values(table, position, prompt.names)
        if values is None:
            specs.append(None)
            continue
        filled = prompt.fill({**constants, **values})
        cut += [note for note in filled.notes if note not in prompt.notes]
        specs.append(builder.build([*head, {"role": "user", "content": filled.text}]))
    notes = [*notes, *prompt.notes, *group_notes(cut)]
    return MapPlan(table, template, model, schema, positions, specs, notes)


def _check_names(prompt: PromptTemplate, table: Frame, variables: Mapping[str, Any]) -> list[str]:
    """Raise InputError for names that mean nothing; return notes on those that are columns and variables."""
    for name in prompt.names:
        if name not in table.columns and name not in variables and name != ROW:
            known = [*table.columns, *(each for each in variables if not each.startswith("_"))]
            listed = ", ".join(list(table.columns)[:12]) + (", …" if len(table.columns) > 12 else "")
            raise MissingVariableError(
                f"there is no column and no variable named {name!r}.",
                hint=f"{did_you_mean(name, known)} The columns are {listed}.".strip(),
            )
    check_names_a_column(prompt.names, list(table.columns))
    clashes = [name for name in prompt.names if name in table.columns and name in variables]
    return [f"{{{{{name}}}}} is the column, not the variable of that name" for name in clashes]


def _check_new_columns(table: Frame, names: Sequence[str]) -> None:
    taken = [name for name in (*names, ERROR) if name in table.columns]
    if taken:
        raise InputError(
            f"the table has a column {taken[0]!r} already, which the answers need.",
            hint="Rename or drop it, or name the new column with --schema: 'mood str'.",
        )


@dataclass
class MapResult:
    """Answers of a map, in the order of the rows."""

    plan: MapPlan
    outcomes: Mapping[str, CallOutcome]
    progress: RunProgress
    journal: Path
    #: Runs the plan again, with the failed calls; set by who ran it.
    rerun: Callable[[Sequence[str]], MapResult] | None = field(default=None, repr=False)
    notes: Sequence[str] = ()

    def to_frame(self, details: bool = False) -> Any:
        """Return a new table of the same kind: the old columns, those of the answers, and ``error``.

        ``details`` adds attempts, seconds, tokens, cost, the model that answered, and the finish reason.
        """
        results = self._row_outcomes
        new: dict[str, list[Any]] = {name: [] for name in self.plan.columns}
        for outcome in results:
            for name, value in self._values(outcome).items():
                new[name].append(value)
        new[ERROR] = [self._error(n, outcome) for n, outcome in enumerate(results)]
        for name in _DETAILS if details else ():
            taken = name in self.plan.frame.columns or name in new
            new[f"call_{name}" if taken else name] = [
                getattr(outcome, name) if outcome is not None else None for outcome in results
            ]
        return self.plan.frame.extend(new, self.plan.positions)

    @property
    def failed(self) -> list[int]:
        """Positions of the rows without an answer."""
        return [
            position
            for n, (position, outcome) in enumerate(zip(self.plan.positions, self._row_outcomes, strict=True))
            if self._error(n, outcome) is not None
        ]

    @property
    def cut(self) -> list[int]:
        """Positions of the rows whose answer was cut off, at a limit of tokens or by a failure."""
        rows = zip(self.plan.positions, self._row_outcomes, strict=True)
        return [row for row, each in rows if each and not each.error and is_cut_off(each.finish_reason)]

    @property
    def parsed(self) -> list[Any]:
        """Instances of the schema's Python types, one a row; None for a row without an answer."""
        build = self.plan.schema.to_instances if self.plan.schema is not None else None
        data = [None if each is None or each.error else each.data for each in self._row_outcomes]
        return data if build is None else [None if each is None else build(each) for each in data]

    def errors(self) -> dict[str, int]:
        """Return the errors, and how many rows have each; the most frequent first."""
        texts = (self._error(n, outcome) for n, outcome in enumerate(self._row_outcomes))
        return dict(Counter(text for text in texts if text is not None).most_common())

    def retry(self) -> MapResult:
        """Make the failed calls again, and return the new result; the journal keeps both.

        Raises InputError for a result that no run made, and the error that stopped the run, if one did.
        """
        if self.rerun is None:
            raise InputError("this result cannot be run again.", hint="Run its cell again.")
        return self.rerun(self._failed_keys)

    @property
    def can_retry(self) -> bool:
        """True if calls have failed, or were not made."""
        return bool(self._failed_keys)

    @property
    def _failed_keys(self) -> list[str]:
        outcomes = ((spec.key, self.outcomes.get(spec.key)) for spec in self.plan.calls)
        return [key for key, outcome in outcomes if outcome is None or outcome.error]

    @property
    def cost(self) -> float | None:
        """Estimated cost of all calls in credits, those from the journal among them; None if unknown."""
        return total_cost(self._unique_outcomes)

    def cost_of_all(self) -> tuple[float, float] | None:
        """Return the likely cost of all rows of the table in credits, as a range (95 %); None if unknown."""
        costs = [outcome.cost for outcome in self._unique_outcomes]
        return cost_range(costs, self.plan.frame.row_count)

    @property
    def _unique_outcomes(self) -> list[CallOutcome]:
        return [self.outcomes[spec.key] for spec in self.plan.calls if spec.key in self.outcomes]

    @property
    def _row_outcomes(self) -> list[CallOutcome | None]:
        return [None if spec is None else self.outcomes.get(spec.key) for spec in self.plan.specs]

    def _values(self, outcome: CallOutcome | None) -> dict[str, Any]:
        """Return the values of the new columns for a row."""
        names = self.plan.columns
        if outcome is None or outcome.error:
            return dict.fromkeys(names)
        if self.plan.schema is None:
            return {ANSWER: outcome.text}
        data = outcome.data
        return {name: data.get(name) for name in names} if isinstance(data, dict) else {ANSWER: data}

    def _error(self, number: int, outcome: CallOutcome | None) -> str | None:
        if outcome is not None:
            return outcome.error or None
        return NO_VALUE if self.plan.specs[number] is None else NOT_ASKED


def map_rows(
    frame: Any,
    template: str,
    *,
    router: Router,
    model: str,
    schema: object = None,
    system: str | None = None,
    params: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    limit: int | None = None,
    sample: int | None = None,
    workers: int = 16,
    journal: str | Path | None = None,
    fresh: bool = False,
    executor: Executor | None = None,
    get_key: GetKey | None = None,
    meter: Meter | None = None,
    on_event: OnEvent = lambda _: None,
) -> MapResult:
    """Ask one prompt for each row of a table, and return the answers.

    ``template`` names columns as ``{{column}}``, and other names are filled in from ``variables``. ``schema`` is
    anything that `Schema.from_spec` takes, and its fields become columns. ``system`` is the system prompt, and
    ``params`` are further fields of each request. ``limit`` takes so many rows from the beginning, ``sample`` so many
    at random; give one of them. At most ``workers`` calls are under way at once.

    Finished calls are kept in the folder ``journal`` (default: one in ``puq_runs``, named by the template), from
    which a later run of the same calls goes on; ``fresh`` begins anew. A call that fails is an ``error`` of its row.
    With an ``executor`` the calls are made in its processes, which take the key from their environment or from
    ``get_key``, called there. ``meter`` reserves and records the cost of each call. ``on_event`` is told the progress
    a few times a second.

    Raises InputError before anything is sent, ConfigurationError for a file that needs a package that is not
    installed, JournalError, and at the end the error that stopped the run, if one did; the answers so far are in the
    journal.
    """
    plan = plan_map(
        frame,
        template,
        model=model,
        schema=None if schema is None else Schema.from_spec(schema, variables),
        system=system,
        params=params,
        variables=variables,
        limit=limit,
        sample=sample,
    )
    folder = Path(journal) if journal is not None else journal_folder(Path(), template)
    settings = RunSettings(router, workers, meter, executor, get_key)
    result, problem = run_map(plan, settings, folder, fresh=fresh, on_event=on_event)
    if problem is not None:
        raise problem
    return result


def run_map(
    plan: MapPlan,
    settings: RunSettings,
    folder: Path,
    *,
    fresh: bool = False,
    repeat: Sequence[str] = (),
    on_event: OnEvent = lambda _: None,
    on_interrupt: Callable[[MapResult], None] = lambda _: None,
) -> tuple[MapResult, PuqError | None]:
    """Run a plan; return its result, and the error that stopped the run early, if one did.

    ``repeat`` are the keys of calls that are made again. At an interrupt ``on_interrupt`` gets the result so far.
    """
    about = {"template": plan.template, "model": plan.model, "schema": plan.schema and plan.schema.json}
    journal = Journal(folder, about, fresh=fresh)
    for key in repeat:
        journal.outcomes.pop(key, None)
    run = Run(plan.calls, settings, journal, plan.schema)

    def rerun(keys: Sequence[str]) -> MapResult:
        again, problem = run_map(plan, settings, folder, repeat=keys, on_event=on_event)
        if problem is not None:
            raise problem
        return again

    def result() -> MapResult:
        outcomes = dict(run.outcomes)
        return MapResult(plan, outcomes, run.progress, folder, rerun, [*plan.notes, *run.notes])

    return run.run_to(result, on_event, on_interrupt)


def journal_folder(beside: Path, template: str) -> Path:
    """Return the default folder of a template's journal."""
    digest = hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return beside / _RUNS_FOLDER / f"{filename_stem(template, 'run')}-{digest}"
