"""``%puq_transcribe --record``: a recorder in the notebook, whose recordings go through the same door as files."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from IPython.display import display

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.media_types import audio_type
from puq_magics.outputs.views.media import QuietMediaView
from puq_magics.outputs.results import TranscriptResult
from puq_magics.core.files import kept
from puq_magics.session.audio_input import Source, of_recording
from puq_magics.session.transcribe_call import TranscribeCall, transcribe
from puq_magics.session.session import Workspace

CallFor = Callable[[Source], TranscribeCall]


def record(
    workspace: Workspace, args: argparse.Namespace, *, check: Callable[[], object], call_for: CallFor
) -> None:
    """Show a recorder, and return; each recording is transcribed when it comes. Raises PuqError.

    ``check`` raises what is wrong with the options; ``call_for`` makes the call that they ask for of a recording.
    A recording that nothing becomes of is kept in a file.
    """
    if not workspace.in_notebook:
        raise InputError(
            "a recorder needs a notebook, and this is a terminal.",
            hint="Record with another program, then %puq_transcribe the file.",
        )
    if args.dry_run or args.quiet:
        option = "--dry-run" if args.dry_run else "-q"
        raise InputError(f"{option} does not go with --record.", hint="Leave it out.")
    workspace.router()  # what would be wrong after somebody has spoken is raised now
    check()
    from puq_magics.widgets.recorder import Recorder

    def transcribe_it(data: bytes, mime: str) -> None:
        try:
            call = call_for(of_recording(data, mime))
            result = _transcribe(workspace, call, args.out)
        except (PuqError, KeyboardInterrupt) as exc:
            where = _kept(data)
            if isinstance(exc, PuqError):
                exc.hint = f"{exc.hint} {where}".strip()
                raise
            recorder.say(f"Interrupted. {where}".strip(), state="failed")
            return
        recorder.show_result(result.bundle(result.footer.shortened(workspace.settings.footer)))
        places = [f"{name}.text" for name in ("_puq", args.out) if name]
        if call.save is not None:
            places.append(str(call.save))
        recorder.say(f"Transcribed; the text is in {' and '.join(places)}.", state="done")

    recorder = Recorder(transcribe_it)
    display(recorder)


def _kept(data: bytes) -> str:
    """Keep a recording that nothing became of: nobody says the same twice. Says where."""
    kind = audio_type(data)
    try:
        path = kept(data, kind.extension if kind is not None else ".bin")
    except InputError as exc:
        return f"The recording could not be kept: {exc.message}"
    return f"The recording is kept: %puq_transcribe {path}"


def _transcribe(workspace: Workspace, call: TranscribeCall, out: str | None) -> TranscriptResult:
    result = transcribe(workspace, call, QuietMediaView(), out)
    result.is_painted = False  # no cell is running that could have shown it
    return result
