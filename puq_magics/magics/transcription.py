"""From ``%puq_transcribe``'s line to the call; imported when the first one runs."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from IPython.display import display

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.files import first_free_path, output_paths, save_to_temp_file
from puq_magics.core.media_types import detect_audio_type
from puq_magics.magics.dry_run import show_dry_run
from puq_magics.magics.options import CommandLine, UnknownOptionError, resolve_save_path
from puq_magics.magics.views import media_view
from puq_magics.outputs.results import TranscriptResult
from puq_magics.outputs.views.media import QuietMediaView
from puq_magics.session.audio_input import AudioInput, exists, find_audio, from_recording
from puq_magics.session.session import Session
from puq_magics.session.transcribe_call import TranscribeCall, TranscribeSpec, transcribe

SpecBuilder = Callable[[AudioInput], TranscribeSpec]


def record(
    session: Session, args: argparse.Namespace, *, check: Callable[[], object], build_spec: SpecBuilder
) -> None:
    """Show a recorder, and return; each recording is transcribed when it comes. Raises PuqError.

    ``check`` raises what is wrong with the options; ``build_spec`` makes the call that they ask for of a recording.
    A recording that nothing becomes of is kept in a file.
    """
    if not session.in_notebook:
        raise InputError(
            "a recorder needs a notebook, and this is a terminal.",
            hint="Record with another program, then %puq_transcribe the file.",
        )
    if args.dry_run or args.quiet:
        option = "--dry-run" if args.dry_run else "-q"
        raise InputError(f"{option} does not go with --record.", hint="Leave it out.")
    session.router()  # what would be wrong after somebody has spoken is raised now
    check()
    from puq_magics.widgets.recorder import Recorder

    def transcribe_recording(data: bytes, mime: str) -> None:
        try:
            spec = build_spec(from_recording(data, mime))
            result = _transcribe(session, spec, args.out)
        except (PuqError, KeyboardInterrupt) as exc:
            where = _save_recording(data)
            if isinstance(exc, PuqError):
                exc.hint = f"{exc.hint} {where}".strip()
                raise
            recorder.set_message(f"Interrupted. {where}".strip(), state="failed")
            return
        recorder.show_result(result.bundle(result.footer.with_style(session.settings.footer)))
        places = [f"{name}.text" for name in ("_puq", args.out) if name]
        if spec.save is not None:
            places.append(str(spec.save))
        recorder.set_message(f"Transcribed; the text is in {' and '.join(places)}.", state="done")

    recorder = Recorder(transcribe_recording)
    display(recorder)


def _save_recording(data: bytes) -> str:
    """Keep a recording that nothing became of: nobody says the same twice. Says where."""
    kind = detect_audio_type(data)
    try:
        path = save_to_temp_file(data, kind.extension if kind is not None else ".bin")
    except InputError as exc:
        return f"The recording could not be kept: {exc.message}"
    return f"The recording is kept: %puq_transcribe {path}"


def _transcribe(session: Session, spec: TranscribeSpec, out: str | None) -> TranscriptResult:
    result = transcribe(session, spec, QuietMediaView(), out)
    result.already_displayed = False  # no cell is running that could have shown it
    return result


#: Enough of a recording to check the options with.
_DUMMY_MP3 = b"ID3" + bytes(64)


def run_transcription(
    session: Session, command: CommandLine, line: str, variables: Mapping[str, Any]
) -> TranscriptResult | None:
    """Transcribe as the line says, and show the text; None when nothing is sent now. Raises PuqError."""
    args, audio_name = parse_transcribe_line(command, line)
    if args.record:
        if audio_name:
            raise InputError(f"--record records; {audio_name} is one too many.", hint="Give one of the two.")
        record(
            session,
            args,
            check=lambda: build_spec(session, args, from_recording(_DUMMY_MP3, "audio/mpeg")),
            build_spec=lambda source: build_next_spec(session, args, source),
        )
        return None
    spec = build_spec(session, args, find_audio(audio_name, variables))
    if args.dry_run:
        summary = f"{spec.source.name}: {spec.source.upload.size:,} bytes, sent as {spec.source.upload.name}"
        show_dry_run(session, TranscribeCall(spec), summary)
        return None
    view = media_view(session, args, f"listening with {spec.model}")
    return transcribe(session, spec, view, args.out)


def build_spec(session: Session, args: argparse.Namespace, source: AudioInput) -> TranscribeSpec:
    """The call that the options ask for. Raises PuqError."""
    params = {"language": args.language, "response_format": args.response_format}
    save = resolve_save_path(args, [".txt"])
    if save is not None and source.path is not None:
        _check_not_recording(source.path, output_paths(save, ".txt")[0])
    model = session.model("transcription", args.model, suggest_models=not args.dry_run)
    return TranscribeSpec(model, source, params, stream=args.stream, save=save, force=args.force)


def build_next_spec(session: Session, args: argparse.Namespace, source: AudioInput) -> TranscribeSpec:
    """The call for one more recording, whose text goes into a file of its own. Raises PuqError."""
    if args.save is None or args.force:
        return build_spec(session, args, source)
    unsaved = argparse.Namespace(**{**vars(args), "save": None})
    save = first_free_path(output_paths(Path(args.save).expanduser(), ".txt")[0])
    return replace(build_spec(session, unsaved, source), save=save)


def _check_not_recording(recording: Path, save: Path) -> None:
    try:
        same = os.path.samefile(recording, save)
    except OSError:  # there is no such file yet
        return
    if same:
        raise InputError(f"{save} is the recording itself.", hint="Name another file for the text.")


def parse_transcribe_line(command: CommandLine, line: str) -> tuple[argparse.Namespace, str]:
    """The options, before the path or behind it, and the path as it was typed, which may have spaces in it.

    Raises InputError.
    """
    if line.lstrip().startswith("-") and "." in line and exists(line):  # the path is all there is
        return command.parse("")[0], line.strip()
    try:
        args, rest = command.parse(line)
    except InputError as exc:
        raise _with_path_hint(exc) from None
    if exists(rest):
        return args, rest
    before = line.rstrip().removesuffix(rest)
    problem: InputError | None = None
    for gap in re.finditer(r"\s+(?=-)", rest):
        try:
            args_with_trailing, left = command.parse(f"{before} {rest[gap.end() :]}")
        except InputError as exc:
            problem = problem or exc
            continue
        if not left:
            return args_with_trailing, rest[: gap.start()]
    if problem is not None and not _may_be_path(problem):
        raise problem
    if problem is not None and any(exists(rest[: gap.start()]) for gap in re.finditer(r"\s+(?=-)", rest)):
        raise problem
    return args, rest  # a file's name, with a dash in it


def _may_be_path(problem: InputError) -> TypeGuard[UnknownOptionError]:
    """Return True for an unknown option that is like no other: it may be a part of a path."""
    return isinstance(problem, UnknownOptionError) and not problem.suggestions


def _with_path_hint(problem: InputError) -> InputError:
    """Add how to write a path that begins with a dash, if the option may be one."""
    if _may_be_path(problem) and ("." in problem.name or exists(problem.name)):
        problem.hint = f"If it is a file, write ./{problem.name}"
    return problem
