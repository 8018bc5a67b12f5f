"""A study: models, settings and wordings over the rows of a table, with repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from puq_magics.api.client import Router
from puq_magics.core.errors import InputError, MissingVariableError, PuqError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.experiments.arms import MODEL, plan_arms
from puq_magics.experiments.calls import CallOutcome, CallSpec, SpecBuilder, total_cost
from puq_magics.experiments.frames import Frame, read_frame
from puq_magics.experiments.grid_result import OWN_COLUMNS, Cell, GridResult, make_record
from puq_magics.experiments.journal import Journal
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.mapping import journal_folder
from puq_magics.experiments.row_prompts import ROW, check_names_a_column, group_notes, row_values
from puq_magics.experiments.runner import Meter, OnEvent, Run, RunSettings
from puq_magics.prompts.schema.schema import Schema
from puq_magics.prompts.template import MAX_VALUE_CHARS, PromptTemplate

_MAX_CALLS = 1_000_000


@dataclass(frozen=True)
class GridPlan:
    """The calls of a grid."""

    #: By repeat, row, then arm.
    cells: Sequence[Cell]
    #: What a reader should know, such as values that were cut.
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Grid:
    """The calls of a study: each model × each setting and wording × each row × each repeat.

    ``vary`` has the values of each factor beside the model: a name in ``{{}}`` of the template, or a setting such as
    ``temperature``. ``limit`` takes the first rows of the table ``over``, ``sample`` so many at random, as a pilot.
    Raises InputError for anything that cannot be planned; nothing is sent.
    """

    models: Sequence[str]
    template: str
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    over: Any = None
    repeat: int = 1
    limit: int | None = None
    sample: int | None = None
    schema: Schema | None = None
    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    max_value_chars: int = MAX_VALUE_CHARS

    def plan(self) -> GridPlan:
        """Return the calls; nothing is sent."""
        frame = self.frame
        prompt = PromptTemplate(self.template, limit=self.max_value_chars, images=None)
        arms = plan_arms(self.models, self.vary, prompt.names)
        self._check(prompt, frame)
        rows = range(1) if frame is None else frame.positions(self.limit, self.sample)
        if len(arms) * len(rows) * self.repeat > _MAX_CALLS:
            raise InputError(
                f"the grid has more than {_MAX_CALLS:,} calls.", hint="Take fewer rows, values or repeats."
            )
        form = {} if self.schema is None else {"response_format": self.schema.response_format}
        builders = [SpecBuilder(arm.model, {**form, **self.params, **arm.params}) for arm in arms]
        head = [{"role": "system", "content": self.system}] if self.system else []
        # Only those that are named: others may be variables of a function that have no value yet.
        constants = {name: self.variables[name] for name in prompt.names if name in self.variables}
        cells: list[Cell] = []
        cut: dict[tuple[int, str], None] = {}  # a row's note once, however many arms and repeats have it
        for repeat, row in product(range(self.repeat), rows):
            values = {} if frame is None else row_values(frame, row, prompt.names)
            if values is None:
                cells += [Cell(arm.levels, row, repeat, None) for arm in arms]
                continue
            for arm, builder in zip(arms, builders, strict=True):
                filled = prompt.fill({**constants, **values, **arm.levels})
                cut |= dict.fromkeys((row, note) for note in filled.notes if note not in prompt.notes)
                spec = builder.build([*head, {"role": "user", "content": filled.text}], repeat)
                cells.append(Cell(arm.levels, row, repeat, spec))
        return GridPlan(cells, [*prompt.notes, *group_notes(note for _, note in cut)])

    @property
    def total(self) -> int:
        """The number of calls, those among them that a limit leaves out."""
        arms = prod(map(len, (self.models, *self.vary.values())))
        return arms * (1 if self.frame is None else self.frame.row_count) * self.repeat

    @cached_property
    def frame(self) -> Frame | None:
        """The table of ``over``; None without one."""
        return None if self.over is None else read_frame(self.over)

    def _check(self, prompt: PromptTemplate, frame: Frame | None) -> None:
        """Raise InputError for levels that are there twice, for numbers and for names that do not do."""
        for name, values in ((MODEL, self.models), *self.vary.items()):
            twice = [
                each
                for n, each in enumerate(values)
                if each in values[:n] or str(each) in map(str, values[:n])
            ]
            if twice:
                raise InputError(
                    f"{name} {str(twice[0])!r} is listed twice.", hint="Use --repeat to ask again."
                )
        if frame is None and (self.limit or self.sample):
            raise InputError(
                "a limit takes rows of a table, and there is none.", hint="Name one: --over FRAME"
            )
        if self.repeat < 1:
            raise InputError("the number of repeats is below 1.", hint="Write --repeat 3, or leave it out.")
        self._check_names(prompt, [] if frame is None else list(frame.columns))

    def _check_names(self, prompt: PromptTemplate, columns: Sequence[str]) -> None:
        """Raise InputError for names that mean nothing or two things, and for a prompt without a column."""
        for name in self.vary:
            if name in OWN_COLUMNS:
                raise InputError(
                    f"the long table has a column {name!r} of its own.", hint="Choose another name."
                )
            if name in columns:
                raise InputError(f"{name!r} is a column of the table, too.", hint="Rename one of them.")
        known = {*columns, *self.vary, *self.variables, *([ROW] if columns else [])}
        for name in prompt.names:
            if name not in known:
                raise MissingVariableError(
                    f"there is no column, factor or variable named {name!r}.",
                    hint=did_you_mean(name, [*columns, *self.vary, *self.variables]),
                )
        if columns:
            check_names_a_column(prompt.names, columns, ", or leave out --over; --repeat asks again")

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

        The arguments are those of `map_rows`: at most ``workers`` calls are under way at once, in the processes of an
        ``executor`` if there is one, with the key of ``get_key``. Finished calls are kept in the folder ``journal``,
        from which a later run goes on; ``fresh`` begins anew. ``meter`` reserves and records the cost of each call,
        and ``on_event`` is told the progress a few times a second.

        Raises InputError before anything is sent, ConfigurationError for a file that needs a package that is not
        installed, JournalError, and at the end the error that stopped the run, if one did.
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
    plan = grid.plan()
    about = {"template": grid.template, "models": list(grid.models), "vary": dict(grid.vary)}
    journal = Journal(folder, about, fresh=fresh)
    specs = [cell.spec for cell in plan.cells if cell.spec is not None]
    run = Run(specs, settings, journal, grid.schema)

    def result() -> GridResult:
        outcomes = (None if cell.spec is None else run.outcomes.get(cell.spec.key) for cell in plan.cells)
        prompt = PromptTemplate(grid.template, images=None)
        return GridResult(
            [
                make_record(cell, outcome, has_data=grid.schema is not None)
                for cell, outcome in zip(plan.cells, outcomes, strict=True)
            ],
            [MODEL, *grid.vary],
            run.progress,
            folder,
            frame=grid.frame,
            columns=[name for name in prompt.names if grid.frame and name in grid.frame.columns],
            total=grid.total,
            cost=total_cost(run.outcomes.values()),
            notes=(*plan.notes, *run.notes),
            tasks=[
                "" if cell.spec is None else str(cell.spec.messages[-1]["content"]) for cell in plan.cells
            ],
            run_calls=partial(_run_judge_calls, settings, folder),
        )

    return run.run_to(result, on_event, on_interrupt)


def _run_judge_calls(
    settings: RunSettings, folder: Path, specs: Sequence[CallSpec], schema: Schema
) -> Mapping[str, CallOutcome]:
    """Make the calls of a judge, with a journal in the folder of the grid's. Raises what stopped the run."""
    run = Run(specs, settings, Journal(folder / "judge", {"template": "judge"}), schema)
    run.run()
    if run.problem is not None:
        raise run.problem
    return run.outcomes
