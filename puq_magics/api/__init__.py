"""The router's HTTP API as plain Python; knows nothing of IPython.

>>> from puq_magics.api import Router
>>> with Router(api_key=…) as router, router.stream_chat("Hello", model="openai/gpt-4o-mini") as stream:
...     for delta in stream:
...         print(delta.text, end="")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream
    from puq_magics.api.client import Router
    from puq_magics.api.images import GeneratedImage, ImagesResponse
    from puq_magics.api.request import Transport
    from puq_magics.api.response import Response
    from puq_magics.api.speech import Speech, SpeechStream
    from puq_magics.api.transcription import Transcript, TranscriptSegment, TranscriptStream
    from puq_magics.api.types import ChatCompletion, Delta, Model, Usage
    from puq_magics.api.uploads import Upload
    from puq_magics.core.errors import APIError, PuqError
    from puq_magics.core.media_types import MediaType

_MODULES = {
    "APIError": "puq_magics.core.errors",
    "ChatCompletion": "puq_magics.api.types",
    "ChatStream": "puq_magics.api.chat",
    "Delta": "puq_magics.api.types",
    "GeneratedImage": "puq_magics.api.images",
    "ImagesResponse": "puq_magics.api.images",
    "MediaType": "puq_magics.core.media_types",
    "Model": "puq_magics.api.types",
    "PuqError": "puq_magics.core.errors",
    "Response": "puq_magics.api.response",
    "Router": "puq_magics.api.client",
    "Speech": "puq_magics.api.speech",
    "SpeechStream": "puq_magics.api.speech",
    "Transcript": "puq_magics.api.transcription",
    "TranscriptSegment": "puq_magics.api.transcription",
    "TranscriptStream": "puq_magics.api.transcription",
    "Transport": "puq_magics.api.request",
    "Upload": "puq_magics.api.uploads",
    "Usage": "puq_magics.api.types",
}

__all__ = [
    "APIError",
    "ChatCompletion",
    "ChatStream",
    "Delta",
    "GeneratedImage",
    "ImagesResponse",
    "MediaType",
    "Model",
    "PuqError",
    "Response",
    "Router",
    "Speech",
    "SpeechStream",
    "Transcript",
    "TranscriptSegment",
    "TranscriptStream",
    "Transport",
    "Upload",
    "Usage",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that `%load_ext` does not wait for requests.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
