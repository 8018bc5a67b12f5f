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
from puq_magics.prompts.conversation.turns import (
    Branch,
    ConversationData,
    Turn,
    TurnKey,
    validate_content,
    validate_name,
)

FORMAT = "puq_magics conversation"
VERSION = 1
#: Bytes of a file that are read, and so those that are written.
MAX_FILE_BYTES = 100_000_000

#: A conversation's name, system prompt, turns and branches.
LoadedConversation = tuple[str, str | None, tuple[Turn, ...], list[Branch]]

_PERSISTENT_CELL_ID = re.compile(
    r"(?!\d{1,7}\Z)[A-Za-z0-9_-]{1,64}"
)  # nbformat's cell ids, but for execution counts
_USAGE_FIELDS = ("prompt_tokens", "completion_tokens", "total_tokens")
_COPY_HINT = "Take another copy of it."


# --- writing -------------------------------------------------------------------------------------------------------


def save(conversation: ConversationData, path: str | Path, force: bool = False) -> Path:
    """Write all of a conversation; return the path. Raises InputError."""
    data = encode_json(_to_document(conversation))
    if len(data) > MAX_FILE_BYTES:
        megabytes = (
            f"{len(data) / 1e6:,.0f} MB, more than the {MAX_FILE_BYTES / 1e6:,.0f} that would be read again"
        )
        raise InputError(
            f"the conversation comes to {megabytes}.", hint="Forget some branches, or export it instead."
        )
    return write_file(path, data, force)


def _to_document(conversation: ConversationData) -> dict[str, Any]:
    pool: dict[int, tuple[int, Turn]] = {}

    def indices(turns: Sequence[Turn]) -> list[int]:
        return [pool.setdefault(id(turn), (len(pool), turn))[0] for turn in turns]

    line = indices(conversation.turns)
    branches = [
        {
            "number": branch.number,
            "turns": indices(branch.turns),
            "why": branch.reason,
            "at": _format_time(branch.at),
        }
        | ({"system": branch.system} if branch.system != conversation.system else {})
        for branch in conversation.branches
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": conversation.name,
        "system": conversation.system,
        "turns": [_turn_to_json(turn, conversation.system or "") for _, turn in pool.values()],
        "line": line,
        "branches": branches,
    }


def _turn_to_json(turn: Turn, system: str) -> dict[str, Any]:
    lasts = turn.key is not None and _PERSISTENT_CELL_ID.fullmatch(turn.key[0])
    cell, ordinal = turn.key if turn.key is not None and lasts else (None, None)
    usage = turn.usage
    written: dict[str, Any] = {
        "cell": cell,
        "ordinal": ordinal,
        "content": turn.content,
        "answer": turn.answer,
        "model": turn.model,
        "usage": None if usage is None else {name: getattr(usage, name) for name in _USAGE_FIELDS},
        "interrupted": turn.interrupted,
        "at": _format_time(turn.at),
    }
    if turn.truncated:
        written["cut"] = True
    if turn.continue_prompts:
        written["continued"] = turn.continue_prompts
    if turn.system != system:
        written["system"] = turn.system
    return written


def _format_time(at: datetime) -> str:
    return at.isoformat()


def encode_json(document: Mapping[str, Any]) -> bytes:
    """A JSON document in UTF-8, readable where it can be: with half a character in it, all is escaped."""
    try:
        return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def write_file(path: str | Path, data: bytes, force: bool = False) -> Path:
    """Write a file beside its target and rename it at the end; return the path, ``~`` expanded.

    Without ``force`` nothing is overwritten, not even what appears meanwhile. Raises InputError.
    """
    target = expand_path(path)
    try:
        _check_target(target, force)
        # With force, what a link points to is to change, not the link.
        _write_atomically(target.resolve() if force else target, data, force)
    except FileExistsError:
        raise InputError(
            f"{target} exists.", hint="Name another file; or --force (in Python force=True) replaces it."
        ) from None
    except (OSError, RuntimeError) as exc:  # RuntimeError: a link that leads to itself
        words = getattr(exc, "strerror", None) or "its links lead nowhere"
        raise InputError(f"{target} cannot be written: {words}.", hint="Name another file.") from None
    return target


def _write_atomically(target: Path, data: bytes, force: bool) -> None:
    partial = target.with_name(f".{target.stem[:40]}.{token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            file.write(data)
        _move_into_place(partial, target, force)
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


def _move_into_place(partial: Path, target: Path, force: bool) -> None:
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


def expand_path(path: str | Path) -> Path:
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


def load(path: str | Path, name: str | None = None) -> LoadedConversation:
    """Read a conversation from a file; ``name`` replaces the stored name. Raises InputError, which names the file."""
    source = expand_path(path)
    chosen = None if name is None else validate_name(name)
    document = _parse_document(_read_bytes(source), source)
    try:
        return _conversation_from_json(document, chosen)
    except ValueError as exc:
        words = str(exc)
    except InputError as exc:
        words = exc.message.rstrip(".")
    raise InputError(f"{source} is not a whole conversation: {words}.", hint=_COPY_HINT)


def _read_bytes(source: Path) -> bytes:
    try:
        details = source.stat()
        if not stat.S_ISREG(details.st_mode):  # opening a pipe could wait for ever
            kind = "a folder" if stat.S_ISDIR(details.st_mode) else "not a file"
            raise InputError(f"{source} is {kind}.", hint="Name a conversation's file.")
        with source.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1) if details.st_size <= MAX_FILE_BYTES else None
    except FileNotFoundError:
        raise InputError(f"there is no file {source}.", hint=f"The working folder is {Path.cwd()}.") from None
    except OSError as exc:
        raise InputError(f"{source} cannot be read: {exc.strerror or exc}.", hint="Name another.") from None
    if data is None or len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"{source} is larger than {MAX_FILE_BYTES / 1e6:,.0f} MB.",
            hint="No conversation that was saved is.",
        )
    return data


def _parse_document(data: bytes, source: Path) -> dict[str, Any]:
    """The file's object, which says that it is a conversation of a version that can be read."""
    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise _not_json_error(data, source) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{source} is not a conversation of puq_magics.", hint="Name one that --save wrote.")
    version = document.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise InputError(
            f"{source} is from a later puq_magics (its format is {version}, this one reads {VERSION}).",
            hint="Upgrade: pip install -U puq_magics",
        )
    if isinstance(version, bool) or version != VERSION:
        raise InputError(f"{source} does not say which version of the format it has.", hint=_COPY_HINT)
    return document


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _not_json_error(data: bytes, source: Path) -> InputError:
    if not data.strip():
        return InputError(f"{source} is empty.", hint=_COPY_HINT)
    if FORMAT.encode() in data[:200]:
        return InputError(f"{source} is cut or damaged: its JSON is not whole.", hint=_COPY_HINT)
    return InputError(f"{source} is not JSON.", hint="Name a file that --save wrote.")


def _conversation_from_json(document: Mapping[str, Any], chosen: str | None) -> LoadedConversation:
    """Raises ValueError with what is amiss, and InputError."""
    own = _get_string(document, "name", "it")
    name = chosen if chosen is not None else validate_name(own) if own else ""
    system = _get_system(document, "it", None)
    turns = [
        _turn_from_json(turn, f"turn {n}", system or "")
        for n, turn in enumerate(_get_list(document, "turns", "it"))
    ]
    branches = [
        _branch_from_json(branch, turns, name, f"branch {n}", system)
        for n, branch in enumerate(_get_list(document, "branches", "it"), 1)
    ]
    if len({branch.name for branch in branches}) < len(branches):
        raise ValueError("two of its branches have the same number")
    return name, system, _get_line(document, "line", turns, "it"), branches


def _get_system(fields: Mapping[str, Any], label: str, otherwise: str | None) -> str | None:
    system = fields.get("system", otherwise)
    if system is not None and not isinstance(system, str):
        raise ValueError(f"{label} has a system prompt that is not a string")
    return system


def _branch_from_json(
    value: object, turns: Sequence[Turn], name: str, label: str, system: str | None
) -> Branch:
    fields = _check_object(value, label)
    number = fields.get("number")
    if not _is_count(number) or number == 0:
        raise ValueError(f"{label} has no number")
    line = _get_line(fields, "turns", turns, label)
    reason, at = _get_string(fields, "why", label), _get_time(fields, label)
    return Branch(f"{name}~{number}", line, reason, at, _get_system(fields, label, system) or None)


def _get_line(fields: Mapping[str, Any], key: str, turns: Sequence[Turn], label: str) -> tuple[Turn, ...]:
    indices = _get_list(fields, key, label)
    if not all(_is_count(index) and index < len(turns) for index in indices):
        raise ValueError(f"{label} has turns that are not there")
    return tuple(turns[index] for index in indices)


def _turn_from_json(value: object, label: str, system: str) -> Turn:
    fields = _check_object(value, label)
    answer = _get_string(fields, "answer", label)
    if not answer:
        raise ValueError(f"{label} has an empty answer")
    return Turn(
        _get_key(fields, label),
        validate_content(fields.get("content")),
        answer,
        _get_string(fields, "model", label),
        _usage_from_json(fields.get("usage"), label),
        _get_flag(fields, "interrupted", label),
        _get_time(fields, label),
        continue_prompts=_get_continue_prompts(fields, label),
        system=_get_system(fields, label, system) or "",
        truncated=_get_flag(fields, "cut", label),
    )


def _get_flag(fields: Mapping[str, Any], key: str, label: str) -> bool:
    value = fields.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{label} does not say whether it was {key}")
    return value


def _get_continue_prompts(fields: Mapping[str, Any], label: str) -> tuple[str, ...]:
    words = fields.get("continued", [])
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise ValueError(f"{label} has a 'continued' that is no list of strings")
    return tuple(words)


def _get_key(fields: Mapping[str, Any], label: str) -> TurnKey | None:
    cell, ordinal = fields.get("cell"), fields.get("ordinal")
    if cell is None:
        return None
    if not isinstance(cell, str) or not cell or not _is_count(ordinal):
        raise ValueError(f"{label} has a cell or an ordinal that is none")
    return cell, int(ordinal or 0)


def _usage_from_json(value: object, label: str) -> Usage | None:
    if value is None:
        return None
    counts = [_check_object(value, f"{label}'s usage").get(name) for name in _USAGE_FIELDS]
    if not all(_is_count(count) for count in counts):
        raise ValueError(f"{label} has a usage that is not numbers")
    return Usage(*(int(count or 0) for count in counts))


def _get_time(fields: Mapping[str, Any], label: str) -> datetime:
    try:
        at = datetime.fromisoformat(_get_string(fields, "at", label))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{label} has a time that is none") from None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_object(value: object, label: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{label} is not an object")
    return value


def _get_list(fields: Mapping[str, Any], key: str, label: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{label} has no list of {key!r}")
    return value


def _get_string(fields: Mapping[str, Any], key: str, label: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{label} has no {key!r}, or one that is not a string")
    return value
