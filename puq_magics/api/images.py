"""Images that a model made: as base64 in the answer, or at an address elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from puq_magics.api.errors import AnswerError, APIError, error_object, with_words
from puq_magics.api.lifting import JSONLifter, Lifted
from puq_magics.api.media_types import MediaType, image_size, image_type, is_whole, said_instead
from puq_magics.api.stream import not_json
from puq_magics.api.wire import Usage, joined_surrogates, read_usage

_KEPT = "What came is in err.partial."


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
    #: On an error's ``partial``: bytes that came and are no image, or not a whole one.
    rejected: tuple[bytes, ...] = field(default=(), repr=False)


def read_images(
    parts: Iterable[bytes], model: str, request_id: str | None, fetch: Callable[[str], bytes]
) -> Images:
    """The images of a body that comes in parts; those that stand elsewhere are fetched.

    Raises AnswerError for an answer without images, or with one that is not PNG, JPEG or WebP, or is cut;
    NetworkError for one that does not come. Its ``partial`` are the Images that did.
    """
    reading = _Reading(model, request_id)
    lifter = JSONLifter(("b64_json",), ("url",))
    try:
        for part in parts:
            lifter.feed(part)
        entries = reading.entries(lifter)
    except APIError as error:
        for lifted in lifter.found:
            reading.keep(lifted)
        error.partial = reading.images if lifter.found else ""
        raise
    for entry in entries:
        reading.add(entry, lifter, fetch)
    if reading.failure is not None:
        reading.failure.partial = reading.images
        raise reading.failure
    return reading.images


class _Reading:
    """What has been read of one answer."""

    def __init__(self, model: str, request_id: str | None) -> None:
        self._model = model
        self._request_id = request_id
        self._raw: dict[str, Any] = {}
        self._good: list[GeneratedImage] = []
        self._rejected: list[bytes] = []
        #: The first thing that was wrong.
        self.failure: APIError | None = None

    @property
    def images(self) -> Images:
        model = self._raw.get("model")
        return Images(
            images=tuple(self._good),
            model=model if isinstance(model, str) and model else self._model,
            usage=read_usage(self._raw.get("usage")),
            request_id=self._request_id,
            raw=self._raw,
            rejected=tuple(self._rejected),
        )

    def entries(self, lifter: JSONLifter) -> list[dict[str, Any]]:
        """What stands under ``data``. Raises AnswerError when that is nothing."""
        try:
            answer = lifter.end()
        except (ValueError, RecursionError):
            if lifter.found:
                raise AnswerError("the answer breaks off.", hint=_KEPT) from None
            raise not_json(lifter.rest) from None
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

    def add(self, entry: dict[str, Any], lifter: JSONLifter, fetch: Callable[[str], bytes]) -> None:
        """Read one image of the answer, or note what is wrong with it."""
        revised = entry.get("revised_prompt")
        revised = joined_surrogates([revised]) if isinstance(revised, str) else ""
        found = [lifter.lifted(entry.get(name)) for name in ("b64_json", "url")]
        for name, lifted in zip(("b64_json", "url"), found, strict=True):
            if lifted is not None:
                entry[name] = f"({len(lifted.data):,} bytes)"
        try:
            lifted = next((one for one in found if one is not None), None) or _fetched(entry, fetch)
        except APIError as error:
            self.failure = self.failure or error
        else:
            self.keep(lifted, revised)

    def keep(self, lifted: Lifted, revised_prompt: str = "") -> None:
        """Keep an image, or what should have been one."""
        data = lifted.data
        kind = image_type(data)
        if kind is not None and lifted.whole and is_whole(data):
            self._good.append(GeneratedImage(data, kind, *(image_size(data) or (0, 0)), revised_prompt))
            return
        self._rejected.append(data)
        self.failure = self.failure or _not_an_image(lifted, kind)


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
        return AnswerError("an image of the answer is empty, or not base64.", hint="Try again.")
    if kind is not None:
        return AnswerError(f"an image of the answer is cut: {len(data):,} bytes came of it.", hint=_KEPT)
    found = said_instead(data)
    return AnswerError(
        f"the answer holds {found or 'something else'} where an image should be.",
        hint=f"Only PNG, JPEG and WebP are taken. {_KEPT}",
    )
