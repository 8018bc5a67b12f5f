"""From an exception to the question about it, and from the answer to the mended cell; imported when first used."""

from __future__ import annotations

import argparse
import linecache
import os
from typing import TYPE_CHECKING, Any

from puq_magics.core.errors import InputError
from puq_magics.magics.dry_run import preview
from puq_magics.magics.options import read_params
from puq_magics.magics.views import chat_view
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.formats import cell_source
from puq_magics.prompts.diagnosis.frames import Source
from puq_magics.prompts.diagnosis.prompt import Diagnosis, diagnose
from puq_magics.prompts.diagnosis.redaction import Masker, secrets_of
from puq_magics.prompts.extraction import code_blocks
from puq_magics.session.chat_call import ChatCall, ChatSpec, chat
from puq_magics.session.last_exception import Failure
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.outputs.results.chat import ChatResult


_RESERVED = ("model", "messages", "stream", "temperature", "max_completion_tokens")
_UNSENDABLE = ("self", "on_retry")  # names of the client's own
# What %%time, %%timeit and %%prun give the body of their cell for a file name.
_BODIES = ("<timed exec>", "<timed eval>", "<magic-timeit>")


def fix(session: Session, args: argparse.Namespace, failure: Failure | None) -> ChatResult | None:
    """Have an exception explained, as the options say; None when nothing is to be sent. Raises PuqError."""
    mend = args.format == "code"
    if mend and args.hint:
        raise InputError("a hint holds no mended cell.", hint="Leave out --hint or -f code.")
    if failure is None:
        raise InputError(
            "there is no exception to explain.", hint="Run the cell that fails, then %puq_fix below it."
        )
    masker = Masker(_secrets(session))
    diagnosis = diagnose(
        failure.error,
        Cells(session, failure),
        masker,
        ran=Source(_label(failure.count), failure.cell) if failure.cell else None,
        system=(session.settings.system or "") if args.system is None else args.system,
        hint=args.hint,
        mend=mend,
    )
    call = _call(session, args, diagnosis, _Mending(session, diagnosis, masker) if mend else None)
    if args.dry_run:
        print(preview(session, ChatCall(call), told=_told(diagnosis)))  # noqa: T201 - what was asked for
        return None
    return chat(session, call, chat_view(session, args, call.format), args.out)


def _call(
    session: Session, args: argparse.Namespace, diagnosis: Diagnosis, finish: _Mending | None
) -> ChatSpec:
    settings = session.settings
    params: dict[str, Any] = {
        "temperature": settings.temperature if args.temperature is None else args.temperature,
        "max_completion_tokens": args.max_tokens or settings.max_tokens,
    }
    params |= read_params(args.param, _RESERVED, _UNSENDABLE)
    return ChatSpec(
        session.model("chat", args.model, suggest_models=not args.dry_run),
        diagnosis.messages,
        stream=not args.no_stream,
        params=params,
        notes=diagnosis.notes,
        format="text" if args.format == "text" else "markdown",
        finish=finish,
    )


class _Mending:
    """Puts the mended cell below, for a person to read and run."""

    def __init__(self, session: Session, diagnosis: Diagnosis, masker: Masker) -> None:
        self._session = session
        self._diagnosis = diagnosis
        self._masker = masker

    def __call__(self, result: ChatResult) -> None:
        if result.broken_off:
            return
        code = mended(result)
        if not code:
            result.note("the answer has no whole cell: nothing was put below")
            return
        is_added = self._session.next_cell.add(self._masker.restore(cell_source(code), self._diagnosis.cell))
        where = "added to the cell below" if is_added else "below"
        result.remarks = (*result.remarks, f"the mended cell is {where}, not run")


def mended(result: ChatResult) -> str:
    """The longest block of Python in an answer; empty when there is none, or it was cut off."""
    blocks = [block for block in code_blocks(result.text) if block.is_python]
    longest = max(blocks, key=lambda block: len(block.code), default=None)
    if longest is None or (not longest.closed and result.finish_reason == "length"):
        return ""
    return longest.code.strip("\n")


class Cells:
    """The cells of a shell, by the file name of their code."""

    def __init__(self, session: Session, failure: Failure) -> None:
        self._shell = session.shell
        self._failure = failure

    def __call__(self, filename: str) -> Source | None:
        """See Lookup."""
        if filename in _BODIES and self._failure.cell:
            return Source(_label(self._failure.count), self._failure.cell, skipped=1)
        count = getattr(self._shell.compile, "_filename_map", {}).get(filename)
        if count is None:
            return None
        compiled = "".join(linecache.getlines(filename))
        return Source(_label(count), self._typed(count, compiled))

    def _typed(self, count: int, compiled: str) -> str:
        """The cell as it was typed, with its magics as magics; as it was compiled, if it cannot be found."""
        history = getattr(self._shell.history_manager, "input_hist_raw", [])
        numbered = history[count] if 0 < count < len(history) else ""
        for typed in (numbered, self._failure.cell):
            if typed and self._compiles_to(typed, compiled):
                return str(typed)
        return compiled

    def _compiles_to(self, typed: str, compiled: str) -> bool:
        try:
            transformed: str = self._shell.transform_cell(typed)
        except Exception:  # noqa: BLE001 - whatever the user's transformers raise; then it is no cell that ran
            return False
        return transformed.splitlines() == compiled.splitlines()


def _label(count: int | None) -> str:
    return "the cell" if count is None else f"Cell In[{count}]"


def _secrets(session: Session) -> list[str]:
    """What no prompt may hold: the router's key, and the environment's secrets."""
    credential = session.credentials.find(session.address())
    ours = [credential.key.reveal()] if credential is not None else []
    return ours + secrets_of(os.environ)


def _told(diagnosis: Diagnosis) -> str:
    """What is sent, for people."""
    messages = [f"{message['role']}: {message['content']}" for message in diagnosis.messages]
    return "\n\n".join([*messages, *diagnosis.notes])
