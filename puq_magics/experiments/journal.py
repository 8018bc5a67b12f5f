"""Journal of a run: a folder with every finished call, from which an ended run goes on.

``plan.json`` says what was asked; ``calls.jsonl`` has one finished call a line, and ``started.txt`` the keys of all
calls that were sent: those without a line were under way when a process died; ``-`` takes back a key that was not
sent after all. ``lock`` is held by the kernel that writes; the system releases it when that process ends, however it
ends, and children do not inherit it. A file ``stop`` tells other processes that their run was stopped.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from puq_magics.core.errors import InputError, JournalError
from puq_magics.core.files import is_folder, path_exists, save_text
from puq_magics.core.text import one_line, pluralize
from puq_magics.experiments.calls import CallOutcome

#: Version of the format; a later one is refused.
VERSION = 1
_PLAN, _CALLS, _STARTED, _LOCK, _STOP = "plan.json", "calls.jsonl", "started.txt", "lock", "stop"
_TORN = f"{_CALLS}.torn"
_BLOCK = 1 << 20  # bytes
_CLOSING_MARGIN = 10.0  # seconds in which a run that has ended writes and closes its journal
#: Journals that are open in this process, by their paths.
_open_here: dict[str, Journal] = {}


class Journal:
    """The journal of one run, locked for this process; a context manager."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Open or create the journal of a plan. Raises JournalError; with ``fresh`` an old one gets another name."""
        self.folder = folder
        #: Finished calls by their keys; of a call that was repeated, the last.
        self.outcomes: dict[str, CallOutcome] = {}
        #: Keys of calls that were under way when an earlier run died.
        self.unfinished: frozenset[str] = frozenset()
        #: What was wrong with the files, as notes.
        self.notes: list[str] = []
        self._files: list[IO[Any]] = []
        self._path = str(folder.resolve())
        #: Marker file: its presence tells worker processes to stop sending.
        self.stop_file = Path(self._path, _STOP)
        #: Seconds in which the run that writes here ends its calls after a stop: the next one waits so long.
        self.ending_timeout = 120.0
        self._closed = threading.Event()
        self._ends_with_line = True
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._refuse_links()
            self._lock_folder()
            self.stop_file.unlink(missing_ok=True)
            if fresh:
                self._set_aside_all()
            self._check_plan(plan)
            self._read_calls()
            self._calls = self._open(_CALLS)
            self._started = self._open(_STARTED)
        except OSError as error:
            self.close()
            raise _journal_error(folder, error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, which releases the lock."""
        for file in reversed(self._files):
            with suppress(OSError):
                file.close()
        self._files.clear()
        if _open_here.get(self._path) is self:
            del _open_here[self._path]
        self._closed.set()

    def record_started(self, key: str) -> None:
        """Note that a call is sent now."""
        with suppress(OSError, ValueError):  # only a report after a crash is the poorer
            self._started.write(f"{key}\n".encode())

    def record_unsent(self, key: str) -> None:
        """Take back that a call is sent."""
        self.record_started(f"-{key}")

    def stop_processes(self) -> None:
        """Tell processes that make calls for this run, and see this folder, to send no further ones."""
        with suppress(OSError):
            self.stop_file.touch()

    def append(self, outcomes: Iterable[CallOutcome]) -> None:
        """Write finished calls, and wait until they are on the disk. Raises JournalError."""
        lines = "".join(f"{outcome.to_json()}\n" for outcome in outcomes)
        if not self._ends_with_line:  # the disk was full for a while
            lines = f"\n{lines}"
        try:
            self._write(lines.encode("utf-8", "backslashreplace"))
            os.fsync(self._calls.fileno())
        except OSError as error:
            raise _journal_error(self.folder, error) from None

    def _write(self, data: bytes) -> None:
        while data:
            written = self._calls.write(data)
            self._ends_with_line = data[:written].endswith(b"\n")
            data = data[written:]

    def _open(self, name: str) -> IO[Any]:
        file = (self.folder / name).open("ab", buffering=0)
        self._files.append(file)
        return file

    def _refuse_links(self) -> None:
        """Raise JournalError for a symbolic link, as a stranger's folder may have: its target would be written."""
        for name in (_PLAN, _CALLS, _STARTED, _LOCK, _STOP, _TORN):
            if (self.folder / name).is_symlink():
                raise JournalError(
                    f"{self.folder / name} is a symbolic link.",
                    hint="Remove it, or name another folder: --journal PATH",
                )

    def _lock_folder(self) -> None:
        # The lock does not keep out this process itself, where an interrupted run may still be finishing its calls.
        other = _open_here.get(self._path)
        if other is not None and not other._closed.wait(other.ending_timeout + _CLOSING_MARGIN):
            raise JournalError(
                f"a run of this kernel is still writing to {self.folder}.", hint="Try again in a minute."
            )
        file = (self.folder / _LOCK).open("a+b")
        self._files.append(file)
        if not _try_lock(file):
            raise JournalError(
                f"another kernel is writing to {self.folder}.",
                hint="Wait for its run or stop it; or write elsewhere: --journal PATH",
            )
        _open_here[self._path] = self

    def _set_aside_all(self) -> None:
        """Move what is there to a folder of another name; the lock stays."""
        names = [name for name in (_PLAN, _CALLS, _STARTED) if (self.folder / name).exists()]
        if not names:
            return
        folder = Path(self._path)
        others = (folder.with_name(f"{folder.name}.old-{n}") for n in count(1))
        old = next(other for other in others if not other.exists())
        old.mkdir()
        for name in names:
            (self.folder / name).rename(old / name)
        self.notes.append(f"the earlier journal is {old.name}")

    def _check_plan(self, plan: Mapping[str, Any]) -> None:
        path = self.folder / _PLAN
        if not path.exists():
            save_text(json.dumps({"version": VERSION, **plan}, ensure_ascii=False, indent=1) + "\n", path)
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            version, template = kept["version"], kept["template"]
        except (ValueError, KeyError, TypeError):
            raise JournalError(
                f"{path} is not the plan of a journal.", hint="Name another folder, or move it away."
            ) from None
        if not isinstance(version, int) or version > VERSION:
            raise JournalError(
                f"{self.folder} was written by a later version of puq_magics (format {version}).",
                hint="Update puq_magics, or name another folder: --journal PATH",
            )
        if template != plan["template"]:
            raise JournalError(
                f"{self.folder} is the journal of another prompt.",
                hint="Name another folder: --journal PATH; or --fresh begins anew and keeps the old one.",
            )

    def _read_calls(self) -> None:
        path = self.folder / _CALLS
        if not path.exists():
            return
        self._complete_last_line(path)
        self.outcomes, damaged = _read_lines(path)
        if damaged:
            lines = pluralize(damaged, "line")
            self.notes.append(f"{lines} of {path.name} cannot be read; their calls are made again")
        started = self.folder / _STARTED
        if started.exists():
            sent = Counter[str]()
            for key in started.read_text(encoding="ascii", errors="replace").split():
                sent[key.removeprefix("-")] += -1 if key.startswith("-") else 1
            self.unfinished = frozenset(+sent) - self.outcomes.keys()

    def _complete_last_line(self, path: Path) -> None:
        """Move a last line without an end, which a dying process left, to a file of its own."""
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            start, tail = end, b""
            while start > 0 and b"\n" not in tail:
                start = max(0, start - _BLOCK)
                file.seek(start)
                tail = file.read(end - start)
            torn = tail.rpartition(b"\n")[2]
            if not torn:
                return
            (self.folder / _TORN).write_bytes(torn)
            file.truncate(end - len(torn))
        self.notes.append("the last line of the journal was cut; its call is made again")


def read_outcomes(folder: Path) -> dict[str, CallOutcome]:
    """Return the finished calls of a journal by their keys; none if there is no journal."""
    path = folder / _CALLS
    return _read_lines(path)[0] if path.exists() else {}


def _read_lines(path: Path) -> tuple[dict[str, CallOutcome], int]:
    """Return the finished calls of a file, and the number of lines that cannot be read."""
    outcomes, damaged = dict[str, CallOutcome](), 0
    with path.open("rb") as file:
        for line in file:
            try:
                outcome = CallOutcome.from_json(line)
            except (ValueError, TypeError, RecursionError):
                damaged += 1
            else:
                outcomes[outcome.key] = outcome
    return outcomes, damaged


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file for this process, without waiting; return False if another one holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    if not hasattr(fcntl, "lockf"):  # Pyodide, which has one process
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _journal_error(folder: Path, error: OSError) -> JournalError:
    return JournalError(
        f"the journal {folder} cannot be written: {error.strerror or error}.",
        hint="Make room or name another folder (--journal PATH); running the cell again goes on.",
    )


_MAX_NAME_BYTES = 255  # of a folder, on every system


def check_is_journal_path(path: Path) -> Path:
    """Return the path of a journal's folder. Raises InputError for a file, and for a name that no folder can have."""
    if not path_exists(path) and any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in path.parts):
        raise InputError(f"{one_line(str(path), 80)} is too long a name.", hint="--journal takes a folder.")
    if path_exists(path) and not is_folder(path):
        raise InputError(f"{path} is a file.", hint="--journal takes a folder.")
    return path
