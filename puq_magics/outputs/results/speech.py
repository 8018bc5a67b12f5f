"""Speech that a model made of a text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from puq_magics.core.errors import InputError
from puq_magics.outputs.results.base import MediaFile, MediaResult
from puq_magics.outputs.results.footer import Footer

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType


@dataclass(repr=False, kw_only=True)
class SpeechResult(MediaResult):
    """Speech: the audio, unchanged, and its text."""

    audio: bytes
    #: The words that were to be spoken.
    text: str
    #: What the audio is, by its first bytes.
    type: MediaType = None  # type: ignore[assignment]  # by the bytes, when it is not given
    #: The voice that was asked for; empty for the model's own.
    voice: str = ""
    #: Where it was saved last.
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.type is None:
            from puq_magics.core.media_types import detect_audio_type

            kind = detect_audio_type(self.audio)
            if kind is None:
                raise InputError(
                    "these bytes are no audio of a kind that is known.", hint="Name their type=."
                )
            self.type = kind
        if self.path is not None:  # it was written as it came
            self._note_format_mismatch(self.path, self.type)
            self.path = self.path.absolute()

    @property
    def duration(self) -> float | None:
        """Seconds, where the audio tells; None where it does not."""
        from puq_magics.core.audio_duration import audio_duration

        return audio_duration(self.audio, self.type.format)

    @property
    def format(self) -> str:
        """The kind of audio: ``mp3``, ``wav``, …."""
        return self.type.format

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the audio to a file; return its path, with the right extension if it had none.

        An extension of another format is kept, and noted. Raises InputError for an existing file, unless ``force``.
        """
        from puq_magics.core.files import check_save_path, output_paths, save_bytes

        target = check_save_path(path, force, extensions=[self.type.extension])
        saved = save_bytes(self.audio, output_paths(target, self.type.extension)[0], force=force)
        self.path = saved.absolute()
        self._note_format_mismatch(saved, self.type)
        return saved

    @property
    def has_content(self) -> bool:
        """Implement `Result`."""
        return bool(self.audio)

    @property
    def _facts(self) -> tuple[str, ...]:
        from puq_magics.outputs.results.media_html import format_duration

        if not self.audio:
            return ("no audio",)
        seconds = self.duration
        known = (
            self.voice,
            f"{format_duration(seconds)} of {self.format.upper()}" if seconds else self.format.upper(),
        )
        return tuple(words for words in known if words)

    def __str__(self) -> str:
        return self.text

    @property
    def files(self) -> list[tuple[MediaFile, bytes, str]]:
        """Implement `MediaResult`."""
        return [(self, self.audio, self.text)] if self.audio else []

    def bundle(self, footer: Footer) -> dict[str, str]:
        """Return the MIME bundle: a player, and the text."""
        from puq_magics.outputs.results.media_html import speech_bundle

        return speech_bundle(
            self.audio,
            self.type,
            self.text,
            self.path,
            embed=not self.oversized_files(),
            max_embed_mb=self.max_embed_mb,
            footer=footer,
        )
