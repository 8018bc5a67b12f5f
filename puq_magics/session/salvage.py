"""What was paid for and is no result: bytes that came in a failed answer, kept in files."""

from __future__ import annotations

from collections.abc import Iterable

from puq_magics.api.errors import APIError, InputError
from puq_magics.api.media_types import audio_type, image_type, said_instead
from puq_magics.outputs.saving import kept

_EXTENSIONS = {"JSON": ".json", "HTML": ".html", "SVG": ".svg", "XML": ".xml", "text": ".txt"}


def salvage(error: APIError, leftovers: Iterable[bytes]) -> None:
    """Keep what is no result in temporary files of their own; the error says where."""
    try:
        paths = [str(kept(data, _extension(data))) for data in leftovers if data]
    except InputError as exc:  # no room left, say
        error.hint = f"{error.hint} It could not be kept: {exc.message}".lstrip()
        return
    if paths:
        error.hint = f"{error.hint} What came instead is kept in {', '.join(paths)}".lstrip()


def _extension(data: bytes) -> str:
    kind = image_type(data) or audio_type(data)
    return kind.extension if kind is not None else _EXTENSIONS.get(said_instead(data), ".bin")
