"""Body of a ``POST /v1/audio/speech``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from puq_magics.sandbox.validation import Json, choice, number, text

#: Limits of the API's models.
MAX_INPUT_CHARS: Final = 4096
MIN_SPEED, MAX_SPEED = 0.25, 4.0
_MAX_VOICE_CHARS: Final = 100
#: Response header that names the engine.
ENGINE_HEADER: Final = "x-sandbox-engine"


@dataclass(frozen=True)
class SpeechRequest:
    """Text, voice, speed (1 is normal) and audio format."""

    text: str
    voice: str
    speed: float
    format: str


def read_speech_request(
    body: Json, formats: Collection[str], default_format: str, voices: Collection[str] | None = None
) -> SpeechRequest:
    """Read a body; raises ErrorResponse (400, 422) if it is invalid.

    ``voices`` of None accepts any name: an engine checks its voices itself.
    """
    if voices is None:
        voice = text({"voice": "alloy", **body}, "voice", _MAX_VOICE_CHARS)
    else:
        voice = choice(body, "voice", tuple(voices), "alloy")
    return SpeechRequest(
        text=text(body, "input", MAX_INPUT_CHARS),
        voice=voice,
        speed=number(body, "speed", 1.0, MIN_SPEED, MAX_SPEED),
        format=choice(body, "response_format", tuple(formats), default_format),
    )
