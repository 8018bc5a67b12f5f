"""From ``%puq_transcribe``'s line to the call; imported when the first one runs."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.magics.options import CommandLine
from puq_magics.magics.dry_run import preview
from puq_magics.magics.views import media_view
from puq_magics.magics.targets import save_target
from puq_magics.outputs.results import TranscriptResult
from puq_magics.core.files import first_free, targets
from puq_magics.session.audio_input import Source, exists, find, of_recording
from puq_magics.session.transcribe_call import TranscribeCall, TranscribeExchange, transcribe
from puq_magics.session.session import Workspace

#: Enough of a recording to check the options with.
SILENCE = b"ID3" + bytes(64)


def run(
    workspace: Workspace, command: CommandLine, line: str, variables: Mapping[str, Any]
) -> TranscriptResult | None:
    """Transcribe as the line says, and show the text; None when nothing is sent now. Raises PuqError."""
    args, named = read_line(command, line)
    if args.record:
        from puq_magics.magics.recording import record

        if named:
            raise InputError(f"--record records; {named} is one too many.", hint="Give one of the two.")
        record(
            workspace,
            args,
            check=lambda: call_for(workspace, args, of_recording(SILENCE, "audio/mpeg")),
            call_for=lambda source: call_for_another(workspace, args, source),
        )
        return None
    call = call_for(workspace, args, find(named, variables))
    if args.dry_run:
        told = f"{call.source.name}: {call.source.upload.size:,} bytes, sent as {call.source.upload.name}"
        print(preview(workspace, TranscribeExchange(call), told=told))  # noqa: T201 - what was asked for
        return None
    view = media_view(workspace, args, f"listening with {call.model}")
    return transcribe(workspace, call, view, args.out)


def call_for(workspace: Workspace, args: argparse.Namespace, source: Source) -> TranscribeCall:
    """The call that the options ask for. Raises PuqError."""
    params = {"language": args.language, "response_format": args.response_format}
    save = save_target(args, [".txt"])
    if save is not None and source.path is not None:
        _refuse_to_replace(source.path, targets(save, ".txt")[0])
    model = workspace.model("transcription", args.model, look_up=not args.dry_run)
    return TranscribeCall(model, source, params, stream=args.stream, save=save, force=args.force)


def call_for_another(workspace: Workspace, args: argparse.Namespace, source: Source) -> TranscribeCall:
    """The call for one more recording, whose text goes into a file of its own. Raises PuqError."""
    if args.save is None or args.force:
        return call_for(workspace, args, source)
    unsaved = argparse.Namespace(**{**vars(args), "save": None})
    save = first_free(targets(Path(args.save).expanduser(), ".txt")[0])
    return replace(call_for(workspace, unsaved, source), save=save)


def _refuse_to_replace(recording: Path, save: Path) -> None:
    try:
        same = os.path.samefile(recording, save)
    except OSError:  # there is no such file yet
        return
    if same:
        raise InputError(f"{save} is the recording itself.", hint="Name another file for the text.")


def read_line(command: CommandLine, line: str) -> tuple[argparse.Namespace, str]:
    """The options, before the path or behind it, and the path as it was typed, which may have spaces in it.

    Raises InputError.
    """
    if line.lstrip().startswith("-") and "." in line and exists(line):  # the path is all there is
        return command.read("")[0], line.strip()
    try:
        args, rest = command.read(line)
    except InputError as exc:
        raise _hinted(exc) from None
    if exists(rest):
        return args, rest
    before = line.rstrip().removesuffix(rest)
    problem: InputError | None = None
    for gap in re.finditer(r"\s+(?=-)", rest):
        try:
            with_those_behind, left = command.read(f"{before} {rest[gap.end() :]}")
        except InputError as exc:
            problem = problem or exc
            continue
        if not left:
            return with_those_behind, rest[: gap.start()]
    if problem is not None and not _may_be_name(problem):
        raise problem
    if problem is not None and any(exists(rest[: gap.start()]) for gap in re.finditer(r"\s+(?=-)", rest)):
        raise problem
    return args, rest  # a file's name, with a dash in it


def _may_be_name(problem: InputError) -> bool:
    """Whether it is about an option that no other one is near: then the word may be a part of a path."""
    return problem.message.startswith("there is no option") and "Did you mean" not in problem.message


def _hinted(problem: InputError) -> InputError:
    """Say how to write a path that begins with a dash, where that may be meant."""
    name = problem.message.removeprefix("there is no option ").removesuffix(".")
    if _may_be_name(problem) and ("." in name or exists(name)):
        problem.hint = f"If it is a file, write ./{name}"
    return problem
