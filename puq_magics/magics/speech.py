"""From a speech magic's options and text to the call; imported when the first one runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import AAC, FLAC, M4A, MP3, OGG, WAV, WEBM
from puq_magics.magics.dry_run import preview
from puq_magics.magics.options import save_target
from puq_magics.magics.views import media_view, why_not_played
from puq_magics.outputs.results import SpeechResult
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.session import Workspace
from puq_magics.session.speech_call import SpeechCall, SpeechExchange, speak

_EXTENSIONS = [kind.extension for kind in (MP3, WAV, OGG, FLAC, AAC, M4A, WEBM)]
_LONGEST_VALUE = 1_000_000  # characters: in a chat less will do, but nobody wants half of a text read out


def say(
    workspace: Workspace, args: argparse.Namespace, text: str, variables: Mapping[str, Any]
) -> SpeechResult | None:
    """Have a text spoken as the options say, and show it; None when nothing is to be sent. Raises PuqError."""
    call = _call(workspace, args, text, variables)
    if args.dry_run:
        print(preview(workspace, SpeechExchange(call), told=_told(call)))  # noqa: T201 - what was asked for
        return None
    view = media_view(workspace, args, f"speaking with {call.model}", autoplay=args.autoplay)
    return speak(workspace, call, view, args.out)


def _call(
    workspace: Workspace, args: argparse.Namespace, text: str, variables: Mapping[str, Any]
) -> SpeechCall:
    settings = workspace.settings
    filled = Filled(text) if args.raw else fill(text, variables, limit=_LONGEST_VALUE)
    if not filled.text.strip():
        raise InputError(
            "the text is empty once its variables are filled in.", hint="Look at what they hold."
        )
    params: dict[str, Any] = {
        "voice": args.voice or settings.voice,
        "response_format": args.audio_format,
        "speed": args.speed,
    }
    save = save_target(args, _EXTENSIONS)
    model = workspace.model("speech", args.model, look_up=not args.dry_run)
    limit = settings.speech_limit
    silent = why_not_played(workspace, args) if args.autoplay else ""
    notes = (*filled.notes, silent) if silent else filled.notes
    return SpeechCall(model, filled.text, params, limit, notes=notes, save=save, force=args.force)


def _told(call: SpeechCall) -> str:
    """What is spoken, for people."""
    pieces = call.pieces
    if len(pieces) == 1:
        return f"text: {pieces[0]}"
    parts = [f"part {number}: {piece}" for number, piece in enumerate(pieces, 1)]
    return "\n\n".join([f"in {len(pieces)} requests like this, one for each part", *parts])
