"""``POST /v1/audio/transcriptions``: an engine hears, or a script that knows the sandbox's own speech again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox import transcripts
from puq_magics.sandbox.backends.transcription import Listening, Spool, checked_language
from puq_magics.sandbox.handlers import LONGEST_WAIT
from puq_magics.sandbox.models import Model
from puq_magics.sandbox.scripted.hearing import Hearing, Spoken
from puq_magics.sandbox.streaming import EventsHandler, as_json
from puq_magics.sandbox.transcripts import Form, FormReader, Segment, Transcript, boundary_of, read_form
from puq_magics.sandbox.validation import invalid, model_code, unprocessable

#: The language of what espeak-ng speaks here, where none is named.
_LANGUAGE: Final = "en"
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
#: The white space after the end of a sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


class TranscriptionHandler(EventsHandler):
    """Speech to text."""

    _hearing: Hearing | None = None
    _spool: Spool | None = None
    _filename = ""

    @property
    def largest_body(self) -> int:
        """In bytes: it is heard as it comes, and kept nowhere, or in a file."""
        return self.state.largest_upload

    def admit(self) -> None:
        """Refuse what is no form before it comes."""
        super().admit()
        if self.request.method != "POST":
            return  # which is refused in another way
        self._form = FormReader(boundary_of(self.request.headers.get("Content-Type", "")), self._hear)

    def take(self, chunk: bytes) -> None:
        """Read the form as it comes."""
        self._form.feed(chunk)

    def on_connection_close(self) -> None:
        """Keep nothing of a client that has gone."""
        super().on_connection_close()
        self._drop()

    def on_finish(self) -> None:
        """Keep nothing."""
        super().on_finish()
        self._drop()

    def _drop(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.drop()

    def _hear(self, field: str, filename: str, data: bytes) -> None:
        if field != "file":
            return
        if self._hearing is None:
            self._hearing, self._filename = Hearing(), filename
            if self._may_be_local:
                self._spool = Spool()
        self._hearing.feed(data)
        if self._spool is not None:
            self._spool.write(data)

    @property
    def _may_be_local(self) -> bool:
        """Whether the file may be for an engine: its name may stand behind the file in the form."""
        if "transcription" not in self.state.engines:
            return False
        model = self.state.models.get(self._form.fields.get("model", ""))
        return model is None or model.answerer == "local"

    async def post(self) -> None:
        """Answer, now that all has come."""
        self.fail_if_planned()
        self._form.close()
        fields = self._form.fields
        hearing = self._checked_hearing()
        model = self.model_for("transcription", model_code(fields.get("model")))
        form = read_form(fields, _checked_language(fields.get("language")))
        with suppress(StreamClosedError):  # the client went
            if model.answerer == "local" and self._spool is not None:
                checked_language(model, form.language)
                self._spool.close()
                await Listening(self, model, form, self._spool, self._filename).run()
            else:
                await self._play(model, form, hearing)

    async def _play(self, model: Model, form: Form, hearing: Hearing) -> None:
        self._drop()
        seconds = hearing.estimated_seconds
        spoken = hearing.spoken or (Spoken(_no_recogniser(self._filename, hearing), 0.0, seconds),)
        transcript = Transcript(_LANGUAGE, length=seconds, heard=seconds)
        if form.stream:
            self.account.charge(model.price(prompt=transcript.heard_tokens))
            await self._stream(transcript, form, spoken)
            return
        transcript.text = " ".join(part.text for part in spoken)
        transcript.segments = list(_segments(spoken))
        await self.rest(min(20 * self.state.pause, LONGEST_WAIT))
        self.account.charge(model.price(prompt=transcript.heard_tokens))
        if form.format == "text":
            self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(transcripts.body(transcript, form))

    async def _stream(self, transcript: Transcript, form: Form, spoken: Sequence[Spoken]) -> None:
        """A sentence at a time, each as long as so many words of a chat would take."""
        for segment in _segments(spoken):
            words = segment["text"]
            await self.rest(min(len(words.split()) * self.state.pause, LONGEST_WAIT))
            transcript.add({**segment, "text": f" {words}"})
            for event in transcripts.events(transcript, segment):
                await self.send(as_json(event))
        await self.send(as_json(transcripts.done(transcript, form)))

    def _checked_hearing(self) -> Hearing:
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
        if hearing.is_cut:
            raise invalid(f"The file {self._filename!r} is a WAV without any sound")
        return hearing


def _checked_language(language: str | None) -> str:
    if not language:
        return ""
    if not _LANGUAGE_TAG.fullmatch(language):
        raise invalid(f"'language' must be a code such as en or de; it is {language!r}")
    return language


def _no_recogniser(filename: str, hearing: Hearing) -> str:
    return (
        f"[The sandbox has no speech recogniser: it knows its own speech only. {filename}, {hearing.size:,} bytes "
        f"of {hearing.kind}, arrived whole.]"
    )


def _segments(spoken: Sequence[Spoken]) -> Iterator[Segment]:
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
