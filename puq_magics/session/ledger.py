"""The ledger: the usage of each call, in a small SQLite file. It holds no prompt, answer or key.

An entry is written before ``record`` returns, without a thread between: in WAL mode, with ``synchronous=NORMAL``,
that is one write into the system's cache and no fsync (some hundredths of a millisecond), which a kill of the kernel
right after cannot undo. A loss of power can cost the last few entries, never the file. Every few hundred entries
SQLite moves the log into the file; only that waits for the disk.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

from puq_magics.core.errors import APIStatusError, InputError, StreamError
from puq_magics.core.files import expand_path
from puq_magics.core.fork import after_fork
from puq_magics.outputs.results.base import INCOMPLETE, INTERRUPTED

#: The schema's version, as the file's ``user_version``.
VERSION = 1
OK, FAILED = "ok", "failed"
KINDS = ("chat", "image", "speech", "transcription", "other")

#: Seconds to wait for another kernel that is writing; entries that could not be written are written with the next.
_BUSY_TIMEOUT = 0.25
_MAX_NUMBER = 2**53
_NAME = re.compile(r"[!-~]{1,200}")
_CELL = re.compile(r"[A-Za-z0-9_-]{0,64}")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{0,255}")
_OUTCOME = re.compile(rf"{OK}|{INTERRUPTED}|{INCOMPLETE}|{FAILED}|[1-5][0-9][0-9]")
#: Suffixes of ledger files: a corrupt file with another suffix is not moved.
_SUFFIXES = (".sqlite", ".sqlite3", ".db")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One call.

    Whatever does not fit its field is not kept: a model's name with spaces becomes ``?``, a number that is none
    None. So nothing that a person or a model wrote gets in by the wrong field.
    """

    #: Time of its end, in UTC.
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: Session of the kernel; set by the ledger.
    session: str = ""
    host: str = ""
    #: One of ``KINDS``.
    kind: str
    model: str
    #: The cell's number or id; an id of another form (VS Code's holds a path) is hashed.
    cell: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    #: Characters spoken.
    characters: int | None = None
    images: int | None = None
    #: Seconds of audio that were transcribed or generated.
    audio_seconds: float | None = None
    #: Seconds from the request to the end of the answer, and to its first text or bytes.
    seconds: float | None = None
    time_to_first_token: float | None = None
    #: Credits, estimated.
    cost: float | None = None
    #: ``ok``, ``interrupted``, ``incomplete``, ``failed`` (no answer), or an HTTP status.
    outcome: str = OK

    def __post_init__(self) -> None:
        for name, clean in _CLEANERS.items():
            object.__setattr__(self, name, clean(getattr(self, name)))

    @property
    def has_failed(self) -> bool:
        """Return whether it failed, other than by an interrupt."""
        return self.outcome not in (OK, INTERRUPTED)


def outcome_of(problem: BaseException | None) -> str:
    """Return the outcome of a call by the exception that it raised."""
    if problem is None:
        return OK
    if isinstance(problem, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(problem, APIStatusError):
        return str(problem.status)
    return INCOMPLETE if isinstance(problem, StreamError) or getattr(problem, "partial", None) else FAILED


def default_path() -> Path:
    """Return the default path of the ledger, in the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("puq_magics", appauthor=False) / "ledger.sqlite"


# --- what fits a field ---------------------------------------------------------------------------------------------


def _clean_time(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _clean_cell(value: object) -> str:
    text = str(value)
    return (
        text if _CELL.fullmatch(text) else blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    )


def _clean_count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return int(value) if 0 <= value <= _MAX_NUMBER else None


def _clean_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MAX_NUMBER and isfinite(value) else None


def _match_or(pattern: re.Pattern[str], default: str) -> Any:
    return lambda value: value if isinstance(value, str) and pattern.fullmatch(value) else default


_CLEANERS = {
    "at": _clean_time,
    "session": _match_or(_CELL, ""),
    "host": _match_or(_HOST, ""),
    "kind": _match_or(re.compile("|".join(KINDS)), "other"),
    "model": _match_or(_NAME, "?"),
    "cell": _clean_cell,
    **dict.fromkeys(
        ("prompt_tokens", "completion_tokens", "total_tokens", "characters", "images"), _clean_count
    ),
    **dict.fromkeys(("audio_seconds", "seconds", "time_to_first_token", "cost"), _clean_number),
    "outcome": _match_or(_OUTCOME, FAILED),
}

# --- the file's schema ---------------------------------------------------------------------------------------------

_NAMES = tuple(column.name for column in fields(LedgerEntry))
_LENGTHS = {"at": 32, "session": 64, "host": 255, "kind": 16, "model": 200, "cell": 64, "outcome": 16}


def _column(name: str) -> str:
    """Return a column definition with a check: SQLite stores any value in any column otherwise."""
    if name in _LENGTHS:
        blank = "" if name == "outcome" else f" AND instr({name}, ' ') = 0 AND instr({name}, char(10)) = 0"
        return f"{name} TEXT NOT NULL CHECK (typeof({name}) = 'text' AND length({name}) <= {_LENGTHS[name]}{blank})"
    kind = "integer" if _CLEANERS[name] is _clean_count else "real"
    return f"{name} {kind.upper()} CHECK (typeof({name}) IN ('{kind}', 'null'))"


_CREATE = f"CREATE TABLE calls (id INTEGER PRIMARY KEY, {', '.join(map(_column, _NAMES))})"
_INSERT = f"INSERT INTO calls ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608 - our names
_SELECT = f"SELECT {', '.join(_NAMES)} FROM calls"  # noqa: S608


def _row(entry: LedgerEntry) -> tuple[object, ...]:
    values = [getattr(entry, name) for name in _NAMES]
    return (entry.at.isoformat().replace("+00:00", "Z"), *values[1:])


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    values = dict(zip(_NAMES, row, strict=True))
    return LedgerEntry(**values | {"at": datetime.fromisoformat(values["at"])})


#: Never closed here: SQLite forbids using a connection in another process than its own, be it to close it.
_connections_before_fork: list[sqlite3.Connection] = []


class _NotOurFileError(Exception):
    """The file is not a ledger of this package; the message says why."""


class Ledger:
    """Usage ledger: the entries of this session, and the file with those of all sessions.

    Without a ``path`` the file is at ``default_path()``; with ``enabled=False`` there is none. Nothing here raises:
    if the file cannot be used, the session's entries are kept in memory, and ``problem`` says why. ``previous`` is
    the ledger whose session this one continues; its entries are not written to this file.
    """

    def __init__(
        self, path: Path | None = None, enabled: bool = True, *, previous: Ledger | None = None
    ) -> None:
        self.enabled = enabled
        #: Identifies this session's entries.
        self.session: str = str(uuid4()) if previous is None else previous.session
        #: Problem with the file, as a sentence; empty for none.
        self.problem = ""
        self._usable = enabled
        try:
            self._path = path if path is None else expand_path(path)
        except InputError as error:
            self._path, self._usable = path, False
            self.problem = f"calls are noted for this session only: {error.message}"
        self._entries: list[LedgerEntry] = [] if previous is None else list(previous.entries())
        self._pending: list[LedgerEntry] = []
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None  # of the file that was opened
        self._lock = threading.RLock()
        after_fork(self, Ledger._begin_session)

    def _begin_session(self) -> None:
        """Begin a session of this process's own: the entries so far are the parent's, which writes them."""
        self._lock = threading.RLock()
        self.session = str(uuid4())
        self._entries, self._pending = [], []
        if self._connection is not None:
            _connections_before_fork.append(self._connection)
            self._connection = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._path if self._path is not None else default_path()

    def record(self, entry: LedgerEntry) -> None:
        """Record an entry; it is in the file on return, unless another kernel blocks that or the file is unusable."""
        entry = replace(entry, session=self.session)
        with self._lock:
            self._entries.append(entry)
            if self._usable:
                self._pending.append(entry)
                self._flush()

    def entries(self, *, all_sessions: bool = False) -> tuple[LedgerEntry, ...]:
        """Return the entries of this session, or of all sessions in the file, oldest first."""
        with self._lock:
            if not all_sessions:
                return tuple(self._entries)
            self._flush()
            others = [entry for entry in self._read() if entry.session != self.session]
            return tuple(sorted([*others, *self._entries], key=lambda entry: entry.at))

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        with self._lock:
            if self._pending:
                self._flush()
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _read(self) -> Iterable[LedgerEntry]:
        if self._connection is None:
            return ()
        try:
            rows = self._connection.execute(_SELECT).fetchall()
            return [_entry(row) for row in rows]
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._handle_error(error)
            return ()

    def _flush(self) -> None:
        """Write pending entries; open the file if necessary."""
        with self._lock:
            for _ in range(2):  # a corrupt file is set aside, and then there is a new one
                if not self._usable:
                    return
                try:
                    self._write()
                    return
                except (sqlite3.Error, OSError, _NotOurFileError) as error:
                    self._handle_error(error)

    def _write(self) -> None:
        if self._connection is None:
            self._inode = _inode(self.path)
            self._connection = _connect(self.path)
        if self._pending:
            with self._connection:  # commits, or rolls back
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_INSERT, map(_row, self._pending))
            self._pending.clear()

    def _handle_error(self, error: Exception) -> None:
        """Record the problem, and reset the connection for the next attempt or give up."""
        if _has_code(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return  # another kernel has it; the next entry tries again
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if _has_code(error, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) and self.path.suffix in _SUFFIXES:
            self._start_new_file()
            return
        self._usable = False
        because = getattr(error, "strerror", None) or error
        self.problem = f"calls are noted for this session only: {self.path} cannot be used ({because})."

    def _start_new_file(self) -> None:
        self._pending = list(self._entries)  # the new file gets all of this session
        if _inode(self.path) != self._inode:
            return  # another kernel has set it aside
        try:
            aside = _rename_corrupt(self.path)
        except OSError as error:
            self._handle_error(error)
            return
        self.problem = (
            f"the ledger {self.path} was corrupt: it was set aside as {aside.name}, and a new one begun."
        )


def _has_code(error: Exception, *codes: int) -> bool:
    """Return whether SQLite reported one of these codes; extended codes hold them in their low byte."""
    return (
        isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in codes
    )


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection to this ledger, created if missing. Raises OSError, sqlite3.Error, _NotOurFileError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(
        FileExistsError
    ):  # never open one that is there: closing it would drop SQLite's locks on it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # its side files get the same mode
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        if not _is_ledger(connection):
            _create_table(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


#: In one statement, and so of one moment: another kernel may just be making the table.
_CONTENTS = (
    "SELECT user_version, (SELECT group_concat(name, char(10)) FROM sqlite_master) FROM pragma_user_version"
)


def _is_ledger(connection: sqlite3.Connection) -> bool:
    """Return whether the file holds a ledger; False for an empty one. Raises _NotOurFileError for another file."""
    version, names = connection.execute(_CONTENTS).fetchone()
    tables = set((names or "").split("\n")) - {""}
    if version > VERSION:
        raise _NotOurFileError("it is of a later version of puq_magics")
    if tables and not (version == VERSION and "calls" in tables):
        raise _NotOurFileError("it holds something else")
    return bool(tables)


def _create_table(connection: sqlite3.Connection) -> None:
    """Create the table, unless another kernel has just done so."""
    connection.execute("PRAGMA journal_mode=WAL")  # stays with the file
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ledger(connection):
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA user_version={VERSION}")


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _rename_corrupt(path: Path) -> Path:
    """Rename a file, and SQLite's files beside it, so that nothing is lost. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.stem}.corrupt-{stamp}{path.suffix}")
    for side in ("", "-wal", "-shm"):
        source = path.with_name(path.name + side)
        if source.exists():
            source.rename(aside.with_name(aside.name + side))
    return aside
