"""Convert text to speech, by options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import AAC, FLAC, M4A, MP3, OGG, WAV, WEBM
from puq_magics.magics.dry_run import show_dry_run
from puq_magics.magics.options import RAW_HINT, is_dry_run, parse_params, resolve_save_path
from puq_magics.magics.views import autoplay_warning, media_view
from puq_magics.outputs.results import SpeechResult
from puq_magics.prompts.template import FilledText, fill_template
from puq_magics.session.session import Session
from puq_magics.session.speech_call import SpeechCall, SpeechSpec, speak

_EXTENSIONS = [kind.extension for kind in (MP3, WAV, OGG, FLAC, AAC, M4A, WEBM)]
_MAX_VALUE_CHARS = 1_000_000  # characters of one value: speech should not stop halfway through it


def synthesize_speech(
    session: Session, args: argparse.Namespace, text: str, variables: Mapping[str, Any]
) -> SpeechResult | None:
    """Convert text to speech and show it, by the options; returns None for a dry run. Raises PuqError."""
    spec = _build_spec(session, args, text, variables)
    if is_dry_run(args):
        show_dry_run(session, args, SpeechCall(spec), _format_parts(spec))
        return None
    activity = f"speaking with {spec.model}"
    view = media_view(session, args, activity, autoplay=args.autoplay, plays_live=True)
    return speak(session, spec, view, args.out, over_budget=args.over_budget)


def _build_spec(
    session: Session, args: argparse.Namespace, text: str, variables: Mapping[str, Any]
) -> SpeechSpec:
    settings = session.settings
    filled = (
        FilledText(text)
        if args.raw
        else fill_template(text, variables, limit=_MAX_VALUE_CHARS, images=None, raw_hint=RAW_HINT)
    )
    if not filled.text.strip():
        raise InputError("the text is empty after its variables are substituted.", hint="Check their values.")
    params: dict[str, Any] = {
        "voice": args.voice or settings.voice,
        "response_format": args.audio_format,
        "speed": args.speed,
        "instructions": args.instructions,
    }
    params |= parse_params(args.param, "speech")
    save = resolve_save_path(args, _EXTENSIONS)
    model = session.model("speech", args.model, suggest_models=not args.dry_run)
    limit = settings.max_speech_chars
    warning = autoplay_warning(session, args) if args.autoplay else ""
    notes = (*filled.notes, warning) if warning else filled.notes
    return SpeechSpec(model, filled.text, params, limit, notes=notes, save=save, force=args.force)


def _format_parts(spec: SpeechSpec) -> str:
    """Format the text, or its parts, for reading."""
    chunks = spec.chunks
    if len(chunks) == 1:
        return f"text: {chunks[0]}"
    parts = [f"part {number}: {piece}" for number, piece in enumerate(chunks, 1)]
    return "\n\n".join([f"in {len(chunks)} requests like this, one for each part", *parts])
