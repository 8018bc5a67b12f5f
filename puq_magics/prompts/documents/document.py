"""A document as it was read, and the limits of reading."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.images import ContentPart


@dataclass(frozen=True)
class PageSelection:
    """Pages of a PDF, counted from 1; all of them by default."""

    first: int = 1
    last: int | None = None
    as_images: bool = False


@dataclass(frozen=True)
class ReadLimits:
    """Limits of what is read: characters of text, and the size of images."""

    characters: int
    images: ImageLimits


@dataclass(frozen=True)
class Document:
    """A document as text, or as images of its pages.

    ``label`` describes the part that was read, and ``notes`` state what was left out. With ``is_cut``, or where the
    text is longer than the limit, there is more behind it.
    """

    text: str = ""
    label: str = ""
    notes: Sequence[str] = ()
    parts: Sequence[ContentPart] = ()
    #: The language of its code block; None for text that is not put into one.
    language: str | None = ""
    is_cut: bool = False


def require_module(name: str, what: str) -> Any:
    """Import a module of the extra ``data``. Raises InputError."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise InputError(f"{what} needs {package}.", hint='%pip install "puq_magics[data]"') from None
