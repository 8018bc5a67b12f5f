"""The router: one method for each endpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL
from puq_magics.api.chat import ChatStream, read_completion
from puq_magics.api.error_body import make_status_error
from puq_magics.api.request import Request, Retry, Timeouts, Transport, form_request, json_request
from puq_magics.api.response import (
    Response,
    iter_body,
    parse_retry_after,
    read_error_body,
    read_json,
    read_request_id,
    redact_errors,
)
from puq_magics.api.transport import RequestsTransport
from puq_magics.api.types import ChatCompletion, Message, Model, read_balance, read_models
from puq_magics.core.errors import APIStatusError, ConfigurationError, InputError
from puq_magics.core.secret import Secret

if TYPE_CHECKING:
    from puq_magics.api.images import ImagesResponse
    from puq_magics.api.speech import Speech, SpeechStream
    from puq_magics.api.transcription import Transcript, TranscriptStream
    from puq_magics.api.uploads import OnProgress, Upload

_CONNECT_TIMEOUT, _LIST_TIMEOUT, _CHAT_TIMEOUT, _MEDIA_TIMEOUT = 10.0, 30.0, 120.0, 300.0  # seconds
_MAX_TRANSCRIPT_BYTES = 64 << 20  # bytes
_USAGE_OPTION = ("stream_options", "include_usage")
OnRetry = Callable[[Retry], None]


class Router:
    """A router's HTTP API.

    ``timeout`` is in seconds without a byte, to connect or in mid-answer; None means 10 to connect, 120 in a chat,
    300 for media, 30 for lists. ``transport`` takes the place of the network.

    >>> router = Router(api_key=…)
    >>> router.chat("What is a cell?", model="openai/gpt-4o-mini").text
    """

    def __init__(
        self,
        api_key: str | Secret | None = None,
        base_url: str = DEFAULT_BASE_URL,
        auth_scheme: str = "Token",
        *,
        timeout: float | None = None,
        max_retries: int = 2,
        allow_http: bool = False,
        transport: Transport | None = None,
    ) -> None:
        try:
            key = Secret(api_key) if isinstance(api_key, str) else api_key
        finally:
            del api_key  # tracebacks can show locals
        if not isinstance(key, Secret | None):
            del key
            raise ConfigurationError("the API key is not a string.", hint="Copy it from the dashboard.")
        if timeout is not None and not _is_valid_timeout(timeout):
            raise ConfigurationError(
                f"the timeout is {timeout!r}.", hint="Give a number of seconds above 0, or None."
            )
        if transport is None:
            address = BaseURL.parse(base_url, allow_http=allow_http)
            transport = RequestsTransport(address, key, auth_scheme=auth_scheme, max_retries=max_retries)
        self._transport = transport
        self._timeout = timeout
        self._include_usage = True

    def __repr__(self) -> str:
        return f"Router({self.address.url!r})"

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> BaseURL:
        """Where the router is."""
        return self._transport.address

    @property
    def auth_scheme(self) -> str:
        """The word before the key."""
        return self._transport.auth_scheme

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def models(self, *, enabled_only: bool = True, on_retry: OnRetry | None = None) -> tuple[Model, ...]:
        """The models: with a puq.ai router, enabled ones only unless asked otherwise."""
        params = {"enabled": "1"} if enabled_only else {}
        request = Request("GET", "/v1/models", self._timeouts(_LIST_TIMEOUT), params=params)
        models = read_models(read_json(self._send(request, on_retry)))
        return tuple(model for model in models if model.enabled or not enabled_only)

    def balance(self, *, on_retry: OnRetry | None = None) -> float:
        """What is left on the account, in credits."""
        request = Request("GET", "/v1/credits/balance", self._timeouts(_LIST_TIMEOUT))
        return read_balance(read_json(self._send(request, on_retry)))

    def chat(
        self, messages: str | Sequence[Message], *, model: str, on_retry: OnRetry | None = None, **params: Any
    ) -> ChatCompletion:
        """Ask, and wait for the whole answer. ``params`` are further fields of the request; None is not sent."""
        request = self.chat_request(messages, model=model, **(params | {"stream": None}))
        response = self._send(request, on_retry)
        with redact_errors(response):
            return read_completion(read_json(response), model, read_request_id(response))

    def stream_chat(
        self, messages: str | Sequence[Message], *, model: str, on_retry: OnRetry | None = None, **params: Any
    ) -> ChatStream:
        """Ask, and read the answer as it comes; close the stream, or use it in a ``with``."""
        params["stream"] = True
        response = self._send_with_usage(messages, model, on_retry, params)
        return ChatStream(response, model, read_request_id(response))

    def _send_with_usage(
        self, messages: str | Sequence[Message], model: str, on_retry: OnRetry | None, params: dict[str, Any]
    ) -> Response:
        """Ask for the usage, too; where that is refused go without, now and from then on."""
        request = self.chat_request(messages, model=model, **params)
        try:
            return self._send(request, on_retry)
        except APIStatusError as error:
            can_omit = self._include_usage and "stream_options" not in params
            if not can_omit or not error.rejects_field(_USAGE_OPTION, ("model", "messages", *params)):
                raise
        request = self.chat_request(messages, model=model, include_usage=False, **params)
        response = self._send(request, on_retry)
        self._include_usage = False
        return response

    def chat_request(
        self, messages: str | Sequence[Message], *, model: str, include_usage: bool = True, **params: Any
    ) -> Request:
        """The request that ``chat`` and (with ``stream=True``) ``stream_chat`` send. Raises InputError."""
        payload: dict[str, Any] = {"model": self._validate_model(model), "messages": _messages(messages)}
        payload |= {name: value for name, value in params.items() if value is not None}
        if payload.get("stream") and include_usage and self._include_usage:
            payload.setdefault("stream_options", {"include_usage": True})
        accept = "text/event-stream" if payload.get("stream") else "application/json"
        return json_request("/v1/chat/completions", payload, self._timeouts(_CHAT_TIMEOUT), accept=accept)

    def image(
        self,
        prompt: str,
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_partial: Callable[[ImagesResponse], None] | None = None,
        **params: Any,
    ) -> ImagesResponse:
        """Have images made. ``params`` are further fields of the request, such as ``size`` and ``n``.

        Images that the router names by an address are fetched from there, without the key. Raises
        InvalidResponseError for
        what is not PNG, JPEG or WebP; its ``partial`` are the Images that came. ``keep`` is told these, too, before
        any error or interrupt leaves, so that a KeyboardInterrupt loses nothing that was paid for.
        """
        from puq_magics.api.image_download import (
            ImageDownloader,  # media are imported when they are asked for
        )
        from puq_magics.api.images import MAX_IMAGES, read_images

        response = self._send(self.image_request(prompt, model=model, **params), on_retry)
        download = ImageDownloader(loopback=self.address.is_loopback)
        asked = params.get("n")
        max_images = max(asked, MAX_IMAGES) if isinstance(asked, int) else MAX_IMAGES
        with closing(response), redact_errors(response):
            return read_images(
                iter_body(response),
                model,
                read_request_id(response),
                download,
                on_partial,
                max_images=max_images,
            )

    def image_request(self, prompt: str, *, model: str, **params: Any) -> Request:
        """The request that ``image`` sends. Raises InputError."""
        payload = {
            "model": self._validate_model(model, "openai/gpt-image-1.5"),
            "prompt": _require_text(prompt, "the prompt"),
        }
        return json_request(
            "/v1/images/generations",
            payload | _extra_params(params, payload),
            self._timeouts(_MEDIA_TIMEOUT),
            accept="application/json",
        )

    def speech(self, text: str, *, model: str, on_retry: OnRetry | None = None, **params: Any) -> Speech:
        """Have a text spoken, and wait for all of it. Raises what a SpeechStream raises."""
        from puq_magics.api.speech import read_speech

        return read_speech(self.stream_speech(text, model=model, on_retry=on_retry, **params))

    def stream_speech(
        self, text: str, *, model: str, on_retry: OnRetry | None = None, **params: Any
    ) -> SpeechStream:
        """Have a text spoken, and read the audio as it comes; close the stream, or use it in a ``with``.

        ``params`` are further fields of the request, such as ``voice``, ``response_format`` and ``speed``.
        """
        from puq_magics.api.speech import SpeechStream

        response = self._send(self.speech_request(text, model=model, **params), on_retry)
        return SpeechStream(response, read_request_id(response))

    def speech_request(self, text: str, *, model: str, **params: Any) -> Request:
        """The request that ``speech`` and ``stream_speech`` send. Raises InputError."""
        payload = {
            "model": self._validate_model(model, "openai/tts-1"),
            "input": _require_text(text, "the text to speak"),
        }
        if params.get("response_format") == "pcm":
            raise InputError("pcm is samples without a header, which nothing plays.", hint="Ask for wav.")
        return json_request(
            "/v1/audio/speech",
            payload | _extra_params(params, payload),
            self._timeouts(_MEDIA_TIMEOUT),
            accept="audio/*, */*;q=0.5",
        )

    def transcribe(
        self,
        upload: Upload,
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_progress: OnProgress | None = None,
        **params: Any,
    ) -> Transcript:
        """Have a recording written down. ``params`` are further fields, such as ``language`` and ``response_format``.

        The file is read as it is sent; ``on_progress`` is told the bytes sent and the bytes in all, on this thread.
        """
        from puq_magics.api.transcription import read_transcript

        request = self.transcription_request(
            upload, model=model, on_progress=on_progress, **(params | {"stream": False})
        )
        response = self._send(request, on_retry)
        with closing(response), redact_errors(response):
            return read_transcript(iter_body(response, _MAX_TRANSCRIPT_BYTES), read_request_id(response))

    def stream_transcription(
        self,
        upload: Upload,
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_progress: OnProgress | None = None,
        **params: Any,
    ) -> TranscriptStream:
        """Have a recording written down, and read the words as they come; close the stream, or use it in a ``with``.

        A router that does not stream transcripts answers as a whole, which the stream reads too.
        """
        from puq_magics.api.transcription import TranscriptStream

        request = self.transcription_request(
            upload, model=model, on_progress=on_progress, **(params | {"stream": True})
        )
        response = self._send(request, on_retry)
        return TranscriptStream(response, read_request_id(response))

    def transcription_request(
        self,
        upload: Upload,
        *,
        model: str,
        on_progress: OnProgress | None = None,
        stream: bool = False,
        **params: Any,
    ) -> Request:
        """The request that ``transcribe`` and (with ``stream``) ``stream_transcription`` send. Raises InputError."""
        from puq_magics.api.uploads import MultipartForm, Upload, form_fields

        if not isinstance(upload, Upload):
            raise InputError("a recording is sent as an Upload.", hint="Make one by Upload.from_path(…).")
        fields = {"model": self._validate_model(model, "openai/whisper-1")} | _extra_params(params, ("file",))
        form = MultipartForm(form_fields(fields | ({"stream": True} if stream else {})), upload, on_progress)
        accept = "text/event-stream, */*;q=0.5" if stream else "*/*"
        return form_request("/v1/audio/transcriptions", form, self._timeouts(_MEDIA_TIMEOUT), accept=accept)

    def _validate_model(self, name: str, example: str = "openai/gpt-4o-mini") -> str:
        """A model's name, as it is sent."""
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                "the name of a model is missing.", hint=f"Name it provider/model, like {example}."
            )
        if self.address.is_puq_ai and "/" not in name:
            raise InputError(
                f"{name!r} is not the name of a model of {self.address.host}.",
                hint=f"Name it provider/model, like {example}.",
            )
        return name

    def _timeouts(self, read: float) -> Timeouts:
        return Timeouts(self._timeout or _CONNECT_TIMEOUT, self._timeout or read)

    def _send(self, request: Request, on_retry: OnRetry | None = None) -> Response:
        response = self._transport.send(request, on_retry)
        if response.status < 400:
            return response
        raise make_status_error(
            response.status,
            read_error_body(response),
            request_id=read_request_id(response),
            retry_after=parse_retry_after(response.headers),
            sent_file=request.has_file,
        )


def _is_valid_timeout(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _messages(messages: object) -> list[Any]:
    """What was typed, or a conversation."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    listed = (
        list(messages)
        if isinstance(messages, Sequence) and not isinstance(messages, bytes | bytearray)
        else []
    )
    if not listed or not all(isinstance(message, Mapping) for message in listed):
        raise InputError(
            "the messages are neither words nor a list of messages.",
            hint='A message is like {"role": "user", "content": "Hello"}.',
        )
    return listed


def _require_text(text: object, what: str) -> str:
    """A text that is one, and not empty."""
    if not isinstance(text, str):
        raise InputError(f"{what} is not a string.", hint="Give it as str.")
    if not text.strip():
        raise InputError(f"{what} is empty.", hint="Write some words.")
    return text


def _extra_params(params: Mapping[str, Any], reserved: Collection[str]) -> dict[str, Any]:
    """The parameters that are sent: None is not, nor ``stream``, which the methods decide.

    Raises InputError for one that has an argument of its own.
    """
    for name in reserved:
        if name in params:
            raise InputError(
                f"{name} is not a further field.", hint="There is an argument of its own for it."
            )
    return {name: value for name, value in params.items() if value is not None and name != "stream"}
