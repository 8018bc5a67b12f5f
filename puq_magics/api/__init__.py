"""The router's HTTP API as plain Python; imports nothing of IPython.

>>> from puq_magics.api import Router
>>> with Router(token, base_url=base_url) as router:
...     with router.stream_chat("Hello", model="sandbox/chat") as stream:
...         text = "".join(delta.text for delta in stream)
>>> text == stream.text
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # fmt: off
    from puq_magics.api.chat import ChatStream  # noqa: I001 - names in rows
    from puq_magics.api.client import Router
    from puq_magics.api.images import GeneratedImage, ImagesResponse
    from puq_magics.api.params import ChatParams, ImageParams, SpeechParams, TranscriptionParams
    from puq_magics.api.request import Request, Retry, Timing, Transport
    from puq_magics.api.response import Response
    from puq_magics.api.speech import Speech, SpeechStream
    from puq_magics.api.transcription import Transcript, TranscriptSegment, TranscriptStream
    from puq_magics.api.types import ChatCompletion, Delta, Model, ToolCall, Usage
    from puq_magics.api.uploads import Upload
    from puq_magics.core.errors import (
        APIConnectionError, APIError, APIStatusError, APITimeoutError, AuthenticationError, BadRequestError,
        BudgetError, ConfigurationError, EmptyFileError, InputError, InvalidAnswerError, InvalidResponseError,
        InvalidURLError, JournalError, MissingKeyError, MissingVariableError, NotFoundError, NotJSONError,
        PaymentRequiredError, PermissionDeniedError, PolicyError, PuqError, RateLimitError, RecordingError,
        RedirectError, SchemaMismatchError, ServerError, StreamError, UnprocessableEntityError,
    )
    from puq_magics.core.media_types import MediaType
    # fmt: on

# Imported when they are used, so that `%load_ext` does not import requests.
# fmt: off
_NAMES = {
    "puq_magics.api.chat": ("ChatStream",),
    "puq_magics.api.client": ("Router",),
    "puq_magics.api.images": ("GeneratedImage", "ImagesResponse",),
    "puq_magics.api.params": ("ChatParams", "ImageParams", "SpeechParams", "TranscriptionParams",),
    "puq_magics.api.request": ("Request", "Retry", "Timing", "Transport",),
    "puq_magics.api.response": ("Response",),
    "puq_magics.api.speech": ("Speech", "SpeechStream",),
    "puq_magics.api.transcription": ("Transcript", "TranscriptSegment", "TranscriptStream",),
    "puq_magics.api.types": ("ChatCompletion", "Delta", "Model", "ToolCall", "Usage",),
    "puq_magics.api.uploads": ("Upload",),
    "puq_magics.core.errors": (
        "APIConnectionError", "APIError", "APIStatusError", "APITimeoutError", "AuthenticationError",
        "BadRequestError", "BudgetError", "ConfigurationError", "EmptyFileError", "InputError", "InvalidAnswerError",
        "InvalidResponseError", "InvalidURLError", "JournalError", "MissingKeyError",
        "MissingVariableError", "NotFoundError", "NotJSONError", "PaymentRequiredError", "PermissionDeniedError",
        "PolicyError", "PuqError", "RateLimitError",
        "RecordingError", "RedirectError", "SchemaMismatchError", "ServerError", "StreamError",
        "UnprocessableEntityError",
    ),
    "puq_magics.core.media_types": ("MediaType",),
}
# fmt: on
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

# fmt: off
__all__ = [
    "APIConnectionError", "APIError", "APIStatusError", "APITimeoutError", "AuthenticationError",
    "BadRequestError", "BudgetError", "ChatCompletion", "ChatParams", "ChatStream", "ConfigurationError",
    "Delta", "EmptyFileError", "GeneratedImage", "ImageParams", "ImagesResponse", "InputError", "InvalidAnswerError",
    "InvalidResponseError", "InvalidURLError", "JournalError", "MediaType", "MissingKeyError", "MissingVariableError",
    "Model", "NotFoundError", "NotJSONError", "PaymentRequiredError", "PermissionDeniedError", "PolicyError",
    "PuqError", "RateLimitError", "RecordingError", "RedirectError", "Request", "Response", "Retry", "Router",
    "SchemaMismatchError", "ServerError", "Speech", "SpeechParams", "SpeechStream", "StreamError", "Timing",
    "ToolCall", "Transcript",
    "TranscriptSegment", "TranscriptStream", "TranscriptionParams", "Transport", "UnprocessableEntityError",
    "Upload", "Usage",
]
# fmt: on


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # a type checker reports names that do not exist

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)
