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
from puq_magics.prompts.image_resize import KINDS, Limits, fit, fit_pillow, kind_of

#: A part of a message's content, as the API has it: ``{"type": "image_url", "image_url": {"url": "data:…"}}``.
Part = dict[str, Any]
#: Images that one name may stand for.
MOST = 50


@dataclass(frozen=True)
class Pictures:
    """Images ready to send, and what was changed to make them so."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()


def pictures(value: Any, limits: Limits) -> Pictures | None:
    """The images that a value shows; None when it is no image. Raises InputError for one that cannot be sent."""
    try:
        found = _looked(value)
        if found is None:
            return None
        fitted = [fit(one, limits) if isinstance(one, bytes) else fit_pillow(one, limits) for one in found]
    except PuqError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200].rstrip(".")
        message = f"drawing it raised {type(error).__name__}: {words}."
        raise InputError(message, hint="Show it in a cell of its own to see where.") from error
    if not fitted:
        raise InputError("it holds no image.", hint="Give one that does.")
    return Pictures(
        tuple(image_part(image.data, image.type.mime) for image in fitted),
        tuple(dict.fromkeys(image.note for image in fitted if image.note)),
    )


def required(value: Any, limits: Limits) -> Pictures:
    """The images that a value, or the file that a path names, shows. Raises InputError when it shows none."""
    if isinstance(value, PurePath):
        value = _of_file(value)
    found = pictures(value, limits)
    if found is None:
        message = f"a value of type {type(value).__name__} is no image."
        raise InputError(message, hint="Give a figure, a Pillow image, a path (Path), or an image's bytes.")
    return found


def image_part(data: bytes, mime: str) -> Part:
    """An image as a part of a message's content."""
    url = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _of_file(path: PurePath) -> bytes:
    from puq_magics.core.files import path_of, read, shown

    def wanted(start: bytes, size: int) -> int:
        if kind_of(start) is None:
            raise InputError(f"{shown(path.name)} is no image that can be sent.", hint=f"Send {KINDS}.")
        return size

    return read(path_of(str(path)), wanted).data


def _looked(value: Any) -> list[Any] | None:
    """The files' bytes, or images of Pillow's, that a value shows."""
    one = _single(value)
    if one is not None:
        return [one]
    if callable(getattr(type(value), "_puq_images_", None)):
        return [bytes(data) for data in value._puq_images_()]
    several = value if isinstance(value, (list, tuple)) else _objects(value)
    if several is None:
        images = getattr(value, "images", None)
        if not isinstance(images, (list, tuple)):
            return None
        if not images:
            return []
        several = images
    return _all_of(several)


def _all_of(several: Any) -> list[Any] | None:
    """The images of a list that holds nothing else; the axes of one figure are one image."""
    figures: set[int] = set()
    found: list[Any] = []
    for item in several:
        figure = _figure(item)
        if figure is not None and id(figure) in figures:
            continue
        one = _single(item)
        if one is None:
            return None
        if figure is not None:
            figures.add(id(figure))
        if len(found) == MOST:
            raise InputError(f"it holds more than {MOST} images.", hint="Give a part of them.")
        found.append(one)
    return found or None


def _single(value: Any) -> Any:
    """One image file's bytes, or one image of Pillow's; None for all else."""
    if isinstance(value, BytesIO):
        value = value.getvalue()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value) if kind_of(bytes(value[:16])) else None
    figure = _figure(value)
    if figure is not None:
        return _drawn(figure)
    if _is_of(value, "PIL.Image", "Image"):
        return value
    if isinstance(value, type):
        return None
    data = getattr(value, "data", None)  # Picture, IPython's Image
    if isinstance(data, bytes) and kind_of(data):
        return data
    if _is_of(value, "IPython.core.display", "Image") and data is None:
        hint = "Download it: Image(url=…, embed=True)."
        raise InputError("the Image holds no data, only an address.", hint=hint)
    return _represented(value)


def _drawn(figure: Any) -> bytes:
    """A figure as notebooks show it: PNG, at its own resolution, trimmed."""
    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return file.getvalue()


def _figure(value: Any) -> Any:
    """The figure that a value is, or that it is drawn in (axes, a line, seaborn's grids)."""
    if "matplotlib.figure" not in sys.modules or isinstance(value, type):
        return None
    for candidate in _upwards(value):
        if _is_of(candidate, "matplotlib.figure", "Figure"):
            return candidate
    return None


def _upwards(value: Any) -> Iterator[Any]:
    """A value, what it is drawn in, and what that is a part of."""
    for _ in range(3):
        yield value
        value = getattr(value, "figure", None)


def _represented(value: Any) -> bytes | None:
    """What a notebook would show of it, if that is an image."""
    for name in ("_repr_png_", "_repr_jpeg_"):
        if callable(getattr(type(value), name, None)):
            shows = getattr(value, name)()
            shows = shows[0] if isinstance(shows, tuple) else shows  # (data, metadata)
            data = _decoded(shows) if isinstance(shows, str) else shows
            if isinstance(data, bytes) and kind_of(data):
                return data
    return None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def _objects(value: Any) -> list[Any] | None:
    """The objects of a NumPy array of them, such as the axes that ``subplots`` gives."""
    if _is_of(value, "numpy", "ndarray") and value.dtype == object:
        return list(value.flat[: MOST * 4])
    return None


def _is_of(value: Any, module: str, name: str) -> bool:
    """Whether it is of a class of a module that somebody has imported."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(value, cls)
