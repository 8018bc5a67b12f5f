"""IPython magics for puq.ai's AI router: ``%load_ext puq_magics``, then ``%%puq_chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # fmt: off
    from IPython.core.interactiveshell import InteractiveShell  # noqa: I001 - names in rows

    from puq_magics.api import (
        APIConnectionError, APIError, APIStatusError, APITimeoutError, AuthenticationError, BadRequestError,
        BudgetError, ConfigurationError, EmptyFileError, InputError, InvalidAnswerError, InvalidResponseError,
        InvalidURLError, JournalError, MissingKeyError, MissingVariableError, NotFoundError, NotJSONError,
        PaymentRequiredError, PermissionDeniedError, PolicyError, PuqError, RateLimitError, RecordingError,
        RedirectError, Router, SchemaMismatchError, ServerError, StreamError, UnprocessableEntityError, Upload,
    )
    from puq_magics.core.version import __version__
    from puq_magics.outputs.results import ChatResult, ImageResult, SpeechResult, TranscriptResult
    from puq_magics.prompts.conversation.conversation import Conversation
    # fmt: on

# Imported when they are used, so that `%load_ext` is quick; all others are api's.
_MODULES = {
    "ChatResult": "puq_magics.outputs.results",
    "Conversation": "puq_magics.prompts.conversation.conversation",
    "ImageResult": "puq_magics.outputs.results",
    "SpeechResult": "puq_magics.outputs.results",
    "TranscriptResult": "puq_magics.outputs.results",
    "__version__": "puq_magics.core.version",
}

# fmt: off
__all__ = [
    "APIConnectionError", "APIError", "APIStatusError", "APITimeoutError", "AuthenticationError",
    "BadRequestError", "BudgetError", "ChatResult", "ConfigurationError", "Conversation",
    "EmptyFileError", "ImageResult", "InputError", "InvalidAnswerError", "InvalidResponseError",
    "InvalidURLError", "JournalError", "MissingKeyError",
    "MissingVariableError", "NotFoundError", "NotJSONError", "PaymentRequiredError", "PermissionDeniedError",
    "PolicyError", "PuqError", "RateLimitError", "RecordingError", "RedirectError", "Router",
    "SchemaMismatchError", "ServerError", "SpeechResult", "StreamError", "TranscriptResult",
    "UnprocessableEntityError", "Upload", "__version__", "load_ipython_extension", "unload_ipython_extension",
]
# fmt: on


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics."""
    from puq_magics.magics.extension import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove the magics."""
    from puq_magics.magics.extension import unload

    unload(ipython)


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # a type checker reports names that do not exist

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES.get(name, "puq_magics.api")), name)
