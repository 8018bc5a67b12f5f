"""Speech by the local engine, passed on as it is spoken."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from puq_magics.sandbox.backends.backend import EngineBackend
from puq_magics.sandbox.handlers import AccountHandler
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.speech_request import ENGINE_HEADER, SpeechRequest
from puq_magics.sandbox.validation import ErrorResponse

_PATH: Final = "/speak"
#: Media types of the engine's formats; the first is the default.
MEDIA_TYPES: Final = {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav"}


class EngineSpeech:
    """One text, spoken for a client; the audio is sent while it is made."""

    def __init__(self, handler: AccountHandler, model: ModelEntry, request: SpeechRequest) -> None:
        self._handler = handler
        self._model = model
        self._request = request
        self._sent = 0

    async def run(self) -> None:
        """Answer; raises ErrorResponse before anything was sent, StreamClosedError when the client disconnects."""
        await self._handler.await_or_disconnect(self._speak())

    async def _speak(self) -> None:
        handler, request = self._handler, self._request
        drop_after = handler.state.settings.drop_after
        backend = EngineBackend(handler.state.engines["speech"])
        try:
            async with backend.open_job(handler.disconnected, _PATH, asdict(request)) as response:
                while piece := await response.read():
                    if not self._sent:
                        handler.account.charge(self._model.price(prompt=len(request.text)))
                        handler.set_header("Content-Type", MEDIA_TYPES[request.format])
                        handler.set_header(ENGINE_HEADER, self._model.backend_name)
                    if self._sent == drop_after:
                        handler.drop_connection()
                    handler.write(piece)
                    await handler.flush()
                    self._sent += 1
        except ErrorResponse:
            if self._sent:
                handler.drop_connection()  # nothing else can show that the audio ends early
            raise
