"""Transcription calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.request import Request
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIError, APIStatusError
from puq_magics.outputs.results import TranscriptResult
from puq_magics.outputs.views.media import MediaView
from puq_magics.outputs.views.progress import Ticker
from puq_magics.session.audio_input import AudioInput
from puq_magics.session.budget import CallInfo
from puq_magics.session.calls import run_call, unsaved_hint
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.transcription import Transcript, TranscriptStream

_POLL_SECONDS = 0.25  # seconds between two looks at what came


@dataclass(frozen=True)
class TranscribeSpec:
    """Model, audio and parameters of a transcription."""

    model: str
    source: AudioInput
    #: Further fields of the request, such as ``language``; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Whether to show the words as they come.
    stream: bool = False
    #: Where to save the text; a path that ``check_save_path`` gave.
    save: Path | None = None
    #: Whether ``save`` may replace a file.
    force: bool = False


def transcribe(
    session: Session,
    spec: TranscribeSpec,
    view: MediaView,
    out: str | None = None,
    *,
    over_budget: bool = False,
) -> TranscriptResult:
    """Transcribe a recording, show and store the transcript with ``run_call``.

    Raises InputError if they cannot be saved; they are in ``_puq`` then.
    """
    return run_call(session, TranscribeCall(spec), view, out, over_budget=over_budget)


class TranscribeCall:
    """Call that transcribes a recording."""

    def __init__(self, spec: TranscribeSpec) -> None:
        self._spec = spec
        self._start = 0.0
        self._transcript: Transcript | None = None
        self._stream: TranscriptStream | None = None
        #: Text received of an incomplete answer.
        self._partial_text = ""

    @property
    def info(self) -> CallInfo:
        """Facts for the budget and the ledger."""
        spec = self._spec
        return CallInfo(
            "transcription",
            spec.model,
            read_audio_seconds=self._audio_seconds,
            content=spec.source.upload.open,
            params=spec.params,
        )

    def request(self, router: Router) -> Request:
        """Return the request that ``run`` sends."""
        spec = self._spec
        return router.transcription_request(
            spec.source.upload, model=spec.model, stream=spec.stream, extra_body=spec.params
        )

    def run(self, router: Router, view: MediaView) -> None:
        """Send the request and receive the answer."""
        self._start = monotonic()
        try:
            with Ticker(view.show_waiting, setup=view.prepare):
                self._send(router, view)
            if self._stream is not None:
                with self._stream as stream:
                    self._receive(stream, view)
                self._transcript = stream.transcript
        except APIError as error:
            self._keep_partial(error)
            raise

    def usage(self) -> Usage | None:
        """Return the tokens used, if known."""
        heard = self._received
        return None if heard is None else heard.usage

    def result(self, status: str) -> TranscriptResult:
        """Return the result as far as it arrived."""
        spec, heard, stream = self._spec, self._received, self._stream
        shared: dict[str, Any] = {
            "model": spec.model,
            "source": spec.source.name,
            "status": status,
            "notes": (spec.source.note,) if spec.source.note else (),
            "time_to_first_token": None if stream is None else stream.seconds_to_first(self._start),
        }
        if heard is None:
            return TranscriptResult(text=self._partial_text, **shared)
        return TranscriptResult(
            text=heard.text,
            segments=heard.segments,
            language=heard.language,
            duration=heard.duration,
            usage=heard.usage,
            request_id=heard.request_id,
            raw=heard.raw,
            **shared,
        )

    def finalize(self, result: TranscriptResult) -> None:
        """Save the result, if requested."""
        if self._spec.save is not None and result.has_content and not result.status:
            with unsaved_hint("The text is"):
                saved = result.save(self._spec.save, force=self._spec.force)
            result.add_note(f"saved as {saved}", is_warning=False)

    def _audio_seconds(self) -> float | None:
        """Return the recording's seconds: as the router says, else by its headers."""
        heard = self._received
        return (heard and heard.duration) or self._spec.source.duration

    @property
    def _received(self) -> Transcript | None:
        """Return the transcript, of an incomplete stream the received part."""
        if self._transcript is not None or self._stream is None:
            return self._transcript
        heard = self._stream.transcript
        return heard if heard.text else None

    def _send(self, router: Router, view: MediaView) -> None:
        """Send the recording; a stream has only begun then."""
        spec = self._spec
        words = f"sending {spec.source.upload.name}"
        options: dict[str, Any] = {
            "extra_body": spec.params,
            "model": spec.model,
            "on_retry": view.show_retry,
            "on_progress": lambda sent, size: view.show_progress(sent, size, words),
        }
        if spec.stream:
            self._stream = router.stream_transcription(spec.source.upload, **options)
        else:
            self._transcript = router.transcribe(spec.source.upload, **options)

    def _receive(self, stream: TranscriptStream, view: MediaView) -> None:
        """Show the text while it streams."""
        while not stream.finished:
            stream.receive(_POLL_SECONDS)
            seconds = monotonic() - self._start
            if stream.text:
                view.show_partial_transcript(
                    stream.text, stream.transcribed_seconds, stream.duration, seconds
                )
            elif not stream.finished:
                view.show_waiting(seconds)

    def _keep_partial(self, error: APIError) -> None:
        """Store what a failed answer contains: text as the result, other bytes in a file."""
        from puq_magics.session.partial_results import save_partial, transcript_text

        error.python_hint = ""  # the partial result is in _puq
        came = error.partial.encode("utf-8", "replace") if isinstance(error.partial, str) else error.partial
        if not isinstance(came, bytes) or isinstance(error, APIStatusError):
            return
        self._partial_text = transcript_text(came)
        if self._partial_text:
            error.extend_hint("The text that came is in _puq.")
        else:
            save_partial(error, [came])
