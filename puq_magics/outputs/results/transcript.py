"""Result of a transcription."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from puq_magics.outputs.results.base import DetailNote, Result, SegmentLike
from puq_magics.outputs.results.footer import Footer

#: Extensions that no text should have.
_MEDIA_EXTENSIONS = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".mp3",
        ".wav",
        ".ogg",
        ".oga",
        ".opus",
        ".flac",
        ".aac",
        ".m4a",
        ".mp4",
        ".webm",
    ]
)


@dataclass(repr=False, kw_only=True)
class TranscriptResult(Result):
    """Transcript: the text and, if the router sends them, timestamps."""

    text: str
    #: Parts with their times; empty unless they were asked for.
    segments: Sequence[SegmentLike] = field(default=())
    #: The language as the router names it; empty when it does not.
    language: str = ""
    #: Seconds of audio; None when the router does not say.
    duration: float | None = None
    #: The name of the file or the variable; no folder.
    source: str = ""

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the text to a file, as UTF-8. Raises InputError for an existing file, unless ``force``.

        A file whose name ends in ``.srt`` or ``.vtt`` holds subtitles, which need the times of segments. A name that
        says audio or an image is kept, and noted.
        """
        from puq_magics.core.files import check_save_path, output_paths, save_text
        from puq_magics.outputs.results.subtitles import SUBTITLE_EXTENSIONS, format_subtitles

        target = output_paths(check_save_path(path, force, extensions=[".txt"]), ".txt")[0]
        extension = target.suffix.lower()
        is_subtitles = extension in SUBTITLE_EXTENSIONS
        text = format_subtitles(self.text, self.segments, extension) if is_subtitles else self.text
        saved = save_text(text, target, force=force)
        if saved.suffix.lower() in _MEDIA_EXTENSIONS:
            self.add_note(f"{saved.name} holds text, whatever its name says")
        return saved

    @property
    def has_content(self) -> bool:
        """Implement `Result`."""
        return bool(self.text)

    @property
    def _is_empty(self) -> bool:
        return not self.text.strip()

    @property
    def _facts(self) -> tuple[str, ...]:
        from puq_magics.outputs.results.media_html import format_duration

        length = f"{format_duration(self.duration)} of audio" if self.duration else ""
        details = [note for note in self.notes if isinstance(note, DetailNote)]
        return tuple(words for words in (self.source, self.language, length, *details) if words)

    def __str__(self) -> str:
        return self.text

    def bundle(self, footer: Footer) -> dict[str, str]:
        """Return the MIME bundle: paragraphs, and the timestamps in a folded table."""
        from puq_magics.outputs.results.media_html import transcript_bundle

        return transcript_bundle(self.text, self.segments, footer)
