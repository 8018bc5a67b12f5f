"""Transcription: a recording that is sent, and the words that come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from puq_magics.api.request import Request
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIError, APIStatusError, InputError
from puq_magics.outputs.results import TranscriptResult
from puq_magics.outputs.views.media import MediaView
from puq_magics.outputs.views.progress import Ticker
from puq_magics.session.audio_input import Source
from puq_magics.session.budget import Asked
from puq_magics.session.calls import perform
from puq_magics.session.session import Workspace

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.transcription import Transcript, TranscriptStream

_PATIENCE = 0.25  # seconds between two looks at what came


@dataclass(frozen=True)
class TranscribeCall:
    """What to transcribe with which model."""

    model: str
    source: Source
    #: Further fields of the request, such as ``language``; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Whether to show the words as they come.
    stream: bool = False
    #: Where to save the text; a path that ``checked_target`` gave.
    save: Path | None = None
    #: Whether ``save`` may replace a file.
    force: bool = False


def transcribe(
    workspace: Workspace, call: TranscribeCall, view: MediaView, out: str | None = None
) -> TranscriptResult:
    """Send a recording, show and keep its words; see ``perform``.

    Raises InputError when they could not be saved; they are in ``_puq`` then.
    """
    exchange = TranscribeExchange(call)
    result = perform(workspace, exchange, view, out)
    if exchange.unsaved is not None:
        raise exchange.unsaved
    return result


class TranscribeExchange:
    """One recording and its words."""

    def __init__(self, call: TranscribeCall) -> None:
        self._call = call
        self._start = 0.0
        self._transcript: Transcript | None = None
        self._stream: TranscriptStream | None = None
        #: The words that came of an answer that broke off.
        self._words = ""
        #: Why the text was not saved.
        self.unsaved: InputError | None = None

    @property
    def asked(self) -> Asked:
        """See Exchange."""
        return Asked("transcription", self._call.model)

    def request(self, router: Router) -> Request:
        """See Exchange."""
        call = self._call
        params = {**call.params, "stream": call.stream}
        return router.transcription_request(call.source.upload, model=call.model, **params)

    def run(self, router: Router, view: MediaView) -> None:
        """See Exchange."""
        self._start = monotonic()
        try:
            with Ticker(view.waiting, first=view.prepare):
                self._ask(router, view)
            if self._stream is not None:
                with self._stream as stream:
                    self._listen(stream, view)
                self._transcript = stream.transcript
        except APIError as error:
            self._keep(error)
            raise

    def usage(self) -> Usage | None:
        """See Exchange."""
        heard = self._heard
        return None if heard is None else heard.usage

    def result(self, broken_off: str) -> TranscriptResult:
        """See Exchange."""
        call, heard, stream = self._call, self._heard, self._stream
        first = (
            None
            if stream is None or stream.first_received_at is None
            else stream.first_received_at - self._start
        )
        shared: dict[str, Any] = {
            "model": call.model,
            "source": call.source.name,
            "broken_off": broken_off,
            "notes": (call.source.note,) if call.source.note else (),
            "time_to_first_token": first,
        }
        if heard is None:
            return TranscriptResult(text=self._words, **shared)
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

    def show(self, result: TranscriptResult, view: MediaView) -> None:
        """See Exchange."""
        if self._call.save is not None and result.has_content and not result.broken_off:
            try:
                result.save(self._call.save, force=self._call.force)
            except InputError as error:
                error.hint = f"{error.hint} The text is in _puq: _puq.save(…)".lstrip()
                self.unsaved = error
        view.show(result)

    @property
    def _heard(self) -> Transcript | None:
        """The words; of a stream that broke off, those that came."""
        if self._transcript is not None or self._stream is None:
            return self._transcript
        heard = self._stream.transcript
        return heard if heard.text else None

    def _ask(self, router: Router, view: MediaView) -> None:
        """Send the recording; a stream has only begun then."""
        call = self._call
        words = f"sending {call.source.upload.name}"
        options: dict[str, Any] = {
            **call.params,
            "model": call.model,
            "on_retry": view.retrying,
            "on_progress": lambda sent, size: view.progress(sent, size, words),
        }
        if call.stream:
            self._stream = router.stream_transcription(call.source.upload, **options)
        else:
            self._transcript = router.transcribe(call.source.upload, **options)

    def _listen(self, stream: TranscriptStream, view: MediaView) -> None:
        """Show the words as they come."""
        while not stream.finished:
            stream.receive(_PATIENCE)
            seconds = monotonic() - self._start
            if stream.text:
                view.hear(stream.text, stream.transcribed_seconds, stream.duration, seconds)
            elif not stream.finished:
                view.waiting(seconds)

    def _keep(self, error: APIError) -> None:
        """Keep what came of a failed answer: words here, what is none in a file."""
        from puq_magics.session.partial_results import hint_for_magics, salvage, words_of

        hint_for_magics(error)
        came = error.partial.encode("utf-8", "replace") if isinstance(error.partial, str) else error.partial
        if not isinstance(came, bytes) or isinstance(error, APIStatusError):
            return
        self._words = words_of(came)
        if self._words:
            error.hint = f"{error.hint} The words that came are in _puq.".lstrip()
        else:
            salvage(error, [came])
