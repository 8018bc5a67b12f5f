"""The voices, and the engine that speaks: espeak-ng."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from puq_magics.sandbox.sounds.wav import Pcm, read_head

ENGINE: Final = "espeak-ng"
#: The engine's own limits, in words per minute; a speed beyond them is as near as it gets.
_SLOWEST, _USUAL, _FASTEST = 80, 170, 450
#: Seconds; the longest text takes about two.
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Voice:
    """A voice of either engine."""

    #: espeak-ng's name for it.
    name: str
    #: espeak-ng's measure, 0 to 99.
    pitch: int
    #: The lowest tone, in Hz.
    tone: float


VOICES: Final[Mapping[str, Voice]] = MappingProxyType(
    {
        "alloy": Voice("en-us", 50, 220.0),
        "echo": Voice("en-us+m3", 40, 196.0),
        "fable": Voice("en-gb", 55, 233.1),
        "onyx": Voice("en-us+m7", 20, 146.8),
        "nova": Voice("en-us+f2", 55, 277.2),
        "shimmer": Voice("en-gb+f4", 70, 311.1),
    }
)


class Utterance:
    """espeak-ng at work on one text; from any thread."""

    def __init__(self, text: str, voice: Voice, speed: float) -> None:
        """Start; raises OSError where espeak-ng is not installed."""
        program = shutil.which(ENGINE)
        if program is None:
            raise FileNotFoundError(f"{ENGINE} is not installed")
        rate = min(max(round(_USUAL * speed), _SLOWEST), _FASTEST)
        options = ["-v", voice.name, "-p", str(voice.pitch), "-s", str(rate), "-b", "1"]
        # Signs that are no text would end it or ring; the text itself goes nowhere near a command line.
        self._text = "".join(sign if sign.isprintable() or sign.isspace() else " " for sign in text)
        self._process = subprocess.Popen(  # noqa: S603 - the program's own path, and options of ours alone
            [program, *options, "--stdin", "--stdout"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> Pcm | None:
        """What it says; None when it fails, or says nothing at all."""
        try:
            wav, _ = self._process.communicate(self._text.encode("utf-8", "replace"), timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self.stop()
            self._process.communicate()
            return None
        head = read_head(wav)
        if self._process.returncode != 0 or head is None or not head.is_pcm16 or len(wav) <= head.start:
            return None
        return Pcm(head.rate, wav[head.start : len(wav) - (len(wav) - head.start) % 2])

    def stop(self) -> None:
        """Stop speaking in mid-word; `wait` ends then."""
        self._process.kill()
