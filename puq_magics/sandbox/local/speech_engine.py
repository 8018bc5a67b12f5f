"""An engine's process: hibari speaks, sentence by sentence, each sent as soon as it is spoken.

``POST /v1/speak`` takes ``{"text", "voice", "speed", "format"}`` and answers with the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from puq_magics.sandbox.local.audio_encoding import make_encoder
from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run
from puq_magics.sandbox.local.http_server import InvalidRequestError, serve, trim_memory

#: The voice that is always there.
BUILT_IN_VOICE: Final = "heart"


@dataclass(frozen=True)
class HibariVoice:
    """Voice of hibari, and the pitch that imitates it with the voice that is always there."""

    name: str
    #: How much higher the built-in voice is made; below 1 is deeper.
    pitch: float = 1.0


#: By the names that the API's models know.
VOICES: Final[Mapping[str, HibariVoice]] = MappingProxyType(
    {
        "alloy": HibariVoice(BUILT_IN_VOICE),
        "echo": HibariVoice("fenrir", 0.88),
        "fable": HibariVoice("fable", 0.92),
        "onyx": HibariVoice("fenrir", 0.8),
        "nova": HibariVoice("kore", 1.08),
        "shimmer": HibariVoice("emma", 1.04),
    }
)


PATH: Final = "/v1/speak"
#: Phonemes that are spoken at once, at the usual speed: memory grows with their time.
_AT_ONCE: Final = 200
#: Where one takes breath.
_PAUSE: Final = re.compile(r"[,;:—]\s+")
#: How the names of letters begin that are read as English ones.
_LATIN: Final = ("LATIN", "FULLWIDTH LATIN", "MODIFIER LETTER", "FEMININE", "MASCULINE")


class HibariSpeaker:
    """hibari, with one voice in memory at a time."""

    def __init__(self) -> None:
        """Load the built-in voice; raises EngineStartError."""
        try:
            import_module("soundfile")  # that it is there, with its library
            self._hibari: Any = import_module("hibari")
            self._voices: Any = import_module("hibari.voices")
        except (ImportError, OSError) as error:
            raise EngineStartError(f"hibari cannot be loaded: {error}") from error
        self._engine: Any = self._hibari.Hibari(BUILT_IN_VOICE)
        self._engine("Ready.")  # the first words take longer: its dictionaries are read

    def speak(self, order: Mapping[str, Any]) -> Iterator[bytes]:
        """The file, in pieces; raises InvalidRequestError for what it cannot say."""
        text, speed = strip_unpronounceable(order["text"]), float(order["speed"])
        pitch = self._take(self._voice(order["voice"]))
        chunks = list(self._chunks(text, speed))
        if not chunks:
            raise InvalidRequestError("'input' has no words that the voice could say")
        file = make_encoder(order["format"], self._engine.sample_rate)
        for phonemes in chunks:
            # Slowed down or hastened by as much as the change of pitch takes back; the same each time.
            sound = self._engine.from_phonemes(phonemes, speed / pitch, seed=0)
            yield file.encode(shift_pitch(sound, pitch))
        yield file.close()

    @property
    def names(self) -> list[str]:
        """The voices that may be asked for here."""
        return [
            *VOICES,
            *(name for name in self._voices.VOICES if name not in VOICES and self._is_here(name)),
        ]

    def _voice(self, name: str) -> HibariVoice:
        """The voice of that name, as near as this machine has it."""
        voice = VOICES.get(name, HibariVoice(name))
        if voice.name not in self._voices.VOICES:
            raise InvalidRequestError(f"'voice' must be one of {', '.join(self.names)}; it is {name!r}")
        if self._is_here(voice.name):
            return HibariVoice(voice.name)
        if name not in VOICES:
            raise InvalidRequestError(
                f"The voice {name!r} is not on this machine, where {', '.join(self.names)} are; "
                f"it is fetched by the command: hibari --voice {name} Hello"
            )
        return HibariVoice(BUILT_IN_VOICE, voice.pitch)

    def _is_here(self, name: str) -> bool:
        try:
            self._voices.voice_path(name, download_missing=False)
        except FileNotFoundError:
            return False
        return True

    def _take(self, voice: HibariVoice) -> float:
        """Select the voice; return the pitch change that is still needed."""
        if voice.name != self._engine.voice:
            british, was_british = (
                self._voices.VOICES[name]["british"] for name in (voice.name, self._engine.voice)
            )
            # The dictionaries, some 100 MB, are shared by a country's voices; others are read when they are used.
            sounds = self._engine.g2p if british == was_british else None
            self._engine = self._hibari.Hibari(voice.name, g2p=sounds)
        return voice.pitch

    def _chunks(self, text: str, speed: float) -> Iterator[str]:
        """The phonemes of sentences, and of parts of those that are long."""
        most = max(1, round(_AT_ONCE * min(1.0, speed)))
        for phonemes in self._engine.phonemize(text):
            for part in split_phonemes(phonemes, most):
                if any(sign.isalpha() for sign in part):
                    yield part


def strip_unpronounceable(text: str) -> str:
    """The text without letters that English has no sound for.

    Raises InvalidRequestError where little would be left.
    """
    letters = [sign for sign in text if sign.isalpha()]
    strange = {sign for sign in letters if not _is_latin(sign)}
    if strange and 2 * sum(sign in strange for sign in letters) > len(letters):
        raise InvalidRequestError("'input' is in letters that the voice cannot say: it speaks English")
    return text.translate({ord(sign): " " for sign in strange})


@lru_cache(maxsize=4096)
def _is_latin(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith(_LATIN)


def split_phonemes(phonemes: str, most: int) -> Iterator[str]:
    """Parts of so many phonemes at most, cut behind a clause, or a word, where there is one."""
    while len(phonemes) > most:
        ends = [found.end() for found in _PAUSE.finditer(phonemes, most // 2, most)]
        place = ends[-1] if ends else phonemes.rfind(" ", most // 2, most) + 1 or most
        yield phonemes[:place].rstrip()
        phonemes = phonemes[place:]
    yield phonemes


def shift_pitch(sound: Any, pitch: float) -> Any:
    """The sound, higher or deeper, and as much shorter or longer."""
    if pitch == 1.0 or not len(sound):
        return sound
    import numpy as np

    return np.interp(np.arange(0, len(sound), pitch), np.arange(len(sound)), sound).astype("float32")


def main(parent: Parent) -> None:
    """Load, and serve."""
    trim_memory()
    serve(parent, PATH, HibariSpeaker().speak)


if __name__ == "__main__":
    run(main)
