"""Images that a model made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.outputs.results.base import MAX_EMBED_MB, MediaFile, MediaResult
from puq_magics.outputs.results.footer import Footer

if TYPE_CHECKING:
    from puq_magics.core.media_types import MediaType


class ImageLike(Protocol):
    """An image as the client reads it out of an answer."""

    @property
    def data(self) -> bytes:
        """PNG, JPEG or WebP."""

    @property
    def revised_prompt(self) -> str:
        """The prompt as the model changed it; empty when it did not say."""


@dataclass(repr=False, kw_only=True)
class ImageFile:
    """One image: its bytes as they came, and what they are by themselves.

    Raises InputError for bytes that are not PNG, JPEG or WebP.
    """

    data: bytes
    #: What was asked for; the alternative text.
    prompt: str = ""
    #: The prompt as the model changed it; empty when it did not say.
    revised_prompt: str = ""
    #: Where it was saved last.
    path: Path | None = field(default=None, compare=False)
    type: MediaType = field(init=False, compare=False)
    #: Pixels; 0 when the bytes do not tell.
    width: int = field(init=False, compare=False)
    height: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        from puq_magics.core.media_types import detect_image_type, image_dimensions

        kind = detect_image_type(self.data)
        if kind is None:
            raise InputError(
                "these bytes are not a PNG, JPEG or WebP image.", hint="Look at their beginning."
            )
        self.type = kind
        self.width, self.height = image_dimensions(self.data) or (0, 0)

    @property
    def format(self) -> str:
        """``png``, ``jpeg`` or ``webp``."""
        return self.type.format

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the bytes to a file; return its path, with the right extension if it had none.

        An extension of another format is kept as it is written. Raises InputError for an existing file, unless
        ``force``.
        """
        from puq_magics.core.files import check_save_path, output_paths, save_bytes

        target = check_save_path(path, force, extensions=[self.type.extension])
        saved = save_bytes(self.data, output_paths(target, self.type.extension)[0], force=force)
        self.path = saved.absolute()
        return saved

    def to_pil(self) -> Any:
        """The image as Pillow has it. Raises ConfigurationError without Pillow, InputError for broken images."""
        try:
            pil = importlib.import_module("PIL.Image")
        except ImportError:
            hint = "Install it: %pip install pillow"
            raise ConfigurationError("Pillow is not installed.", hint=hint) from None
        try:
            image = pil.open(BytesIO(self.data))
            image.load()
        except (OSError, SyntaxError, ValueError) as exc:
            hint = "Its bytes are in .data."
            raise InputError(f"the image cannot be decoded: {exc}.", hint=hint) from None
        return image

    def __str__(self) -> str:
        size = f"{self.width} × {self.height} " if self.width else ""
        return f"{size}{self.format.upper()}"

    def __repr__(self) -> str:
        return f"<ImageFile {self}, {len(self.data):,} bytes>"

    def _puq_text_(self) -> str:
        return _describe([self], self.prompt)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from puq_magics.outputs.results.media_html import images_bundle

        return images_bundle([self], [len(self.data) <= MAX_EMBED_MB * 1_000_000], Footer(), MAX_EMBED_MB)


@dataclass(repr=False, kw_only=True)
class ImageResult(MediaResult):
    """The images that came of a prompt.

    ``images`` may be given as bytes or as the client's images; each becomes a ImageFile.
    """

    images: Sequence[ImageFile]
    prompt: str

    def __post_init__(self) -> None:
        self.images = tuple(_to_image(image, self.prompt) for image in self.images)

    def save(self, path: str | Path, *, force: bool = False) -> list[Path]:
        """Write the images to ``path``, several to ``x-1.png``, ``x-2.png``, …; return the paths.

        A path without an extension gets the right one; one of another format is kept, and noted. None is written
        if one of the files exists, unless ``force``: then InputError is raised.
        """
        from puq_magics.core.files import check_save_path

        extensions = [image.type.extension for image in self.images]
        target = check_save_path(path, force, extensions=extensions, number=len(self.images))
        paths = [image.save(name, force=force) for name, image in self._target_paths(target)]
        for name, image in zip(paths, self.images, strict=True):
            self._note_format_mismatch(name, image.type)
        return paths

    def _target_paths(self, target: Path) -> list[tuple[Path, ImageFile]]:
        from puq_magics.core.files import output_paths

        number = len(self.images)
        names = [output_paths(target, image.type.extension, number)[n] for n, image in enumerate(self.images)]
        return list(zip(names, self.images, strict=True))

    @property
    def has_content(self) -> bool:
        """Implement `Result`."""
        return bool(self.images)

    @property
    def _facts(self) -> tuple[str, ...]:
        if not self.images:
            return ("no image",)
        formats = list(dict.fromkeys(str(image) for image in self.images))
        number = () if len(self.images) == 1 else (f"{len(self.images)} images",)
        return (*number, *formats) if len(formats) == 1 else number

    def _puq_images_(self) -> list[bytes]:
        """Return the files of the images, for a prompt."""
        return [image.data for image in self.images]

    def __str__(self) -> str:
        return _describe(self.images, self.prompt)

    @property
    def files(self) -> list[tuple[MediaFile, bytes, str]]:
        """Implement `MediaResult`."""
        return [(image, image.data, self.prompt) for image in self.images]

    def bundle(self, footer: Footer) -> dict[str, str]:
        """Return the MIME bundle: the images in a wrapping row, with the prompt as alternative text."""
        from puq_magics.outputs.results.media_html import images_bundle

        linked = [id(file) for file, *_ in self.oversized_files()]
        embedded = [id(image) not in linked for image in self.images]
        return images_bundle(self.images, embedded, footer, self.max_embed_mb)


def _to_image(image: ImageFile | ImageLike | bytes, prompt: str) -> ImageFile:
    if isinstance(image, ImageFile):
        return image
    if isinstance(image, bytes | bytearray | memoryview):
        return ImageFile(data=bytes(image), prompt=prompt)
    return ImageFile(data=image.data, prompt=prompt, revised_prompt=image.revised_prompt or "")


def _describe(images: Sequence[ImageFile], prompt: str) -> str:
    formats = ", ".join(dict.fromkeys(str(image) for image in images))
    what = "no image" if not images else "an image" if len(images) == 1 else f"{len(images)} images"
    size = f" ({formats})" if formats else ""
    return f"{what}{size} of “{prompt}”" if prompt else f"{what}{size}"
