"""What a model is for, inferred from its name: the model list does not say."""

from __future__ import annotations

import re

_KINDS = (
    ("speech", r"(?<![a-z])(?:tts|speech|voice|hibari|kokoro|piper)"),
    ("transcription", r"whisper|transcri|(?<![a-z])(?:stt|asr)(?![a-z])"),
    ("image", r"image|dall-?e|flux|diffusion|imagen|midjourney|recraft|ideogram"),
    ("embedding", r"embed|rerank|moderation"),
)


def model_kind(code: str) -> str:
    """``chat``, ``speech``, ``transcription``, ``image`` or ``embedding``; the provider's name says nothing of it."""
    name = code.rsplit("/", 1)[-1]
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "chat")
