"""Generated images: as base64 in the answer, or at a URL elsewhere."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from puq_magics.api.base64_json import DecodedField, StreamingBase64Decoder
from puq_magics.api.error_body import not_json_error, raise_for_error_object
from puq_magics.api.types import Usage, join_surrogates, read_usage
from puq_magics.core.errors import APIError, InvalidResponseError
from puq_magics.core.media_types import (
    MediaType,
    describe_non_media,
    detect_image_type,
    image_dimensions,
    is_complete_image,
)
from puq_magics.core.secret import redact_json

_PARTIAL_HINT = "The part received is in the error's .partial."
#: Members of an image: base64, then addresses and ``data:`` URLs.
_FIELDS = ("b64_json", "url", "image_url")
_MAX_NESTING = 8
#: Images of one answer, if no more were requested.
MAX_IMAGES = 16
_IMAGE_PREFIXES = (b"\x89", b"\xff", b"R")  # how PNG, JPEG and WebP begin, and no JSON
_ADDRESS = re.compile(r'"url"\s*:\s*("https?:(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image: PNG, JPEG or WebP, by its bytes."""

    data: bytes = field(repr=False)
    type: MediaType
    #: Pixels; 0 if the image's header does not say.
    width: int
    height: int
    #: The prompt as the model changed it; empty if it does not say.
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class ImagesResponse:
    """The images of an answer, in its order."""

    images: tuple[GeneratedImage, ...]
    model: str
    usage: Usage | None = None
    #: The router's id for the request, to quote to its support.
    request_id: str | None = None
    #: The router's JSON, with sizes in place of base64.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: A sentence on images that were left out; may be empty.
    note: str = ""
    #: Of an error's ``partial``: bytes that are not a complete image.
    rejected: tuple[bytes, ...] = field(default=(), repr=False)


def read_images(
    parts: Iterable[bytes],
    model: str,
    request_id: str | None,
    download: Callable[[str], bytes],
    on_partial: Callable[[ImagesResponse], None] | None = None,
    *,
    max_images: int = MAX_IMAGES,
    redact: Callable[[str], str] = str,
) -> ImagesResponse:
    """Read the images of an answer, ``max_images`` at most; those with a URL are downloaded.

    Raises InvalidResponseError for an answer without images, or with one that is incomplete or not PNG, JPEG or WebP;
    APIConnectionError for a cut connection. ``partial`` holds the images received; ``on_partial`` is called with it
    before any error or interrupt is raised. URLs that were not downloaded are in its ``raw``.
    """
    reader = _ImagesReader(model, request_id, max_images, redact)
    try:
        reader.read_body(parts)
        reader.add_images(download)
    except BaseException as error:
        reader.keep_partial()
        images = reader.images
        if images.images or images.rejected or images.raw:
            if isinstance(error, APIError):
                error.partial = images
            if on_partial is not None:
                on_partial(images)
        raise
    return reader.images


class _ImagesReader:
    """Reads one answer."""

    def __init__(
        self, model: str, request_id: str | None, max_images: int, redact: Callable[[str], str]
    ) -> None:
        self._redact = redact
        self._model = model
        self._request_id = request_id
        self._max_images = max_images
        self._decoder = StreamingBase64Decoder(_FIELDS[:1], _FIELDS[1:])
        self._body = bytearray()  # an answer that is itself an image
        self._raw: dict[str, Any] = {}
        self._entries: list[dict[str, Any]] = []
        self._accepted: dict[int, GeneratedImage] = {}
        self._rejected: dict[int, list[bytes]] = {}
        self._failures: dict[int, APIError] = {}

    @property
    def images(self) -> ImagesResponse:
        model = self._raw.get("model")
        return ImagesResponse(
            images=tuple(image for _, image in sorted(self._accepted.items())),
            model=model if isinstance(model, str) and model else self._model,
            usage=read_usage(self._raw.get("usage")),
            request_id=self._request_id,
            raw=self._raw,
            note=self._note(),
            rejected=tuple(data for _, several in sorted(self._rejected.items()) for data in several),
        )

    def _note(self) -> str:
        left_out = len(self._entries) - self._max_images
        if left_out <= 0:
            return ""
        count = (
            "1 further image of the answer was"
            if left_out == 1
            else f"{left_out:,} further images of the answer were"
        )
        return f"{count} left out; see raw and rejected."

    def read_body(self, parts: Iterable[bytes]) -> None:
        """Read the body. Raises InvalidResponseError if there are no images under ``data``."""
        is_json: bool | None = None
        for part in parts:
            if is_json is None and part:
                is_json = not part.startswith(_IMAGE_PREFIXES)
            if is_json is False:
                self._body += part
            else:
                self._decoder.feed(part)
        if detect_image_type(bytes(self._body[:12])) is None:
            body, self._body = bytes(self._body), bytearray()
            self._decoder.feed(body)
            self._entries = self._parse_entries()

    def add_images(self, download: Callable[[str], bytes]) -> None:
        """Read the images in the answer, then download the others. Raises the first error."""
        self._add_inline_images()
        for number, entry in enumerate(self._entries[: self._max_images]):
            if number not in self._accepted and number not in self._rejected and number not in self._failures:
                try:
                    self._add_image(number, _read_or_download(entry, download), _revised(entry))
                except APIError as error:
                    self._failures[number] = error
        if self._failures:
            raise self._failures[min(self._failures)]

    def keep_partial(self) -> None:
        """Keep what was received, wherever reading ended."""
        if not self._entries and not self._body:
            for number, decoded in enumerate(self._decoder.found):
                self._add_image(number, decoded)
            if found := _find_urls(self._decoder.json_text):
                self._raw = {"data": [{"url": address} for address in found]}
        self._add_inline_images()

    def _parse_entries(self) -> list[dict[str, Any]]:
        """Return the entries under ``data``. Raises InvalidResponseError if there are none."""
        decoder = self._decoder
        try:
            answer = redact_json(decoder.end(), self._redact)
        except (ValueError, RecursionError):
            if decoder.found or _find_urls(decoder.json_text):
                raise InvalidResponseError(
                    "the answer is incomplete.", hint="Try again.", python_hint=_PARTIAL_HINT
                ) from None
            raise _not_json_error(decoder.json_text) from None
        raise_for_error_object(answer)
        if not isinstance(answer, dict):
            raise InvalidResponseError("the answer is not a JSON object.", hint="Check the base URL.")
        data = answer.get("data")
        entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
        entries = entries or list(self._find_entries(answer))
        if not entries:
            raise InvalidResponseError(
                "the answer holds no images.", hint="Check the model: not all make images."
            )
        self._raw = answer
        return entries

    def _find_entries(self, value: object, name: str = "", depth: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the objects in an answer of another shape, such as a chat's, that hold or name an image."""
        if isinstance(value, dict):
            texts = [text for field in _FIELDS if isinstance(text := value.get(field), str)]
            is_image = "image" in name or "image_url" in value
            if any(self._decoder.decoded(text) or (is_image and text.startswith("http")) for text in texts):
                yield value
                return
        if isinstance(value, dict | list) and depth < _MAX_NESTING:
            for key, each in value.items() if isinstance(value, dict) else ((name, each) for each in value):
                yield from self._find_entries(each, key, depth + 1)

    def _add_inline_images(self) -> None:
        """Read the images in the answer; a second call does nothing."""
        if self._body and 0 not in self._accepted and 0 not in self._rejected:
            self._add_image(0, DecodedField(bytes(self._body), complete=True))
        for number, entry in enumerate(self._entries):
            for name in _FIELDS:
                decoded = self._decoder.decoded(entry.get(name))
                if decoded is None:
                    continue
                if number >= self._max_images:
                    self._rejected[number] = [decoded.data]
                elif number not in self._accepted and number not in self._rejected:
                    self._add_image(number, decoded, _revised(entry))
                entry[name] = f"({len(decoded.data):,} bytes)"

    def _add_image(self, number: int, decoded: DecodedField, revised_prompt: str = "") -> None:
        """Keep an image, or the bytes of a rejected one."""
        data = decoded.data
        kind = detect_image_type(data)
        if kind is not None and decoded.complete and is_complete_image(data):
            self._accepted[number] = GeneratedImage(
                data, kind, *(image_dimensions(data) or (0, 0)), revised_prompt
            )
            return
        self._failures[number] = _not_image_error(decoded, kind)
        if decoded.invalid_text and kind is None:  # text, for example
            data = b64encode(data) + decoded.invalid_text
        self._rejected[number] = [kept for kept in (data, decoded.invalid_text if kind else b"") if kept]


def _revised(entry: Mapping[str, Any]) -> str:
    revised = entry.get("revised_prompt")
    return join_surrogates([revised]) if isinstance(revised, str) else ""


def _find_urls(json_text: bytes) -> list[str]:
    """Return the images' URLs in an incomplete answer."""
    text = json_text.decode("utf-8", "replace").partition('"data"')[2]
    found = []
    for quoted in _ADDRESS.findall(text):
        with suppress(ValueError):
            found.append(json.loads(quoted))
    return found


def _not_json_error(body: bytes) -> InvalidResponseError:
    """Return the error for an answer that is not JSON; binary content is kept and not quoted."""
    if not body or describe_non_media(body):
        return not_json_error(body)
    error = InvalidResponseError(
        "the answer is neither JSON nor an image.", hint="Check the base URL.", python_hint=_PARTIAL_HINT
    )
    error.partial = body
    return error


def _read_or_download(entry: Mapping[str, Any], download: Callable[[str], bytes]) -> DecodedField:
    address = next((entry[n] for n in reversed(_FIELDS) if isinstance(entry.get(n), str) and entry[n]), "")
    if not address:
        raise InvalidResponseError("an image of the answer has neither data nor a URL.", hint="Try again.")
    if address[:5].lower() == "data:":  # percent-encoded: base64 has been decoded
        return DecodedField(unquote_to_bytes(address.partition(",")[2]), complete=True)
    return DecodedField(download(address), complete=True)


def _not_image_error(decoded: DecodedField, kind: MediaType | None) -> InvalidResponseError:
    data = decoded.data
    if not data or (kind is None and not decoded.complete):
        python_hint = _PARTIAL_HINT if data or decoded.invalid_text else ""
        return InvalidResponseError(
            "an image of the answer is empty, or not base64.", hint="Try again.", python_hint=python_hint
        )
    if kind is not None:
        return InvalidResponseError(
            f"an image of the answer is cut: {len(data):,} bytes were received.",
            hint="Try again.",
            python_hint=_PARTIAL_HINT,
        )
    found = describe_non_media(data)
    return InvalidResponseError(
        f"the answer holds {found or 'something else'} where an image should be.",
        hint="Only PNG, JPEG and WebP are accepted.",
        python_hint=_PARTIAL_HINT,
    )
