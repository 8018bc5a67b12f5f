"""JSON files of conversations.

The format, version 1, is one object, in UTF-8::

    {
     "format": "puq_magics conversation",
     "version": 1,
     "name": "main",                  letters, digits and . _ -; "" for none
     "system": "Be brief.",           or null
     "turns": [                       each turn once, even if it is in several branches
      {
       "cell": "3f2a9c1e",            the id of the cell in the notebook, or null
       "ordinal": 0,                  the ordinal of the question within the cell, or null
       "content": "What is a monad?", or a list of parts: {"type": "text", "text": …}, {"type": "image_url", …}, …
       "answer": "A monoid …",
       "model": "openai/gpt-4o-mini", "" if unknown
       "usage": {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 49},   or null
       "interrupted": false,
       "cut": true,                   the answer ended at the token limit; omitted otherwise
       "continued": ["Go on."],       the user's texts that asked to continue the answer; omitted if there are none
       "system": "Be a pirate.",      the system prompt of this turn, "" for none; omitted if it is the one above
       "tools": [{"role": "assistant", "tool_calls": [{…}]}, {"role": "tool", …}],
                                      the tool calls before the answer and their results; omitted if there are none
       "sources": [["Title", "https://…"]],
                                      what the model names as its sources; omitted if there are none
       "at": "2026-01-31T12:00:00+00:00"
      }
     ],
     "line": [0, 2],                  the conversation: indices into the turns, oldest first
     "branches": [
      {"number": 1, "turns": [0, 1], "why": "turn 2 replaced", "at": "2026-01-31T12:05:00+00:00",
       "system": null}                the conversation's system prompt then; omitted if it is the one above
     ]
    }

Unknown fields are ignored, higher versions are refused. No key and no setting is written. A cell's id is written only
if it is one of the notebook file: an execution count means another cell after a restart, and the ids of some front
ends are paths of this machine.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError
from puq_magics.core.files import expand_path, read_error, save_bytes
from puq_magics.prompts.conversation.turns import (
    Branch,
    ConversationData,
    Turn,
    TurnKey,
    validate_content,
    validate_name,
    validate_tool_messages,
)
from puq_magics.prompts.lenient_json import DECODER

_T = TypeVar("_T")
FORMAT = "puq_magics conversation"
VERSION = 1
#: Size limit of a file, in bytes.
MAX_FILE_BYTES = 100_000_000

#: A conversation's name, system prompt, turns and branches.
LoadedConversation = tuple[str, str | None, tuple[Turn, ...], list[Branch]]

# nbformat's cell ids, except execution counts
_PERSISTENT_CELL_ID = re.compile(r"(?!\d{1,7}\Z)[A-Za-z0-9_-]{1,64}")
_USAGE_FIELDS = ("prompt_tokens", "completion_tokens", "total_tokens")
_COPY_HINT = "Restore the file from a backup, or save the conversation again."
_TYPE_NAMES = {str: "a string", int: "a number", bool: "true or false", list: "a list", dict: "an object"}


# --- writing -------------------------------------------------------------------------------------------------------


def save(conversation: ConversationData, path: str | Path, force: bool = False) -> Path:
    """Write a conversation to a file and return its path. Raises InputError."""
    data = encode_json(_to_document(conversation))
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"the conversation takes {len(data) / 1e6:,.0f} MB, more than the {MAX_FILE_BYTES / 1e6:,.0f} MB that "
            "can be loaded again.",
            hint="Delete some branches, or export it instead.",
        )
    return save_bytes(data, path, force=force)


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
            "at": branch.at.isoformat(),
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
    is_persistent = turn.key is not None and _PERSISTENT_CELL_ID.fullmatch(turn.key[0])
    cell, ordinal = turn.key if turn.key is not None and is_persistent else (None, None)
    usage = turn.usage
    fields: dict[str, Any] = {
        "cell": cell,
        "ordinal": ordinal,
        "content": turn.content,
        "answer": turn.answer,
        "model": turn.model,
        "usage": None if usage is None else {name: getattr(usage, name) for name in _USAGE_FIELDS},
        "interrupted": turn.interrupted,
        "at": turn.at.isoformat(),
    }
    if turn.truncated:
        fields["cut"] = True
    if turn.continue_prompts:
        fields["continued"] = turn.continue_prompts
    if turn.tool_messages:
        fields["tools"] = turn.tool_messages
    if turn.sources:
        fields["sources"] = turn.sources
    if turn.system != system:
        fields["system"] = turn.system
    return fields


def encode_json(document: Mapping[str, Any]) -> bytes:
    """Encode a document as UTF-8; with a lone surrogate in it, as ASCII with escapes."""
    try:
        return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


# --- reading -------------------------------------------------------------------------------------------------------


def load(path: str | Path, name: str | None = None) -> LoadedConversation:
    """Read a conversation from a file; ``name`` replaces the stored name. Raises InputError, which names the file."""
    source = expand_path(path)
    new_name = None if name is None else validate_name(name)
    document = _parse_document(_read_bytes(source), source)
    try:
        return _conversation_from_json(_Fields(document, "it"), new_name)
    except InputError as exc:
        message = f"{source} is not a complete conversation: {exc.message}"
    raise InputError(message, hint=_COPY_HINT)


def _read_bytes(source: Path) -> bytes:
    hint = "Give the path of a saved conversation."
    try:
        details = source.stat()
        if not stat.S_ISREG(details.st_mode):  # opening a pipe could wait for ever
            kind = "a folder" if stat.S_ISDIR(details.st_mode) else "not a file"
            raise InputError(f"{source} is {kind}.", hint=hint)
        if details.st_size > MAX_FILE_BYTES:
            raise InputError(f"{source} is larger than {MAX_FILE_BYTES / 1e6:,.0f} MB.", hint=hint)
        return source.read_bytes()
    except OSError as exc:
        raise read_error(source, exc) from None


def _parse_document(data: bytes, source: Path) -> dict[str, Any]:
    """Return the file's object, after checking its format and version."""
    try:
        document = DECODER.decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _not_json_error(data, source) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{source} is not a conversation of puq_magics.", hint="Name one that --save wrote.")
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise InputError(
            f"{source} is from a later puq_magics (its format is {version}, this one reads {VERSION}).",
            hint="Upgrade: pip install -U puq_magics",
        )
    if type(version) is not int or version != VERSION:
        raise InputError(f"{source} has no valid format version.", hint=_COPY_HINT)
    return document


def _not_json_error(data: bytes, source: Path) -> InputError:
    if not data.strip():
        return InputError(f"{source} is empty.", hint=_COPY_HINT)
    if FORMAT.encode() in data[:200]:
        return InputError(f"{source} is truncated or damaged: its JSON is incomplete.", hint=_COPY_HINT)
    return InputError(f"{source} is not JSON.", hint="Name a file that --save wrote.")


@dataclass(frozen=True)
class _Fields:
    """Fields of an object of the document, checked as they are read. Methods raise InputError."""

    values: Mapping[str, Any]
    #: Name of the object in errors, such as ``turn 2``.
    label: str

    def get(self, key: str, kind: type[_T]) -> _T:
        value = self.values.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{self.label} needs {_TYPE_NAMES[kind]} as {key!r}.", hint=_COPY_HINT)
        return value

    def get_optional(self, key: str, kind: type[_T], default: _T | None = None) -> _T | None:
        """Return a field that may be omitted (for the default) or null."""
        if key not in self.values:
            return default
        return None if self.values[key] is None else self.get(key, kind)

    def get_count(self, key: str) -> int:
        count = self.get(key, int)
        if count < 0:
            raise self.error(f"a negative {key!r}")
        return count

    def get_time(self) -> datetime:
        try:
            at = datetime.fromisoformat(self.get("at", str))
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.error("an invalid timestamp") from None

    def get_turns(self, key: str, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        indices = self.get(key, list)
        if not all(type(index) is int and 0 <= index < len(turns) for index in indices):
            raise self.error("an invalid index of a turn")
        return tuple(turns[index] for index in indices)

    def get_objects(self, key: str, label: str, start: int) -> list[_Fields]:
        return [_as_fields(value, f"{label} {n}") for n, value in enumerate(self.get(key, list), start)]

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.label} has {problem}.", hint=_COPY_HINT)


def _as_fields(value: object, label: str) -> _Fields:
    if not isinstance(value, dict):
        raise InputError(f"{label} is not an object.", hint=_COPY_HINT)
    return _Fields(value, label)


def _conversation_from_json(document: _Fields, new_name: str | None) -> LoadedConversation:
    stored_name = document.get("name", str)
    name = new_name if new_name is not None else validate_name(stored_name) if stored_name else ""
    system = document.get_optional("system", str)
    turns = [_turn_from_json(fields, system or "") for fields in document.get_objects("turns", "turn", 0)]
    branches = [
        _branch_from_json(fields, turns, name, system)
        for fields in document.get_objects("branches", "branch", 1)
    ]
    if len({branch.name for branch in branches}) < len(branches):
        raise document.error("two branches of the same number")
    return name, system, document.get_turns("line", turns), branches


def _branch_from_json(fields: _Fields, turns: Sequence[Turn], name: str, system: str | None) -> Branch:
    number = fields.get_count("number")
    if number == 0:
        raise fields.error("the number 0")
    return Branch(
        f"{name}~{number}",
        fields.get_turns("turns", turns),
        fields.get("why", str),
        fields.get_time(),
        fields.get_optional("system", str, system) or None,
    )


def _turn_from_json(fields: _Fields, system: str) -> Turn:
    answer = fields.get("answer", str)
    tool_messages = validate_tool_messages(fields.get_optional("tools", list) or [])
    if not answer and not tool_messages:
        raise fields.error("an empty answer")
    continue_prompts = fields.get_optional("continued", list) or []
    if not all(isinstance(prompt, str) for prompt in continue_prompts):
        raise fields.error("a 'continued' that is not a list of strings")
    sources = fields.get_optional("sources", list) or []
    for source in sources:
        match source:
            case [str(), str()]:
                pass
            case _:
                raise fields.error("a 'sources' that is not a list of titles and URLs")
    return Turn(
        _key_from_json(fields),
        validate_content(fields.values.get("content")),
        answer,
        fields.get("model", str),
        _usage_from_json(fields),
        fields.get_optional("interrupted", bool) or False,
        fields.get_time(),
        continue_prompts=tuple(continue_prompts),
        system=fields.get_optional("system", str, system) or "",
        truncated=fields.get_optional("cut", bool) or False,
        tool_messages=tool_messages,
        sources=tuple((title, url) for title, url in sources),
    )


def _key_from_json(fields: _Fields) -> TurnKey | None:
    cell = fields.get_optional("cell", str)
    if cell is None:
        return None
    if not cell:
        raise fields.error("an empty 'cell'")
    return cell, fields.get_count("ordinal")


def _usage_from_json(fields: _Fields) -> Usage | None:
    value = fields.values.get("usage")
    if value is None:
        return None
    counts = _as_fields(value, f"the usage of {fields.label}")
    return Usage(*(counts.get_count(name) for name in _USAGE_FIELDS))
