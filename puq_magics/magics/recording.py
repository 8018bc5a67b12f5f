"""``%puq_transcribe --record``: a recorder in the notebook, whose recordings go through the same door as files."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from IPython.display import display

from puq_magics.api.errors import InputError
from puq_magics.outputs.media_view import QuietMediaView
from puq_magics.outputs.results import TranscriptResult
from puq_magics.session.audio_sources import Source, of_recording
from puq_magics.session.transcribe_call import TranscribeCall, transcribe
from puq_magics.session.workspace import Workspace

CallFor = Callable[[Source], TranscribeCall]


def record(workspace: Workspace, args: argparse.Namespace, call_for: CallFor) -> None:
    """Show a recorder, and return; each recording is transcribed when it comes. Raises PuqError.

    ``call_for`` makes the call that the options ask for of a recording.
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
    call_for(of_recording(b"ID3" + bytes(64), "audio/mpeg"))
    from puq_magics.widgets.recorder import Recorder

    def transcribe_it(data: bytes, mime: str) -> None:
        result = _transcribe(workspace, call_for(of_recording(data, mime)), args.out)
        recorder.show_result(result.bundle(result.footer.shortened(workspace.settings.footer)))
        where = " and ".join(f"{name}.text" for name in ("_puq", args.out) if name)
        recorder.say(f"Transcribed; the text is in {where}.", state="done")

    recorder = Recorder(transcribe_it)
    display(recorder)


def _transcribe(workspace: Workspace, call: TranscribeCall, out: str | None) -> TranscriptResult:
    result = transcribe(workspace, call, QuietMediaView(), out)
    result.is_painted = False  # no cell is running that could have shown it
    return result
