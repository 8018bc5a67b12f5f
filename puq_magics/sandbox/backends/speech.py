"""Speech by the engine on this machine, passed on as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from puq_magics.sandbox import validation as fields
from puq_magics.sandbox.backends.backend import EngineBackend
from puq_magics.sandbox.backends.engine_protocol import ordered
from puq_magics.sandbox.backends.http_client import Reply
from puq_magics.sandbox.handlers import AccountHandler
from puq_magics.sandbox.models import Model
from puq_magics.sandbox.validation import Json, Refusal

#: Where the engine takes its orders.
_PATH: Final = "/speak"
#: Characters, as the models take that it stands for, and how much slower or faster than usual.
LONGEST_INPUT: Final = 4096
SLOWEST, FASTEST = 0.25, 4.0
#: The header that says who speaks.
ENGINE_HEADER: Final = "x-sandbox-engine"

#: The formats that it makes, and what they are; the first is the usual one.
MIME: Final[Mapping[str, str]] = MappingProxyType(
    {"mp3": "audio/mpeg", "opus": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav"}
)


@dataclass(frozen=True)
class Order:
    """What the engine is to say, and how."""

    text: str
    voice: str
    speed: float
    format: str


def read_order(body: Json) -> Order:
    """Read a request's body; raises Refusal (400, 422) where it does not fit.  The engine knows its voices itself."""
    return Order(
        text=fields.text(body, "input", LONGEST_INPUT),
        voice=fields.text({"voice": "alloy", **body}, "voice", 100),
        speed=fields.number(body, "speed", 1.0, SLOWEST, FASTEST),
        format=fields.choice(body, "response_format", tuple(MIME), "mp3"),
    )


class Speaking:
    """One text, spoken for a client: what is spoken leaves before the rest is."""

    def __init__(self, handler: AccountHandler, model: Model, body: Json) -> None:
        self._handler = handler
        self._model = model
        self._order = read_order(body)
        self._sent = 0

    async def run(self) -> None:
        """Answer; raises Refusal where that is still possible, StreamClosedError when the client goes."""
        await self._handler.unless_gone(self._speak())

    async def _speak(self) -> None:
        backend = EngineBackend(self._handler.state.engines["speech"])
        try:
            async with ordered(self._handler, backend, _PATH, asdict(self._order)) as reply:
                await self._pass_on(reply)
        except Refusal:
            if self._sent:
                self._handler.cut()  # there is no other way to say that the sound ends too early
            raise

    async def _pass_on(self, reply: Reply) -> None:
        handler, order = self._handler, self._order
        drop_after = handler.state.settings.drop_after
        while piece := await reply.read():
            if not self._sent:
                handler.account.charge(self._model.price(prompt=len(order.text)))
                handler.set_header("Content-Type", MIME[order.format])
                handler.set_header(ENGINE_HEADER, self._model.name_there)
            if self._sent == drop_after:
                handler.cut()
            handler.write(piece)
            await handler.flush()
            self._sent += 1
