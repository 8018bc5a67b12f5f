"""Files that somebody names in a prompt's options: which one is meant, and its bytes, as far as they are wanted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

#: Bytes that are enough to tell an image, and to see that a file is no text.
START = 4096


@dataclass(frozen=True)
class Content:
    """A file's bytes: all of them, or its beginning."""

    data: bytes
    #: Bytes of the whole file.
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing more."""
        return len(self.data) >= self.size


def path_of(text: str) -> Path:
    """The path that was typed; ``~`` is the home folder. Raises InputError for what cannot be one."""
    if "\0" in text:
        raise InputError("there is a zero byte in the path.", hint="Write the path anew.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(
            f"{shown(text)} names nobody's home folder.", hint="Write the path in full."
        ) from None


def is_there(path: Path) -> bool:
    """Whether something stands at this path, if only something that may not be read."""
    try:
        return path.exists()
    except PermissionError:
        return True
    except (OSError, ValueError):  # a name that no file can have
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read(path: Path, wanted: Callable[[bytes, int], int]) -> Content:
    """The bytes of a file; ``wanted`` says from its start and its size how many.

    Raises InputError for a folder, a device, an empty file, and one that is not there any more or cannot be read.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # opening a pipe could wait for ever
            said = "is a folder" if stat.S_ISDIR(kind) else "is not a file"
            raise InputError(f"{shown(path.name)} {said}.", hint="Give the path of a file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(START)
            data = start + file.read(max(wanted(start, size) - len(start), 0))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not data:
        raise InputError(f"{shown(path.name)} is empty.", hint="There is nothing in it to send.")
    return Content(data, max(size, len(data)))


def missing(text: str, path: Path) -> InputError:
    """The error for a path at which there is nothing, with the nearest name in its folder."""
    folder = path.parent
    here = f"The working folder is {Path.cwd()}."
    if not is_there(folder):
        return InputError(f"there is no folder {shown(str(folder))}.", hint=here)
    return InputError(
        f"there is no file {shown(text)}.", hint=did_you_mean(path.name, _names_in(folder)) or here
    )


def shown(text: str) -> str:
    """A name as a message quotes it: on one line, and not endless."""
    quoted = repr(text)
    return quoted if len(quoted) <= 120 else f"{quoted[:119]}…"


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _unreadable(path: Path, error: Exception) -> InputError:
    name = shown(path.name)
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {name} any more.", hint="Nothing was sent; look where it went.")
    reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return InputError(
        f"{name} cannot be read ({reason.lower()}).", hint="Check the path and its permissions."
    )
