"""Transcribe a file, a variable, or recordings of the microphone."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from IPython.display import display

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.files import expand_path, first_free_path, output_paths, save_to_temp_file
from puq_magics.core.media_types import detect_audio_type
from puq_magics.magics.dry_run import show_dry_run
from puq_magics.magics.options import (
    CommandLine,
    FillText,
    UnknownOptionError,
    fill_name,
    is_dry_run,
    parse_params,
    resolve_save_path,
)
from puq_magics.magics.views import media_view
from puq_magics.outputs.results import TranscriptResult
from puq_magics.outputs.views.media import QuietMediaView
from puq_magics.session.audio_input import AudioInput, exists, find_audio, from_recording
from puq_magics.session.session import Session
from puq_magics.session.transcribe_call import TranscribeCall, TranscribeSpec, transcribe

#: A recording for checking the options.
_DUMMY_MP3 = b"ID3" + bytes(64)


def run_transcription(
    session: Session,
    command: CommandLine,
    line: str,
    variables: Mapping[str, Any],
    fill: FillText | None = None,
) -> TranscriptResult | None:
    """Transcribe, by the line, and show the text; returns None for a dry run or a recorder. Raises PuqError."""
    args, audio_name = parse_transcribe_line(command, line, fill)
    if args.record:
        if audio_name:
            raise InputError(f"--record cannot be combined with {audio_name}.", hint="Remove one of them.")
        show_recorder(session, args)
        return None
    spec = build_spec(session, args, find_audio(audio_name, variables))
    if is_dry_run(args):
        summary = f"{spec.source.name}: {spec.source.upload.size:,} bytes, sent as {spec.source.upload.name}"
        show_dry_run(session, args, TranscribeCall(spec), summary)
        return None
    view = media_view(session, args, f"transcribing with {spec.model}")
    return transcribe(session, spec, view, args.out, over_budget=args.over_budget)


def show_recorder(session: Session, args: argparse.Namespace) -> None:
    """Show a recorder, and return; each recording is transcribed when it ends. Raises PuqError.

    A recording whose call fails is saved in a temporary file.
    """
    if not session.in_notebook:
        raise InputError(
            "the recorder needs a notebook.",
            hint="Record with another program, then %puq_transcribe the file.",
        )
    if args.dry_run or args.quiet:
        option = "--dry-run" if args.dry_run else "-q"
        raise InputError(f"{option} cannot be combined with --record.", hint="Remove it.")
    session.router()  # errors are raised now, not after somebody has spoken
    build_spec(session, args, from_recording(_DUMMY_MP3, "audio/mpeg"))
    from puq_magics.widgets.recorder import Recorder

    def _transcribe_recording(data: bytes, mime: str) -> None:
        try:
            spec = build_next_spec(session, args, from_recording(data, mime))
            view, over_budget = QuietMediaView(), args.over_budget
            result = transcribe(session, spec, view, args.out, over_budget=over_budget)
        except (PuqError, KeyboardInterrupt) as exc:
            where = _save_recording(data)
            if isinstance(exc, PuqError):
                exc.extend_hint(where)
                raise
            recorder.set_message(f"Interrupted. {where}".strip(), state="failed")
            return
        result.already_displayed = False  # no cell that displays it is running
        bundle = result.bundle(result.footer.with_style(session.settings.footer))
        recorder.show_result(bundle, result.display_metadata)
        places = [f"{name}.text" for name in ("_puq", args.out) if name]
        if spec.save is not None:
            places.append(str(spec.save))
        recorder.set_message(f"Transcribed; the text is in {' and '.join(places)}.", state="done")

    recorder = Recorder(_transcribe_recording)
    display(recorder)


def _save_recording(data: bytes) -> str:
    """Save a recording whose call failed; returns a sentence that says where."""
    kind = detect_audio_type(data)
    try:
        path = save_to_temp_file(data, kind.extension if kind is not None else ".bin")
    except InputError as exc:
        return f"The recording could not be saved: {exc.message}"
    return f"The recording is saved: %puq_transcribe {path}"


def build_spec(session: Session, args: argparse.Namespace, source: AudioInput) -> TranscribeSpec:
    """Build the call for audio, by the options. Raises PuqError."""
    save = resolve_save_path(args, [".txt"])
    params = {
        "language": args.language,
        "prompt": args.prompt,
        "temperature": args.temperature,
        "response_format": _response_format(args, save),
        **parse_params(args.param, "transcription"),
    }
    if save is not None and source.path is not None:
        _check_not_recording(source.path, output_paths(save, ".txt")[0])
    model = session.model("transcription", args.model, suggest_models=not args.dry_run)
    return TranscribeSpec(model, source, params, stream=args.stream, save=save, force=args.force)


def _response_format(args: argparse.Namespace, save: Path | None) -> str | None:
    """Return the format to request: subtitles need times, which only one format has."""
    from puq_magics.outputs.results.subtitles import SUBTITLE_EXTENSIONS

    requested: str | None = args.response_format
    if save is None or save.suffix.lower() not in SUBTITLE_EXTENSIONS:
        return requested
    if requested not in (None, "verbose_json"):
        raise InputError(
            f"subtitles need times, which {requested} does not have.",
            hint="Leave out --response-format, or save the text as .txt.",
        )
    return "verbose_json"


def build_next_spec(session: Session, args: argparse.Namespace, source: AudioInput) -> TranscribeSpec:
    """Build the call for another recording, whose text is saved in a file of its own. Raises PuqError."""
    if args.save is None or args.force:
        return build_spec(session, args, source)
    unsaved = argparse.Namespace(**{**vars(args), "save": None})
    save = first_free_path(output_paths(expand_path(args.save), ".txt")[0])
    return replace(build_spec(session, unsaved, source), save=save)


def _check_not_recording(recording: Path, save: Path) -> None:
    try:
        same = os.path.samefile(recording, save)
    except OSError:  # there is no such file yet
        return
    if same:
        raise InputError(f"{save} is the recording itself.", hint="Name another file for the text.")


def parse_transcribe_line(
    command: CommandLine, line: str, fill: FillText | None = None
) -> tuple[argparse.Namespace, str]:
    """Parse options before or after a path, and the path as typed, which may have spaces and dashes in it.

    Variables are substituted in both. Raises InputError.
    """
    args, name = _split_transcribe_line(command, line, fill)
    return args, name if fill is None or exists(name) else fill_name(name, fill)


def _split_transcribe_line(
    command: CommandLine, line: str, fill: FillText | None
) -> tuple[argparse.Namespace, str]:
    if line.lstrip().startswith("-") and "." in line and exists(line):  # the whole line is a path
        return command.parse("")[0], line.strip()
    try:
        args, rest = command.parse(line, fill)
    except UnknownOptionError as exc:
        if _may_be_path(exc) and ("." in exc.name or exists(exc.name)):
            exc.hint = f"If it is a file, write ./{exc.name}"
        raise
    if exists(rest):
        return args, rest
    before = line.rstrip().removesuffix(rest)
    gaps = list(re.finditer(r"\s+(?=-)", rest))
    problem: InputError | None = None
    for gap in gaps:
        try:
            args_with_trailing, left = command.parse(f"{before} {rest[gap.end() :]}", fill)
        except InputError as exc:
            problem = problem or exc
            continue
        if not left:
            return args_with_trailing, rest[: gap.start()]
    if problem and not (_may_be_path(problem) and not any(exists(rest[: gap.start()]) for gap in gaps)):
        raise problem
    return args, rest  # a file name with a dash in it


def _may_be_path(problem: InputError) -> bool:
    """Return True for an unknown option that is like no other: it may be a part of a path."""
    return isinstance(problem, UnknownOptionError) and not problem.suggestions
