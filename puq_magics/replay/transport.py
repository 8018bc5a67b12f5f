"""Transport that records what a router answers, or replays it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Literal

from puq_magics.api.base_url import BaseURL
from puq_magics.api.request import Request, Retry, Timing, Transport, repeat_number
from puq_magics.api.response import Response
from puq_magics.core.errors import APIError, PuqError, RecordingError
from puq_magics.core.fork import after_fork
from puq_magics.replay.cassette import Cassette, recording_name
from puq_magics.replay.differences import missing_error
from puq_magics.replay.fingerprint import Fingerprint, fingerprint
from puq_magics.replay.recorded_answer import (
    AnswerEncoder,
    RecordedAnswer,
    decode_answer,
    first_content_time,
    is_complete_stream,
)
from puq_magics.replay.redaction import Redaction

Mode = Literal["record", "replay", "auto", "none"]
#: Statuses of a request that the client sends again in another form.
_REFUSED_FORM = (400, 422)


class RequestNumbers:
    """Numbers of equal requests: each place that sends one keeps its own, also when its cell runs again."""

    def __init__(self, current_cell: Callable[[], tuple[str, int]] = lambda: ("", 0)) -> None:
        """``current_cell`` returns the running cell, and the number of its execution."""
        self._current_cell = current_cell
        self._executions: dict[str, int] = {}
        self._sent: dict[str, Counter[str]] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._highest: Counter[str] = Counter()
        self._renew_lock()
        after_fork(self, RequestNumbers._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def next_number(self, name: str) -> int:
        """Return the number of a request that is sent now, from 1."""
        cell, execution = self._current_cell()
        planned = repeat_number.get()
        with self._lock:
            if self._executions.get(cell) != execution:
                self._executions[cell], self._sent[cell] = execution, Counter()
            ordinal = self._sent[cell][name] if planned is None else planned
            self._sent[cell][name] += 1
            first = self._first.setdefault((cell, name), self._highest[name])
            number = first + ordinal + 1
            self._highest[name] = max(self._highest[name], number)
            return number

    def release_number(self, name: str) -> None:
        """Forget the last number of a request that was not sent."""
        with self._lock:
            self._sent[self._current_cell()[0]][name] -= 1


@dataclass(frozen=True)
class CassetteSettings:
    """Settings of recording and replaying."""

    mode: Mode
    #: Speed of a replay: 1 as recorded, 2 twice as fast, 0 at once.
    pace: float = 1.0
    #: True if errors are recorded, too.
    errors: bool = False


class CassetteTransport:
    """Transport that keeps answers in a cassette, or takes them from there.

    ``inner`` sends what is to be recorded; None for a replay. ``on_problem`` is called when an answer could not be
    recorded: the answer itself is not lost. ``on_use`` is called with the name of each recording that is used.
    ``redact_answer`` takes out of a text what no recorded answer may hold.
    """

    def __init__(
        self,
        cassette: Cassette,
        settings: CassetteSettings,
        address: BaseURL,
        inner: Transport | None,
        *,
        numbers: RequestNumbers | None = None,
        on_problem: Callable[[str], None] = lambda _: None,
        on_use: Callable[[str], None] = lambda _: None,
        redact_answer: Callable[[str], str] = str,
    ) -> None:
        self.address = address
        self.auth_scheme = "none" if inner is None else inner.auth_scheme
        self.cassette = cassette
        self._settings = settings
        self._inner = inner
        self._numbers = numbers or RequestNumbers()
        self._on_problem = on_problem
        self._on_use = on_use
        self._redact_answer = redact_answer
        self._thread = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cassette.folder.name!r}, {self._settings.mode!r})"

    def with_max_retries(self, max_retries: int) -> CassetteTransport:
        """Return a transport with this number of retries."""
        inner = None if self._inner is None else self._inner.with_max_retries(max_retries)
        return CassetteTransport(
            self.cassette,
            self._settings,
            self.address,
            inner,
            numbers=self._numbers,
            on_problem=self._on_problem,
            on_use=self._on_use,
            redact_answer=self._redact_answer,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            self._inner.close()

    def take_timing(self) -> Timing | None:
        """Return the recorded times of this thread's requests since the last call; None without any."""
        timing: Timing | None = getattr(self._thread, "timing", None)
        self._thread.timing = None
        return timing

    def wrap_download(
        self, download: Callable[[str], bytes]
    ) -> AbstractContextManager[Callable[[str], bytes]]:
        """Give a download that records the images; those of a recording are in the answer itself."""
        recording: _RecordingResponse | None = getattr(self._thread, "recording", None)
        if recording is not None:
            return recording.wrap_download(download)
        return nullcontext(_refuse_download if self._inner is None else download)

    def send(self, request: Request, on_retry: Callable[[Retry], None] | None = None) -> Response:
        """Replay or record a request. Raises RecordingError without a recording, and what sending raises."""
        self._thread.recording = None
        plain = fingerprint(request)
        if self._settings.mode == "none":
            raise RecordingError(f"no request is allowed here ({plain.document['endpoint']}).")
        number = 1 if request.path == "/v1/models" else self._numbers.next_number(plain.name)
        masked = plain
        if self._settings.mode != "record":
            found = self.cassette.find(plain.name, number, exact=self._inner is not None)
            if found is None:
                masked = fingerprint(request, Redaction())
                found = self.cassette.find(masked.name, number, exact=self._inner is not None)
            if found is not None:
                return self._replay(found)
            if self._inner is None:
                raise missing_error(self.cassette, masked)
        return self._record(request, on_retry, number)

    def _replay(self, name: str) -> Response:
        with self.cassette.locked(exclusive=False):  # else its media could be replaced meanwhile
            recording = self.cassette.read(name)
            answer = decode_answer(recording, self.cassette.read_media)
        self._on_use(name)
        if answer.error is not None and not answer.parts:
            raise answer.error
        timing = _timing(recording, answer)
        return ReplayedResponse(answer, self._settings.pace, lambda: self._add_timing(timing))

    def _record(self, request: Request, on_retry: Callable[[Retry], None] | None, number: int) -> Response:
        assert self._inner is not None  # noqa: S101
        redaction = Redaction(self._redact_answer)
        start = monotonic()
        requested = fingerprint(request, redaction)
        recording = _RecordingWriter(self, requested, redaction, recording_name(requested.name, number))
        try:
            response = self._inner.send(request, on_retry)
        except APIError as error:
            if self._settings.errors:
                recording.save(RecordedAnswer(0, {}, [], monotonic() - start, error), {})
            raise
        if response.status >= 400 and not self._keeps_error(response.status, requested):
            return response
        recorded = _RecordingResponse(response, recording, start, keeps_errors=self._settings.errors)
        self._thread.recording = recorded
        return recorded

    def _keeps_error(self, status: int, requested: Fingerprint) -> bool:
        """Return whether an error is recorded: if the settings say so, or if the client goes on after it."""
        body = requested.document.get("body")
        goes_on = status in _REFUSED_FORM and isinstance(body, Mapping) and "response_format" in body
        return self._settings.errors or goes_on

    def _add_timing(self, timing: Timing) -> None:
        before: Timing | None = getattr(self._thread, "timing", None)
        if before is not None:
            timing = Timing(before.seconds + timing.seconds, before.first)
        self._thread.timing = timing


class _RecordingWriter:
    """Recording that is being made."""

    def __init__(
        self, transport: CassetteTransport, requested: Fingerprint, redaction: Redaction, name: str
    ) -> None:
        self._transport = transport
        self._requested = requested
        self._redaction = redaction
        self._name = name

    def save(self, answer: RecordedAnswer, downloads: Mapping[str, bytes]) -> None:
        """Save an answer; a problem with that is reported, and not raised."""
        encoder = AnswerEncoder(self._redaction, self._requested.tool_ids, self._requested.name, downloads)
        try:
            encoded = encoder.encode(answer)
            document = {"request": self._requested.document, **encoded}
            kept = self._transport.cassette.write(self._name, document, encoder.media)
        except PuqError as error:
            self._transport._on_problem(f"The answer was not recorded: {error}")
            return
        self._transport._on_use(self._name)
        if answer.error is None:
            self._transport._add_timing(_timing(kept, decode_answer(kept, lambda _: b"")))


class _RecordingResponse:
    """Response whose body is kept while it is received."""

    def __init__(
        self, response: Response, recording: _RecordingWriter, start: float, *, keeps_errors: bool
    ) -> None:
        self._response = response
        self._recording = recording
        self._start = start
        self._keeps_errors = keeps_errors
        self._answer = RecordedAnswer(response.status, response.headers)
        self._downloads: dict[str, bytes] = {}
        self._may_download = False
        self._ended = False
        self.status = response.status
        self.headers = response.headers

    def receive(self, timeout: float | None = None) -> bytes | None:
        try:
            data = self._response.receive(timeout)
        except APIError as error:
            if self._keeps_errors:
                self._end(error)
            raise
        if data:
            self._answer.parts.append((monotonic() - self._start, data))
        elif data is not None:
            self._end()
        return data

    def redact(self, text: str) -> str:
        return self._response.redact(text)

    def close(self) -> None:
        self._response.close()
        if not self._ended and is_complete_stream(self._answer.parts):
            self._end()

    @contextmanager
    def wrap_download(self, download: Callable[[str], bytes]) -> Iterator[Callable[[str], bytes]]:
        """Give a download that keeps the images that the answer names; the answer is saved with all of them."""
        is_whole = True

        def fetch(url: str) -> bytes:
            nonlocal is_whole
            is_whole = False
            data = self._downloads[url] = download(url)
            return data

        self._may_download = True
        try:
            yield fetch
            is_whole = True
        finally:
            if self._ended and is_whole:  # else an earlier recording stays, which may have all images
                self._save()

    def _end(self, error: APIError | None = None) -> None:
        if not self._ended:
            self._ended = True
            self._answer.seconds, self._answer.error = monotonic() - self._start, error
            if not self._may_download:
                self._save()

    def _save(self) -> None:
        self._recording.save(self._answer, self._downloads)


class ReplayedResponse:
    """Answer of a recording, at its pace."""

    def __init__(self, answer: RecordedAnswer, pace: float, on_end: Callable[[], None]) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._pace = pace
        self._on_end = on_end
        self._error = answer.error
        self._seconds = answer.seconds
        self._parts = answer.parts if pace else [(0.0, b"".join(data for _, data in answer.parts))]
        self._start = monotonic()
        self._next = 0

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Return the next part when it is due."""
        is_end = self._next == len(self._parts)
        due = self._seconds if is_end else self._parts[self._next][0]
        if self._pace and (left := self._start + due / self._pace - monotonic()) > 0:
            sleep(left if timeout is None else min(left, timeout))
            if timeout is not None and left > timeout:
                return None
        if is_end:
            self._end()
            return b""
        data = self._parts[self._next][1]
        self._next += 1
        return data or self.receive(timeout)

    def redact(self, text: str) -> str:
        """Return the text: a recording holds no key."""
        return text

    def close(self) -> None:
        """End the answer; all of it was received if nothing but its end is left."""
        if self._next == len(self._parts) and self._error is None:
            self._end()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, lambda: None
        if self._error is not None:
            raise self._error
        on_end()


def _refuse_download(_: str) -> bytes:
    raise RecordingError("the recording has no image, but its address alone.")


def _timing(recording: Mapping[str, Any], answer: RecordedAnswer) -> Timing:
    first = first_content_time(recording)
    return answer.timing if first is None else Timing(answer.seconds, first)
