"""Client of the router: one method for each endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Unpack

from puq_magics.api.base_url import DEFAULT_BASE_URL, BaseURL
from puq_magics.api.chat import MAX_CHAT_BYTES, MODEL_TEXT, ChatStream, read_completion
from puq_magics.api.error_body import make_status_error
from puq_magics.api.params import (
    ChatParams,
    ImageParams,
    SpeechParams,
    TranscriptionParams,
    request_fields,
)
from puq_magics.api.request import Request, Retry, Timeouts, Timing, Transport, form_request, json_request
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
from puq_magics.core.secret import Secret, redact_json

if TYPE_CHECKING:
    from puq_magics.api.images import ImagesResponse
    from puq_magics.api.speech import Speech, SpeechStream
    from puq_magics.api.transcription import Transcript, TranscriptStream
    from puq_magics.api.uploads import OnProgress, Upload

_CONNECT_TIMEOUT, _LIST_TIMEOUT, _CHAT_TIMEOUT, _MEDIA_TIMEOUT = 10.0, 30.0, 120.0, 300.0  # seconds
_MAX_TRANSCRIPT_BYTES = 64 << 20  # bytes
_MAX_LIST_BYTES, _MAX_BALANCE_BYTES = 4 << 20, 1 << 20  # bytes
_USAGE_OPTION = ("stream_options", "include_usage")
OnRetry = Callable[[Retry], None]


class Router:
    """Client of a router's HTTP API.

    Methods that send a paid request take the usual parameters by name (see ``puq_magics.api.params``), and further
    ones in ``extra_body``; parameters that are None are not sent. Every method raises APIStatusError if the router
    rejects the request, APIConnectionError if it cannot be reached, InvalidResponseError for any other answer.
    ``on_retry`` is called with a Retry before each pause.

    >>> with Router(token, base_url=base_url) as router:
    ...     answer = router.chat("What is a cell?", model="sandbox/chat", temperature=0)
    >>> answer.finish_reason
    'stop'
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
        """Create a client; no request is sent.

        ``timeout`` is in seconds without a byte, to connect or during an answer; None means 10 to connect, 120 in a
        chat, 300 for media, 30 for lists. ``max_retries`` counts tries after the first; ``allow_http`` allows plain
        http to another machine; ``transport`` replaces the network. Raises ConfigurationError for invalid settings.
        """
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
        """The router's base URL."""
        return self._transport.address

    @property
    def auth_scheme(self) -> str:
        """The scheme before the key in the ``Authorization`` header."""
        return self._transport.auth_scheme

    @property
    def timeout(self) -> float | None:
        """Seconds without a byte before a request fails; None for the default of each kind of request."""
        return self._timeout

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def take_timing(self) -> Timing | None:
        """Return the recorded times of this thread's requests since the last call; None without a recording.

        >>> router.take_timing() is None
        True
        """
        return self._transport.take_timing()

    def with_max_retries(self, max_retries: int) -> Router:
        """Return a client of the same router with this number of retries, and connections of its own.

        >>> with router.with_max_retries(0) as impatient:
        ...     impatient.balance() == router.balance()
        True
        """
        return Router(transport=self._transport.with_max_retries(max_retries), timeout=self._timeout)

    def models(self, *, enabled_only: bool = True, on_retry: OnRetry | None = None) -> tuple[Model, ...]:
        """Return the models that the key can use, or with ``enabled_only=False`` all of them.

        >>> [model.code for model in router.models() if model.code.endswith("/echo")]
        ['sandbox/echo']
        """
        params = {"enabled": "1"} if enabled_only else {}
        request = Request("GET", "/v1/models", self._timeouts(_LIST_TIMEOUT), params=params)
        models = read_models(_read_list(self._send(request, on_retry)))
        return tuple(model for model in models if model.enabled or not enabled_only)

    def balance(self, *, on_retry: OnRetry | None = None) -> float:
        """Return the account's balance, in credits.

        >>> router.balance() > 0
        True
        """
        request = Request("GET", "/v1/credits/balance", self._timeouts(_LIST_TIMEOUT))
        return read_balance(read_json(self._send(request, on_retry), _MAX_BALANCE_BYTES))

    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        model: str,
        on_retry: OnRetry | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion:
        """Send a text or a list of messages, and return the complete answer.

        Raises InputError, before anything is sent, for what cannot be a message.

        >>> messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        >>> answer = router.chat(messages, model="sandbox/chat", max_completion_tokens=100)
        >>> answer.usage.completion_tokens <= 100
        True
        """
        request = self.chat_request(messages, model=model, **params)
        response = self._send(request, on_retry)
        with redact_errors(response):
            answer = redact_json(read_json(response, MAX_CHAT_BYTES), response.redact, MODEL_TEXT)
            return read_completion(answer, model, read_request_id(response))

    def stream_chat(
        self,
        messages: str | Sequence[Message],
        *,
        model: str,
        on_retry: OnRetry | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatStream:
        """Send a text or a list of messages, and return the answer as a stream; use it in a ``with``.

        Raises what ``chat`` raises; the stream raises StreamError if the answer is incomplete.

        >>> with router.stream_chat("Hello", model="sandbox/chat") as stream:
        ...     text = "".join(delta.text for delta in stream)
        >>> text == stream.completion.text
        True
        """
        response = self._send_with_usage(messages, model, on_retry, params)
        return ChatStream(response, model, read_request_id(response))

    def _send_with_usage(
        self, messages: str | Sequence[Message], model: str, on_retry: OnRetry | None, params: ChatParams
    ) -> Response:
        """Send a chat request that asks for the usage; if the router rejects that, stop asking for it."""
        request = self.chat_request(messages, model=model, stream=True, **params)
        try:
            return self._send(request, on_retry)
        except APIStatusError as error:
            fields = request_fields("chat", params)
            can_omit = self._include_usage and "stream_options" not in fields
            if not can_omit or not error.rejects_field(
                _USAGE_OPTION, ("model", "messages", "stream", *fields)
            ):
                raise
        request = self.chat_request(messages, model=model, stream=True, include_usage=False, **params)
        response = self._send(request, on_retry)
        self._include_usage = False
        return response

    def chat_request(
        self,
        messages: str | Sequence[Message],
        *,
        model: str,
        stream: bool = False,
        include_usage: bool = True,
        **params: Unpack[ChatParams],
    ) -> Request:
        """Return the request of ``chat``, or with ``stream`` that of ``stream_chat``. Raises InputError.

        >>> print(router.chat_request("Hello", model="sandbox/chat").body.decode())
        {"model": "sandbox/chat", "messages": [{"role": "user", "content": "Hello"}]}
        """
        payload: dict[str, Any] = {"model": self._validate_model(model), "messages": _messages(messages)}
        payload |= request_fields("chat", params)
        if stream:
            payload["stream"] = True
            if include_usage and self._include_usage:
                payload.setdefault("stream_options", {"include_usage": True})
        accept = "text/event-stream" if stream else "application/json"
        return json_request("/v1/chat/completions", payload, self._timeouts(_CHAT_TIMEOUT), accept=accept)

    def image(
        self,
        prompt: str,
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_partial: Callable[[ImagesResponse], None] | None = None,
        **params: Unpack[ImageParams],
    ) -> ImagesResponse:
        """Generate images and return them. Images that the router names by URL are downloaded, without the key.

        Raises InvalidResponseError for anything but PNG, JPEG or WebP; its ``partial`` holds the images received.
        ``on_partial`` is called with these before an error or an interrupt is raised.

        >>> image = router.image("A cat", model="sandbox/image", size="256x256").images[0]
        >>> image.type.format, image.width, image.height
        ('png', 256, 256)
        """
        request = self.image_request(prompt, model=model, **params)
        return self._receive_images(
            request, model, on_retry, on_partial, request_fields("image", params).get("n")
        )

    def edit_image(
        self,
        prompt: str,
        images: bytes | Sequence[bytes],
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_partial: Callable[[ImagesResponse], None] | None = None,
        **params: Unpack[ImageParams],
    ) -> ImagesResponse:
        """Generate images from images, the bytes of PNG, JPEG or WebP files, and return them as ``image`` does.

        Raises what ``image`` raises; a router without this endpoint answers with NotFoundError.

        >>> kite = router.image("A red kite", model="sandbox/image", size="256x256").images[0]
        >>> edited = router.edit_image("At night", kite.data, model="sandbox/image", size="128x128").images[0]
        >>> edited.width
        128
        """
        request = self.edit_image_request(prompt, images, model=model, **params)
        return self._receive_images(
            request, model, on_retry, on_partial, request_fields("image", params).get("n")
        )

    def edit_image_request(
        self, prompt: str, images: bytes | Sequence[bytes], *, model: str, **params: Unpack[ImageParams]
    ) -> Request:
        """Return the request of ``edit_image``. Raises InputError.

        >>> kite = router.image("A red kite", model="sandbox/image", size="64x64").images[0]
        >>> router.edit_image_request("At night", kite.data, model="sandbox/image").path
        '/v1/images/edits'
        """
        from puq_magics.api.uploads import MultipartForm, form_fields, image_uploads

        first, *others = image_uploads(images)
        fields = {
            "model": self._validate_model(model, "openai/gpt-image-1.5"),
            "prompt": _require_text(prompt, "the prompt"),
        }
        fields |= request_fields("image", params)
        name = "image[]" if others else "image"
        form = MultipartForm(form_fields(fields), first, file_field=name, more_files=tuple(others))
        return form_request(
            "/v1/images/edits", form, self._timeouts(_MEDIA_TIMEOUT), accept="application/json"
        )

    def _receive_images(
        self,
        request: Request,
        model: str,
        on_retry: OnRetry | None,
        on_partial: Callable[[ImagesResponse], None] | None,
        number: object,
    ) -> ImagesResponse:
        """Send a request for so many images, and read them."""
        # Media modules are imported when they are used.
        from puq_magics.api.image_download import ImageDownloader
        from puq_magics.api.images import MAX_IMAGES, read_images

        response = self._send(request, on_retry)
        base = self.address.endpoint(request.path)
        downloader = ImageDownloader(loopback=self.address.is_loopback, base=base)
        max_images = max(number, MAX_IMAGES) if isinstance(number, int) else MAX_IMAGES
        with (
            closing(response),
            redact_errors(response),
            self._transport.wrap_download(downloader) as download,
        ):
            return read_images(
                iter_body(response),
                model,
                read_request_id(response),
                download,
                on_partial,
                max_images=max_images,
                redact=response.redact,
            )

    def image_request(self, prompt: str, *, model: str, **params: Unpack[ImageParams]) -> Request:
        """Return the request of ``image``. Raises InputError.

        >>> router.image_request("A cat", model="sandbox/image", n=2).path
        '/v1/images/generations'
        """
        payload = {
            "model": self._validate_model(model, "openai/gpt-image-1.5"),
            "prompt": _require_text(prompt, "the prompt"),
        }
        return json_request(
            "/v1/images/generations",
            payload | request_fields("image", params),
            self._timeouts(_MEDIA_TIMEOUT),
            accept="application/json",
        )

    def speech(
        self, text: str, *, model: str, on_retry: OnRetry | None = None, **params: Unpack[SpeechParams]
    ) -> Speech:
        """Convert text to speech and return all of the audio.

        Raises InvalidResponseError if the answer is not audio; ``partial`` holds the bytes received.

        >>> speech = router.speech("Hello there.", model="sandbox/tts", voice="alloy", response_format="wav")
        >>> speech.type.mime
        'audio/wav'
        """
        from puq_magics.api.speech import read_speech

        return read_speech(self.stream_speech(text, model=model, on_retry=on_retry, **params))

    def stream_speech(
        self, text: str, *, model: str, on_retry: OnRetry | None = None, **params: Unpack[SpeechParams]
    ) -> SpeechStream:
        """Convert text to speech and return the audio as a stream; use it in a ``with``.

        >>> with router.stream_speech("Hello there.", model="sandbox/tts") as stream:
        ...     size = sum(len(data) for data in stream)
        >>> size > 1000
        True
        """
        from puq_magics.api.speech import SpeechStream

        response = self._send(self.speech_request(text, model=model, **params), on_retry)
        return SpeechStream(response, read_request_id(response))

    def speech_request(self, text: str, *, model: str, **params: Unpack[SpeechParams]) -> Request:
        """Return the request of ``speech`` and ``stream_speech``. Raises InputError.

        >>> router.speech_request("Hello", model="sandbox/tts", speed=1.5).path
        '/v1/audio/speech'
        """
        payload = {
            "model": self._validate_model(model, "openai/tts-1"),
            "input": _require_text(text, "the text to speak"),
        }
        fields = request_fields("speech", params)
        if fields.get("response_format") == "pcm":
            raise InputError("pcm is samples without a header, which no player plays.", hint="Use wav.")
        return json_request(
            "/v1/audio/speech",
            payload | fields,
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
        **params: Unpack[TranscriptionParams],
    ) -> Transcript:
        """Transcribe a recording and return its text.

        The file is read while it is sent; ``on_progress`` is called with the bytes sent and the bytes in all.

        >>> from puq_magics.api import Upload
        >>> speech = router.speech("Hello there.", model="sandbox/tts", response_format="wav")
        >>> router.transcribe(Upload.from_bytes(speech.data), model="sandbox/whisper", language="en").text
        'Hello there.'
        """
        from puq_magics.api.transcription import read_transcript

        request = self.transcription_request(upload, model=model, on_progress=on_progress, **params)
        response = self._send(request, on_retry)
        with closing(response), redact_errors(response):
            parts = iter_body(response, _MAX_TRANSCRIPT_BYTES)
            return read_transcript(parts, read_request_id(response), redact=response.redact)

    def stream_transcription(
        self,
        upload: Upload,
        *,
        model: str,
        on_retry: OnRetry | None = None,
        on_progress: OnProgress | None = None,
        **params: Unpack[TranscriptionParams],
    ) -> TranscriptStream:
        """Transcribe a recording and return its text as a stream; use it in a ``with``.

        If the router does not stream transcripts, the stream yields the whole text at once.

        >>> from puq_magics.api import Upload
        >>> speech = router.speech("Hello there.", model="sandbox/tts", response_format="wav")
        >>> with router.stream_transcription(Upload.from_bytes(speech.data), model="sandbox/whisper") as stream:
        ...     print("".join(stream))
        Hello there.
        """
        from puq_magics.api.transcription import TranscriptStream

        request = self.transcription_request(
            upload, model=model, on_progress=on_progress, stream=True, **params
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
        **params: Unpack[TranscriptionParams],
    ) -> Request:
        """Return the request of ``transcribe``, or with ``stream`` that of ``stream_transcription``.

        Raises InputError.
        """
        from puq_magics.api.uploads import MultipartForm, Upload, form_fields

        if not isinstance(upload, Upload):
            raise InputError("the recording is not an Upload.", hint="Create one with Upload.from_path(…).")
        fields = {"model": self._validate_model(model, "openai/whisper-1")}
        fields |= request_fields("transcription", params) | ({"stream": True} if stream else {})
        form = MultipartForm(form_fields(fields), upload, on_progress)
        accept = "text/event-stream, */*;q=0.5" if stream else "*/*"
        return form_request("/v1/audio/transcriptions", form, self._timeouts(_MEDIA_TIMEOUT), accept=accept)

    def _validate_model(self, name: str, example: str = "openai/gpt-4o-mini") -> str:
        """Return a model's name as it is sent. Raises InputError."""
        if not isinstance(name, str) or not name.strip():
            raise InputError("the model is missing.", hint=f"Name it provider/model, like {example}.")
        if self.address.is_puq_ai and "/" not in name:
            raise InputError(
                f"{name!r} is not a model name of {self.address.host}.",
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


def _read_list(response: Response) -> Any:
    return redact_json(read_json(response, _MAX_LIST_BYTES), response.redact)


def _is_valid_timeout(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _messages(messages: object) -> list[Any]:
    """Return the messages of a text or a conversation. Raises InputError."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    listed = (
        list(messages)
        if isinstance(messages, Sequence) and not isinstance(messages, bytes | bytearray)
        else []
    )
    if not listed or not all(isinstance(message, Mapping) for message in listed):
        raise InputError(
            "the messages are neither text nor a list of messages.",
            hint='A message is like {"role": "user", "content": "Hello"}.',
        )
    return listed


def _require_text(text: object, what: str) -> str:
    """Return a text that is not empty. Raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"{what} is not a string.", hint="Give it as str.")
    if not text.strip():
        raise InputError(f"{what} is empty.", hint="Write some text.")
    return text
