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
from puq_magics.prompts.extraction import NotJSONError, extract_json
from puq_magics.prompts.schema.python_types import is_schema_type, schema_of_type
from puq_magics.prompts.schema.shorthand import parse_shorthand
from puq_magics.prompts.schema.validation import SCHEMA_HINT, check_schema, find_violations, to_strict_schema

#: In bytes; a larger file is no schema.
_MAX_FILE_BYTES = 2_000_000
#: Complaints that a repair request quotes.
_MAX_VIOLATIONS_QUOTED = 5
#: A word alone, or what stands for a type of a module: no short form that anyone meant.
_SINGLE_NAME = re.compile(r"[\w$][\w$.-]*|[^\W\d]\w*(\.\w+)+\[.*\]", re.DOTALL)
_NOT_JSON = "is not JSON"


class SchemaMismatchError(InvalidResponseError):
    """An answer does not fit the schema; ``partial`` is the answer, ``repair`` what to write to the model."""

    #: Words to the model for one more try.
    repair_prompt: str
    #: What does not fit, a line each.
    violations: tuple[str, ...]

    def __init__(self, violations: tuple[str, ...], *, answer: str, repair_prompt: str) -> None:
        first = violations[0].rstrip(".")
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        said = "The answer " if first.startswith(_NOT_JSON) else "The answer does not fit the schema: "
        super().__init__(f"{said}{first}{more}.", hint="The answer's text is kept.")
        self.violations = violations
        self.partial = answer
        self.repair_prompt = repair_prompt

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_error, (self.violations, self.partial, self.repair_prompt), self.__dict__


def _unpickle_error(violations: tuple[str, ...], answer: str, repair_prompt: str) -> SchemaMismatchError:
    return SchemaMismatchError(violations, answer=answer, repair_prompt=repair_prompt)


@dataclass(frozen=True)
class Schema:
    """A JSON Schema and its name; make one with `Schema.from_spec`."""

    json: dict[str, Any]
    #: As servers take it: letters, digits, - and _, at most 64.
    name: str = "answer"
    #: What it was taken from, such as "the file person.json".
    source: str = ""

    @classmethod
    def from_spec(cls, spec: object, variables: Mapping[str, Any] | None = None) -> Schema:
        """Read a schema in any of its spellings; an existing file wins over a variable of that name.

        Raises `InputError` for what is none, and `ConfigurationError` without the package jsonschema.
        """
        schema = (
            _from_text(spec, variables or {}) if isinstance(spec, (str, Path)) else _from_value(spec, "", "")
        )
        check_schema(schema.json)
        return schema

    @property
    def response_format(self) -> dict[str, Any]:
        """The request's field for servers that make answers fit.

        ``strict`` only where that asks for nothing that the schema does not: servers refuse strict schemas whose
        objects are open, or have fields that may be absent.
        """
        strict = to_strict_schema(self.json)
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

    def parse_answer(self, text: str) -> Any:
        """Return the data of an answer that fits; raise `SchemaMismatchError` for any other."""
        try:
            data = extract_json(text)
        except NotJSONError as error:
            repair_prompt = self._build_repair_prompt(error.repair_prompt)
            raise SchemaMismatchError(
                (error.message.removeprefix("The answer ").removesuffix("."),),
                answer=text,
                repair_prompt=repair_prompt,
            ) from None
        violations = find_violations(self.json, data)
        if violations:
            listed = "\n".join(f"- {words}" for words in violations[:_MAX_VIOLATIONS_QUOTED])
            words = f"Your last answer does not fit the JSON Schema:\n\n{listed}"
            repair_prompt = self._build_repair_prompt(
                f"{words}\n\nAnswer again with the whole JSON document."
            )
            raise SchemaMismatchError(violations, answer=text, repair_prompt=repair_prompt)
        return data

    def _build_repair_prompt(self, words: str) -> str:
        return f"{words}\n\n{self.instructions}"


# -- the spellings


def _from_text(spec: str | Path, variables: Mapping[str, Any]) -> Schema:
    """A path, a variable's name, JSON as text, or the short form."""
    words = str(spec).strip()
    if not words:
        raise InputError("The schema is empty.", hint=SCHEMA_HINT)
    path = _existing_file(words)
    if path is not None:
        return _from_file(path)
    if (
        isinstance(spec, Path)
        or words.lower().endswith((".json", ".jsonc"))
        or re.match(r"[~.]?[\\/]", words)
    ):
        raise InputError(f"There is no file {words!r} to read a schema from.", hint="Check the path.")
    if words in variables:
        return _from_variable(words, variables[words])
    if words.startswith("{") and '"' in words:
        return _from_json(words, "the JSON", "")
    if _SINGLE_NAME.fullmatch(words):
        raise _unknown_name_error(words, variables)
    return Schema(parse_shorthand(words), source="the short form")


def _unknown_name_error(words: str, variables: Mapping[str, Any]) -> InputError:
    """The error for a lone word: a name that was mistyped, or a field that does not look like one."""
    words = " ".join(words.split())
    shown = words if len(words) <= 80 else f"{words[:80]}…"
    near = did_you_mean(words, variables)
    hint = f'For one field of that name, write "{shown} str".'
    if "." in words:
        hint = "A class of a module needs a variable of its own: assign it in a cell, and name that."
    return InputError(f"There is no variable and no file named {shown!r}.", hint=f"{near} {hint}".strip())


def _existing_file(words: str) -> Path | None:
    try:
        path = Path(words).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, an unknown user: no path at all
        return None


def _from_file(path: Path) -> Schema:
    source = f"the file {path.name}"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(
                f"{path.name} is too large for a schema.", hint="Name the file of the schema itself."
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text in UTF-8"
        raise InputError(f"The schema {path.name} cannot be read: {said}.", hint="Check the file.") from error
    return _from_json(text, source, path.stem)


def _from_json(text: str, source: str, name: str) -> Schema:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = (
            f"The schema is not JSON: {error.msg} ({source}, line {error.lineno}, column {error.colno})."
        )
        raise InputError(message, hint=SCHEMA_HINT) from None
    except (ValueError, RecursionError):
        raise InputError(f"The schema is not JSON that can be read ({source}).", hint=SCHEMA_HINT) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{source[0].upper()}{source[1:]} holds no JSON Schema: it is no object.", hint=SCHEMA_HINT
        )
    return _from_value(value, name, source)


def _from_variable(name: str, value: object) -> Schema:
    source = f"the variable {name}"
    if isinstance(value, (str, Path)):
        # What a variable holds is no variable's name again: no endless turns.
        schema = _from_text(value, {})
        return Schema(schema.json, schema.name if schema.name != "answer" else _clean_name(name), source)
    return _from_value(value, name, source)


def _from_value(value: Any, name: str, source: str) -> Schema:
    if isinstance(value, Schema):
        return value
    if is_schema_type(value):
        own = getattr(value, "__name__", "") if isinstance(value, type) else ""
        return Schema(schema_of_type(value), _clean_name(own or name), source)
    if isinstance(value, Mapping):
        return _from_mapping(value, name, source)
    if isinstance(value, type) or not is_schema_type(type(value)):
        kind = value.__name__ if isinstance(value, type) else f"a value of type {type(value).__name__}"
        which = f"{source[0].upper()}{source[1:]}" if source else "This"
        raise InputError(f"{which} is no schema: it is {kind}.", hint=SCHEMA_HINT)
    raise InputError(
        f"A {type(value).__name__} is data, and no schema.", hint=f"Name its class: {type(value).__name__}."
    )


def _from_mapping(value: Mapping[Any, Any], name: str, source: str) -> Schema:
    """A dict that is a schema: kept as JSON, so that what changes it later does not change this."""
    try:
        schema = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        raise InputError(f"The schema is not JSON: {said}.", hint=SCHEMA_HINT) from None
    title = schema.get("title")
    return Schema(schema, _clean_name(name or (title if isinstance(title, str) else "")), source)


def _clean_name(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", words).strip("_")[:64] or "answer"
