"""From ``%puq_transcribe``'s line to the call; imported when the first one runs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from puq_magics.api.errors import InputError
from puq_magics.magics.options import CommandLine
from puq_magics.magics.preview import preview
from puq_magics.magics.showing import media_view
from puq_magics.outputs.results import TranscriptResult
from puq_magics.outputs.saving import checked_target
from puq_magics.session.audio_sources import Source, exists, find
from puq_magics.session.transcribe_call import TranscribeCall, TranscribeExchange, transcribe
from puq_magics.session.workspace import Workspace


def run(
    workspace: Workspace, command: CommandLine, line: str, variables: Mapping[str, Any]
) -> TranscriptResult | None:
    """Transcribe as the line says, and show the text; None when nothing is sent now. Raises PuqError."""
    args, named = read_line(command, line)
    if args.record:
        from puq_magics.magics.recording import record

        if named:
            raise InputError(f"--record records; {named} is one too many.", hint="Give one of the two.")
        record(workspace, args, lambda source: call_for(workspace, args, source))
        return None
    call = call_for(workspace, args, find(named, variables))
    if args.dry_run:
        told = f"{call.source.name}: {call.source.upload.size:,} bytes, sent as {call.source.upload.name}"
        print(preview(workspace, TranscribeExchange(call), told=told))  # noqa: T201 - what was asked for
        return None
    view = media_view(workspace, args, f"listening with {call.model}")
    return transcribe(workspace, call, view, args.out)


def call_for(workspace: Workspace, args: argparse.Namespace, source: Source) -> TranscribeCall:
    """The call that the options ask for."""
    params = {"language": args.language, "response_format": args.response_format}
    save = args.save and checked_target(args.save, args.force, extensions=[".txt"])
    model = workspace.model("transcription", args.model, look_up=not args.dry_run)
    return TranscribeCall(model, source, params, save=save, force=args.force)


def read_line(command: CommandLine, line: str) -> tuple[argparse.Namespace, str]:
    """The options, before the path or behind it, and the path as it was typed, which may have spaces in it.

    Raises InputError.
    """
    args, rest = command.read(line)
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
    if problem is not None:
        raise problem
    return args, rest
