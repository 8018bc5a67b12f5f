"""Files to send: opened again for each attempt, read while they are sent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from requests_toolbelt.multipart.encoder import MultipartEncoder

from puq_magics.core.errors import EmptyFileError, InputError
from puq_magics.core.files import check_is_file, expand_path, quote_name, read_error
from puq_magics.core.media_types import (
    SNIFF_BYTES,
    MediaType,
    describe_non_media,
    detect_audio_type,
    detect_image_type,
)

#: Called with the bytes sent and the bytes in all; another attempt begins at 0.
OnProgress = Callable[[int, int], None]
_AUDIO_FORMATS = "MP3, WAV, OGG, FLAC, AAC, M4A/MP4 and WebM"
_LONGEST_NAME = 200
_PATH_HINT = "Give the path of an audio file."


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send: its name without folders, its size in bytes, and how to open it (at its beginning).

    >>> upload = Upload.from_path("talk.mp3")  # doctest: +SKIP
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]
    mime: str = "application/octet-stream"

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Upload:
        """Return an upload of an audio file; of its path only the name is sent.

        Raises InputError if it is missing, not a file, empty, unreadable, or not audio by its first bytes.
        """
        absolute = expand_path(path, hint=_PATH_HINT).absolute()
        try:
            details = check_is_file(absolute, hint=_PATH_HINT)
            with absolute.open("rb") as file:
                start = file.read(SNIFF_BYTES)
        except (OSError, ValueError) as exc:
            raise read_error(path, exc) from None
        kind_of_audio = _check_audio(quote_name(path), start)
        return cls(
            _safe_name(absolute.name), details.st_size, lambda: absolute.open("rb"), kind_of_audio.mime
        )

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, name: str | None = None) -> Upload:
        """Return an upload of audio in memory; the default name states its format.

        Raises InputError for data that is empty or not audio by its first bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InputError(f"{quote_name(data)} is not bytes.", hint="Give an audio file's bytes.")
        held = bytes(data)
        kind = _check_audio("the data" if name is None else repr(name), held[: 1 << 20])
        bare = _safe_name(name or "")
        bare = bare if Path(bare).suffix else bare + kind.extension
        return cls(bare, len(held), lambda: BytesIO(held), kind.mime)


def image_uploads(images: bytes | Sequence[bytes]) -> tuple[Upload, ...]:
    """Return images in memory as files to send. Raises InputError for anything but PNG, JPEG and WebP."""
    listed = [images] if isinstance(images, bytes | bytearray | memoryview) else list(images)
    if not listed:
        raise InputError("there is no image to edit.", hint="Give the bytes of a PNG, JPEG or WebP file.")
    return tuple(_image_upload(data, number) for number, data in enumerate(listed, 1))


def _image_upload(data: object, number: int) -> Upload:
    held = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b""
    kind = detect_image_type(held)
    if kind is None:
        raise InputError(f"image {number} is not PNG, JPEG or WebP.", hint="Give the bytes of an image file.")
    return Upload(f"image-{number}{kind.extension}", len(held), lambda: BytesIO(held), kind.mime)


@dataclass(frozen=True, slots=True)
class MultipartForm:
    """A body of ``multipart/form-data``: fields in order, then files, which are streamed."""

    fields: tuple[tuple[str, str], ...]
    file: Upload
    on_progress: OnProgress | None = field(default=None, compare=False, repr=False)
    #: Name of the files' field, and the files after the first.
    file_field: str = "file"
    more_files: tuple[Upload, ...] = ()

    @property
    def files(self) -> tuple[Upload, ...]:
        """All files, in order."""
        return self.file, *self.more_files


def form_fields(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return parameters as form fields; each value of a list is a field (``name[]``), None is left out."""
    fields: list[tuple[str, str]] = []
    for name, value in params.items():
        if isinstance(value, list | tuple):
            listed = name if name.endswith("[]") else f"{name}[]"
            fields += [(listed, _to_form_value(item)) for item in value]
        elif value is not None:
            fields.append((name, _to_form_value(value)))
    return tuple(fields)


def _to_form_value(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InputError(
            f"the request cannot be written as a form: {exc}.",
            hint="Use text, finite numbers, True or False.",
        ) from None


def _check_audio(label: str, start: bytes) -> MediaType:
    if not start:
        raise EmptyFileError(f"{label} is empty.", hint="Give an audio file.")
    kind = detect_audio_type(start)
    if kind is None:
        found = describe_non_media(start)
        raise InputError(
            f"{label} is not audio that can be sent{f', but {found}' if found else ''}.",
            hint=f"Send {_AUDIO_FORMATS}.",
        )
    return kind


def _safe_name(name: str) -> str:
    """Return a file name that any server accepts: no folders, printable characters only."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join(c if c.isprintable() else "_" for c in last.encode("utf-8", "replace").decode("utf-8"))
    stem, dot, suffix = plain.strip().rpartition(".")
    if dot and 0 < len(suffix) < 20:
        return f"{stem.strip('. ')[:_LONGEST_NAME] or 'audio'}.{suffix}"
    return plain.strip(". ")[:_LONGEST_NAME] or "audio"


class RequestBody(Protocol):
    """A request body that the connection reads."""

    @property
    def len(self) -> int:
        """Size in bytes."""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end."""


class MultipartBody:
    """Encodes a form as the body of one attempt; close it.

    Reading raises InputError when the file is not as long as it was, or cannot be read.
    """

    def __init__(self, form: MultipartForm, send_timeout: float) -> None:
        #: Limit for sending a piece, in seconds.
        self.send_timeout = send_timeout
        self._form = form
        self._stack = ExitStack()
        with ExitStack() as opened:
            parts = []
            for upload in form.files:
                file = opened.enter_context(closing(_SizedFile(upload)))
                parts.append((form.file_field, (upload.name, file, upload.mime)))
            self._stack = opened.pop_all()
        self._encoder = MultipartEncoder([*form.fields, *parts])
        self._sent = 0
        self.len: int = self._encoder.len
        self.content_type: str = self._encoder.content_type

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end. Bytes read before have been sent."""
        if self._form.on_progress is not None:
            self._form.on_progress(self._sent, self.len)
        data: bytes = self._encoder.read(size)
        self._sent += len(data)
        return data

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


class _SizedFile:
    """Reads exactly the stated size: a body must be as long as its header says."""

    def __init__(self, upload: Upload) -> None:
        self._name = upload.name
        #: Bytes left; the encoder expects this name.
        self.len = upload.size
        try:
            self._file: BinaryIO = upload.open()
        except OSError as exc:
            raise self._unreadable_error(exc) from None

    def read(self, size: int = -1) -> bytes:
        wanted = self.len if size < 0 else min(size, self.len)
        try:
            data = self._file.read(wanted)
        except OSError as exc:
            raise self._unreadable_error(exc) from None
        if wanted and not data:
            raise InputError(
                f"{self._name!r} became shorter while it was sent.",
                hint="Let what writes it finish, then try again.",
            )
        self.len -= len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def _unreadable_error(self, exc: OSError) -> InputError:
        reason = (exc.strerror or type(exc).__name__).lower()
        return InputError(
            f"{self._name!r} cannot be read any more ({reason}).", hint="Check the file, then try again."
        )
