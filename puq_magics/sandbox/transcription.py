"""``POST /v1/audio/transcriptions``: knows the sandbox's own speech again, and says so of any other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox import tokens
from puq_magics.sandbox.catalog import AUDIO_TOKENS
from puq_magics.sandbox.fields import choice, model_code
from puq_magics.sandbox.handlers import LONGEST_WAIT, AccountHandler
from puq_magics.sandbox.hearing import Hearing, Spoken
from puq_magics.sandbox.multipart import FormReader, boundary_of
from puq_magics.sandbox.refusals import invalid, unprocessable

FORMATS: Final = ("json", "text", "verbose_json")
#: The language of what espeak-ng speaks here, where none is named.
_LANGUAGE: Final = "en"
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
#: The white space after the end of a sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")


class TranscriptionHandler(AccountHandler):
    """Speech to text."""

    @property
    def largest_body(self) -> int:
        """In bytes: it is heard as it comes, and kept nowhere."""
        return self.state.largest_upload

    def admit(self) -> None:
        """Refuse what is no form before it comes."""
        super().admit()
        self._hearing: Hearing | None = None
        self._filename = ""
        if self.request.method != "POST":
            return  # which is refused in another way
        self._form = FormReader(boundary_of(self.request.headers.get("Content-Type", "")), self._hear)

    def take(self, chunk: bytes) -> None:
        """Read the form as it comes."""
        self._form.feed(chunk)

    def _hear(self, field: str, filename: str, data: bytes) -> None:
        if field != "file":
            return
        if self._hearing is None:
            self._hearing, self._filename = Hearing(), filename
        self._hearing.feed(data)

    async def post(self) -> None:
        """Answer, now that all has come."""
        self.fail_if_planned()
        self._form.close()
        fields = self._form.fields
        hearing = self._checked_hearing()
        model = self.model_for("transcription", model_code(fields.get("model")))
        form = choice(fields, "response_format", FORMATS, "json")
        language = _checked_language(fields.get("language"))
        spoken = hearing.spoken or (
            Spoken(_no_recogniser(self._filename, hearing), 0.0, hearing.estimated_seconds),
        )
        text = " ".join(part.text for part in spoken)
        try:
            await self.rest(min(20 * self.state.pause, LONGEST_WAIT))
        except StreamClosedError:
            return
        heard = round(hearing.estimated_seconds * AUDIO_TOKENS)
        self.state.account.charge(model.price(prompt=heard))
        if form == "text":
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(text + "\n")
            return
        answer: dict[str, object] = {"text": text, "usage": _usage(heard, tokens.count(text))}
        if form == "verbose_json":
            duration = hearing.estimated_seconds
            answer |= {
                "task": "transcribe",
                "language": language or _LANGUAGE,
                "duration": round(duration, 3),
            }
            answer["segments"] = list(_segments(spoken))
        elif language:
            answer["language"] = language
        self.finish(json.dumps(answer))

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


def _usage(heard: int, said: int) -> dict[str, object]:
    return {"type": "tokens", "input_tokens": heard, "output_tokens": said, "total_tokens": heard + said}


def _segments(spoken: Sequence[Spoken]) -> Iterator[dict[str, object]]:
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
