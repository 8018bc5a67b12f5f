"""Which handler answers which path."""

from __future__ import annotations

from tornado.web import Application, RequestHandler

from puq_magics.sandbox.chat import ChatHandler
from puq_magics.sandbox.handlers import BalanceHandler, ModelsHandler, NotFoundHandler
from puq_magics.sandbox.images import ImageHandler, ImagesHandler
from puq_magics.sandbox.speech import SpeechHandler
from puq_magics.sandbox.state import State
from puq_magics.sandbox.transcription import TranscriptionHandler


def make_app(state: State) -> Application:
    """The router's application; all that it knows is in ``state``."""
    given = {"state": state}
    return Application(
        [
            (r"/v1/models", ModelsHandler, given),
            (r"/v1/credits/balance", BalanceHandler, given),
            (r"/v1/chat/completions", ChatHandler, given),
            (r"/v1/images/generations", ImagesHandler, given),
            (r"/images/([\w-]+)\.png", ImageHandler, given),
            (r"/v1/audio/speech", SpeechHandler, given),
            (r"/v1/audio/transcriptions", TranscriptionHandler, given),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=given,
        log_function=_quiet,
    )


def _quiet(_handler: RequestHandler) -> None:
    """No access log: by default it would write every refusal into the notebook."""
