"""Views of images, speech and transcripts, in progress and complete.

All three views have the methods of MediaView. ``show_waiting`` and ``show_progress`` may be called from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

from puq_magics.api.request import Retry
from puq_magics.core.errors import InputError
from puq_magics.core.text import wrap_for_terminal
from puq_magics.outputs.control_chars import ControlCharFilter
from puq_magics.outputs.results import SpeechResult, TranscriptResult
from puq_magics.outputs.results.base import MAX_EMBED_MB, MediaFile, MediaResult, Result
from puq_magics.outputs.views.progress import ERASE_LINE, CallStatus, ProgressBar, status_bundle
from puq_magics.outputs.views.stdout import Stdout, Writer
from puq_magics.outputs.views.view import CallView

#: Folder for the media that a terminal cannot show, in the working folder.
MEDIA_FOLDER = "puq_media"


def save_oversized_files(result: MediaResult, folder: Path | None = None) -> None:
    """Save, beside the notebook, what of a result is too large for it and was not saved before."""
    from puq_magics.outputs.paths import notebook_folder

    for file, data, words in result.oversized_files():
        if file.path is None:
            _save_with_fallback(result, file, data, words, folder or notebook_folder())


def _save_with_fallback(result: Result, file: MediaFile, data: bytes, words: str, folder: Path) -> None:
    """Save a file of a result under a free name; where that cannot be, as a temporary file, which is noted."""
    from puq_magics.core.files import save_numbered, save_to_temp_file

    try:
        file.path = save_numbered(data, folder, words, file.type.extension)
    except InputError as exc:
        try:
            file.path = save_to_temp_file(data, file.type.extension)
        except InputError:
            result.add_note(f"{exc.message} What came is in the result alone: .save() writes it.")
        else:
            result.add_note(f"{exc.message} What came is kept in {file.path}")


def save_unsaved_files(result: Result, folder: Path) -> list[str]:
    """Save what was not saved before; lines that say where it is, naming a folder once."""
    from puq_magics.core.text import format_size
    from puq_magics.outputs.paths import display_path

    saved: dict[Path | None, list[tuple[Path | None, str]]] = {}
    for file, data, words in result.files if isinstance(result, MediaResult) else ():
        if file.path is None:
            with suppress(OSError):  # it is saved elsewhere then
                folder.mkdir(exist_ok=True)
            _save_with_fallback(result, file, data, words, folder)
        parent = None if file.path is None else file.path.parent
        saved.setdefault(parent, []).append((file.path, format_size(len(data))))
    lines = []
    for parent, files in saved.items():
        if parent is not None and len(files) > 1 and display_path(parent) != ".":
            names = ", ".join(f"{path.name} ({size})" for path, size in files if path is not None)
            lines.append(f"saved in {display_path(parent)}: {names}")
        else:
            lines += [
                f"{f'saved {display_path(path)}' if path else 'not saved'} ({size})" for path, size in files
            ]
    return lines


class MediaView(CallView, Protocol):
    """Shows one call of images, speech or transcription."""

    def show_progress(self, done: int, total: int, words: str, unit: str = "bytes") -> None:
        """Show the progress of a transfer or a longer task; a ``total`` of 0 is unknown."""

    def show_partial_audio(self, audio: Callable[[], bytes], size: int, mime: str, text: str) -> None:
        """Show a player of speech that is still arriving: of ``size`` bytes so far, which ``audio`` returns."""

    def show_partial_transcript(
        self, text: str, reached: float | None, length: float | None, seconds: float
    ) -> None:
        """Show the transcript so far.

        It covers ``reached`` of the recording's ``length``, both in seconds and None if unknown; ``seconds`` is the
        time since the request.
        """


class AudioPlayer(Protocol):
    """Player of audio that is still arriving."""

    def show(self, audio: bytes) -> None:
        """Send all that has come so far."""

    def bundle(self) -> dict[str, Any]:
        """Return the MIME bundle that shows it."""

    def close(self) -> None:
        """Forget it."""


class AudioPlayerFactory(Protocol):
    """Makes players of audio that is still arriving."""

    def prepare(self) -> None:
        """Import what a player needs; called from another thread during the blocking call."""

    def __call__(self, *, mime: str, label: str, autoplay: bool) -> AudioPlayer:
        """Return a player."""


class _AudioFeed:
    """Sends a player what has come, all of it each time: the browser may load the player late.

    It grows by half before it is sent again, and no more is sent than leaves room for other outputs.
    """

    _FIRST_BYTES, _GROWTH = 12_000, 1.5
    _BURST_BYTES, _BYTES_PER_SECOND = 800_000, 300_000

    def __init__(self, player: AudioPlayer, clock: Callable[[], float]) -> None:
        self.player = player
        self._clock = clock
        self._start = clock()
        self._next_size, self._sent_bytes = 0.0, 0

    @classmethod
    def is_worthwhile(cls, size: int) -> bool:
        """Return whether so many bytes are enough to play."""
        return size >= cls._FIRST_BYTES

    def send(self, audio: Callable[[], bytes], size: int) -> None:
        """Send it, unless it is too early."""
        allowed = self._BURST_BYTES + self._BYTES_PER_SECOND * (self._clock() - self._start)
        if size >= self._next_size and self._sent_bytes + size <= allowed:
            self._next_size, self._sent_bytes = self._GROWTH * size, self._sent_bytes + size
            self.player.show(audio())


class _StatusView(ABC):
    """Says what is waited for, one line after another in the same place."""

    is_quiet = False

    def __init__(self, status: CallStatus) -> None:
        self._status = status

    def show_waiting(self, seconds: float) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            self._show_status(self._status.on_tick(seconds))

    def show_retry(self, retry: Retry) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            self._show_status(self._status.on_retry(retry))

    def show_progress(self, done: int, total: int, words: str, unit: str = "bytes") -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            if (progress := self._status.on_progress(done, total, words, unit)) is not None:
                self._show_status(progress)

    @abstractmethod
    def _show_status(self, status: ProgressBar | str) -> None:
        """Show it in the place of what was said before; the status is locked."""


class NotebookMediaView(_StatusView):
    """One display, updated while there is something to wait for and replaced by the result.

    ``activity`` says what is made, such as ``drawing with openai/gpt-image-1``. What is larger than ``max_embed_mb``
    megabytes is saved in ``folder`` (the notebook's, if None) and linked. ``autoplay`` plays speech once, now.
    ``live_player`` makes a player for speech that is still arriving; without it speech is shown when it is whole.
    """

    def __init__(
        self,
        *,
        activity: str = "waiting",
        footer: str = "full",
        live: bool = True,
        max_embed_mb: float = MAX_EMBED_MB,
        autoplay: bool = False,
        folder: Path | None = None,
        live_player: AudioPlayerFactory | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        from puq_magics.outputs.views.notebook import UpdatableDisplay

        super().__init__(CallStatus(activity, clock))
        self._footer = footer
        self._live = live
        self._max_embed_mb = max_embed_mb
        self._autoplay = autoplay
        self._folder = folder
        self._clock = clock
        self._live_player = live_player if live else None
        self._feed: _AudioFeed | None = None
        self._display = UpdatableDisplay()

    def prepare(self) -> None:
        """Implement `MediaView`."""
        import puq_magics.outputs.results.media_html  # noqa: F401 - takes its time the first time

        if self._live_player is not None:
            self._live_player.prepare()

    def show_partial_audio(self, audio: Callable[[], bytes], size: int, mime: str, text: str) -> None:
        """Implement `MediaView`."""
        if self._live_player is None or not _AudioFeed.is_worthwhile(size):
            return
        with self._status.lock:
            if self._status.closed:
                return
            if self._feed is None:
                from puq_magics.outputs.results.media_html import speech_label

                label, autoplay = speech_label(text), self._autoplay
                player = self._live_player(mime=mime, label=label, autoplay=autoplay)
                self._feed = _AudioFeed(player, self._clock)
                self._feed.send(audio, size)
                self._display.update(player.bundle())
            else:
                self._feed.send(audio, size)

    def show_partial_transcript(
        self, text: str, reached: float | None, length: float | None, seconds: float
    ) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            if self._live and not self._status.closed and self._status.claim_frame():
                from puq_magics.outputs.results.media_html import partial_transcript_bundle

                self._display.update(
                    partial_transcript_bundle(
                        text, self._status.format_transcript_status(reached, length, seconds)
                    )
                )

    def show_result(self, result: Result) -> None:
        """Implement `MediaView`."""
        if isinstance(result, MediaResult):
            result.max_embed_mb = self._max_embed_mb
            save_oversized_files(result, self._folder)
        bundle = result.bundle(result.footer.with_style(self._footer))
        with self._status.lock:
            self._status.closed = True
            if self._autoplay and self._live and isinstance(result, SpeechResult):
                bundle = self._start_playback(bundle)
            self._display.update(bundle, result.display_metadata)
            self._close_player()

    def abandon(self) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            self._status.closed = True
            if not self._display.is_empty:
                self._display.update(status_bundle("Nothing came."))
            self._close_player()

    def _show_status(self, status: ProgressBar | str) -> None:
        if not self._live or self._status.closed or self._feed is not None:
            return
        self._status.mark_painted()
        self._display.update(status.bundle() if isinstance(status, ProgressBar) else status_bundle(status))

    def _close_player(self) -> None:
        if self._feed is not None:
            self._feed.player.close()

    def _start_playback(self, bundle: dict[str, str]) -> dict[str, str]:
        """Start the player when it appears.

        A script in the previous frame does it, which the player's frame replaces: an ``autoplay`` in the last frame
        would be saved, and play whenever the notebook is opened.
        """
        name = f"puq-{uuid4().hex[:12]}"
        self._display.update({"text/html": _AUTOPLAY_SCRIPT.replace("NAME", name), "text/plain": ""})
        return bundle | {"text/html": bundle["text/html"].replace("<audio ", f'<audio id="{name}" ', 1)}


class TerminalMediaView(_StatusView):
    """Prints to standard output, and saves media to files in ``folder`` (`MEDIA_FOLDER` where it works, if None).

    The status is one line, which is rewritten; where lines cannot be erased there is none.
    """

    def __init__(
        self,
        *,
        activity: str = "waiting",
        footer: str = "full",
        live: bool = True,
        folder: Path | None = None,
        clock: Callable[[], float] = monotonic,
        out: Callable[[], Writer] | None = None,
    ) -> None:
        super().__init__(CallStatus(activity, clock))
        self._footer = footer
        self._live = live
        self._folder = folder
        self._out = out or Stdout
        self._status_shown = False
        #: The words of a transcript that are printed.
        self._printed_text = ""
        self._feed = ControlCharFilter()

    def prepare(self) -> None:
        """Implement `MediaView`."""

    def show_partial_audio(self, audio: Callable[[], bytes], size: int, mime: str, text: str) -> None:
        """Implement `MediaView`: a terminal has no player."""

    def show_partial_transcript(
        self,
        text: str,
        reached: float | None,  # noqa: ARG002 - words that are printed leave no place for a status
        length: float | None,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            if self._live and not self._status.closed:
                self._print_new_text(text)

    def show_result(self, result: Result) -> None:
        """Implement `MediaView`."""
        from puq_magics.outputs.markdown.feed import strip_control_chars

        lines = save_unsaved_files(result, self._folder or Path.cwd() / MEDIA_FOLDER)
        footer = result.footer.with_style(self._footer).to_text()
        with self._status.lock:
            if (
                isinstance(result, TranscriptResult)
                and self._printed_text
                and result.text.startswith(self._printed_text)
            ):
                self._print_new_text(result.text)
            elif isinstance(result, TranscriptResult):
                lines.append(strip_control_chars(result.text))
            lines += [f"[{footer}]"] if footer else []
            self._close()
            out = self._out()
            out.write("\n".join([*wrap_for_terminal(lines), ""]))
            out.flush()

    def abandon(self) -> None:
        """Implement `MediaView`."""
        with self._status.lock:
            self._close()

    def _show_status(self, status: ProgressBar | str) -> None:
        from puq_magics.outputs.markdown.feed import strip_control_chars

        out = self._out()
        if self._live and not self._status.closed and not self._printed_text and out.isatty():
            self._status.mark_painted()
            self._status_shown = True
            out.write(f"{ERASE_LINE}… {strip_control_chars(str(status))}")
            out.flush()

    def _print_new_text(self, text: str) -> None:
        """Print what is new of a transcript."""
        self._erase_status()
        out = self._out()
        out.write(self._feed.feed(text[len(self._printed_text) :]))
        out.flush()
        self._printed_text = text

    def _erase_status(self) -> None:
        """Erase the status from the screen."""
        if self._status_shown:
            self._status_shown = False
            self._out().write(ERASE_LINE)
            self._out().flush()

    def _close(self) -> None:
        self._status.closed = True
        self._erase_status()
        if self._printed_text:
            self._out().write(self._feed.finish() + "\n")
            self._out().flush()


class QuietMediaView:
    """Shows nothing."""

    is_quiet = True

    def prepare(self) -> None:
        """Implement `MediaView`."""

    def show_waiting(self, seconds: float) -> None:
        """Implement `MediaView`."""

    def show_retry(self, retry: Retry) -> None:
        """Implement `MediaView`."""

    def show_progress(self, done: int, total: int, words: str, unit: str = "bytes") -> None:
        """Implement `MediaView`."""

    def show_partial_audio(self, audio: Callable[[], bytes], size: int, mime: str, text: str) -> None:
        """Implement `MediaView`."""

    def show_partial_transcript(
        self, text: str, reached: float | None, length: float | None, seconds: float
    ) -> None:
        """Implement `MediaView`."""

    def show_result(self, result: Result) -> None:
        """Implement `MediaView`."""

    def abandon(self) -> None:
        """Implement `MediaView`."""


#: Waits for the player, which the next frame brings, and starts it.
_AUTOPLAY_SCRIPT = """<script>(() => {
  const end = Date.now() + 10000;
  const look = () => {
    const player = document.getElementById("NAME");
    if (player && player.dataset.puqStarted) return;
    if (player) player.play().catch(() => {});
    else if (Date.now() < end) setTimeout(look, 50);
  };
  look();
})()</script>"""
