"""Files of a folder, or those that match a pattern: listed, and read as far as the limit goes.

Hidden files, links that lead outside and folders of packages are left out; huge trees are not walked to their end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from puq_magics.core import files
from puq_magics.core.errors import InputError
from puq_magics.core.fences import format_code_block
from puq_magics.core.text import pluralize
from puq_magics.prompts.images import ContentPart

#: The most files that are listed, entries of folders that are looked at, and images that a pattern attaches.
MAX_FILES, MAX_ENTRIES, MAX_IMAGES = 300, 5_000, 20
_PACKAGE_FOLDERS = ("__pycache__", "node_modules")
_MAX_DEPTH = 30

#: Reads a file under a name, up to a limit of characters; ``True`` allows images. Returns parts and notes, or what
#: the file is, such as ``binary file``, if it is not to be attached.
FileReader = Callable[[Path, str, int, bool], tuple[Sequence[ContentPart], Sequence[str]] | str]


@dataclass
class FileListing:
    """Files in a folder, with their names below it; and what was left out, counted."""

    root: Path
    #: Parts of a pattern that the names match, such as ``("**", "*.py")``; empty for all.
    pattern: tuple[str, ...] = ()
    files: list[tuple[Path, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True

    def __post_init__(self) -> None:
        self._entries = 0
        self._depth = _MAX_DEPTH if not self.pattern or "**" in self.pattern else len(self.pattern)
        self._takes_hidden = any(part.startswith(".") for part in self.pattern)
        for file in islice(self._walk(self.root, ()), MAX_FILES + 1):
            self.files.append(file)
        if len(self.files) > MAX_FILES:
            self.files.pop()
            self.is_complete = False

    def _walk(self, folder: Path, above: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
        """Yield the files of a folder, then those of the folders in it, each in alphabetical order."""
        room = MAX_ENTRIES - self._entries
        with os.scandir(folder) as scan:
            entries = sorted(islice(scan, room + 1), key=lambda entry: entry.name)
        self._entries += len(entries)
        if len(entries) > room:
            self.is_complete = False
        folders = []
        for entry in entries:
            names = (*above, entry.name)
            if not (len(names) < self._depth if entry.is_dir() else self._matches(names)):
                continue
            if reason := self._reason_to_skip(entry):
                self.left_out[reason] += 1
            elif entry.is_dir():
                folders.append(entry)
            elif entry.is_file():
                yield Path(entry.path), "/".join(names)
        for entry in folders:
            if self._entries <= MAX_ENTRIES:
                try:
                    yield from self._walk(Path(entry.path), (*above, entry.name))
                except OSError:
                    self.left_out["unreadable folder"] += 1

    def _reason_to_skip(self, entry: os.DirEntry[str]) -> str:
        kind = "folder" if entry.is_dir() else "file"
        if entry.name.startswith(".") and not self._takes_hidden:
            return f"hidden {kind}"
        if entry.is_symlink() and (entry.is_dir() or not _is_inside(entry.path, self.root)):
            return "link"
        is_package = kind == "folder" and (
            entry.name in _PACKAGE_FOLDERS or os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
        )
        return "folder of packages" if is_package else ""

    def _matches(self, names: tuple[str, ...]) -> bool:
        return not self.pattern or _matches(names, self.pattern)


def is_pattern(name: str) -> bool:
    """Return whether a name is a pattern such as ``*.py``."""
    return any(char in name for char in "*?")


def attach_folder(name: str, path: Path, limit: int, read: FileReader) -> tuple[list[ContentPart], list[str]]:
    """Return the listing of a folder or a pattern, the files up to the limit, and notes. Raises InputError."""
    listing = _list(name, path)
    shown = "\n".join(f"{file_name}  {_file_size_text(file)}" for file, file_name in listing.files)
    what = f"Files {name}" if listing.pattern else f"Folder {name}"
    parts: list[ContentPart] = [{"type": "text", "text": f"{what}:\n\n{format_code_block(shown)}"}]
    notes: list[str] = []
    left, images, attached = limit, 0, 0
    for file, file_name in listing.files:
        if left <= 0:
            break
        found = read(file, file_name, left, bool(listing.pattern) and images < MAX_IMAGES)
        if isinstance(found, str):
            listing.left_out[found] += 1
            continue
        left -= sum(len(part.get("text", "")) for part in found[0])
        images += sum("image_url" in part for part in found[0])
        attached += 1
        parts += found[0]
        notes += found[1]
    is_all = attached == len(listing.files) and listing.is_complete and not listing.left_out
    return parts, notes if is_all else [f"{name}: {_describe(listing, attached)}", *notes]


def _list(name: str, path: Path) -> FileListing:
    root, pattern = (path, ()) if files.is_folder(path) else _split_pattern(path)
    try:
        listing = FileListing(root, pattern)
    except OSError as error:
        raise files.read_error(name, error) from None
    if not listing.files:
        left_out = _describe_left_out(listing)
        message = (
            f"no file matches {files.quote_name(name)}"
            if pattern
            else f"the folder {files.quote_name(name)} has no files"
        )
        hint = f"Left out: {left_out}." if left_out else "Check the path and the working folder."
        raise InputError(f"{message}.", hint=hint)
    return listing


def _split_pattern(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that a pattern starts from, and its parts below."""
    parts = path.parts
    count = next(index for index, part in enumerate(parts) if is_pattern(part))
    return Path(*parts[:count]), parts[count:]


def _describe(listing: FileListing, attached: int) -> str:
    count = len(listing.files)
    text = pluralize(attached, "file") if attached == count else f"{attached:,} of {pluralize(count, 'file')}"
    if not listing.is_complete:
        text += " (there are more: the listing was cut)"
    left_out = _describe_left_out(listing)
    return f"{text}; left out: {left_out}" if left_out else text


def _describe_left_out(listing: FileListing) -> str:
    return ", ".join(pluralize(count, what, _plural(what)) for what, count in listing.left_out.items())


def _plural(what: str) -> str:
    return "folders of packages" if what == "folder of packages" else ""


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_matches(names[skipped:], rest) for skipped in range(len(names)))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _is_inside(path: str, root: Path) -> bool:
    try:
        return Path(path).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return False


def _file_size_text(path: Path) -> str:
    try:
        return f"{path.stat().st_size:,} bytes"
    except OSError:
        return ""
