"""Ask one prompt for each row of a table, by options, and show the progress."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.files import expand_path, is_folder, missing_name_error, path_exists
from puq_magics.experiments.leases import GetKey
from puq_magics.experiments.mapping import MapPlan, MapResult, plan_map, run_map
from puq_magics.experiments.runner import OnEvent, RunSettings
from puq_magics.magics.dry_run import show_run_dry_run
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
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.prompts.schema.schema import Schema
from puq_magics.session.budget import CallInfo
from puq_magics.session.session import Session


@dataclass
class MapAnswers(DisplayOnce, MapResult):
    """Value of ``%%puq_map``: the answers, shown as a summary."""

    #: Further sentences of the summary, such as the cost of the whole table.
    summary_lines: Sequence[str] = ()

    @classmethod
    def from_result(cls, result: MapResult, summary_lines: Sequence[str]) -> MapAnswers:
        """Return a result that a cell can show."""
        own = {name: value for name, value in vars(result).items() if name != "summary_lines"}
        return cls(**own, summary_lines=summary_lines)

    def labelled_answers(self) -> Iterator[tuple[str, str]]:
        """Yield the answer, or the error, of each row."""
        for number, (position, outcome) in enumerate(
            zip(self.plan.positions, self._row_outcomes, strict=True)
        ):
            error = self._error(number, outcome)
            yield f"row {position}", f"no answer: {error}" if outcome is None or error else outcome.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        head, errors = self._headline(), self._error_lines()
        footer = run_footer(self.progress, self.journal, self.notes, self.plan.model)
        plain = "\n".join([head, *errors, *self.summary_lines, f"[{footer.to_text()}]"])
        lines = "\n".join(f"- {escape_inline(line)}" for line in (*errors, *self.summary_lines))
        markdown = f"**{escape_inline(head)}**" + (f"\n\n{lines}" if lines else "")
        return {
            "text/markdown": footer.append_to_markdown(markdown),
            "text/plain": strip_control_chars(plain),
        }

    def _headline(self) -> str:
        total, failed = len(self.plan.positions), len(self.failed)
        rows = f"{total - failed:,} of {total:,} rows answered"
        if total < self.plan.frame.row_count:
            rows = f"{rows} (of {self.plan.frame.row_count:,} in the table)"
        return f"{rows}, {failed:,} without an answer" if failed else rows

    def _error_lines(self) -> list[str]:
        lines = error_lines(self.errors())
        if self.cut:
            lines.append(
                f"{len(self.cut):,} × cut off, mostly at the limit of tokens: rows {_some(self.cut)}"
            )
        return lines

    def __repr__(self) -> str:
        return f"<MapResult {self._headline()}>"


def map_frame(
    session: Session, args: argparse.Namespace, name: str, prompt: str, variables: Mapping[str, Any]
) -> MapAnswers | None:
    """Ask for each row, and show how it goes; None for a dry run. Raises PuqError and RunInterrupted."""
    source, source_note = find_source(name, variables)
    plan = plan_map(
        source,
        prompt,
        model=session.model("chat", args.model, suggest_models=not args.dry_run),
        schema=None if args.schema is None else Schema.from_spec(args.schema, variables),
        system=session.system_prompt(args.system),
        params=chat_params(args, session),
        variables=variables,
        limit=args.limit,
        sample=args.sample,
        max_value_chars=session.settings.max_value_chars,
    )
    folder = journal_path(session, args, prompt)
    if args.dry_run:
        subject = f"{len(plan.positions):,} rows, {len(plan.calls):,} different calls"
        show_run_dry_run(session, args, subject, plan.calls, folder, plan.notes)
        return None
    notes = [*source_note, *args.option_notes]
    remote = find_executor(session, args, variables)
    return _MapRun(session, args, plan, prompt, folder, notes, remote).run(fresh=args.fresh)


@dataclass
class _MapRun:
    """A plan that can be run again, in later cells too."""

    session: Session
    args: argparse.Namespace
    plan: MapPlan
    prompt: str
    folder: Path
    notes: Sequence[str]
    remote: tuple[Executor | None, GetKey | None]

    def run(self, repeat: Sequence[str] = (), *, fresh: bool = False) -> MapAnswers:
        """Run it, show and store the result. Raises PuqError and RunInterrupted."""

        def start(
            settings: RunSettings, on_event: OnEvent, on_interrupt: Callable[[MapResult], None]
        ) -> tuple[MapResult, PuqError | None]:
            return run_map(
                self.plan,
                settings,
                self.folder,
                fresh=fresh,
                repeat=repeat,
                on_event=on_event,
                on_interrupt=on_interrupt,
            )

        plan = self.plan
        info = CallInfo("map", plan.model, content=self.prompt, params=chat_params(self.args, self.session))
        return show_run(self.session, self.args, info, self.remote, start, self._store)

    def _store(self, result: MapResult) -> MapAnswers:
        """Store a result, whole or not."""
        result.rerun = self.run
        result.notes = [*self.notes, *result.notes]
        answers = MapAnswers.from_result(result, self._summary_lines(result))
        self.session.store_result(answers)
        if self.args.out is not None:
            self.session.shell.push({self.args.out: answers.to_frame()})
        return answers

    def _summary_lines(self, result: MapResult) -> list[str]:
        """Return where the table is, what to do about failed rows, and what the whole would cost."""
        total = self.plan.frame.row_count
        lines = [f"The new table is in {self.args.out}."] if self.args.out else []
        if result.can_retry:
            lines.append("_puq.retry() asks again for the missing answers.")
        if len(self.plan.positions) < total:
            lines += full_cost_lines(self.session, f"All {total:,} rows", result.cost_of_all())
        return lines


def _some(positions: Sequence[int]) -> str:
    """Return the first of some positions as a text."""
    return ", ".join(map(str, positions[:5])) + (", …" if len(positions) > 5 else "")


def find_source(name: str, variables: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the table of this name, a file or a variable, and a note if both exist. Raises InputError."""
    if not name:
        raise InputError("no table is named.", hint="Write %%puq_map FRAME: a variable, or a file.")
    path = expand_path(name)
    if path_exists(path) and not is_folder(path):
        note = [f"{name} is the file, not the variable of that name"] if name in variables else []
        return path, note
    if name in variables:
        return variables[name], []
    if path.suffix:
        return path, []  # the error names near files
    raise missing_name_error(name, variables, "Name a variable that holds a table, or a file.")
