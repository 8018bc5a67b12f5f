"""What an answer is to look like: a JSON Schema, from any of its spellings, and answers checked against it.

A schema may be a dict, a path to a ``.json`` file, the name of a variable that holds any of these, a pydantic
model's class, a dataclass, a TypedDict, or the short form that `schema_words` describes (``name, age int``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError, InvalidResponseError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.prompts.extraction import NotJSONError, json_of
from puq_magics.prompts.schema.python_types import is_type, schema_of_type
from puq_magics.prompts.schema.shorthand import read_short_form
from puq_magics.prompts.schema.validation import HINT, check_schema, closed, complaints_of

#: In bytes; a larger file is no schema.
_LARGEST = 2_000_000
#: Complaints that a repair request quotes.
_COMPLAINTS = 5
#: A word alone, or what stands for a type of a module: no short form that anyone meant.
_LONE = re.compile(r"[\w$][\w$.-]*|[^\W\d]\w*(\.\w+)+\[.*\]", re.DOTALL)
_NOT_JSON = "is not JSON"


class SchemaMismatch(InvalidResponseError):  # noqa: N818 - named for what it says of the answer
    """An answer does not fit the schema; ``partial`` is the answer, ``repair`` what to write to the model."""

    #: Words to the model for one more try.
    repair: str
    #: What does not fit, a line each.
    complaints: tuple[str, ...]

    def __init__(self, complaints: tuple[str, ...], *, answer: str, repair: str) -> None:
        first = complaints[0].rstrip(".")
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        said = "The answer " if first.startswith(_NOT_JSON) else "The answer does not fit the schema: "
        super().__init__(f"{said}{first}{more}.", hint="The answer's text is kept.")
        self.complaints = complaints
        self.partial = answer
        self.repair = repair

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.complaints, self.partial, self.repair), self.__dict__


def _revive(complaints: tuple[str, ...], answer: str, repair: str) -> SchemaMismatch:
    return SchemaMismatch(complaints, answer=answer, repair=repair)


@dataclass(frozen=True)
class Schema:
    """A JSON Schema and its name; make one with `Schema.of`."""

    json: dict[str, Any]
    #: As servers take it: letters, digits, - and _, at most 64.
    name: str = "answer"
    #: What it was taken from, such as "the file person.json".
    source: str = ""

    @classmethod
    def of(cls, spec: object, variables: Mapping[str, Any] | None = None) -> Schema:
        """Read a schema in any of its spellings; an existing file wins over a variable of that name.

        Raises `InputError` for what is none, and `ConfigurationError` without the package jsonschema.
        """
        schema = (
            _of_words(spec, variables or {}) if isinstance(spec, (str, Path)) else _of_value(spec, "", "")
        )
        check_schema(schema.json)
        return schema

    @property
    def response_format(self) -> dict[str, Any]:
        """The request's field for servers that make answers fit.

        ``strict`` only where that asks for nothing that the schema does not: servers refuse strict schemas whose
        objects are open, or have fields that may be absent.
        """
        strict = closed(self.json)
        sent = self.json if strict is None else strict
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": deepcopy(sent), "strict": strict is not None},
        }

    @property
    def instructions(self) -> str:
        """The same in words, for servers that take no ``response_format``."""
        return (
            "Answer with one JSON document and nothing else: no words around it, no code fence, no comments. "
            f"It has to fit this JSON Schema:\n\n{json.dumps(self.json, ensure_ascii=False)}"
        )

    def check(self, text: str) -> Any:
        """Return the data of an answer that fits; raise `SchemaMismatch` for any other."""
        try:
            data = json_of(text)
        except NotJSONError as error:
            repair = self._repair(error.repair)
            raise SchemaMismatch(
                (error.message.removeprefix("The answer ").removesuffix("."),), answer=text, repair=repair
            ) from None
        complaints = complaints_of(self.json, data)
        if complaints:
            listed = "\n".join(f"- {words}" for words in complaints[:_COMPLAINTS])
            words = f"Your last answer does not fit the JSON Schema:\n\n{listed}"
            repair = self._repair(f"{words}\n\nAnswer again with the whole JSON document.")
            raise SchemaMismatch(complaints, answer=text, repair=repair)
        return data

    def _repair(self, words: str) -> str:
        return f"{words}\n\n{self.instructions}"


# -- the spellings


def _of_words(spec: str | Path, variables: Mapping[str, Any]) -> Schema:
    """A path, a variable's name, JSON as text, or the short form."""
    words = str(spec).strip()
    if not words:
        raise InputError("The schema is empty.", hint=HINT)
    path = _file(words)
    if path is not None:
        return _of_file(path)
    if (
        isinstance(spec, Path)
        or words.lower().endswith((".json", ".jsonc"))
        or re.match(r"[~.]?[\\/]", words)
    ):
        raise InputError(f"There is no file {words!r} to read a schema from.", hint="Check the path.")
    if words in variables:
        return _of_variable(words, variables[words])
    if words.startswith("{") and '"' in words:
        return _of_json(words, "the JSON", "")
    if _LONE.fullmatch(words):
        raise _unknown(words, variables)
    return Schema(read_short_form(words), source="the short form")


def _unknown(words: str, variables: Mapping[str, Any]) -> InputError:
    """The error for a lone word: a name that was mistyped, or a field that does not look like one."""
    words = " ".join(words.split())
    shown = words if len(words) <= 80 else f"{words[:80]}…"
    near = did_you_mean(words, variables)
    hint = f'For one field of that name, write "{shown} str".'
    if "." in words:
        hint = "A class of a module needs a variable of its own: assign it in a cell, and name that."
    return InputError(f"There is no variable and no file named {shown!r}.", hint=f"{near} {hint}".strip())


def _file(words: str) -> Path | None:
    try:
        path = Path(words).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown user: no path at all
        return None


def _of_file(path: Path) -> Schema:
    source = f"the file {path.name}"
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(
                f"{path.name} is too large for a schema.", hint="Name the file of the schema itself."
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text in UTF-8"
        raise InputError(f"The schema {path.name} cannot be read: {said}.", hint="Check the file.") from error
    return _of_json(text, source, path.stem)


def _of_json(text: str, source: str, name: str) -> Schema:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = (
            f"The schema is not JSON: {error.msg} ({source}, line {error.lineno}, column {error.colno})."
        )
        raise InputError(message, hint=HINT) from None
    except (ValueError, RecursionError):
        raise InputError(f"The schema is not JSON that can be read ({source}).", hint=HINT) from None
    if not isinstance(value, dict):
        raise InputError(f"{source[0].upper()}{source[1:]} holds no JSON Schema: it is no object.", hint=HINT)
    return _of_value(value, name, source)


def _of_variable(name: str, value: object) -> Schema:
    source = f"the variable {name}"
    if isinstance(value, (str, Path)):
        # What a variable holds is no variable's name again: no endless turns.
        schema = _of_words(value, {})
        return Schema(schema.json, schema.name if schema.name != "answer" else _name(name), source)
    return _of_value(value, name, source)


def _of_value(value: Any, name: str, source: str) -> Schema:
    if isinstance(value, Schema):
        return value
    if is_type(value):
        own = getattr(value, "__name__", "") if isinstance(value, type) else ""
        return Schema(schema_of_type(value), _name(own or name), source)
    if isinstance(value, Mapping):
        return _of_mapping(value, name, source)
    if isinstance(value, type) or not is_type(type(value)):
        kind = value.__name__ if isinstance(value, type) else f"a value of type {type(value).__name__}"
        which = f"{source[0].upper()}{source[1:]}" if source else "This"
        raise InputError(f"{which} is no schema: it is {kind}.", hint=HINT)
    raise InputError(
        f"A {type(value).__name__} is data, and no schema.", hint=f"Name its class: {type(value).__name__}."
    )


def _of_mapping(value: Mapping[Any, Any], name: str, source: str) -> Schema:
    """A dict that is a schema: kept as JSON, so that what changes it later does not change this."""
    try:
        schema = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        raise InputError(f"The schema is not JSON: {said}.", hint=HINT) from None
    title = schema.get("title")
    return Schema(schema, _name(name or (title if isinstance(title, str) else "")), source)


def _name(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", words).strip("_")[:64] or "answer"
