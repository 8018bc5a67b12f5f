"""Speech engine process: hibari speaks sentence by sentence, each sent as soon as it is spoken.

``POST /v1/speak`` takes ``{"text", "voice", "speed", "format"}`` and answers with the audio file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

from puq_magics.sandbox.local.audio_encoding import make_encoder
from puq_magics.sandbox.local.child_main import EngineStartError, Parent, run
from puq_magics.sandbox.local.http_server import InvalidRequestError, serve, trim_memory

PATH: Final = "/v1/speak"
#: The voice that hibari's package contains.
BUILT_IN_VOICE: Final = "heart"
#: Phonemes that are spoken at once, at normal speed: memory grows with their duration.
_MAX_PHONEMES: Final = 200
#: End of a clause.
_CLAUSE_END: Final = re.compile(r"[,;:—]\s+")
#: Beginnings of the Unicode names of letters that are read as English ones.
_LATIN: Final = ("LATIN", "FULLWIDTH LATIN", "MODIFIER LETTER", "FEMININE", "MASCULINE")


@dataclass(frozen=True)
class HibariVoice:
    """A voice of hibari, and the pitch at which the built-in voice imitates it (below 1 is deeper)."""

    name: str
    pitch: float = 1.0


#: Voices by their names in the API.
VOICES: Final[Mapping[str, HibariVoice]] = {
    "alloy": HibariVoice(BUILT_IN_VOICE),
    "echo": HibariVoice("fenrir", 0.88),
    "fable": HibariVoice("fable", 0.92),
    "onyx": HibariVoice("fenrir", 0.8),
    "nova": HibariVoice("kore", 1.08),
    "shimmer": HibariVoice("emma", 1.04),
}


class HibariSpeaker:
    """hibari, with one voice in memory at a time."""

    def __init__(self) -> None:
        """Load the built-in voice; raises EngineStartError."""
        try:
            import_module("soundfile")  # fails now if its library is missing
            self._hibari: Any = import_module("hibari")
            self._voices: Any = import_module("hibari.voices")
        except (ImportError, OSError) as error:
            raise EngineStartError(f"hibari cannot be loaded: {error}") from error
        self._engine: Any = self._hibari.Hibari(BUILT_IN_VOICE)
        self._engine("Ready.")  # loads its dictionaries, which would delay the first request

    def speak(self, job: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Yield the audio file in pieces; raises InvalidRequestError for what it cannot speak."""
        text, speed = strip_unpronounceable(job["text"]), float(job["speed"])
        pitch = self._select(self._voice(job["voice"]))
        chunks = list(self._chunks(text, speed))
        if not chunks:
            raise InvalidRequestError("'input' has no words that the voice could say")
        encoder = make_encoder(job["format"], self._engine.sample_rate)
        for phonemes in chunks:
            # The change of pitch changes the speed back. The seed makes the audio reproducible.
            sound = self._engine.from_phonemes(phonemes, speed / pitch, seed=0)
            yield encoder.encode(shift_pitch(sound, pitch))
        yield encoder.close()

    def _voice(self, name: str) -> HibariVoice:
        """Return the voice of that name, imitated if it is one of the API's and not on this machine."""
        voice = VOICES.get(name, HibariVoice(name))
        if voice.name in self._voices.VOICES and self._is_installed(voice.name):
            return HibariVoice(voice.name)
        if name in VOICES:
            return HibariVoice(BUILT_IN_VOICE, voice.pitch)
        others = (each for each in self._voices.VOICES if each not in VOICES and self._is_installed(each))
        available = ", ".join((*VOICES, *others))
        if name not in self._voices.VOICES:
            raise InvalidRequestError(f"'voice' must be one of {available}; it is {name!r}")
        raise InvalidRequestError(
            f"The voice {name!r} is not on this machine, where {available} are; "
            f"it is fetched by the command: hibari --voice {name} Hello"
        )

    def _is_installed(self, name: str) -> bool:
        try:
            self._voices.voice_path(name, download_missing=False)
        except FileNotFoundError:
            return False
        return True

    def _select(self, voice: HibariVoice) -> float:
        """Select the voice; return the pitch change that is still needed."""
        if voice.name != self._engine.voice:
            british, was_british = (
                self._voices.VOICES[name]["british"] for name in (voice.name, self._engine.voice)
            )
            # The dictionaries, some 100 MB, are shared by a country's voices; others are loaded on use.
            dictionaries = self._engine.g2p if british == was_british else None
            self._engine = self._hibari.Hibari(voice.name, g2p=dictionaries)
        return voice.pitch

    def _chunks(self, text: str, speed: float) -> Iterator[str]:
        """Yield the phonemes of sentences, and of parts of long ones."""
        limit = max(1, round(_MAX_PHONEMES * min(1.0, speed)))
        for phonemes in self._engine.phonemize(text):
            for part in split_phonemes(phonemes, limit):
                if any(sign.isalpha() for sign in part):
                    yield part


def strip_unpronounceable(text: str) -> str:
    """Replace letters without an English sound by spaces; raises InvalidRequestError if most are of that kind."""
    letters = [sign for sign in text if sign.isalpha()]
    foreign = {sign for sign in letters if not _is_latin(sign)}
    if foreign and 2 * sum(sign in foreign for sign in letters) > len(letters):
        raise InvalidRequestError("'input' is in letters that the voice cannot say: it speaks English")
    return text.translate({ord(sign): " " for sign in foreign})


@lru_cache(maxsize=4096)
def _is_latin(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith(_LATIN)


def split_phonemes(phonemes: str, limit: int) -> Iterator[str]:
    """Yield parts of at most ``limit`` phonemes, cut after a clause or a word where there is one."""
    while len(phonemes) > limit:
        ends = [match.end() for match in _CLAUSE_END.finditer(phonemes, limit // 2, limit)]
        place = ends[-1] if ends else phonemes.rfind(" ", limit // 2, limit) + 1 or limit
        yield phonemes[:place].rstrip()
        phonemes = phonemes[place:]
    yield phonemes


def shift_pitch(sound: Any, pitch: float) -> Any:
    """Raise or lower the pitch; the sound becomes shorter or longer by the same factor."""
    if pitch == 1.0 or not len(sound):
        return sound
    import numpy as np

    return np.interp(np.arange(0, len(sound), pitch), np.arange(len(sound)), sound).astype("float32")


def main(parent: Parent) -> None:
    """Load the model and serve."""
    trim_memory()
    serve(parent, PATH, HibariSpeaker().speak)


if __name__ == "__main__":
    run(main)
