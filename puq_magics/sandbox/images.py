"""``POST /v1/images/generations`` and ``/v1/images/edits``, and the addresses that its images can be fetched from."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from tornado.iostream import StreamClosedError

from puq_magics.sandbox import tokens
from puq_magics.sandbox import validation as fields
from puq_magics.sandbox.handlers import (
    MAX_BODY_BYTES,
    MAX_TEXT_BODY_BYTES,
    MAX_WAIT_SECONDS,
    AccountHandler,
    RouterHandler,
)
from puq_magics.sandbox.models import TOKENS_PER_MEGAPIXEL
from puq_magics.sandbox.scripted.drawing import draw
from puq_magics.sandbox.transcripts import MultipartParser, parse_boundary
from puq_magics.sandbox.validation import ErrorResponse, invalid, unprocessable

#: Characters.
MAX_PROMPT_CHARS: Final = 32_000
MAX_IMAGES: Final = 4
#: Pixels, of either side.
MIN_SIDE, MAX_SIDE = 64, 2048
_USUAL: Final = "1024x1024"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_FORMATS: Final = ("b64_json", "url")
#: How PNG, JPEG and WebP begin.
_IMAGE_STARTS: Final = (b"\x89PNG", b"\xff\xd8", b"RIFF")


@dataclass(frozen=True)
class ImagesRequest:
    """A request for images that can be answered."""

    model: str
    prompt: str
    number: int
    width: int
    height: int
    format: str

    @property
    def completion_tokens(self) -> int:
        """Tokens charged for all images."""
        return round(self.number * TOKENS_PER_MEGAPIXEL * self.width * self.height / 1024**2)


def read_images_request(raw: bytes | bytearray) -> ImagesRequest:
    """Read a body; raises ErrorResponse (400, 422) where it does not fit."""
    return _images_request(fields.read_object(raw))


def _images_request(body: fields.Json) -> ImagesRequest:
    width, height = _size(body.get("size"))
    return ImagesRequest(
        model=fields.model_code(body.get("model")),
        prompt=fields.text(body, "prompt", MAX_PROMPT_CHARS),
        number=fields.whole_number(body, "n", 1, 1, MAX_IMAGES),
        width=width,
        height=height,
        format=fields.choice(body, "response_format", _FORMATS, "b64_json"),
    )


def read_edit_request(content_type: str, raw: bytes | bytearray) -> tuple[ImagesRequest, bytes]:
    """Read a form with images; return the request, and the hash of all images. Raises ErrorResponse (400, 422)."""
    images: dict[tuple[str, str], bytearray] = {}

    def receive(field: str, filename: str, data: bytes) -> None:
        images.setdefault((field, filename), bytearray()).extend(data)

    form = MultipartParser(parse_boundary(content_type), receive)
    form.feed(bytes(raw))
    form.close()
    sent = [bytes(data) for (field, _), data in images.items() if field in ("image", "image[]")]
    if not sent:
        raise unprocessable("'image' is required, as a file")
    if not all(data.startswith(_IMAGE_STARTS) for data in sent):
        raise invalid("'image' must be PNG, JPEG or WebP")
    body: dict[str, object] = dict(form.fields)
    if (number := form.fields.get("n", "1")).isdecimal():
        body["n"] = int(number)
    return _images_request(body), hashlib.sha256(b"".join(sent)).digest()


def _size(value: object) -> tuple[int, int]:
    if value is None or value == "auto":
        value = _USUAL
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid(f"'size' must be WIDTHxHEIGHT in pixels, such as {_USUAL}; it is {value!r}")
    width, height = int(match[1]), int(match[2])
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise invalid(f"'size' must be {MIN_SIDE} to {MAX_SIDE} pixels each way; it is {value!r}")
    return width, height


class ImagesHandler(AccountHandler):
    """Image generation."""

    @property
    def max_body_bytes(self) -> int:
        """In bytes."""
        return MAX_TEXT_BODY_BYTES

    async def post(self) -> None:
        """Read the request, and draw unless it is refused."""
        self.raise_planned_fault()
        await self._answer(read_images_request(self.body), "drawn")

    async def _answer(self, request: ImagesRequest, how: str, seed: bytes = b"") -> None:
        """Draw, from a seed beside the prompt, and say how."""
        model = self.model_for("image", request.model)
        with suppress(StreamClosedError):  # the client went
            images = []
            for number in range(request.number):
                work = partial(draw, request.prompt, request.width, request.height, number, seed)
                images.append(await self.compute(work))
            await self.sleep(min(100 * self.state.chunk_interval, MAX_WAIT_SECONDS))
            asked, made = tokens.count(request.prompt), request.completion_tokens
            self.account.charge(model.price(prompt=asked, completion=made))
            answer = {
                "created": int(time.time()),
                "data": [self._entry(image, request, how) for image in images],
                "usage": {"input_tokens": asked, "output_tokens": made, "total_tokens": asked + made},
            }
            await self.finish(json.dumps(answer))

    def _entry(self, image: bytes, request: ImagesRequest, how: str) -> dict[str, str]:
        field: Literal["b64_json", "url"] = "url" if request.format == "url" else "b64_json"
        if field == "url":
            where = f"http://{self.request.host}/images/{self.state.image_store.add(image)}.png"
        else:
            where = base64.b64encode(image).decode()
        words = " ".join(request.prompt.split())
        return {field: where, "revised_prompt": f"A quiet landscape, {how} from the words: {words}"}


class ImageEditsHandler(ImagesHandler):
    """Image editing: what is sent changes what is drawn, and is not looked at otherwise."""

    @property
    def max_body_bytes(self) -> int:
        """In bytes."""
        return MAX_BODY_BYTES

    async def post(self) -> None:
        """Read the form, and draw unless it is refused."""
        self.raise_planned_fault()
        request, seed = read_edit_request(self.request.headers.get("Content-Type", ""), self.body)
        await self._answer(request, "drawn without a look at the image that was sent,", seed)


class ImageHandler(RouterHandler):
    """``GET /images/NAME.png``, without a key: who knows the name may see the image."""

    def get(self, name: str) -> None:
        """Answer with the image, while it is kept."""
        png = self.state.image_store.find(name)
        if png is None:
            raise ErrorResponse(404, "Not Found: there is no such image, or no more")
        self.set_header("Content-Type", "image/png")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(png)
