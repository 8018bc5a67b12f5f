"""What a variable holds, as images that are sent: figures, Pillow's images, bytes, results, what notebooks show.

Nothing is imported for it: a value can only be a figure when somebody else has imported matplotlib. An object of
another kind may say itself what it looks like, by ``_puq_images_()``: a list of image files' bytes.
"""

from __future__ import annotations

import base64
import binascii
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath
from typing import Any

from puq_magics.core.errors import InputError, PuqError
from puq_magics.prompts.image_resize import (
    IMAGE_FORMATS,
    ImageLimits,
    detect_sendable_type,
    fit_image,
    fit_pillow_image,
)

#: A part of a message's content, as the API has it: ``{"type": "image_url", "image_url": {"url": "data:…"}}``.
ContentPart = dict[str, Any]
#: Images that one name may stand for.
MAX_IMAGES = 50


@dataclass(frozen=True)
class ImageParts:
    """Images ready to send, and what was changed to make them so."""

    parts: tuple[ContentPart, ...]
    notes: tuple[str, ...] = ()


def to_image_parts(value: Any, limits: ImageLimits) -> ImageParts | None:
    """The images that a value shows; None when it is no image. Raises InputError for one that cannot be sent."""
    try:
        found = _find_images(value)
        if found is None:
            return None
        fitted = [
            fit_image(one, limits) if isinstance(one, bytes) else fit_pillow_image(one, limits)
            for one in found
        ]
    except PuqError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200].rstrip(".")
        message = f"drawing it raised {type(error).__name__}: {words}."
        raise InputError(message, hint="Show it in a cell of its own to see where.") from error
    if not fitted:
        raise InputError("it holds no image.", hint="Give one that does.")
    return ImageParts(
        tuple(image_part(image.data, image.type.mime) for image in fitted),
        tuple(dict.fromkeys(image.note for image in fitted if image.note)),
    )


def require_image_parts(value: Any, limits: ImageLimits) -> ImageParts:
    """The images that a value, or the file that a path names, shows. Raises InputError when it shows none."""
    if isinstance(value, PurePath):
        value = _read_image_file(value)
    found = to_image_parts(value, limits)
    if found is None:
        message = f"a value of type {type(value).__name__} is no image."
        raise InputError(message, hint="Give a figure, a Pillow image, a path (Path), or an image's bytes.")
    return found


def image_part(data: bytes, mime: str) -> ContentPart:
    """An image as a part of a message's content."""
    url = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _read_image_file(path: PurePath) -> bytes:
    from puq_magics.core.files import expand_path, quote_name, read_file

    def choose_size(start: bytes, size: int) -> int:
        if detect_sendable_type(start) is None:
            raise InputError(
                f"{quote_name(path.name)} is no image that can be sent.", hint=f"Send {IMAGE_FORMATS}."
            )
        return size

    return read_file(expand_path(str(path)), choose_size).data


def _find_images(value: Any) -> list[Any] | None:
    """The files' bytes, or images of Pillow's, that a value shows."""
    one = _single_image(value)
    if one is not None:
        return [one]
    if callable(getattr(type(value), "_puq_images_", None)):
        return [bytes(data) for data in value._puq_images_()]
    several = value if isinstance(value, (list, tuple)) else _array_items(value)
    if several is None:
        images = getattr(value, "images", None)
        if not isinstance(images, (list, tuple)):
            return None
        if not images:
            return []
        several = images
    return _images_in_list(several)


def _images_in_list(several: Any) -> list[Any] | None:
    """The images of a list that holds nothing else; the axes of one figure are one image."""
    figures: set[int] = set()
    found: list[Any] = []
    for item in several:
        figure = _find_figure(item)
        if figure is not None and id(figure) in figures:
            continue
        one = _single_image(item)
        if one is None:
            return None
        if figure is not None:
            figures.add(id(figure))
        if len(found) == MAX_IMAGES:
            raise InputError(f"it holds more than {MAX_IMAGES} images.", hint="Give a part of them.")
        found.append(one)
    return found or None


def _single_image(value: Any) -> Any:
    """One image file's bytes, or one image of Pillow's; None for all else."""
    if isinstance(value, BytesIO):
        value = value.getvalue()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) if detect_sendable_type(bytes(value[:16])) else None
    figure = _find_figure(value)
    if figure is not None:
        return _render_figure(figure)
    if _is_instance_of(value, "PIL.Image", "Image"):
        return value
    if isinstance(value, type):
        return None
    data = getattr(value, "data", None)  # GeneratedImage, IPython's Image
    if isinstance(data, bytes) and detect_sendable_type(data):
        return data
    if _is_instance_of(value, "IPython.core.display", "Image") and data is None:
        hint = "Download it: Image(url=…, embed=True)."
        raise InputError("the Image holds no data, only an address.", hint=hint)
    return _image_repr(value)


def _render_figure(figure: Any) -> bytes:
    """A figure as notebooks show it: PNG, at its own resolution, trimmed."""
    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def _find_figure(value: Any) -> Any:
    """The figure that a value is, or that it is drawn in (axes, a line, seaborn's grids)."""
    if "matplotlib.figure" not in sys.modules or isinstance(value, type):
        return None
    for candidate in _figure_candidates(value):
        if _is_instance_of(candidate, "matplotlib.figure", "Figure"):
            return candidate
    return None


def _figure_candidates(value: Any) -> Iterator[Any]:
    """A value, what it is drawn in, and what that is a part of."""
    for _ in range(3):
        yield value
        value = getattr(value, "figure", None)


def _image_repr(value: Any) -> bytes | None:
    """What a notebook would show of it, if that is an image."""
    for name in ("_repr_png_", "_repr_jpeg_"):
        if callable(getattr(type(value), name, None)):
            shows = getattr(value, name)()
            shows = shows[0] if isinstance(shows, tuple) else shows  # (data, metadata)
            data = _decode_base64(shows) if isinstance(shows, str) else shows
            if isinstance(data, bytes) and detect_sendable_type(data):
                return data
    return None


def _decode_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def _array_items(value: Any) -> list[Any] | None:
    """The objects of a NumPy array of them, such as the axes that ``subplots`` gives."""
    if _is_instance_of(value, "numpy", "ndarray") and value.dtype == object:
        return list(value.flat[: MAX_IMAGES * 4])
    return None


def _is_instance_of(value: Any, module: str, name: str) -> bool:
    """Whether it is of a class of a module that somebody has imported."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)
