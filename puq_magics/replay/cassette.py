"""A cassette: a folder with one JSON file a request, and its media beside it; or the zip file that ``pack`` makes."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final

from puq_magics.core.errors import ConfigurationError, InputError, PuqError, RecordingError
from puq_magics.core.files import atomic_write, check_is_file, quote_name
from puq_magics.core.fork import after_fork
from puq_magics.core.suggestions import did_you_mean
from puq_magics.replay.recorded_answer import FORMAT, MEDIA_NAME, media_names

#: Endings of a cassette's folder, and of its zip file.
SUFFIX, PACKED_SUFFIX = ".cassette", ".cassette.zip"
#: File of a cassette that is no recording.
SETTINGS_FILE = "cassette.json"
_RECORDING = re.compile(r"([a-z]+-[0-9a-f]{20})(?:-([1-9]\d{0,5}))?\.json")
_MAX_RECORDING_BYTES, _MAX_MEDIA_BYTES = 64 << 20, 256 << 20
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
#: What reading a damaged, an encrypted, or an oddly compressed file of a zip file raises.
_ZIP_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError)
_RECORD_AGAIN = "Record it again: %puq_cassette record"
#: Members of a recording that hold its times.
TIMES: Final = frozenset(("seconds", "times"))


class Cassette:
    """Recordings by name and number; the first look lists the file names alone."""

    def __init__(self, folder: Path) -> None:
        """``folder`` need not exist; the zip file of that name beside it is read, too."""
        self.folder = folder
        self.packed = folder.with_name(f"{folder.name.removesuffix(SUFFIX)}{PACKED_SUFFIX}")
        self._names: set[str] | None = None
        self._reset_after_fork()
        after_fork(self, Cassette._reset_after_fork)

    def _reset_after_fork(self) -> None:
        self._lock = Lock()
        self._archive: zipfile.ZipFile | None = None  # a child would move the parent's position in the file

    @property
    def exists(self) -> bool:
        """True if there is a folder or a zip file."""
        return self.folder.is_dir() or self.packed.is_file()

    @property
    def names(self) -> set[str]:
        """Names of all files."""
        names = self._names  # another thread may forget them meanwhile
        if names is None:
            names = self._names = self._list_names()
        return names

    @property
    def recordings(self) -> list[str]:
        """Names of the files of recordings, sorted."""
        return sorted(name for name in self.names if _RECORDING.fullmatch(name))

    def check_exists(self) -> None:
        """Raise ConfigurationError if there is neither a folder nor a zip file."""
        if self.exists:
            return
        parent = self.folder.parent
        others = [path.name for path in parent.glob(f"*{SUFFIX}*")] if parent.is_dir() else []
        there = f"There is {', '.join(sorted(others)[:5])}. " if others else ""
        hint = (
            did_you_mean(self.folder.name, others)
            or f"{there}Name another one, or record it: %puq_cassette record"
        )
        raise ConfigurationError(f"there is no cassette {self.folder.name} in {parent}.", hint=hint)

    def prepare_recording(self) -> None:
        """Make the folder, and tidy it.

        Raises ConfigurationError if it cannot be written, RecordingError if the zip file beside it is damaged.
        """
        self._open_archive()
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(
                f"the cassette {self.folder} cannot be made ({reason.lower()}).", hint="Name another one."
            ) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"the cassette {self.folder} is read-only.",
                hint="%puq_cassette replay needs no more than that.",
            )
        with self.locked() as is_locked:
            for path in self.partial_files() if is_locked else ():
                with suppress(OSError):
                    path.unlink()

    def partial_files(self) -> list[Path]:
        """Return the files that are being written, or that a killed process has left."""
        return sorted(self.folder.glob(".*.part"))

    @contextmanager
    def locked(self, *, exclusive: bool = True) -> Iterator[bool]:
        """Keep other processes from writing, and, if exclusive, from reading; False where nothing can be locked.

        Never nest it: each call locks the folder anew, so that an inner one would wait for the outer one for ever.
        """
        folder, is_locked = None, False
        try:
            # Windows; a packed cassette; Pyodide, which has one process; NFS, where a folder cannot be locked
            with suppress(ImportError, AttributeError, OSError):
                import fcntl

                folder = os.open(self.folder, os.O_RDONLY)
                fcntl.flock(folder, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
                is_locked = True
            yield is_locked
        finally:
            if folder is not None:
                if is_locked:
                    fcntl.flock(folder, fcntl.LOCK_UN)  # a child that was forked meanwhile would keep it
                os.close(folder)

    def find(self, name: str, number: int, *, exact: bool = False) -> str | None:
        """Return the file of the recording of a request that is asked for the ``number``-th time.

        Where there are fewer, they begin again, unless ``exact``.
        """
        if found := self._find(name, number, exact):
            return found
        with self._lock:
            self._names = None  # another process may have recorded it
            if self._archive_was_replaced():
                self._close_archive()
        return self._find(name, number, exact)

    def _find(self, name: str, number: int, exact: bool) -> str | None:
        wanted = recording_name(name, number)
        if wanted in self.names or exact:
            return wanted if wanted in self.names else None
        start = (f"{name}.json", f"{name}-")
        matches = (_RECORDING.fullmatch(each) for each in self.names if each.startswith(start))
        numbers = sorted(int(match[2] or 1) for match in matches if match)
        return recording_name(name, numbers[(number - 1) % len(numbers)]) if numbers else None

    def read(self, name: str) -> dict[str, Any]:
        """Return a recording. Raises RecordingError."""
        data = self._read_bytes(name, _MAX_RECORDING_BYTES)
        try:
            recording: dict[str, Any] = json.loads(data)
        except (ValueError, RecursionError):
            raise RecordingError(
                f"the recording {name} is cut, or is not JSON.", hint=_RECORD_AGAIN
            ) from None
        version = recording.get("format") if isinstance(recording, dict) else None
        if not isinstance(version, int):
            raise RecordingError(f"{name} is no recording: it has no format version.", hint=_RECORD_AGAIN)
        if version > FORMAT:
            raise RecordingError(
                f"{name} was recorded by a later version of puq_magics (format {version}; this one reads {FORMAT}).",
                hint="Update it: pip install --upgrade puq_magics",
            )
        return recording

    def read_media(self, name: str) -> bytes:
        """Return a file beside a recording. Raises RecordingError."""
        if not MEDIA_NAME.fullmatch(name):
            raise RecordingError(f"{quote_name(name)} is not a file of a cassette.", hint=_RECORD_AGAIN)
        return self._read_bytes(name, _MAX_MEDIA_BYTES)

    def write(self, name: str, recording: Mapping[str, Any], media: Mapping[str, bytes]) -> dict[str, Any]:
        """Write a recording and its media, and return it as it is kept. Raises InputError.

        One that differs from the kept one in its times alone is not written. Media that are no longer used are
        deleted where the folder can be locked: elsewhere another process may be about to use them.
        """
        document = {"format": FORMAT, **recording}
        with suppress(OSError):  # the folder may have been moved or deleted meanwhile
            self.folder.mkdir(exist_ok=True)
        with self.locked() as is_locked:
            if media:
                self._names = None  # another process may have deleted some
            before = self._read_or_none(name)
            if (
                before is not None
                and media.keys() <= self.names
                and _without_times(before) == _without_times(document)
            ):
                return before
            for media_name, data in media.items():
                if self._read_media_or_none(media_name) != data:
                    self._write_bytes(media_name, data)
            self._write_bytes(name, format_recording(document).encode("utf-8", "surrogatepass"))
            if is_locked and (media or media_names(before)):
                self._delete_unused_media(split_recording_name(name)[0])
        return document

    def _delete_unused_media(self, request: str) -> None:
        """Delete the media of a request that none of its recordings names; nothing if one cannot be read."""
        self._names = None  # another process may have recorded it, too
        names = {name for name in self.names if name.startswith((f"{request}.", f"{request}-"))}
        recordings = {name for name in names if _RECORDING.fullmatch(name)}
        with suppress(PuqError):
            used = {media for name in recordings for media in media_names(self.read(name))}
            for name in names - recordings - used:
                self.delete(name)

    def read_settings(self) -> dict[str, Any]:
        """Return the models that were used by default; empty without them."""
        try:
            return self.read(SETTINGS_FILE) if SETTINGS_FILE in self.names else {}
        except PuqError:
            return {}

    def write_settings(self, default_models: Mapping[str, str]) -> None:
        """Keep the models that are used by default. Raises InputError."""
        with self.locked():
            before = self._read_or_none(SETTINGS_FILE) or {}
            models = {**before.get("default_models", {}), **default_models}
            if before.get("default_models") != models:
                text = json.dumps({"default_models": models, "format": FORMAT}, indent=2, sort_keys=True)
                self._write_bytes(SETTINGS_FILE, f"{text}\n".encode())

    def delete(self, name: str) -> None:
        """Delete a file of the folder. Raises InputError."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{name} cannot be deleted ({error.strerror}).", hint="Check its folder."
            ) from None
        self._names = self.names - {name}

    def size(self, name: str) -> int:
        """Return the size of a file, in bytes."""
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            archive = self._open_archive()
            return archive.getinfo(name).file_size if archive and name in archive.NameToInfo else 0

    def pack(self, without: Collection[str] = ()) -> Path:
        """Write the zip file and return its path; the same recordings give the same bytes. Raises PuqError.

        ``without`` are files to leave out.
        """
        self.check_exists()
        with self.locked(exclusive=False), atomic_write(self.packed, force=True) as file:
            self._names = None  # another process may have recorded more
            with zipfile.ZipFile(file, "w") as archive:
                for name in sorted(self.names - set(without)):
                    info = zipfile.ZipInfo(name, _ZIP_TIME)
                    is_json = name.endswith(".json")
                    info.compress_type = zipfile.ZIP_DEFLATED if is_json else zipfile.ZIP_STORED
                    archive.writestr(info, self._read_bytes(name, _MAX_MEDIA_BYTES))
            self._close_archive()
        return self.packed

    def _list_names(self) -> set[str]:
        archive = self._open_archive()
        names = {name for name in archive.namelist() if _is_ours(name)} if archive else set()
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            names |= {entry.name for entry in entries if _is_ours(entry.name)}
        return names

    def _read_bytes(self, name: str, limit: int) -> bytes:
        path = self.folder / name
        try:
            _check_is_inside(path)
            check_is_file(path)
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            data = self._read_packed(name, limit)
        except InputError as error:
            raise RecordingError(error.message, hint=_RECORD_AGAIN) from None
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise RecordingError(
                f"{name} cannot be read ({reason}).", hint="Check its permissions."
            ) from None
        if len(data) > limit:
            raise RecordingError(f"{name} is larger than {limit:,} bytes.", hint=_RECORD_AGAIN)
        return data

    def _read_packed(self, name: str, limit: int) -> bytes:
        with self._lock:
            archive = self._open_archive()
            if archive is None or name not in archive.NameToInfo:
                raise RecordingError(f"{name} is missing from {self.folder.name}.", hint=_RECORD_AGAIN)
            try:
                with archive.open(name) as file:
                    return file.read(limit + 1)
            except _ZIP_ERRORS as error:
                raise RecordingError(
                    f"{name} in {self.packed.name} is damaged ({type(error).__name__}).",
                    hint="Pack it again: %puq_cassette pack",
                ) from None

    def _open_archive(self) -> zipfile.ZipFile | None:
        if self._archive is None and self.packed.is_file():
            try:
                self._archive = zipfile.ZipFile(self.packed)
            except (OSError, zipfile.BadZipFile):
                raise RecordingError(
                    f"{self.packed.name} is cut, or is no zip file.", hint="Pack it again: %puq_cassette pack"
                ) from None
        return self._archive

    def _close_archive(self) -> None:
        archive, self._archive = self._archive, None
        if archive is not None:
            archive.close()

    def _archive_was_replaced(self) -> bool:
        archive = self._archive
        if archive is None or archive.fp is None:
            return False
        try:
            return not os.path.samestat(os.fstat(archive.fp.fileno()), self.packed.stat())
        except OSError:
            return True

    def _write_bytes(self, name: str, data: bytes) -> None:
        path = self.folder / name
        _check_is_inside(path)
        with atomic_write(path, force=True) as file:
            file.write(data)
        self._names = self.names | {name}  # another thread may be reading the set

    def _read_or_none(self, name: str) -> dict[str, Any] | None:
        try:
            return self.read(name)
        except RecordingError:
            return None

    def _read_media_or_none(self, name: str) -> bytes | None:
        try:
            return self.read_media(name) if name in self.names else None
        except RecordingError:
            return None


def cassette_path(path: Path) -> Path:
    """Return the folder of the cassette that a path, or that of a notebook, names. Raises InputError."""
    stem = path.name.removesuffix(".ipynb").removesuffix(PACKED_SUFFIX).removesuffix(SUFFIX)
    if not stem:
        raise InputError(f"{path} is not the name of a cassette.", hint="Name a folder, such as lesson.")
    return path.with_name(f"{stem}{SUFFIX}")


def recording_name(name: str, number: int) -> str:
    """Return the name of a recording's file."""
    return f"{name}.json" if number == 1 else f"{name}-{number}.json"


def split_recording_name(file_name: str) -> tuple[str, int]:
    """Return the name and the number that a file's name holds. Raises ValueError."""
    match = _RECORDING.fullmatch(file_name)
    if match is None:
        raise ValueError(file_name)
    return match[1], int(match[2] or 1)


def format_recording(recording: Mapping[str, Any]) -> str:
    """Return a recording as JSON for people and for git: an event of a stream, and all times, are one line each."""
    lines: dict[str, str] = {}
    content = json.dumps(recording, ensure_ascii=False)
    word = next(word for number in count() if (word := f"@line {'@' * number}") not in content)

    def keep(value: Any) -> str:
        mark = f"{word}{len(lines)}@"
        lines[f'"{mark}"'] = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return mark

    document = {key: keep(value) if key == "times" else value for key, value in recording.items()}
    response = document.get("response")
    if isinstance(response, dict) and isinstance(events := response.get("events"), list):
        document["response"] = {**response, "events": [keep(event) for event in events]}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    return re.sub(rf'"{word}\d+@"', lambda match: lines[match[0]], text) + "\n"


def _without_times(recording: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recording.items() if key not in TIMES}


def _is_ours(name: str) -> bool:
    return name == SETTINGS_FILE or bool(_RECORDING.fullmatch(name) or MEDIA_NAME.fullmatch(name))


def _check_is_inside(path: Path) -> None:
    """Raise RecordingError for a symbolic link that leads out of the cassette."""
    if path.is_symlink() and Path(os.path.realpath(path)).parent != path.parent.resolve():
        raise RecordingError(f"{path.name} is a link out of the cassette.", hint="Remove it.")
