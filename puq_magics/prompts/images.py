"""Convert a variable to images that are sent: figures, Pillow images, bytes, results, and objects with an image repr.

matplotlib and Pillow are not imported for it: a value can only be a figure if matplotlib is imported. An object
of another type can provide its images with a method ``_puq_images_()``, which returns a list of image files' bytes.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath
from typing import Any

from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.text import one_line
from puq_magics.prompts.image_resize import (
    IMAGE_FORMATS,
    ImageLimits,
    fit_image,
    fit_pillow_image,
    is_image,
)
from puq_magics.prompts.tables import is_instance, is_table

#: A part of a message's content in the API: ``{"type": "image_url", "image_url": {"url": "data:…"}}``.
ContentPart = dict[str, Any]
#: Maximum number of images of one variable.
MAX_IMAGES = 50
#: The least pixels of a NumPy array's sides for which it is an image, and no small table of numbers.
MIN_ARRAY_SIDE = 8


@dataclass(frozen=True)
class ImageParts:
    """Images ready to send, and notes on how they were changed."""

    parts: tuple[ContentPart, ...]
    notes: tuple[str, ...] = ()


def to_image_parts(value: Any, limits: ImageLimits) -> ImageParts | None:
    """Return the images of a value; None if it has none. Raises InputError for images that cannot be sent."""
    try:
        images = _find_images(value)
        if images is None:
            return None
        fitted = [
            fit_image(image, limits) if isinstance(image, bytes) else fit_pillow_image(image, limits)
            for image in images
        ]
    except PuqError:
        raise
    except Exception as error:
        reason = one_line(str(error), 200).rstrip(".")
        message = f"drawing it raised {type(error).__name__}: {reason}."
        raise InputError(message, hint="Display it in a cell of its own to see the traceback.") from error
    if not fitted:
        raise InputError("it contains no image.", hint="Give a value that has images.")
    return ImageParts(
        tuple(image_part(image.data, image.type.mime) for image in fitted),
        tuple(dict.fromkeys(image.note for image in fitted if image.note)),
    )


def require_image_parts(value: Any, limits: ImageLimits) -> ImageParts:
    """Return the images of a value, or of the file at a path. Raises InputError if there are none."""
    if isinstance(value, PurePath):
        value = _read_image_file(value)
    image_parts = to_image_parts(value, limits)
    if image_parts is None:
        message = f"a value of type {type(value).__name__} is not an image."
        raise InputError(message, hint="Give a figure, a Pillow image, a path (Path), or an image's bytes.")
    return image_parts


def decode_image_part(part: ContentPart) -> bytes:
    """Return the image in a part of a message's content; empty for a part of another kind."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return (
        base64.b64decode(url.partition(",")[2]) if isinstance(url, str) and url.startswith("data:") else b""
    )


def image_part(data: bytes, mime: str) -> ContentPart:
    """Return an image as a part of a message's content."""
    url = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _read_image_file(path: PurePath) -> bytes:
    from puq_magics.core.files import expand_path, quote_name, read_file

    def choose_size(start: bytes, size: int) -> int:
        if not is_image(start):
            raise InputError(
                f"{quote_name(path.name)} is not an image that can be sent.", hint=f"Send {IMAGE_FORMATS}."
            )
        return size

    return read_file(expand_path(str(path)), choose_size).data


def _find_images(value: Any) -> list[Any] | None:
    """Return a value's images, as bytes of files or as Pillow images; None if it has none."""
    if is_table(value):
        return None
    one = _single_image(value)
    if one is not None:
        return [one]
    if callable(getattr(type(value), "_puq_images_", None)):
        return [bytes(data) for data in value._puq_images_()]
    items = value if isinstance(value, (list, tuple)) else _array_items(value)
    if items is None:
        images = getattr(value, "images", None)
        has_text = callable(getattr(type(value), "_puq_text_", None))  # images beside it are not the value
        if has_text or not isinstance(images, (list, tuple)):
            return None
        if not images:
            return []
        items = images
    return _images_in_list(items)


def _images_in_list(items: Any) -> list[Any] | None:
    """Return the images of a list of images; axes of the same figure are one image."""
    figures: set[int] = set()
    found: list[Any] = []
    for item in items:
        figure = _find_figure(item)
        if figure is not None and id(figure) in figures:
            continue
        one = _single_image(item)
        if one is None:
            return None
        if figure is not None:
            figures.add(id(figure))
        if len(found) == MAX_IMAGES:
            raise InputError(f"it has more than {MAX_IMAGES} images.", hint="Give a part of them.")
        found.append(one)
    return found or None


def _single_image(value: Any) -> Any:
    """Return the bytes of an image file or a Pillow image; None for other values."""
    if isinstance(value, BytesIO):
        value = value.getvalue()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) if is_image(bytes(value[:64])) else None
    figure = _find_figure(value)
    if figure is not None:
        return _render_figure(figure)
    if is_instance(value, "PIL.Image", "Image"):
        return value
    if isinstance(value, type):
        return None
    if is_instance(value, "numpy", "ndarray"):
        return _array_image(value)
    data = getattr(value, "data", None)  # GeneratedImage, IPython's Image
    if isinstance(data, bytes) and is_image(data):
        return data
    if is_instance(value, "IPython.core.display", "Image") and data is None:
        hint = "Download it: Image(url=…, embed=True)."
        raise InputError("the Image has no data, only a URL.", hint=hint)
    return _image_repr(value)


def _render_figure(figure: Any) -> bytes:
    """Render a figure as notebooks do: PNG, at its own resolution, trimmed."""
    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def _find_figure(value: Any) -> Any:
    """Return the figure that a value is or belongs to (axes, a line, seaborn's grids)."""
    if "matplotlib.figure" not in sys.modules or isinstance(value, type):
        return None
    for candidate in _figure_candidates(value):
        if is_instance(candidate, "matplotlib.figure", "Figure"):
            return candidate
    return None


def _figure_candidates(value: Any) -> Iterator[Any]:
    """Yield a value, its figure, and the figure that contains that."""
    for _ in range(3):
        yield value
        value = getattr(value, "figure", None)


def _array_image(array: Any) -> Any:
    """Return the image that a NumPy array holds: bytes of grey, RGB or RGBA, or floats from 0 to 1 of RGB or RGBA."""
    has_channels = array.ndim == 3 and array.shape[2] in (1, 3, 4)
    is_grey = array.ndim == 2 and array.dtype == "uint8"
    if not (has_channels or is_grey) or min(array.shape[:2]) < MIN_ARRAY_SIDE:
        return None
    if array.dtype != "uint8":
        if array.dtype.kind != "f" or array.shape[2] == 1 or not ((array >= 0) & (array <= 1)).all():
            return None
        array = (array * 255 + 0.5).astype("uint8")
    pillow = importlib.import_module("PIL.Image")
    return pillow.fromarray(array[:, :, 0] if has_channels and array.shape[2] == 1 else array)


def _image_repr(value: Any) -> bytes | None:
    """Return the image that a notebook would display, if any."""
    for name in ("_repr_png_", "_repr_jpeg_"):
        if callable(getattr(type(value), name, None)):
            data = getattr(value, name)()
            data = data[0] if isinstance(data, tuple) else data  # (data, metadata)
            data = _decode_base64(data) if isinstance(data, str) else data
            if isinstance(data, bytes) and is_image(data):
                return data
    return None


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def _array_items(value: Any) -> list[Any] | None:
    """Return the items of a NumPy array of objects, such as the axes from ``subplots``."""
    if is_instance(value, "numpy", "ndarray") and value.dtype == object:
        return list(value.flat[: MAX_IMAGES * 4])
    return None
