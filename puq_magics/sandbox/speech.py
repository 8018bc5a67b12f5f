"""``POST /v1/audio/speech``: a text as sound, in pieces as it would come from a model."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from tornado.iostream import StreamClosedError

from puq_magics.sandbox import validation as fields
from puq_magics.sandbox.backends.speech import MEDIA_TYPES, EngineSpeech
from puq_magics.sandbox.handlers import MAX_TEXT_BODY_BYTES, AccountHandler
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.scripted.hearing import remember_speech
from puq_magics.sandbox.scripted.speech import (
    ENGINE,
    FORMATS,
    RATE,
    VOICES,
    EncoderMissingError,
    EspeakProcess,
    PcmAudio,
    tones,
    write_audio,
)
from puq_magics.sandbox.speech_request import ENGINE_HEADER, SpeechRequest, read_speech_request
from puq_magics.sandbox.validation import invalid

#: Bytes of one piece.
_PIECE: Final = 16 * 1024


class SpeechHandler(AccountHandler):
    """Text to speech."""

    @property
    def max_body_bytes(self) -> int:
        """In bytes."""
        return MAX_TEXT_BODY_BYTES

    async def post(self) -> None:
        """Read the request, and speak unless it is refused."""
        self.raise_planned_fault()
        body = fields.read_object(self.body)
        model = self.model_for("speech", fields.model_code(body.get("model")))
        with suppress(StreamClosedError):  # the client went
            if model.backend_kind == "local":
                await EngineSpeech(self, model, read_speech_request(body, MEDIA_TYPES, "mp3")).run()
            else:
                await self._answer_from_script(model, read_speech_request(body, FORMATS, "wav", VOICES))

    async def _answer_from_script(self, model: ModelEntry, request: SpeechRequest) -> None:
        sound, engine = await self._speak(request)
        data, mime = await self._file(sound, request, engine)
        self.account.charge(model.price(prompt=len(request.text)))
        self.set_header("Content-Type", mime)
        self.set_header(ENGINE_HEADER, engine)
        await self._send(data)

    async def _speak(self, request: SpeechRequest) -> tuple[PcmAudio, str]:
        """The sound, and the engine that made it."""
        spoken = await self._espeak(request)
        if spoken is not None:
            return spoken, ENGINE
        make = partial(tones, request.text, pitch=VOICES[request.voice].tone, speed=request.speed)
        return PcmAudio(RATE, await self.compute(make)), "tones"

    async def _espeak(self, request: SpeechRequest) -> PcmAudio | None:
        """Return espeak-ng's audio; None if it is not installed or fails."""
        try:
            utterance = EspeakProcess(request.text, VOICES[request.voice], request.speed)
        except OSError:
            return None
        try:
            # A thread rather than asyncio's subprocess, which a selector loop on Windows does not have.
            return await self.compute(utterance.wait)
        finally:
            utterance.stop()  # if the client has disconnected

    async def _file(self, sound: PcmAudio, request: SpeechRequest, engine: str) -> tuple[bytes, str]:
        remember_speech(sound.samples, request.text)
        try:
            return await self.compute(partial(write_audio, sound, request.text, engine, request.format))
        except EncoderMissingError:
            raise invalid(
                f"'response_format' {request.format} needs a package where the sandbox runs: "
                "pip install -U soundfile; wav needs none"
            ) from None

    async def _send(self, data: bytes) -> None:
        """Send it in pieces, at the pace; or cut the connection where it is to be dropped."""
        drop_after = self.state.settings.drop_after
        for number, start in enumerate(range(0, len(data), _PIECE)):
            if number == drop_after:
                self.drop_connection()
            await self.sleep(self.state.chunk_interval)
            self.write(data[start : start + _PIECE])
            await self.flush()
