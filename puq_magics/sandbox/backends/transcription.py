"""Transcription by the local engine, which reads the recording from a file and streams the text."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final

from puq_magics.sandbox import transcripts
from puq_magics.sandbox.backends.backend import EngineBackend
from puq_magics.sandbox.backends.http_client import HttpResponse, IncompleteResponseError
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.streaming import SSEHandler
from puq_magics.sandbox.transcripts import TranscriptBuilder, TranscriptionOptions
from puq_magics.sandbox.validation import ErrorResponse, as_json, error_object

_PATH: Final = "/transcribe"
#: Seconds without a byte after which a response in one piece sends white space.
_KEEP_ALIVE_INTERVAL: Final = 5.0
#: Seconds between two attempts to delete a file that is still open (Windows), and the number of attempts.
_DELETE_INTERVAL, _DELETE_ATTEMPTS = 1.0, 60


class Spool:
    """Recording in a temporary file, written while it is uploaded; `delete` it in every case."""

    def __init__(self) -> None:
        """Create the file; raises ErrorResponse (507) if there is no space."""
        with _storage_errors():
            number, self.path = tempfile.mkstemp(prefix="puq-recording-")
        self._file = os.fdopen(number, "wb")

    def write(self, data: bytes) -> None:
        """Append data; raises ErrorResponse (507)."""
        with _storage_errors():
            self._file.write(data)

    def close(self) -> None:
        """Close the file, so that another process can read all of it; raises ErrorResponse (507)."""
        with _storage_errors():
            self._file.close()

    def unlink_early(self) -> None:
        """Delete the file once the engine has opened it: then nothing is left even if this process is killed.

        Does nothing on Windows, where an open file cannot be deleted.
        """
        if os.name == "posix":
            self.delete()

    def delete(self, attempts: int = _DELETE_ATTEMPTS) -> None:
        """Delete the file; later, if it is still open where that prevents it."""
        with suppress(OSError):
            self._file.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except PermissionError:
            if attempts:
                asyncio.get_running_loop().call_later(_DELETE_INTERVAL, self.delete, attempts - 1)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ErrorResponse(507, f"The recording cannot be stored: {error.strerror or error}") from None


class EngineTranscription:
    """One recording, transcribed for a client."""

    def __init__(
        self, handler: SSEHandler, model: ModelEntry, form: TranscriptionOptions, spool: Spool, filename: str
    ) -> None:
        self._handler = handler
        self._model = model
        self._form = form
        self._spool = spool
        self._job = {"path": spool.path, "name": filename}
        self._transcript = TranscriptBuilder(language="en")
        #: Audio tokens that were charged.
        self._charged = 0
        #: True once a part of a response in one piece was sent; and when the last one was, in the loop's time.
        self._begun = False
        self._last_write = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Answer; raises ErrorResponse before anything was sent, StreamClosedError when the client disconnects."""
        if not self._form.stream:
            await self._handler.await_or_disconnect(self._complete())
            return
        async with self._handler.send_keep_alives():
            await self._handler.await_or_disconnect(self._stream())

    async def _stream(self) -> None:
        async with self._handler.errors_as_events(), aclosing(self._segments()) as segments:
            async for segment in segments:
                for event in transcripts.segment_events(self._transcript, segment):
                    await self._handler.send_event(as_json(event))
            await self._handler.send_event(as_json(transcripts.done_event(self._transcript, self._form)))

    async def _complete(self) -> None:
        handler, plain = self._handler, self._form.format == "text"
        if plain:
            handler.set_header("Content-Type", "text/plain; charset=utf-8")
        try:
            async with aclosing(self._segments()) as segments:
                async for _segment in segments:
                    if plain:
                        await self._write(self._transcript.delta)
        except ErrorResponse as error:
            if not self._begun:
                raise
            if plain:
                handler.drop_connection()  # nothing else can show that the text ends early
            handler.finish(as_json(error_object(error.message, error.code)))
            return
        handler.finish("\n" if plain else transcripts.format_response(self._transcript, self._form))

    async def _segments(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the segments as they arrive, after adding them to the transcript."""
        loop = asyncio.get_running_loop()
        padded = not self._form.stream and self._form.format != "text"  # blanks before JSON say nothing
        backend = EngineBackend(self._handler.state.engines["transcription"])
        async with backend.open_job(self._handler.disconnected, _PATH, self._job) as response:
            async for line in _lines(response):
                match line:
                    case {"segment": segment}:
                        self._transcript.add(segment)
                        yield segment
                    case {"length": length}:  # the engine has opened the file
                        self._spool.unlink_early()
                        self._transcript.length = length
                    case {"reached": seconds} | {"end": seconds}:
                        self._transcript.seconds_processed = seconds
                        self._charge()
                if padded and loop.time() >= self._last_write + _KEEP_ALIVE_INTERVAL:
                    await self._write(" ")

    def _charge(self) -> None:
        audio_tokens = self._transcript.audio_tokens
        self._handler.account.charge(self._model.price(prompt=audio_tokens - self._charged))
        self._charged = audio_tokens

    async def _write(self, text: str) -> None:
        """Send a part of a response in one piece."""
        self._begun = True
        self._handler.write(text)
        await self._handler.flush()
        self._last_write = asyncio.get_running_loop().time()


async def _lines(response: HttpResponse) -> AsyncIterator[Any]:
    """Yield the lines of a response, parsed as JSON; raises IncompleteResponseError if the last one is missing."""
    rest, line = b"", None
    while piece := await response.read():
        *lines, rest = (rest + piece).split(b"\n")
        for each in lines:
            line = json.loads(each)
            yield line
    if not (line and "end" in line):
        raise IncompleteResponseError("it stopped")
