"""Explain an exception, or answer a question about it, and put the fixed code of the answer into a new cell."""

from __future__ import annotations

import argparse
import linecache
import os
from collections.abc import Sequence

from puq_magics.core.errors import InputError
from puq_magics.core.secret import redact_json
from puq_magics.magics.dry_run import format_messages, show_dry_run
from puq_magics.magics.options import chat_params, is_dry_run
from puq_magics.magics.views import chat_view
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.formats import clean_cell_source
from puq_magics.prompts.diagnosis.frames import CellSource
from puq_magics.prompts.diagnosis.prompt import HINT_REQUESTS, Diagnosis, diagnose
from puq_magics.prompts.extraction import extract_code_blocks, remove_code_blocks
from puq_magics.prompts.redaction.masking import SecretMasker, find_environment_secrets
from puq_magics.session.calls import run_call
from puq_magics.session.chat_call import ChatCall, ChatSpec
from puq_magics.session.last_exception import Failure
from puq_magics.session.session import Session

# File names under which %%time, %%timeit and %%prun compile the bodies of their cells.
_BODY_FILENAMES = ("<timed exec>", "<timed eval>", "<magic-timeit>")


def fix(
    session: Session,
    args: argparse.Namespace,
    failure: Failure | None,
    question: str = "",
    question_notes: Sequence[str] = (),
) -> ChatResult | None:
    """Explain an exception, or answer a question about it, by the options; returns None for a dry run.

    Raises PuqError.
    """
    wants_fix = args.format == "code"
    if wants_fix and args.hint:
        raise InputError("--hint cannot be combined with -f code.", hint="Remove one of them.")
    if failure is None:
        hint = "Run the failing cell, then %puq_fix below it."
        if question:
            hint += " About a cell that worked: %puq_chat -a cell:5 QUESTION."
        raise InputError("there is no exception to explain.", hint=hint)
    masker = SecretMasker(_known_secrets(session))
    diagnosis = diagnose(
        failure.error,
        CellSources(session, failure),
        masker,
        executed_cell=CellSource(_cell_label(failure.execution_count), failure.cell)
        if failure.cell
        else None,
        system=session.system_prompt(args.system),
        hints=failure.hints[: len(HINT_REQUESTS) - 1] if args.hint else None,
        wants_fix=wants_fix,
        question=question,
    )
    spec = _build_spec(session, args, diagnosis, question_notes)
    call: ChatCall = ChatCall(spec)
    if wants_fix:
        call = FixCall(spec, session, diagnosis, masker)
    elif args.hint:
        call = HintCall(spec, failure.hints)
    if is_dry_run(args):
        show_dry_run(session, args, call, format_messages(diagnosis.messages, diagnosis.notes))
        return None
    view = chat_view(session, args, spec.format, is_streamed=not args.hint)
    return run_call(session, call, view, args.out, over_budget=args.over_budget)


def _build_spec(
    session: Session, args: argparse.Namespace, diagnosis: Diagnosis, question_notes: Sequence[str]
) -> ChatSpec:
    return ChatSpec(
        session.model("chat", args.model, suggest_models=not args.dry_run),
        diagnosis.messages,
        stream=not args.no_stream,
        params=chat_params(args, session),
        notes=(*args.option_notes, *question_notes, *diagnosis.notes),
        format="text" if args.format == "text" else "markdown",
    )


class HintCall(ChatCall):
    """Chat call whose answer is a hint: code blocks are removed from it, and it is kept for the next one."""

    def __init__(self, spec: ChatSpec, hints: list[str]) -> None:
        super().__init__(spec)
        self._hints = hints

    def result(self, status: str) -> ChatResult:
        """Return the hint as far as it arrived, without code."""
        result = super().result(status)
        text = result.text
        result.raw = redact_json(result.raw, _without_code)
        result.text, result.reasoning = _without_code(text), _without_code(result.reasoning)
        if result.text != text:
            result.add_note("code was removed: a hint has none")
        return result

    def finalize(self, result: ChatResult) -> None:
        """Keep a complete hint, and say which one it is."""
        if result.status or not result.text:
            return
        number = min(len(self._hints), len(HINT_REQUESTS) - 1) + 1
        self._hints[number - 1 :] = [result.text]
        more = "; --hint again for the next" if number < len(HINT_REQUESTS) else ""
        result.add_note(f"hint {number} of {len(HINT_REQUESTS)}{more}", is_warning=False)


def _without_code(text: str) -> str:
    return remove_code_blocks(text, "[code removed]")


class FixCall(ChatCall):
    """Chat call that adds the fixed code as a cell below, for the user to read and run."""

    def __init__(self, spec: ChatSpec, session: Session, diagnosis: Diagnosis, masker: SecretMasker) -> None:
        super().__init__(spec)
        self._session = session
        self._diagnosis = diagnosis
        self._masker = masker

    def finalize(self, result: ChatResult) -> None:
        """Add the code of a complete answer to the cell below."""
        if result.status:
            return
        code = fixed_code(result)
        if not code:
            result.add_note("no complete code block in the answer; no cell was created")
            return
        source = self._masker.unmask(clean_cell_source(code), self._diagnosis.cell)
        result.add_note(f"the fixed code is {self._session.next_cell.add(source)}", is_warning=False)


def fixed_code(result: ChatResult) -> str:
    """Return the longest Python block of an answer; empty when there is none, or it was cut off."""
    blocks = [block for block in extract_code_blocks(result.text) if block.is_python]
    longest = max(blocks, key=lambda block: len(block.code), default=None)
    if longest is None or (not longest.closed and result.is_cut_off):
        return ""
    return longest.code.strip("\n")


class CellSources:
    """Finds the cells of a shell by the file names of their code."""

    def __init__(self, session: Session, failure: Failure) -> None:
        self._shell = session.shell
        self._failure = failure

    def __call__(self, filename: str) -> CellSource | None:
        """Return the source of the cell that was compiled under this name; None if there is none."""
        if filename in _BODY_FILENAMES and self._failure.cell:
            return CellSource(_cell_label(self._failure.execution_count), self._failure.cell, skipped_lines=1)
        execution_count = getattr(self._shell.compile, "_filename_map", {}).get(filename)
        if execution_count is None:
            return None
        compiled = "".join(linecache.getlines(filename))
        return CellSource(_cell_label(execution_count), self._raw_source(execution_count, compiled))

    def _raw_source(self, execution_count: int, compiled: str) -> str:
        """Return the cell as typed, with its magics; as compiled, if the typed one is not in the history."""
        history = getattr(self._shell.history_manager, "input_hist_raw", [])
        numbered = history[execution_count] if 0 < execution_count < len(history) else ""
        for raw_source in (numbered, self._failure.cell):
            if raw_source and self._compiles_to(raw_source, compiled):
                return str(raw_source)
        return compiled

    def _compiles_to(self, raw_source: str, compiled: str) -> bool:
        try:
            transformed: str = self._shell.transform_cell(raw_source)
        except Exception:  # noqa: BLE001 - the user's transformers can raise anything; then this is not the cell
            return False
        return transformed.splitlines() == compiled.splitlines()


def _cell_label(execution_count: int | None) -> str:
    return "the cell" if execution_count is None else f"Cell In[{execution_count}]"


def _known_secrets(session: Session) -> list[str]:
    """Return what no prompt may contain: the router's key, and the environment's secrets."""
    credential = session.credentials.find(session.address())
    ours = [credential.key.reveal()] if credential is not None else []
    return ours + find_environment_secrets(os.environ)
