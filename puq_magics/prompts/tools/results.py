"""Results of functions as text for the model."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.secret import redact_secrets
from puq_magics.prompts.values import ValueRenderer


def result_to_text(value: Any, limit: int) -> str:
    """Return a value as text, as JSON, or as a table, of at most about ``limit`` characters, without API keys.

    Raises InputError for a value without a useful text.
    """
    renderer = ValueRenderer(limit)
    if value is None or isinstance(value, bool | dict | list | tuple | set) or _has_fields(value):
        text = renderer.json(value)
    else:
        text = renderer.render(value)
    return redact_secrets(text)


def error_to_text(error: BaseException, limit: int) -> str:
    """Return the message of an exception, without its traceback, and without API keys."""
    name, message = type(error).__name__, str(error)[: limit + 1]
    text = f"{name}: {message}" if message.strip() else name
    return redact_secrets(text if len(text) <= limit else f"{text[:limit]}…")


def unsendable_text(value: Any, error: InputError) -> str:
    """Return what to say of a result that has no text."""
    return f"The function returned {type(value).__name__}, which cannot be sent: {error.message}"


def _has_fields(value: Any) -> bool:
    if callable(getattr(type(value), "_puq_text_", None)):  # a result of ours
        return False
    return not isinstance(value, type) and (
        is_dataclass(value) or callable(getattr(value, "model_dump", None))
    )
