"""``POST /v1/images/generations``, and the addresses that its images can be fetched from."""

from __future__ import annotations

import base64
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
    MAX_TEXT_BODY_BYTES,
    MAX_WAIT_SECONDS,
    AccountHandler,
    RouterHandler,
)
from puq_magics.sandbox.models import TOKENS_PER_MEGAPIXEL
from puq_magics.sandbox.scripted.drawing import draw
from puq_magics.sandbox.validation import ErrorResponse, invalid

#: Characters.
MAX_PROMPT_CHARS: Final = 32_000
MAX_IMAGES: Final = 4
#: Pixels, of either side.
MIN_SIDE, MAX_SIDE = 64, 2048
_USUAL: Final = "1024x1024"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_FORMATS: Final = ("b64_json", "url")


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
    body = fields.read_object(raw)
    width, height = _size(body.get("size"))
    return ImagesRequest(
        model=fields.model_code(body.get("model")),
        prompt=fields.text(body, "prompt", MAX_PROMPT_CHARS),
        number=fields.whole_number(body, "n", 1, 1, MAX_IMAGES),
        width=width,
        height=height,
        format=fields.choice(body, "response_format", _FORMATS, "b64_json"),
    )


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
        request = read_images_request(self.body)
        model = self.model_for("image", request.model)
        with suppress(StreamClosedError):  # the client went
            images = []
            for number in range(request.number):
                work = partial(draw, request.prompt, request.width, request.height, number)
                images.append(await self.compute(work))
            await self.sleep(min(100 * self.state.chunk_interval, MAX_WAIT_SECONDS))
            asked, made = tokens.count(request.prompt), request.completion_tokens
            self.account.charge(model.price(prompt=asked, completion=made))
            answer = {
                "created": int(time.time()),
                "data": [self._entry(image, request) for image in images],
                "usage": {"input_tokens": asked, "output_tokens": made, "total_tokens": asked + made},
            }
            await self.finish(json.dumps(answer))

    def _entry(self, image: bytes, request: ImagesRequest) -> dict[str, str]:
        field: Literal["b64_json", "url"] = "url" if request.format == "url" else "b64_json"
        if field == "url":
            where = f"http://{self.request.host}/images/{self.state.image_store.add(image)}.png"
        else:
            where = base64.b64encode(image).decode()
        words = " ".join(request.prompt.split())
        return {field: where, "revised_prompt": f"A quiet landscape, drawn from the words: {words}"}


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
