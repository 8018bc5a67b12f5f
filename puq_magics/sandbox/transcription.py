"""``POST /v1/audio/transcriptions``: an engine hears, or a script that knows the sandbox's own speech again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox import transcripts
from puq_magics.sandbox.backends.transcription import EngineTranscription, Spool
from puq_magics.sandbox.handlers import MAX_WAIT_SECONDS
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.scripted.hearing import RecognizedText, SpeechMatcher
from puq_magics.sandbox.streaming import SSEHandler
from puq_magics.sandbox.transcripts import (
    MultipartParser,
    Segment,
    TranscriptBuilder,
    TranscriptionOptions,
    parse_boundary,
    parse_options,
)
from puq_magics.sandbox.validation import as_json, invalid, model_code, unprocessable

#: The language of what espeak-ng speaks here, where none is named.
_LANGUAGE: Final = "en"
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
#: The white space after the end of a sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


class TranscriptionHandler(SSEHandler):
    """Speech to text."""

    _hearing: SpeechMatcher | None = None
    _spool: Spool | None = None
    _filename = ""

    @property
    def max_body_bytes(self) -> int:
        """In bytes: it is heard as it comes, and kept nowhere, or in a file."""
        return self.state.max_upload_bytes

    def check_headers(self) -> None:
        """Refuse what is no form before it comes."""
        super().check_headers()
        if self.request.method != "POST":
            return  # which is refused in another way
        self._form = MultipartParser(
            parse_boundary(self.request.headers.get("Content-Type", "")), self._receive_file
        )

    def receive_chunk(self, chunk: bytes) -> None:
        """Read the form as it comes."""
        self._form.feed(chunk)

    def on_connection_close(self) -> None:
        """Discard the upload of a client that has disconnected."""
        super().on_connection_close()
        self._drop()

    def on_finish(self) -> None:
        """Keep nothing."""
        super().on_finish()
        self._drop()

    def _drop(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.delete()

    def _receive_file(self, field: str, filename: str, data: bytes) -> None:
        if field != "file":
            return
        if self._hearing is None:
            self._hearing, self._filename = SpeechMatcher(), filename
            if self._may_be_local:
                self._spool = Spool()
        self._hearing.feed(data)
        if self._spool is not None:
            self._spool.write(data)

    @property
    def _may_be_local(self) -> bool:
        """True if the file may be for an engine: the model's name may follow the file in the form."""
        if "transcription" not in self.state.engines:
            return False
        model = self.state.models.get(self._form.fields.get("model", ""))
        return model is None or model.backend_kind == "local"

    async def post(self) -> None:
        """Answer, now that all has come."""
        self.raise_planned_fault()
        self._form.close()
        fields = self._form.fields
        hearing = self._validated_upload()
        model = self.model_for("transcription", model_code(fields.get("model")))
        form = parse_options(fields, _checked_language(fields.get("language")))
        with suppress(StreamClosedError):  # the client went
            if model.backend_kind == "local" and self._spool is not None:
                _require_english(model, form.language)
                self._spool.close()
                await EngineTranscription(self, model, form, self._spool, self._filename).run()
            else:
                await self._answer_from_script(model, form, hearing)

    async def _answer_from_script(
        self, model: ModelEntry, form: TranscriptionOptions, hearing: SpeechMatcher
    ) -> None:
        self._drop()
        seconds = hearing.estimated_seconds
        spoken = hearing.spoken or (RecognizedText(_no_recogniser(self._filename, hearing), 0.0, seconds),)
        transcript = TranscriptBuilder(_LANGUAGE, length=seconds, seconds_processed=seconds)
        if form.stream:
            self.account.charge(model.price(prompt=transcript.audio_tokens))
            await self._stream(transcript, form, spoken)
            return
        transcript.text = " ".join(part.text for part in spoken)
        transcript.segments = list(_segments(spoken))
        await self.sleep(min(20 * self.state.chunk_interval, MAX_WAIT_SECONDS))
        self.account.charge(model.price(prompt=transcript.audio_tokens))
        if form.format == "text":
            self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(transcripts.format_response(transcript, form))

    async def _stream(
        self, transcript: TranscriptBuilder, form: TranscriptionOptions, spoken: Sequence[RecognizedText]
    ) -> None:
        """Send a sentence at a time, at the pace of a chat."""
        for segment in _segments(spoken):
            words = segment["text"]
            await self.sleep(min(len(words.split()) * self.state.chunk_interval, MAX_WAIT_SECONDS))
            transcript.add({**segment, "text": f" {words}"})
            for event in transcripts.segment_events(transcript, segment):
                await self.send_event(as_json(event))
        await self.send_event(as_json(transcripts.done_event(transcript, form)))

    def _validated_upload(self) -> SpeechMatcher:
        hearing = self._hearing
        if hearing is None:
            if "file" in self._form.fields:
                raise invalid("'file' is a field and not a file: it came without a file name")
            raise unprocessable("'file' is required")
        hearing.close()
        if not hearing.size:
            raise invalid(f"The file {self._filename!r} is empty")
        if hearing.kind is None:
            raise invalid(
                f"The file {self._filename!r} is no audio, whatever its name says: "
                "send WAV, MP3, M4A, Ogg, FLAC or WebM"
            )
        if hearing.has_no_audio:
            raise invalid(f"The file {self._filename!r} is a WAV without any sound")
        return hearing


def _checked_language(language: str | None) -> str:
    if not language:
        return ""
    if not _LANGUAGE_TAG.fullmatch(language):
        raise invalid(f"'language' must be a code such as en or de; it is {language!r}")
    return language


def _require_english(model: ModelEntry, language: str) -> None:
    if language and language.lower().partition("-")[0] not in ("en", "eng"):
        raise invalid(
            f"'language' is {language!r}, but {model.code} knows only English: leave it out, or send en"
        )


def _no_recogniser(filename: str, hearing: SpeechMatcher) -> str:
    return (
        f"[The sandbox has no speech recogniser: it knows its own speech only. {filename}, {hearing.size:,} bytes "
        f"of {hearing.kind}, arrived whole.]"
    )


def _segments(spoken: Sequence[RecognizedText]) -> Iterator[Segment]:
    """A segment a sentence; where one of them begins is guessed by its letters."""
    number = 0
    for part in spoken:
        sentences = [sentence for sentence in _SENTENCE_END.split(part.text.strip()) if sentence]
        letters, start = sum(map(len, sentences)), part.start
        for sentence in sentences:
            end = start + (part.end - part.start) * len(sentence) / letters
            yield {
                "id": number,
                "seek": 0,
                "start": round(start, 3),
                "end": round(end, 3),
                "text": sentence,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }
            number, start = number + 1, end
