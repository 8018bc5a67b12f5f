"""Speech by the engine on this machine, passed on as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from puq_magics.sandbox import validation as fields
from puq_magics.sandbox.backends.backend import EngineBackend
from puq_magics.sandbox.backends.engine_protocol import open_engine_request
from puq_magics.sandbox.backends.http_client import HttpResponse
from puq_magics.sandbox.handlers import AccountHandler
from puq_magics.sandbox.models import ModelEntry
from puq_magics.sandbox.validation import ErrorResponse, Json

#: Where the engine takes its orders.
_PATH: Final = "/speak"
#: Characters, as the models take that it stands for, and how much slower or faster than usual.
MAX_INPUT_CHARS: Final = 4096
MIN_SPEED, MAX_SPEED = 0.25, 4.0
#: The header that says who speaks.
ENGINE_HEADER: Final = "x-sandbox-engine"

#: The formats that it makes, and what they are; the first is the usual one.
MIME: Final[Mapping[str, str]] = MappingProxyType(
    {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav"}
)


@dataclass(frozen=True)
class SpeechJob:
    """Text, voice, speed and format for the engine."""

    text: str
    voice: str
    speed: float
    format: str


def parse_speech_job(body: Json) -> SpeechJob:
    """Read a request's body.

    Raises ErrorResponse (400, 422) where it does not fit.  The engine knows its voices itself.
    """
    return SpeechJob(
        text=fields.text(body, "input", MAX_INPUT_CHARS),
        voice=fields.text({"voice": "alloy", **body}, "voice", 100),
        speed=fields.number(body, "speed", 1.0, MIN_SPEED, MAX_SPEED),
        format=fields.choice(body, "response_format", tuple(MIME), "mp3"),
    )


class EngineSpeech:
    """One text, spoken for a client: what is spoken leaves before the rest is."""

    def __init__(self, handler: AccountHandler, model: ModelEntry, body: Json) -> None:
        self._handler = handler
        self._model = model
        self._order = parse_speech_job(body)
        self._sent = 0

    async def run(self) -> None:
        """Answer; raises ErrorResponse where that is still possible, StreamClosedError when the client goes."""
        await self._handler.await_or_disconnect(self._speak())

    async def _speak(self) -> None:
        backend = EngineBackend(self._handler.state.engines["speech"])
        try:
            async with open_engine_request(self._handler, backend, _PATH, asdict(self._order)) as reply:
                await self._pass_on(reply)
        except ErrorResponse:
            if self._sent:
                self._handler.drop_connection()  # there is no other way to say that the sound ends too early
            raise

    async def _pass_on(self, reply: HttpResponse) -> None:
        handler, order = self._handler, self._order
        drop_after = handler.state.settings.drop_after
        while piece := await reply.read():
            if not self._sent:
                handler.account.charge(self._model.price(prompt=len(order.text)))
                handler.set_header("Content-Type", MIME[order.format])
                handler.set_header(ENGINE_HEADER, self._model.backend_name)
            if self._sent == drop_after:
                handler.drop_connection()
            handler.write(piece)
            await handler.flush()
            self._sent += 1
