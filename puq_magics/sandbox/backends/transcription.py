"""Transcription by the local engine: it reads the recording from a file and streams the text."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Final

from puq_magics.sandbox import transcripts
from puq_magics.sandbox.backends.backend import EngineBackend
from puq_magics.sandbox.backends.engine_protocol import open_engine_request
from puq_magics.sandbox.backends.http_client import HttpResponse, IncompleteResponseError
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.streaming import SSEHandler, as_json
from puq_magics.sandbox.transcripts import TranscriptBuilder, TranscriptionOptions
from puq_magics.sandbox.validation import ErrorResponse, error_object, invalid

#: Where the engine takes its orders.
_PATH: Final = "/transcribe"
#: Seconds without a byte after which an answer in one piece sends white space.
_KEEP_ALIVE_INTERVAL: Final = 5.0
#: Seconds until a file that somebody still has open is removed, where that matters (Windows), and how often at most.
_AGAIN, _TIMES = 1.0, 60


class Spool:
    """A recording in a temporary file, written as it comes; `drop` it in every case."""

    def __init__(self) -> None:
        """Make the file; raises ErrorResponse (507) where there is no room."""
        try:
            number, self.path = tempfile.mkstemp(prefix="puq-recording-")
        except OSError as error:
            raise _no_room(error) from None
        self._file = os.fdopen(number, "wb")

    def write(self, data: bytes) -> None:
        """Add to it; raises ErrorResponse (507)."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from None

    def close(self) -> None:
        """End it, so that another process can read it whole; raises ErrorResponse (507)."""
        try:
            self._file.close()
        except OSError as error:
            raise _no_room(error) from None

    def unlink_early(self) -> None:
        """Delete the file as soon as the engine has opened it, because a killed process cannot.

        Not on Windows, where a file that is open stays.
        """
        if os.name == "posix":
            self.delete()

    def delete(self, times: int = _TIMES) -> None:
        """Remove it; later, if it is still being read where that is in the way."""
        with suppress(OSError):
            self._file.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        except PermissionError:
            if times:
                asyncio.get_running_loop().call_later(_AGAIN, self.delete, times - 1)


def _no_room(error: OSError) -> ErrorResponse:
    return ErrorResponse(507, f"The recording cannot be kept while it is heard: {error.strerror or error}")


def require_english(model: ModelEntry, language: str) -> None:
    """Raise ErrorResponse (400) for a language that the model does not know, which is any but English."""
    if language and language.lower().partition("-")[0] not in ("en", "eng"):
        raise invalid(
            f"'language' is {language!r}, and {model.code} knows English alone: leave it out, or send en"
        )


class EngineTranscription:
    """One recording, written down for a client."""

    def __init__(
        self, handler: SSEHandler, model: ModelEntry, form: TranscriptionOptions, spool: Spool, filename: str
    ) -> None:
        self._handler = handler
        self._model = model
        self._form = form
        self._spool = spool
        self._order = {"path": spool.path, "name": filename}
        self._transcript = TranscriptBuilder(language="en")
        #: Tokens of input that were paid for.
        self._charged = 0
        #: Whether some of an answer in one piece went out, and when the last of it did, in the loop's time.
        self._begun = False
        self._last = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Answer; raises ErrorResponse where that is still possible, StreamClosedError when the client goes."""
        if not self._form.stream:
            await self._handler.await_or_disconnect(self._whole())
            return
        async with self._handler.send_keep_alives():
            await self._handler.await_or_disconnect(self._stream())

    async def _stream(self) -> None:
        try:
            async with aclosing(self._segments()) as segments:
                async for segment in segments:
                    for event in transcripts.segment_events(self._transcript, segment):
                        await self._handler.send_event(as_json(event))
            await self._handler.send_event(as_json(transcripts.done_event(self._transcript, self._form)))
        except ErrorResponse as refusal:
            if not self._handler.streaming:
                raise
            await self._handler.send_event(as_json(error_object(refusal.message, refusal.code)))

    async def _whole(self) -> None:
        handler, plain = self._handler, self._form.format == "text"
        try:
            async with aclosing(self._segments()) as segments:
                async for _segment in segments:
                    if plain:
                        await self._write(self._transcript.delta)
        except ErrorResponse as refusal:
            if not self._begun:
                raise
            if plain:
                handler.drop_connection()  # there is no other way to say that the words end too early
            handler.finish(as_json(error_object(refusal.message, refusal.code)))
            return
        self._head()
        handler.finish("\n" if plain else transcripts.format_response(self._transcript, self._form))

    async def _segments(self) -> AsyncGenerator[dict[str, Any], None]:
        """The segments as they come, taken into the transcript and paid for."""
        backend = EngineBackend(self._handler.state.engines["transcription"])
        async with open_engine_request(self._handler, backend, _PATH, self._order) as reply:
            async for line in _lines(reply):
                match line:
                    case {"segment": segment}:
                        self._transcript.add(segment)
                        yield segment
                    case {"length": length}:  # so the engine has opened it
                        self._spool.unlink_early()
                        self._transcript.length = length
                    case {"reached": seconds} | {"end": seconds}:
                        self._transcript.seconds_processed = seconds
                        self._charge()
                if (
                    not self._form.stream
                    and asyncio.get_running_loop().time() >= self._last + _KEEP_ALIVE_INTERVAL
                ):
                    await self._write(" ")

    def _charge(self) -> None:
        seconds_processed = self._transcript.audio_tokens
        self._handler.account.charge(self._model.price(prompt=seconds_processed - self._charged))
        self._charged = seconds_processed

    async def _write(self, text: str) -> None:
        """Send some of an answer in one piece."""
        self._head()
        self._begun = True
        self._handler.write(text)
        await self._handler.flush()
        self._last = asyncio.get_running_loop().time()

    def _head(self) -> None:
        if not self._begun and self._form.format == "text":
            self._handler.set_header("Content-Type", "text/plain; charset=utf-8")


async def _lines(reply: HttpResponse) -> AsyncIterator[Any]:
    """The lines of an answer, as JSON; raises IncompleteResponseError where the last one is not there."""
    rest, line = b"", None
    while piece := await reply.read():
        *lines, rest = (rest + piece).split(b"\n")
        for each in lines:
            line = json.loads(each)
            yield line
    if not (line and "end" in line):
        raise IncompleteResponseError("it stopped")
