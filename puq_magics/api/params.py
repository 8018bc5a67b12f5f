"""Parameters of the endpoints: the usual ones by name and type, and the fields that no further parameter may set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

#: Fields of each endpoint's request that have an argument or a method of their own.
RESERVED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "chat": ("model", "messages"),
    "image": ("model", "prompt"),
    "speech": ("model", "input"),
    "transcription": ("model", "file"),
}


class ExtraParams(TypedDict, total=False):
    """Parameters of every paid request; those that are None are not sent."""

    #: Further fields of the request, by name.
    extra_body: Mapping[str, Any] | None


class ChatParams(ExtraParams, total=False):
    """Parameters of a chat request."""

    #: Sampling temperature, from 0 (most deterministic) to 2.
    temperature: float | None
    #: Nucleus sampling, from 0 to 1.
    top_p: float | None
    #: Limit of the answer, reasoning included, in tokens.
    max_completion_tokens: int | None
    #: The same for older servers.
    max_tokens: int | None
    #: Such as ``{"type": "json_object"}``.
    response_format: Mapping[str, Any] | None
    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    #: Seed for reproducible sampling, where the model supports it.
    seed: int | None
    #: Texts at which the answer ends.
    stop: str | Sequence[str] | None
    #: Number of answers.
    n: int | None
    #: From -2 to 2.
    frequency_penalty: float | None
    #: From -2 to 2.
    presence_penalty: float | None
    #: Such as ``low``, for reasoning models.
    reasoning_effort: str | None
    #: Options of a stream; by default the router is asked for the usage.
    stream_options: Mapping[str, Any] | None
    #: Identifies the end user to the router.
    user: str | None


class ImageParams(ExtraParams, total=False):
    """Parameters of an image request."""

    #: Width and height in pixels, such as ``1024x1024``.
    size: str | None
    #: Number of images.
    n: int | None
    quality: str | None
    style: str | None
    background: str | None
    #: ``b64_json`` or ``url``.
    response_format: str | None
    #: ``png``, ``jpeg`` or ``webp``.
    output_format: str | None
    user: str | None


class SpeechParams(ExtraParams, total=False):
    """Parameters of a speech request."""

    voice: str | None
    #: ``mp3``, ``wav``, ``opus``, ``flac`` or ``aac``.
    response_format: str | None
    #: 1 is the normal speed.
    speed: float | None
    #: How to speak, where the model supports it.
    instructions: str | None


class TranscriptionParams(ExtraParams, total=False):
    """Parameters of a transcription request."""

    #: ISO 639-1 code of the spoken language, such as ``en``.
    language: str | None
    #: Text that guides the style and the spelling of names.
    prompt: str | None
    #: Sampling temperature, from 0 to 1.
    temperature: float | None
    #: ``json``, ``verbose_json``, ``text``, ``srt`` or ``vtt``.
    response_format: str | None
    #: ``word``, ``segment`` or both.
    timestamp_granularities: Sequence[str] | None


_TYPED_PARAMS: Mapping[str, Collection[str]] = {
    "chat": ChatParams.__annotations__,
    "image": ImageParams.__annotations__,
    "speech": SpeechParams.__annotations__,
    "transcription": TranscriptionParams.__annotations__,
}


def request_fields(endpoint: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields to send of a method's keyword arguments; None is not sent, nor ``stream``.

    Raises TypeError for an unknown argument, InputError for a reserved name in ``extra_body``.
    """
    known = _TYPED_PARAMS[endpoint]
    for name in params:
        if name not in known:
            hint = did_you_mean(name, known) or "Further fields of the request go into extra_body."
            raise TypeError(f"unexpected keyword argument {name!r} of a request ({endpoint}). {hint}")
    extra_body = params.get("extra_body") or {}
    for name in RESERVED_FIELDS[endpoint]:
        if name in extra_body:
            raise InputError(f"{name} is a reserved parameter.", hint=f"Use the method's {name} argument.")
    fields = {name: value for name, value in params.items() if name != "extra_body"} | dict(extra_body)
    return {name: value for name, value in fields.items() if value is not None and name != "stream"}


def token_limit(params: Mapping[str, Any]) -> int | None:
    """Return the limit on an answer's tokens in the fields of a chat request, the higher of two; None for none."""
    limits = [params.get("max_completion_tokens"), params.get("max_tokens")]
    return max((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)
