"""Reading and writing of whole files.

A file is written under a temporary name beside its target and renamed at the end, so that it is complete or absent.
Existing files are replaced only with ``force``.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from puq_magics.core.errors import EmptyFileError, InputError
from puq_magics.core.suggestions import did_you_mean

#: Bytes that are enough to detect an image, and to see that a file is not text.
SNIFF_BYTES = 4096


@dataclass(frozen=True)
class FileContent:
    """All bytes of a file, or its beginning."""

    data: bytes
    #: Size of the whole file, in bytes.
    size: int

    @property
    def is_whole(self) -> bool:
        """True if ``data`` is the whole file."""
        return len(self.data) >= self.size


def expand_path(path: str | os.PathLike[str], *, hint: str = "Write the path in full.") -> Path:
    """Return the path with ``~`` replaced by the home folder.

    Raises InputError for what cannot be a path: no string, an empty one, a zero byte, an unknown user.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InputError(f"{quote_name(path)} is not the name of a file.", hint=hint)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"unknown user in path {quote_name(text)}.", hint=hint) from None


def path_exists(path: Path) -> bool:
    """Return whether the path exists, even if it may not be read."""
    try:
        return path.exists()
    except PermissionError:
        return True
    except (OSError, ValueError):  # a name that no file can have
        return False


def is_folder(path: Path) -> bool:
    """Return whether the path is a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_file(path: Path, choose_size: Callable[[bytes, int], int]) -> FileContent:
    """Read a file; ``choose_size`` gets its first bytes and its size, and returns how many bytes to read.

    Raises InputError for a folder, a device, an empty file, and one that is missing or cannot be read.
    """
    try:
        check_is_file(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(SNIFF_BYTES)
            data = start + file.read(max(choose_size(start, size) - len(start), 0))
    except (OSError, ValueError) as error:
        raise read_error(path.name, error) from None
    if not data:
        raise EmptyFileError(
            f"{quote_name(path.name)} is empty.", hint="Check that it was written completely."
        )
    return FileContent(data, max(size, len(data)))


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises InputError as ``read_file`` does."""
    try:
        check_is_file(path)
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise read_error(path.name, error) from None
    with file:
        yield file


def check_is_file(path: Path, hint: str = "Give the path of a file.") -> os.stat_result:
    """Return the file's details. Raises InputError for a folder or a device, OSError for what is missing."""
    details = path.stat()
    if not stat.S_ISREG(details.st_mode):  # opening a pipe could wait for ever
        kind = "is a folder" if stat.S_ISDIR(details.st_mode) else "is not a file"
        raise InputError(f"{quote_name(path.name or str(path))} {kind}.", hint=hint)
    return details


def missing_file_error(text: str, path: Path) -> InputError:
    """Return the error for a path that does not exist; suggests the nearest name in its folder."""
    folder = path.parent
    here = f"The working folder is {Path.cwd()}."
    if not path_exists(folder):
        return InputError(f"there is no folder {quote_name(str(folder))}.", hint=here)
    return InputError(
        f"there is no file {quote_name(text)}.", hint=did_you_mean(path.name, _list_names(folder)) or here
    )


def missing_name_error(name: str, variables: Iterable[str], hint: str) -> InputError:
    """Return the error for a name that is neither a file nor a variable; suggests the nearest variable."""
    message = f"there is neither a file nor a variable named {quote_name(name)}."
    return InputError(message, hint=did_you_mean(name, variables) or hint)


def read_error(path: object, error: Exception) -> InputError:
    """Return the error for a file that is missing or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(
            f"there is no file {quote_name(path)}.", hint="Check the path and the working folder."
        )
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return InputError(
        f"{quote_name(path)} cannot be read ({reason.lower()}).", hint="Check the path and its permissions."
    )


def quote_name(name: object) -> str:
    """Return a name or a path as a message quotes it: on one line, and not longer than 120 characters."""
    quoted = repr(os.fspath(name) if isinstance(name, os.PathLike) else name)
    return quoted if len(quoted) <= 120 else f"{quoted[:119]}…"


def _list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


#: Limits of a file name that is made from a text: in words, in characters.
_MAX_STEM_WORDS, _MAX_STEM_CHARS = 6, 40
#: An extension is a few letters, or one of these: ``kite.v2`` and ``1. kite`` have none.
_EXTENSION = re.compile(r"\.(?:[a-z]{1,4}|mp[234]|m4[abrv]|jp2|3gp|7z)", re.IGNORECASE)


def check_save_path(
    path: str | Path,
    force: bool = False,
    *,
    extensions: Sequence[str] = (),
    number: int = 1,
    force_hint: str = "force=True (--force)",
) -> Path:
    """Return the path to write to, with ``~`` expanded; raise InputError if it cannot be written.

    Call it before a request is paid for. ``extensions`` (such as ``.png``) are those that the data may have: a path
    without an extension gets one of them later, and so all are checked. ``number`` is the number of files (see
    ``output_paths``). ``force_hint`` names the option that replaces a file, for the error's hint.
    """
    target = _expand_save_path(path)
    if number == 1 or _is_not_a_file(target):
        # As it was typed: a folder is not a name that lacks an extension.
        _check_writable(target, force, force_hint)
    for ending in extensions or ("",):
        for each in output_paths(target, ending, number):
            _check_writable(each, force, force_hint)
    return target


def output_paths(path: Path, extension: str, number: int = 1) -> list[Path]:
    """Return the paths of ``number`` files: ``x.png``, or ``x-1.png``, ``x-2.png`` and so on.

    The extension is added to a path without one. A single file that exists keeps its name, whatever it is.
    """
    if not path.name:  # a folder such as `.`
        return [path]
    if number == 1 and os.path.isfile(path):
        return [path]
    stem, suffix = (path.stem, path.suffix) if _has_extension(path) else (path.name, extension)
    if number == 1:
        return [path.with_name(stem + suffix)]
    return [path.with_name(f"{stem}-{n}{suffix}") for n in range(1, number + 1)]


def first_free_path(path: Path) -> Path:
    """Return this path, or the first of ``x-2.txt``, ``x-3.txt`` and so on that does not exist."""
    if not _name_is_taken(path):
        return path
    stem, suffix = (path.stem, path.suffix) if _has_extension(path) else (path.name, "")
    return next(other for n in count(2) if not _name_is_taken(other := path.with_name(f"{stem}-{n}{suffix}")))


@contextmanager
def atomic_write(path: str | Path, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write to, which gets its name at the end; after an error or an interrupt there is none.

    Raises InputError if it cannot be written. Without ``force`` nothing is overwritten: if a file of that name
    appears meanwhile, the data is saved beside it under a numbered name, which the error states.
    """
    target = check_save_path(path, force)
    if force and target.is_symlink():
        try:
            target = target.resolve()  # replace the file that the link points to, not the link
        except RuntimeError:
            raise InputError(
                f"{target} cannot be written: symlink loop.", hint="Name another file."
            ) from None
    partial = target.with_name(f".{target.stem[:40]}.{token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            yield file
        _move_into_place(partial, target, force)
    except OSError as exc:
        raise _write_error(target, exc) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def save_bytes(data: bytes, path: str | Path, *, force: bool = False) -> Path:
    """Write a whole file and return its path. Raises InputError."""
    target = _expand_save_path(path)
    with atomic_write(target, force) as file:
        file.write(data)
    return target


def save_text(text: str, path: str | Path, *, force: bool = False) -> Path:
    """Write a text as UTF-8 and return its path. Raises InputError."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        hint = "Replace it first: text.encode('utf-8', 'replace')"
        raise InputError("this text has half a surrogate pair, which UTF-8 cannot hold.", hint=hint) from None
    return save_bytes(data, path, force=force)


def save_numbered(data: bytes, folder: Path, title: str, extension: str) -> Path:
    """Write a file named after a title, with the first free number, and return its path. Raises InputError.

    If the last numbered file holds the same data, it is returned instead: Run All does not fill the folder.
    """
    stem, last = filename_stem(title), None
    for n in count(1):
        target = folder / f"{stem}-{n}{extension}"
        if _name_is_taken(target):
            last = target
            continue
        if last is not None and _has_bytes(last, data):
            return last
        with atomic_write(target) as file:
            file.write(data)
        return target
    raise AssertionError("numbers do not end")


def save_to_temp_file(data: bytes, extension: str) -> Path:
    """Write data that must not be lost to a new temporary file and return its path. Raises InputError."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="puq-", suffix=extension)
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as exc:
        raise _write_error(Path(tempfile.gettempdir()), exc) from None
    return Path(name)


def filename_stem(text: str, default: str = "untitled") -> str:
    """Return a file name made of a text's first words, without an extension: ``a-red-kite``."""
    parts = re.findall(r"[^\W_]+", text[:400].lower())[:_MAX_STEM_WORDS]
    return "-".join(parts)[:_MAX_STEM_CHARS].strip("-") or default


def _has_extension(path: Path) -> bool:
    return _EXTENSION.fullmatch(path.suffix) is not None


def _has_bytes(path: Path, data: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _expand_save_path(path: str | Path) -> Path:
    target = expand_path(path, hint="Write a file name like result.png.")
    if os.fspath(path).endswith(("/", os.sep)) and not os.path.isdir(target):
        raise InputError(f"there is no folder {path}.", hint="Make it first, and name a file in it.")
    return target


def _is_not_a_file(target: Path) -> bool:
    """Return whether the path is something other than a file: a folder, a device."""
    return os.path.exists(target) and not os.path.isfile(target)


def _check_writable(target: Path, force: bool, force_hint: str) -> None:
    folder = target.parent
    try:
        if target.is_dir():
            raise InputError(f"{target} is a folder.", hint="Name a file in it.")
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}.", hint="Make it first, or name another.")
        if _name_is_taken(target):
            _check_existing(target, force, force_hint)
        elif not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"the folder {folder} is not writable.", hint="Name another.")
    except OSError as exc:
        raise _write_error(target, exc) from None


def _check_existing(target: Path, force: bool, force_hint: str) -> None:
    if target.exists() and not target.is_file():
        raise InputError(f"{target} is not an ordinary file.", hint="Name another.")
    if not force:
        raise InputError(f"{target} exists.", hint=f"Name another; or {force_hint} replaces it.")
    if target.exists() and not (os.access(target, os.W_OK) and os.access(target.resolve().parent, os.W_OK)):
        raise InputError(f"{target} is not writable.", hint="Name another.")


def _name_is_taken(target: Path) -> bool:
    """Return whether a name is taken, by a broken link too. Raises OSError for names that no file can have."""
    try:
        os.lstat(target)
    except FileNotFoundError:
        return False
    return True


def _move_into_place(partial: Path, target: Path, force: bool) -> None:
    """Rename a complete file to its target."""
    if force:
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    elif not _rename_if_free(partial, target):
        other = _save_under_free_name(partial, target)
        raise InputError(f"{target} has appeared meanwhile.", hint=f"The data was saved as {other}")


def _save_under_free_name(partial: Path, target: Path) -> Path:
    for n in count(1):
        other = target.with_name(f"{target.stem}-{n}{target.suffix}")
        if _rename_if_free(partial, other):
            return other
    raise AssertionError("numbers do not end")


def _rename_if_free(partial: Path, target: Path) -> bool:
    """Rename, unless the name is taken: ``rename`` alone would overwrite."""
    try:
        os.link(partial, target)
    except FileExistsError:
        return False
    except (OSError, AttributeError):  # a file system, or a platform such as Pyodide, without links
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        partial.replace(target)
    return True


def _write_error(target: Path, exc: OSError) -> InputError:
    return InputError(f"{target} cannot be written: {exc.strerror or exc}.", hint="Name another file.")
