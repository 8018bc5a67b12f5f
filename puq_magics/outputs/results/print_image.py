"""One picture of a result for converters that show no HTML, such as nbconvert's LaTeX."""

from __future__ import annotations

import importlib
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType

#: Bytes of a picture: it comes on top of the HTML, and Jupyter Server drops outputs that are too large.
_MAX_BYTES = 500_000
#: Pixels of a single image's longer side, and of one on a sheet of several.
_MAX_SIDE, _MAX_SHEET_SIDE = 1024, 512
_GAP = 8
_MAX_PIXELS = 40_000_000  # that are decoded


class PrintableImage(Protocol):
    """Fields of an image that are read."""

    data: bytes
    type: MediaType
    width: int
    height: int


def print_bundle(images: Sequence[PrintableImage]) -> dict[str, str]:
    """Return the image, or a sheet of several, as PNG or JPEG by MIME type.

    Empty without images, for very large ones and, without Pillow, for large ones and those of other formats.
    """
    if not images or sum(image.width * image.height for image in images) > _MAX_PIXELS:
        return {}
    if len(images) == 1 and images[0].type.format in ("png", "jpeg") and len(images[0].data) <= _MAX_BYTES:
        return {images[0].type.mime: b64encode(images[0].data).decode()}
    try:
        return _encode(_draw_sheet([image.data for image in images]))
    except Exception:  # noqa: BLE001 - no Pillow, or an image that it cannot read: the HTML has it all the same
        return {}


def _draw_sheet(files: Sequence[bytes]) -> Any:
    """Draw the images in two columns, each scaled down to fit."""
    pil = importlib.import_module("PIL.Image")
    limit = _MAX_SIDE if len(files) == 1 else _MAX_SHEET_SIDE
    images = []
    for data in files:
        image = pil.open(BytesIO(data)).convert("RGB")
        image.thumbnail((limit, limit))
        images.append(image)
    if len(images) == 1:
        return images[0]
    width, height = max(image.width for image in images), max(image.height for image in images)
    rows = (len(images) + 1) // 2
    sheet = pil.new("RGB", (2 * width + _GAP, rows * (height + _GAP) - _GAP), "white")
    for n, image in enumerate(images):
        sheet.paste(image, (n % 2 * (width + _GAP), n // 2 * (height + _GAP)))
    return sheet


def _encode(image: Any) -> dict[str, str]:
    for kind, options in (("PNG", {}), ("JPEG", {"quality": 85})):
        buffer = BytesIO()
        image.save(buffer, kind, **options)
        if kind == "JPEG" or buffer.tell() <= _MAX_BYTES:
            return {f"image/{kind.lower()}": b64encode(buffer.getvalue()).decode()}
    return {}
