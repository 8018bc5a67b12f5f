"""Images that a model made: as base64 in the answer, or at an address elsewhere."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from puq_magics.api.base64_json import JSONLifter, Lifted
from puq_magics.api.chat import not_json
from puq_magics.api.types import Usage, joined_surrogates, read_usage
from puq_magics.core.errors import AnswerError, APIError, error_object, with_words
from puq_magics.core.media_types import MediaType, image_size, image_type, is_whole, said_instead

_KEPT = "What came is in the error's .partial."
#: Images of one answer, where no more were asked for.
MOST_IMAGES = 16
_MARKS = (b"\x89", b"\xff", b"R")  # how PNG, JPEG and WebP begin, and no JSON
_ADDRESS = re.compile(r'"url"\s*:\s*("https?:(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image: PNG, JPEG or WebP, whatever the router said."""

    data: bytes = field(repr=False)
    type: MediaType
    #: Pixels; 0 when the image's header does not say.
    width: int
    height: int
    #: The prompt as the model changed it; empty when it did not say.
    revised_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Images:
    """An answer's images, in its order."""

    images: tuple[GeneratedImage, ...]
    model: str
    usage: Usage | None = None
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None
    #: The answer as the router's JSON had it; in place of base64 stands how many bytes it was.
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: What was left out, in a sentence; empty when nothing was.
    note: str = ""
    #: On an error's ``partial``: bytes that came and are no image, or not a whole one.
    rejected: tuple[bytes, ...] = field(default=(), repr=False)


def read_images(
    parts: Iterable[bytes],
    model: str,
    request_id: str | None,
    fetch: Callable[[str], bytes],
    keep: Callable[[Images], None] | None = None,
    *,
    most: int = MOST_IMAGES,
) -> Images:
    """The images of a body that comes in parts; those that stand elsewhere are fetched, ``most`` in all.

    Raises AnswerError for an answer without images, or with one that is not PNG, JPEG or WebP, or is cut;
    NetworkError for one that does not come. Its ``partial`` are the Images that did. ``keep`` is told them before
    any error or interrupt leaves, unless nothing came; addresses that were not fetched are in their ``raw``.
    """
    reading = _Reading(model, request_id, most)
    try:
        reading.take(parts)
        reading.add_all(fetch)
    except BaseException as error:
        reading.rescue()
        images = reading.images
        if images.images or images.rejected or images.raw:
            if isinstance(error, APIError):
                error.partial = images
            if keep is not None:
                keep(images)
        raise
    return reading.images


class _Reading:
    """What has been read of one answer."""

    def __init__(self, model: str, request_id: str | None, most: int) -> None:
        self._model = model
        self._request_id = request_id
        self._most = most
        self._lifter = JSONLifter(("b64_json",), ("url",))
        self._body = bytearray()  # an answer that is itself an image
        self._raw: dict[str, Any] = {}
        self._entries: list[dict[str, Any]] = []
        self._good: dict[int, GeneratedImage] = {}
        self._rejected: dict[int, list[bytes]] = {}
        self._failures: dict[int, APIError] = {}

    @property
    def images(self) -> Images:
        model = self._raw.get("model")
        return Images(
            images=tuple(image for _, image in sorted(self._good.items())),
            model=model if isinstance(model, str) and model else self._model,
            usage=read_usage(self._raw.get("usage")),
            request_id=self._request_id,
            raw=self._raw,
            note=self._note(),
            rejected=tuple(data for _, several in sorted(self._rejected.items()) for data in several),
        )

    def _note(self) -> str:
        left_out = len(self._entries) - self._most
        if left_out <= 0:
            return ""
        said = (
            "1 further image of the answer was"
            if left_out == 1
            else f"{left_out:,} further images of the answer were"
        )
        return f"{said} left out; see raw and rejected."

    def take(self, parts: Iterable[bytes]) -> None:
        """Read the body. Raises AnswerError when no images stand under ``data``."""
        is_json: bool | None = None
        for part in parts:
            if is_json is None and part:
                is_json = not part.startswith(_MARKS)
            if is_json is False:
                self._body += part
            else:
                self._lifter.feed(part)
        if image_type(bytes(self._body[:12])) is None:
            body, self._body = bytes(self._body), bytearray()
            self._lifter.feed(body)
            self._entries = self._listed()

    def add_all(self, fetch: Callable[[str], bytes]) -> None:
        """Read each image: what has come first, then what stands elsewhere. Raises the first thing wrong."""
        self._add_what_came()
        for number, entry in enumerate(self._entries[: self._most]):
            if number not in self._good and number not in self._rejected and number not in self._failures:
                try:
                    self._keep(number, _fetched(entry, fetch), _revised(entry))
                except APIError as error:
                    self._failures[number] = error
        if self._failures:
            raise self._failures[min(self._failures)]

    def rescue(self) -> None:
        """Keep what came, wherever the reading ended."""
        if not self._entries and not self._body:
            for number, lifted in enumerate(self._lifter.found):
                self._keep(number, lifted)
            if found := _addresses(self._lifter.rest):
                self._raw = {"data": [{"url": address} for address in found]}
        self._add_what_came()

    def _listed(self) -> list[dict[str, Any]]:
        """What stands under ``data``. Raises AnswerError when that is nothing."""
        lifter = self._lifter
        try:
            answer = lifter.end()
        except (ValueError, RecursionError):
            if lifter.found or _addresses(lifter.rest):
                raise AnswerError("the answer breaks off.", hint=_KEPT) from None
            raise _no_json(lifter.rest) from None
        if not isinstance(answer, dict):
            raise AnswerError("the answer is not a JSON object.", hint="Check the base URL.")
        if answer.get("error"):
            words, _ = error_object(answer)
            raise AnswerError(with_words("the router answered with an error", words), hint="Try again.")
        data = answer.get("data")
        entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
        if not entries:
            raise AnswerError("the answer holds no images.", hint="Check the model: not all make images.")
        self._raw = answer
        return entries

    def _add_what_came(self) -> None:
        """Read the images that stand in the answer; once, however often it is called."""
        if self._body and 0 not in self._good and 0 not in self._rejected:
            self._keep(0, Lifted(bytes(self._body), whole=True))
        for number, entry in enumerate(self._entries):
            for name in ("b64_json", "url"):
                lifted = self._lifter.lifted(entry.get(name))
                if lifted is None:
                    continue
                if number >= self._most:
                    self._rejected[number] = [lifted.data]
                elif number not in self._good and number not in self._rejected:
                    self._keep(number, lifted, _revised(entry))
                entry[name] = f"({len(lifted.data):,} bytes)"

    def _keep(self, number: int, lifted: Lifted, revised_prompt: str = "") -> None:
        """Keep an image, or what should have been one."""
        data = lifted.data
        kind = image_type(data)
        if kind is not None and lifted.whole and is_whole(data):
            self._good[number] = GeneratedImage(data, kind, *(image_size(data) or (0, 0)), revised_prompt)
            return
        self._failures[number] = _not_an_image(lifted, kind)
        if lifted.refused and kind is None:  # words, say
            data = b64encode(data) + lifted.refused
        self._rejected[number] = [kept for kept in (data, lifted.refused if kind else b"") if kept]


def _revised(entry: Mapping[str, Any]) -> str:
    revised = entry.get("revised_prompt")
    return joined_surrogates([revised]) if isinstance(revised, str) else ""


def _addresses(rest: bytes) -> list[str]:
    """The images' addresses in an answer that breaks off."""
    text = rest.decode("utf-8", "replace").partition('"data"')[2]
    found = []
    for quoted in _ADDRESS.findall(text):
        with suppress(ValueError):
            found.append(json.loads(quoted))
    return found


def _no_json(body: bytes) -> AnswerError:
    """The error for an answer that is not JSON; what nobody could read is not quoted, but kept."""
    if not body or said_instead(body):
        return not_json(body)
    error = AnswerError("the answer is neither JSON nor an image.", hint=f"Check the base URL. {_KEPT}")
    error.partial = body
    return error


def _fetched(entry: Mapping[str, Any], fetch: Callable[[str], bytes]) -> Lifted:
    address = next((entry[n] for n in ("url", "b64_json") if isinstance(entry.get(n), str) and entry[n]), "")
    if not address:
        raise AnswerError("an image of the answer has neither data nor an address.", hint="Try again.")
    if address[:5].lower() == "data:":  # percent-encoded: base64 has been decoded
        return Lifted(unquote_to_bytes(address.partition(",")[2]), whole=True)
    return Lifted(fetch(address), whole=True)


def _not_an_image(lifted: Lifted, kind: MediaType | None) -> AnswerError:
    data = lifted.data
    if not data or (kind is None and not lifted.whole):
        hint = f"Try again. {_KEPT}" if data or lifted.refused else "Try again."
        return AnswerError("an image of the answer is empty, or not base64.", hint=hint)
    if kind is not None:
        return AnswerError(f"an image of the answer is cut: {len(data):,} bytes came of it.", hint=_KEPT)
    found = said_instead(data)
    return AnswerError(
        f"the answer holds {found or 'something else'} where an image should be.",
        hint=f"Only PNG, JPEG and WebP are taken. {_KEPT}",
    )
