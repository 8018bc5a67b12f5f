"""What a model is for, inferred from its name: the model list does not say."""

from __future__ import annotations

import re

_KINDS = (
    ("speech", r"\btts|speech|voice"),
    ("transcription", r"whisper|transcri|\bstt\b|\basr\b"),
    ("image", r"image|dall-?e|flux|diffusion|imagen|midjourney|recraft|ideogram"),
    ("embedding", r"embed|rerank|moderation"),
)


def model_kind(code: str) -> str:
    """``chat``, ``speech``, ``transcription``, ``image`` or ``embedding``."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, code, re.IGNORECASE)), "chat")
