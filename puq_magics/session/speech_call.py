"""Speech: a text, in pieces that the model takes, and the audio as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO

from puq_magics.api.request import Request
from puq_magics.core.audio_joining import JOINABLE, can_join, has_no_audio, join, missing_bytes
from puq_magics.core.errors import APIError, InputError, InvalidResponseError
from puq_magics.core.files import atomic_write, output_paths
from puq_magics.core.media_types import AAC, FLAC, MP3, OGG, WAV, MediaType
from puq_magics.outputs.results import SpeechResult
from puq_magics.outputs.results.base import INCOMPLETE
from puq_magics.outputs.views.media import MediaView
from puq_magics.outputs.views.progress import Ticker
from puq_magics.prompts.text_split import split_text
from puq_magics.prompts.token_estimate import estimate_tokens
from puq_magics.session.budget import CallInfo
from puq_magics.session.calls import run_call, unsaved_hint
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.speech import SpeechStream


class SpeechFile:
    """File of ``--save``, written under a temporary name until ``finish``; does nothing without a target.

    A file that cannot be written does not fail the call: ``problem`` says what went wrong.
    """

    def __init__(self, target: Path | None, *, force: bool) -> None:
        self._target = target
        self._force = force
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        #: Where it is, once it is finished.
        self.path: Path | None = None
        #: Why it is not there.
        self.problem: InputError | None = None

    def write(self, data: bytes, kind: MediaType) -> None:
        """Write more, so that it is on disk when this returns."""
        if self._target is None or self.problem is not None:
            return
        try:
            if self._file is None:
                self._target = output_paths(self._target, kind.extension)[0]
                self._file = self._stack.enter_context(atomic_write(self._target, self._force))
            self._file.write(data)
            self._file.flush()
        except (OSError, InputError) as exc:
            self._fail(exc)

    def finish(self, audio: bytes, *, unchanged: bool) -> None:
        """Give the file its name; ``audio`` replaces the received bytes if given."""
        if self._file is None or self.problem is not None:
            return
        try:
            if not unchanged:
                self._file.seek(0)
                self._file.truncate()
                self._file.write(audio)
            self._stack.close()
        except (OSError, InputError) as exc:
            self._fail(exc)
        else:
            self.path = self._target

    def discard(self) -> None:
        """Leave no file behind."""
        dropped = _DiscardedError()
        with suppress(_DiscardedError):
            self._stack.__exit__(_DiscardedError, dropped, None)

    def _fail(self, exc: OSError | InputError) -> None:
        self.problem = exc if isinstance(exc, InputError) else None
        try:
            self._stack.__exit__(type(exc), exc, exc.__traceback__)
        except InputError as write_error:
            self.problem = write_error
        if self.problem is None:
            self.problem = InputError(f"{self._target} cannot be written: {exc}.", hint="Name another file.")


class _DiscardedError(Exception):
    """Ends the writing."""


_POLL_SECONDS = 1.0  # seconds between two looks at how much came
#: Formats of which parts in a row are a file.
_PLAYABLE_IN_PARTS = ("mp3", "aac")
_WAV_HINT = "Ask for --audio-format wav."
_FORMAT_TYPES = {"mp3": MP3, "wav": WAV, "opus": OGG, "flac": FLAC, "aac": AAC}


@dataclass(frozen=True)
class SpeechSpec:
    """Text, model and parameters of a speech call."""

    model: str
    text: str
    #: Further fields of the request, such as ``voice`` and ``response_format``; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: The most characters that the model takes at once.
    max_chars: int = 4096
    #: What a reader should know of how the text was filled.
    notes: Sequence[str] = ()
    #: Where to save the audio; a path that ``check_save_path`` gave.
    save: Path | None = None
    #: Whether ``save`` may replace a file.
    force: bool = False

    @property
    def chunks(self) -> list[str]:
        """The text as it is sent: cut at sentences where it is too long.

        Raises InputError for parts that could not be joined.
        """
        chunks = [piece.strip() for piece in split_text(self.text.strip(), self.max_chars) if piece.strip()]
        asked = self.params.get("response_format")
        kind = _FORMAT_TYPES.get(str(asked))
        if len(chunks) > 1 and kind is not None and kind.format not in JOINABLE:
            raise InputError(
                f"a text of {len(self.text):,} characters is spoken in {len(chunks)} parts, "
                f"and parts of {str(asked).upper()} cannot be joined.",
                hint="Ask for --audio-format wav or mp3; PuqMagics.max_speech_chars sets how long a part may be.",
            )
        return chunks


def speak(
    session: Session, spec: SpeechSpec, view: MediaView, out: str | None = None, *, over_budget: bool = False
) -> SpeechResult:
    """Convert text to speech, show and store the audio with ``run_call``.

    Raises InputError for a text whose parts could not be joined, before anything is sent; and when the audio could
    not be saved: it is in ``_puq`` then.
    """
    call = SpeechCall(spec)
    try:
        return run_call(session, call, view, out, over_budget=over_budget)
    except APIError as error:
        call.add_hint(error)
        raise


class SpeechCall:
    """One text and its audio, as far as it came."""

    def __init__(self, spec: SpeechSpec) -> None:
        self._spec = spec
        self._chunks = spec.chunks
        self._start = monotonic()
        self._first_byte_at: float | None = None
        self._request_id: str | None = None
        self._type: MediaType | None = None
        #: The parts that are there, and what came of the one that is on its way.
        self._parts: list[bytes] = []
        self._current: list[bytes] = []
        self._current_type: MediaType | None = None
        self._audio: bytes | None = None
        #: Bytes of sound that a head tells of, and that did not come.
        self._missing_bytes = 0
        self.file = SpeechFile(spec.save, force=spec.force)

    @property
    def info(self) -> CallInfo:
        """Facts for the budget and the ledger."""
        spec = self._spec
        return CallInfo(
            "speech",
            spec.model,
            estimate_tokens(spec.text),
            count=len(self._chunks),
            characters=len(spec.text),
            content=spec.text,
            params=spec.params,
        )

    def request(self, router: Router) -> Request:
        """Return the request that ``run`` sends."""
        return router.speech_request(self._chunks[0], model=self._spec.model, extra_body=self._spec.params)

    def run(self, router: Router, view: MediaView) -> None:
        """Send the request and receive the answer."""
        spec, number = self._spec, len(self._chunks)
        try:
            for piece in self._chunks:
                if number > 1:
                    view.show_progress(len(self._parts), number, "speaking", "parts")
                with Ticker(view.show_waiting, setup=view.prepare):
                    stream = router.stream_speech(
                        piece, model=spec.model, on_retry=view.show_retry, extra_body=spec.params
                    )
                with stream:
                    self._receive(stream, view)
                self._finish_part()
            self._join()
        finally:
            self.file.discard()  # if it is not finished

    def usage(self) -> None:
        """Return the tokens used, if known."""
        return

    def result(self, status: str) -> SpeechResult:
        """Return the result as far as it arrived."""
        spec, number = self._spec, len(self._chunks)
        voice = spec.params.get("voice")
        notes = tuple(spec.notes)
        if status and number > 1:
            notes += (f"{len(self._parts)} of {number} parts were spoken",)
        if self._missing_bytes and not status:
            from puq_magics.core.text import format_size

            status = INCOMPLETE
            notes += (
                f"the audio is cut: {format_size(self._missing_bytes)} that its head tells of did not come",
            )
        return SpeechResult(
            audio=self._joined_so_far() if self._audio is None else self._audio,
            text=spec.text,
            type=self._type or _FORMAT_TYPES.get(str(spec.params.get("response_format")), MP3),
            voice=voice if isinstance(voice, str) else "",
            path=self.file.path,
            model=spec.model,
            time_to_first_token=None if self._first_byte_at is None else self._first_byte_at - self._start,
            request_id=self._request_id,
            status=status,
            notes=notes,
        )

    def finalize(self, result: SpeechResult) -> None:  # noqa: ARG002 - it was written while it arrived
        """Raise the error of the file, if it could not be written."""
        if self.file.problem is not None:
            with unsaved_hint("The audio is"):
                raise self.file.problem

    def add_hint(self, error: APIError) -> None:
        """Add the place of the partial audio to an error; bytes that cannot be joined are saved to a file."""
        from puq_magics.session.partial_results import save_partial

        error.python_hint = ""  # the partial result is in _puq
        if self._current and not self._can_join():
            save_partial(error, [self._current_audio()])
        elif isinstance(error.partial, bytes) and not self._current:
            save_partial(error, [error.partial])
        if self._parts or (self._current and self._can_join()):
            error.extend_hint("What was spoken is in _puq.")

    def _receive(self, stream: SpeechStream, view: MediaView) -> None:
        """Receive one part while it streams."""
        self._request_id = stream.request_id
        received = 0
        while not stream.finished:
            data = stream.receive(_POLL_SECONDS)
            if data and stream.type is not None:
                self._append(data, stream.type)
                received += len(data)
            if data and stream.type is not None and self._plays_on:
                size = sum(map(len, self._parts)) + received
                view.show_partial_audio(self._audio_so_far, size, stream.type.mime, self._spec.text)
            if len(self._chunks) == 1 and received:
                view.show_progress(received, 0, "receiving audio")
            elif not data and not stream.finished:
                view.show_waiting(monotonic() - self._start)

    @property
    def _plays_on(self) -> bool:
        """True if what has come is a file that a player can play: parts of WAV each have a head of their own."""
        return not self._parts or self._format in _PLAYABLE_IN_PARTS

    def _audio_so_far(self) -> bytes:
        return b"".join([*self._parts, self._current_audio()])

    def _append(self, data: bytes, kind: MediaType) -> None:
        if self._type is None:
            self._type, self._first_byte_at = kind, monotonic()
        self._current_type = kind
        self._current.append(data)
        if kind == self._type:
            self.file.write(data, kind)

    def _finish_part(self) -> None:
        """Check that the part that came can be one with those before and behind it."""
        kind = self._format
        if not self._can_join():
            number = len(self._parts) + 1
            raise InvalidResponseError(
                f"part {number} has another format, rate or number of channels.", hint=_WAV_HINT
            )
        self._parts.append(self._current_audio())
        self._missing_bytes += missing_bytes(self._parts[-1], kind)
        self._current = []
        if len(self._chunks) > 1 and kind not in JOINABLE:
            raise InvalidResponseError(f"parts that come as {kind.upper()} cannot be joined.", hint=_WAV_HINT)

    def _can_join(self) -> bool:
        """True if the current part can be joined to those before it."""
        same = self._current_type == self._type
        return same and can_join([*self._parts[:1], self._current_audio()], self._format)

    def _current_audio(self) -> bytes:
        """Return what came of the current part, joined in place: it can be large."""
        self._current = [b"".join(self._current)]
        return self._current[0]

    @property
    def _format(self) -> str:
        return "" if self._type is None else self._type.format

    def _join(self) -> None:
        try:
            self._audio = join(self._parts, self._format)
        except ValueError as exc:
            raise InvalidResponseError(f"the parts cannot be joined: {exc}.", hint=_WAV_HINT) from None
        if has_no_audio(self._audio, self._format):
            self._parts, self._audio = [], None
            raise InvalidResponseError(
                "no sound came: the audio is a head alone.", hint="Try again, or another model."
            )
        came = len(self._parts) == 1 and self._audio is self._parts[0]
        self.file.finish(self._audio, unchanged=came)

    def _joined_so_far(self) -> bytes:
        """Return the audio received before the failure."""
        parts = [*self._parts, *([self._current_audio()] if self._current and self._can_join() else [])]
        while parts:
            try:
                return join(parts, self._format)
            except ValueError:
                parts.pop()
        return b""
