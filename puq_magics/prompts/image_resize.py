"""Make images fit to be sent: upright, in a format that models read, and not too large.

Pillow is imported only for an image that has to be changed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import (
    JPEG,
    PNG,
    MediaType,
    detect_convertible_image,
    detect_image_type,
    image_dimensions,
    is_complete_image,
)
from puq_magics.core.text import format_size, one_line

#: Accepted as input by vision models; never generated.
GIF = MediaType("image", "gif", "image/gif", ".gif")
IMAGE_FORMATS = "PNG, JPEG, WebP or GIF"
#: Maximum pixels of an image that is decoded, since a small file can decompress to a huge one.
MAX_PIXELS = 89_000_000
_JPEG_QUALITY = 90
_MIN_SIDE = 64
_EXIF_ORIENTATION = 0x0112
#: Beginnings of EXIF data in JPEG, PNG and WebP, and of the same in XMP.
_EXIF_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"tiff:Orientation")


@dataclass(frozen=True)
class ImageLimits:
    """Maximum size of an image that is sent; a larger one is scaled down."""

    #: Length of the longer side, in pixels.
    max_side: int = 2048
    #: Size of the file, in millions of bytes; the data URL is a third longer.
    max_megabytes: float = 3.5

    def __post_init__(self) -> None:
        if self.max_side < 1 or not self.max_megabytes > 0:
            raise InputError("limits of images must be above 0.", hint="Set max_side to 1 or more.")

    def allows(self, size: tuple[int, int] | None, byte_count: int) -> bool:
        """Return whether an image is within the limits; ``size`` is in pixels, None if unknown."""
        return (size is None or max(size) <= self.max_side) and byte_count <= self.max_megabytes * 1_000_000


@dataclass(frozen=True)
class SendableImage:
    """An image that can be sent; ``note`` describes how it was changed, if it was."""

    data: bytes
    type: MediaType
    note: str = ""


def detect_sendable_type(data: bytes) -> MediaType | None:
    """Return PNG, JPEG, WebP or GIF, by the first bytes; None for other data."""
    return GIF if data[:6] in (b"GIF87a", b"GIF89a") else detect_image_type(data)


def is_image(data: bytes) -> bool:
    """Return whether data is an image, by its first bytes: one that can be sent as it is, or converted."""
    return detect_sendable_type(data) is not None or bool(detect_convertible_image(data))


def fit_image(data: bytes, limits: ImageLimits) -> SendableImage:
    """Return an image file, unchanged if it is upright and within ``limits``, else turned and scaled down.

    Raises InputError for data that is not a complete image, and for an image that cannot be scaled or converted.
    """
    kind = detect_sendable_type(data)
    if kind is None:
        return _convert(data, limits)
    if not (kind is GIF or is_complete_image(data)):
        raise InputError("the image is cut off: its end is missing.", hint="Save or download it again.")
    size = _dimensions(data, kind)
    if limits.allows(size, len(data)):
        return _turn_upright(data, kind, limits)
    _check_pixels(size)
    return _with_pillow(lambda: _shrink(_open(data, limits), kind, limits, size, len(data)))


def fit_pillow_image(image: Any, limits: ImageLimits) -> SendableImage:
    """Return a Pillow image as a file within ``limits``; the image itself is not changed. Raises InputError.

    An image as it was opened is turned as its EXIF data says. Other images have their pixels as they are meant.
    """
    if min(image.size) < 1:
        raise InputError("the image has no pixels.", hint="Give one that shows something.")
    kind = JPEG if image.format == "JPEG" else PNG
    if image.format is None and _is_turned(image):
        sent = _with_pillow(lambda: _shrink(image, kind, limits, image.size, 0))
        note = "its pixels were sent as they are, not turned as its EXIF data says"
        return replace(sent, note=f"{note}; {sent.note}" if sent.note else note)
    return _with_pillow(lambda: _shrink(_transpose(image), kind, limits, image.size, 0))


def _turn_upright(data: bytes, kind: MediaType, limits: ImageLimits) -> SendableImage:
    """Turn the pixels of an image as its EXIF data says, which models ignore."""
    image = SendableImage(data, kind)
    if not any(mark in data for mark in _EXIF_MARKS):
        return image
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError:
        return replace(image, note="not turned as its EXIF data may say: that needs Pillow")
    try:
        if not _is_turned(pillow.open(BytesIO(data))):
            return image
    except Exception:  # noqa: BLE001 - EXIF data that nobody can read
        return image
    size = _dimensions(data, kind)
    return _with_pillow(lambda: _shrink(_open(data, limits), kind, limits, size, len(data)))


def _transpose(image: Any) -> Any:
    """Return the image with its pixels upright."""
    return importlib.import_module("PIL.ImageOps").exif_transpose(image) if _is_turned(image) else image


def _is_turned(image: Any) -> bool:
    return image.getexif().get(_EXIF_ORIENTATION, 1) in range(2, 9)


def _convert(data: bytes, limits: ImageLimits) -> SendableImage:
    """Convert an image of another format with Pillow."""
    found = detect_convertible_image(data)
    if not found:
        raise InputError("these bytes are not an image that can be sent.", hint=f"Send {IMAGE_FORMATS}.")
    is_photo = found in ("HEIC", "AVIF")
    try:
        if is_photo:
            with suppress(ImportError):
                importlib.import_module("pillow_heif").register_heif_opener()
        pillow = importlib.import_module("PIL.Image")
        image = pillow.open(BytesIO(data))
    except Exception:  # noqa: BLE001 - no Pillow, an unknown or damaged format, one that is too large
        package = "pillow-heif" if found == "HEIC" else "--upgrade pillow"
        raise InputError(
            f"it is an image in {found}, which cannot be sent and cannot be converted here.",
            hint=f"%pip install {package}, or save it as PNG or JPEG.",
        ) from None
    _check_pixels(image.size)
    kind = JPEG if is_photo and "A" not in image.getbands() else PNG
    sent = _with_pillow(lambda: _shrink(_transpose(image), kind, limits, image.size, 0))
    note = f"converted from {found} to {sent.type.format.upper()}"
    return replace(sent, note=f"{note}, {sent.note}" if sent.note else note)


def _check_pixels(size: tuple[int, int] | None) -> None:
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"an image of {_format_pixels(size)} pixels is too large to scale down here.",
            hint="Make it smaller first.",
        )


def _with_pillow(work: Callable[[], SendableImage]) -> SendableImage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of colour tables and metadata
            return work()
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds for broken files
        reason = one_line(str(error), 200).rstrip(".")
        message = f"the image cannot be decoded ({type(error).__name__}: {reason})."
        raise InputError(message, hint="Convert it to PNG with another program.") from None


def _open(data: bytes, limits: ImageLimits) -> Any:
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError:
        size = _dimensions(data, detect_sendable_type(data))
        pixels = f"{_format_pixels(size)} pixels, " if size else ""
        message = (
            f"the image ({pixels}{format_size(len(data))}) is too large, and scaling it down needs Pillow."
        )
        raise InputError(
            message, hint="Install it (%pip install pillow), or make the image smaller."
        ) from None
    image = pillow.open(BytesIO(data))
    image.draft(None, (limits.max_side, limits.max_side))  # decodes a JPEG only at the needed resolution
    return _transpose(image)


def _shrink(
    image: Any, kind: MediaType, limits: ImageLimits, before: tuple[int, int] | None, byte_count: int
) -> SendableImage:
    """Scale down to the allowed side, and further until the file is small enough."""
    image = _to_common_mode(image)
    max_side = min(limits.max_side, max(image.size))
    while True:
        small = _resize(image, max_side)
        for target in dict.fromkeys((JPEG if kind is JPEG else PNG, JPEG)):
            data = _encode(small, target)
            if limits.allows(small.size, len(data)):
                return SendableImage(
                    data, target, _describe_change(before, small.size, byte_count, len(data))
                )
        if max_side <= _MIN_SIDE:
            message = f"the image cannot be made to fit into {limits.max_megabytes:g} MB."
            raise InputError(message, hint="Allow more, or send a part of it.")
        max_side = max(max_side * 3 // 4, _MIN_SIDE)


def _resize(image: Any, max_side: int) -> Any:
    longest = max(image.size)
    if longest <= max_side:
        return image
    size = tuple(max(round(length * max_side / longest), 1) for length in image.size)
    return image.resize(size, importlib.import_module("PIL.Image").Resampling.LANCZOS, reducing_gap=2.0)


def _to_common_mode(image: Any) -> Any:
    """Convert to grey, RGB or RGBA, which all formats and models support."""
    mode = image.mode
    if mode in ("L", "RGB", "RGBA"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode in ("F", "I") or mode.startswith("I;"):  # measurements: scale their range to black and white
        image = image.convert("F")
        low, high = image.getextrema()
        scale = 255 / (high - low) if high > low else 0.0
        return image.point(lambda value: value * scale + -low * scale).convert("L")
    has_alpha = mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if has_alpha else "RGB")


def _encode(image: Any, kind: MediaType) -> bytes:
    file = BytesIO()
    if kind is PNG:
        image.save(file, "PNG")
        return file.getvalue()
    if image.mode == "RGBA":  # JPEG has no transparency: use a white background
        white = importlib.import_module("PIL.Image").new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _describe_change(
    before: tuple[int, int] | None, after: tuple[int, int], byte_count: int, now: int
) -> str:
    if before is not None and max(before) > max(after):
        return f"scaled down from {_format_pixels(before)} to {_format_pixels(after)} pixels"
    return f"made smaller, from {format_size(byte_count)} to {format_size(now)}" if byte_count > now else ""


def _dimensions(data: bytes, kind: MediaType | None) -> tuple[int, int] | None:
    if kind is not GIF:
        return image_dimensions(data)
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _format_pixels(size: tuple[int, int]) -> str:
    return f"{size[0]:,} × {size[1]:,}"
