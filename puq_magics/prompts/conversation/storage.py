"""Conversations as files of JSON, whole or not there.

The format, version 1, is one object, in UTF-8::

    {
     "format": "puq_magics conversation",
     "version": 1,
     "name": "main",                  letters, digits and . _ -; "" for none
     "system": "Be brief.",           or null
     "turns": [                       each turn once, whether it is in the line, in branches, or in several
      {
       "cell": "3f2a9c1e",            the id in the notebook of the cell that asked, or null
       "ordinal": 0,                  which of the cell's questions it is, or null
       "content": "What is a monad?", or a list of parts: {"type": "text", "text": …}, {"type": "image_url", …}, …
       "answer": "A monoid …",
       "model": "openai/gpt-4o-mini", "" where nobody said
       "usage": {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 49},   or null
       "interrupted": false,
       "cut": true,                   that the answer ended at the token limit; left out where it did not
       "continued": ["Go on."],       the user's words at which the answer went on; left out where there are none
       "system": "Be a pirate.",      what it was asked with, "" for none; left out where that is the system above
       "at": "2026-01-31T12:00:00+00:00"
      }
     ],
     "line": [0, 2],                  the conversation: indices into the turns, oldest first
     "branches": [
      {"number": 1, "turns": [0, 1], "why": "turn 2 replaced", "at": "2026-01-31T12:05:00+00:00",
       "system": null}                the conversation's then; left out where that is the system above
     ]
    }

Further fields are ignored. A reader refuses a higher version. Only what was asked and answered is written, no
key and no setting; a cell is written only if its id is one of the notebook file's own: an execution count means
another cell after a restart, and some front ends' ids are paths on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation.conversation import Conversation, checked_name
from puq_magics.prompts.conversation.turns import Branch, Key, Turn, checked_content

FORMAT = "puq_magics conversation"
VERSION = 1
#: Bytes of a file that are read, and so those that are written.
LARGEST = 100_000_000

_LASTING = re.compile(r"(?!\d{1,7}\Z)[A-Za-z0-9_-]{1,64}")  # nbformat's cell ids, but for execution counts
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_COPY = "Take another copy of it."


# --- writing -------------------------------------------------------------------------------------------------------


def save(conversation: Conversation, path: str | Path, force: bool = False) -> Path:
    """Write all of a conversation; return the path. Raises InputError."""
    data = encoded(_document(conversation))
    if len(data) > LARGEST:
        megabytes = f"{len(data) / 1e6:,.0f} MB, more than the {LARGEST / 1e6:,.0f} that would be read again"
        raise InputError(
            f"the conversation comes to {megabytes}.", hint="Forget some branches, or export it instead."
        )
    return write(path, data, force)


def _document(conversation: Conversation) -> dict[str, Any]:
    pool: dict[int, tuple[int, Turn]] = {}

    def indices(turns: Sequence[Turn]) -> list[int]:
        return [pool.setdefault(id(turn), (len(pool), turn))[0] for turn in turns]

    line = indices(conversation.turns)
    branches = [
        {"number": branch.number, "turns": indices(branch.turns), "why": branch.why, "at": _time(branch.at)}
        | ({"system": branch.system} if branch.system != conversation.system else {})
        for branch in conversation.branches
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": conversation.name,
        "system": conversation.system,
        "turns": [_written_turn(turn, conversation.system or "") for _, turn in pool.values()],
        "line": line,
        "branches": branches,
    }


def _written_turn(turn: Turn, system: str) -> dict[str, Any]:
    lasts = turn.key is not None and _LASTING.fullmatch(turn.key[0])
    cell, ordinal = turn.key if turn.key is not None and lasts else (None, None)
    usage = turn.usage
    written: dict[str, Any] = {
        "cell": cell,
        "ordinal": ordinal,
        "content": turn.content,
        "answer": turn.answer,
        "model": turn.model,
        "usage": None if usage is None else {name: getattr(usage, name) for name in _COUNTS},
        "interrupted": turn.interrupted,
        "at": _time(turn.at),
    }
    if turn.cut:
        written["cut"] = True
    if turn.continued:
        written["continued"] = turn.continued
    if turn.system != system:
        written["system"] = turn.system
    return written


def _time(at: datetime) -> str:
    return at.isoformat()


def encoded(document: Mapping[str, Any]) -> bytes:
    """A JSON document in UTF-8, readable where it can be: with half a character in it, all is escaped."""
    try:
        return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def write(path: str | Path, data: bytes, force: bool = False) -> Path:
    """Write a file beside its target and rename it at the end; return the path, ``~`` expanded.

    Without ``force`` nothing is overwritten, not even what appears meanwhile. Raises InputError.
    """
    target = path_of(path)
    try:
        _check_target(target, force)
        # With force, what a link points to is to change, not the link.
        _write_beside(target.resolve() if force else target, data, force)
    except FileExistsError:
        raise InputError(
            f"{target} exists.", hint="Name another file; or --force (in Python force=True) replaces it."
        ) from None
    except (OSError, RuntimeError) as exc:  # RuntimeError: a link that leads to itself
        words = getattr(exc, "strerror", None) or "its links lead nowhere"
        raise InputError(f"{target} cannot be written: {words}.", hint="Name another file.") from None
    return target


def _write_beside(target: Path, data: bytes, force: bool) -> None:
    partial = target.with_name(f".{target.stem[:40]}.{token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
        _publish(partial, target, force)
    finally:
        with suppress(OSError):
            partial.unlink()


def _check_target(target: Path, force: bool) -> None:
    if target.is_dir():
        raise InputError(f"{target} is a folder.", hint="Name a file in it.")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}.", hint="Make it first, or name another.")
    if force and target.exists() and not target.is_file():
        raise InputError(f"{target} is not an ordinary file.", hint="Name another.")
    if not force and os.path.lexists(target):
        raise FileExistsError


def _publish(partial: Path, target: Path, force: bool) -> None:
    if force:
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # a rename would overwrite
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        target.open("xb").close()
        partial.replace(target)


def path_of(path: str | Path) -> Path:
    """The path that was given, ``~`` expanded. Raises InputError for what cannot be a file's."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not text.strip() or "\0" in text:
        raise InputError(f"{path!r} is not the name of a file.", hint="Write one like main.json.")
    try:
        target = Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text} names nobody's home folder.", hint="Write the path in full.") from None
    if not target.name:
        raise InputError(f"{text} is a folder.", hint="Name a file in it.")
    return target


# --- reading -------------------------------------------------------------------------------------------------------


def load(path: str | Path, name: str | None = None) -> Conversation:
    """Read a conversation, under its own name or another. Raises InputError, which names the file."""
    source = path_of(path)
    chosen = None if name is None else checked_name(name)
    document = _parsed(_bytes(source), source)
    try:
        return _conversation(document, chosen)
    except ValueError as exc:
        words = str(exc)
    except InputError as exc:
        words = exc.message.rstrip(".")
    raise InputError(f"{source} is not a whole conversation: {words}.", hint=_COPY)


def _bytes(source: Path) -> bytes:
    try:
        details = source.stat()
        if not stat.S_ISREG(details.st_mode):  # opening a pipe could wait for ever
            kind = "a folder" if stat.S_ISDIR(details.st_mode) else "not a file"
            raise InputError(f"{source} is {kind}.", hint="Name a conversation's file.")
        with source.open("rb") as file:
            data = file.read(LARGEST + 1) if details.st_size <= LARGEST else None
    except FileNotFoundError:
        raise InputError(f"there is no file {source}.", hint=f"The working folder is {Path.cwd()}.") from None
    except OSError as exc:
        raise InputError(f"{source} cannot be read: {exc.strerror or exc}.", hint="Name another.") from None
    if data is None or len(data) > LARGEST:
        raise InputError(
            f"{source} is larger than {LARGEST / 1e6:,.0f} MB.", hint="No conversation that was saved is."
        )
    return data


def _parsed(data: bytes, source: Path) -> dict[str, Any]:
    """The file's object, which says that it is a conversation of a version that can be read."""
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _not_json(data, source) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{source} is not a conversation of puq_magics.", hint="Name one that --save wrote.")
    version = document.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise InputError(
            f"{source} is from a later puq_magics (its format is {version}, this one reads {VERSION}).",
            hint="Upgrade: pip install -U puq_magics",
        )
    if isinstance(version, bool) or version != VERSION:
        raise InputError(f"{source} does not say which version of the format it has.", hint=_COPY)
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _not_json(data: bytes, source: Path) -> InputError:
    if not data.strip():
        return InputError(f"{source} is empty.", hint=_COPY)
    if FORMAT.encode() in data[:200]:
        return InputError(f"{source} is cut or damaged: its JSON is not whole.", hint=_COPY)
    return InputError(f"{source} is not JSON.", hint="Name a file that --save wrote.")


def _conversation(document: Mapping[str, Any], chosen: str | None) -> Conversation:
    """Raises ValueError with what is amiss, and InputError."""
    own = _string(document, "name", "it")
    name = chosen if chosen is not None else checked_name(own) if own else ""
    system = _system(document, "it", None)
    turns = [_turn(turn, f"turn {n}", system or "") for n, turn in enumerate(_list(document, "turns", "it"))]
    branches = [
        _branch(branch, turns, name, f"branch {n}", system)
        for n, branch in enumerate(_list(document, "branches", "it"), 1)
    ]
    if len({branch.name for branch in branches}) < len(branches):
        raise ValueError("two of its branches have the same number")
    return Conversation(name, system, _line(document, "line", turns, "it"), branches=branches)


def _system(fields: Mapping[str, Any], which: str, otherwise: str | None) -> str | None:
    system = fields.get("system", otherwise)
    if system is not None and not isinstance(system, str):
        raise ValueError(f"{which} has a system prompt that is not a string")
    return system


def _branch(value: object, turns: Sequence[Turn], name: str, which: str, system: str | None) -> Branch:
    fields = _object(value, which)
    number = fields.get("number")
    if not _is_count(number) or number == 0:
        raise ValueError(f"{which} has no number")
    line = _line(fields, "turns", turns, which)
    why, at = _string(fields, "why", which), _read_time(fields, which)
    return Branch(f"{name}~{number}", line, why, at, _system(fields, which, system) or None)


def _line(fields: Mapping[str, Any], key: str, turns: Sequence[Turn], which: str) -> tuple[Turn, ...]:
    indices = _list(fields, key, which)
    if not all(_is_count(index) and index < len(turns) for index in indices):
        raise ValueError(f"{which} has turns that are not there")
    return tuple(turns[index] for index in indices)


def _turn(value: object, which: str, system: str) -> Turn:
    fields = _object(value, which)
    answer = _string(fields, "answer", which)
    if not answer:
        raise ValueError(f"{which} has an empty answer")
    return Turn(
        _key(fields, which),
        checked_content(fields.get("content")),
        answer,
        _string(fields, "model", which),
        _usage(fields.get("usage"), which),
        _flag(fields, "interrupted", which),
        _read_time(fields, which),
        continued=_words(fields, which),
        system=_system(fields, which, system) or "",
        cut=_flag(fields, "cut", which),
    )


def _flag(fields: Mapping[str, Any], key: str, which: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{which} does not say whether it was {key}")
    return value


def _words(fields: Mapping[str, Any], which: str) -> tuple[str, ...]:
    words = fields.get("continued", [])
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise ValueError(f"{which} has a 'continued' that is no list of strings")
    return tuple(words)


def _key(fields: Mapping[str, Any], which: str) -> Key | None:
    cell, ordinal = fields.get("cell"), fields.get("ordinal")
    if cell is None:
        return None
    if not isinstance(cell, str) or not cell or not _is_count(ordinal):
        raise ValueError(f"{which} has a cell or an ordinal that is none")
    return cell, int(ordinal or 0)


def _usage(value: object, which: str) -> Usage | None:
    if value is None:
        return None
    counts = [_object(value, f"{which}'s usage").get(name) for name in _COUNTS]
    if not all(_is_count(count) for count in counts):
        raise ValueError(f"{which} has a usage that is not numbers")
    return Usage(*(int(count or 0) for count in counts))


def _read_time(fields: Mapping[str, Any], which: str) -> datetime:
    try:
        at = datetime.fromisoformat(_string(fields, "at", which))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{which} has a time that is none") from None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(value: object, which: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{which} is not an object")
    return value


def _list(fields: Mapping[str, Any], key: str, which: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{which} has no list of {key!r}")
    return value


def _string(fields: Mapping[str, Any], key: str, which: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{which} has no {key!r}, or one that is not a string")
    return value
