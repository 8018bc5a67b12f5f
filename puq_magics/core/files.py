"""Files that are whole or not there, and never take the place of another unasked.

A file is written under another name beside its target and renamed at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

#: Bytes that are enough to tell an image, and to see that a file is no text.
SNIFF_BYTES = 4096


@dataclass(frozen=True)
class FileContent:
    """A file's bytes: all of them, or its beginning."""

    data: bytes
    #: Bytes of the whole file.
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing more."""
        return len(self.data) >= self.size


def expand_path(text: str) -> Path:
    """The path that was typed; ``~`` is the home folder. Raises InputError for what cannot be one."""
    if "\0" in text:
        raise InputError("there is a zero byte in the path.", hint="Write the path anew.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(
            f"{quote_name(text)} names nobody's home folder.", hint="Write the path in full."
        ) from None


def path_exists(path: Path) -> bool:
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


def read_file(path: Path, choose_size: Callable[[bytes, int], int]) -> FileContent:
    """The bytes of a file; ``wanted`` says from its start and its size how many.

    Raises InputError for a folder, a device, an empty file, and one that is not there any more or cannot be read.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # opening a pipe could wait for ever
            said = "is a folder" if stat.S_ISDIR(kind) else "is not a file"
            raise InputError(f"{quote_name(path.name)} {said}.", hint="Give the path of a file.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(SNIFF_BYTES)
            data = start + file.read(max(choose_size(start, size) - len(start), 0))
    except (OSError, ValueError) as error:
        raise _read_error(path, error) from None
    if not data:
        raise InputError(f"{quote_name(path.name)} is empty.", hint="There is nothing in it to send.")
    return FileContent(data, max(size, len(data)))


def missing_file_error(text: str, path: Path) -> InputError:
    """The error for a path at which there is nothing, with the nearest name in its folder."""
    folder = path.parent
    here = f"The working folder is {Path.cwd()}."
    if not path_exists(folder):
        return InputError(f"there is no folder {quote_name(str(folder))}.", hint=here)
    return InputError(
        f"there is no file {quote_name(text)}.", hint=did_you_mean(path.name, _list_names(folder)) or here
    )


def quote_name(text: str) -> str:
    """A name as a message quotes it: on one line, and not endless."""
    quoted = repr(text)
    return quoted if len(quoted) <= 120 else f"{quoted[:119]}…"


def _list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read_error(path: Path, error: Exception) -> InputError:
    name = quote_name(path.name)
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {name} any more.", hint="Nothing was sent; look where it went.")
    reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return InputError(
        f"{name} cannot be read ({reason.lower()}).", hint="Check the path and its permissions."
    )


#: Of a file's name that is made from words: how many of them, and characters.
_MAX_STEM_WORDS, _MAX_STEM_CHARS = 6, 40
#: What ends a name as an extension: a few letters, or one of these. ``kite.v2`` and ``1. kite`` have none.
_EXTENSION = re.compile(r"\.(?:[a-z]{1,4}|mp[234]|m4[abrv]|jp2|3gp|7z)", re.IGNORECASE)


def check_save_path(
    path: str | Path,
    force: bool = False,
    *,
    extensions: Sequence[str] = (),
    number: int = 1,
    force_hint: str = "force=True (--force)",
) -> Path:
    """The path to write to, ``~`` expanded; raises InputError if it cannot be written, before anything is paid for.

    ``extensions`` (such as ``.png``) are those that the data may have: a path without any gets one later, and
    so all are looked at. ``number`` is how many files there will be: see ``output_paths``. ``force_hint`` is
    how the one
    who gave the path would have a file replaced, for the error's hint.
    """
    target = _expand_save_path(path)
    if number == 1 or _is_not_a_file(target):
        _check_writable(
            target, force, force_hint
        )  # as it was typed: a folder is not a name that lacks an extension
    for ending in extensions or ("",):
        for each in output_paths(target, ending, number):
            _check_writable(each, force, force_hint)
    return target


def output_paths(path: Path, extension: str, number: int = 1) -> list[Path]:
    """Where so many files go: ``x.png``, or ``x-1.png``, ``x-2.png``, …; the extension is for a path without one.

    One file that is there already is meant itself, whatever it is called.
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
    """This path, or the first of ``x-2.txt``, ``x-3.txt``, … that nothing has the name of."""
    if not _name_is_taken(path):
        return path
    stem, suffix = (path.stem, path.suffix) if _has_extension(path) else (path.name, "")
    return next(other for n in count(2) if not _name_is_taken(other := path.with_name(f"{stem}-{n}{suffix}")))


@contextmanager
def atomic_write(path: str | Path, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which has its name once all is written; after an error or an interrupt there is none.

    Raises InputError if it cannot be written. Without ``force`` nothing is overwritten, not even a file that
    appeared meanwhile: then this one stays beside it under a name with a number, which the error tells.
    """
    target = check_save_path(path, force)
    if force and target.is_symlink():
        target = target.resolve()  # what it points to is to change, not the link
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
    """Write a file; return its path. Raises InputError."""
    target = _expand_save_path(path)
    with atomic_write(target, force) as file:
        file.write(data)
    return target


def save_text(text: str, path: str | Path, *, force: bool = False) -> Path:
    """Write a text as UTF-8; return its path. Raises InputError."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        hint = "Write the characters you need: text.encode('utf-8', 'replace')"
        raise InputError("this text has half a character, which no file can hold.", hint=hint) from None
    return save_bytes(data, path, force=force)


def save_numbered(data: bytes, folder: Path, words: str, extension: str) -> Path:
    """Write a file named after some words with the first number that is free; return its path. Raises InputError.

    When the last one with a number holds the same data, it is that one: Run All does not fill the folder.
    """
    stem, last = filename_stem(words), None
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
    """Write data that must not be lost to a temporary file of its own; return its path. Raises InputError."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="puq-", suffix=extension)
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as exc:
        raise _write_error(Path(tempfile.gettempdir()), exc) from None
    return Path(name)


def filename_stem(words: str, default: str = "untitled") -> str:
    """A file's name of the first words of a text, without its ending: ``a-red-kite``."""
    parts = re.findall(r"[^\W_]+", words[:400].lower())[:_MAX_STEM_WORDS]
    return "-".join(parts)[:_MAX_STEM_CHARS].strip("-") or default


def _has_extension(path: Path) -> bool:
    return _EXTENSION.fullmatch(path.suffix) is not None


def _has_bytes(path: Path, data: bytes) -> bool:
    try:
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:  # not for us to read
        return False


def _expand_save_path(path: str | Path) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        raise InputError(f"{path!r} is not the name of a file.", hint="Write one like result.png.")
    if not text.strip() or "\0" in text:
        raise InputError(f"{text!r} is not the name of a file.", hint="Write one like result.png.")
    try:
        target = Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text} names nobody's home folder.", hint="Write the path in full.") from None
    if text.endswith(("/", os.sep)) and not os.path.isdir(target):
        raise InputError(f"{text} is a folder, which is not there.", hint="Make it, and name a file in it.")
    return target


def _is_not_a_file(target: Path) -> bool:
    """Whether it is there, and no file: a folder, a device."""
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
            raise InputError(f"the folder {folder} may not be written to.", hint="Name another.")
    except OSError as exc:
        raise _write_error(target, exc) from None


def _check_existing(target: Path, force: bool, force_hint: str) -> None:
    if target.exists() and not target.is_file():
        raise InputError(f"{target} is not an ordinary file.", hint="Name another.")
    if not force:
        raise InputError(f"{target} exists.", hint=f"Name another; or {force_hint} replaces it.")
    if target.exists() and not (os.access(target, os.W_OK) and os.access(target.resolve().parent, os.W_OK)):
        raise InputError(f"{target} may not be written to.", hint="Name another.")


def _name_is_taken(target: Path) -> bool:
    """Whether a name is taken, by a link to nothing too. Raises OSError for names that no file can have."""
    try:
        os.lstat(target)
    except FileNotFoundError:
        return False
    return True


def _move_into_place(partial: Path, target: Path, force: bool) -> None:
    """Give a file that is whole its name."""
    if force:
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    elif not _rename_if_free(partial, target):
        other = _save_under_free_name(partial, target)
        raise InputError(f"{target} has appeared meanwhile.", hint=f"What came was saved as {other}")


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
    except OSError:  # a file system without links
        try:
            target.open("xb").close()
        except FileExistsError:
            return False
        partial.replace(target)
    return True


def _write_error(target: Path, exc: OSError) -> InputError:
    return InputError(f"{target} cannot be written: {exc.strerror or exc}.", hint="Name another file.")
