"""JSON Schemas in every accepted form, and validation of answers.

A schema may be a dict, a path of a ``.json`` file, the name of a variable that holds any of these, a pydantic model's
class, a dataclass, a TypedDict, or the short form of `puq_magics.prompts.schema.shorthand` (``name, age int``), in
which a class may be the type of a field or of a list's items: ``[Review]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError, NotJSONError, SchemaMismatchError
from puq_magics.core.files import expand_path, is_folder, path_exists
from puq_magics.core.suggestions import did_you_mean
from puq_magics.core.text import one_line
from puq_magics.core.thinking import strip_thinking
from puq_magics.prompts.extraction import JSONDocument, extract_json, find_broken_json
from puq_magics.prompts.schema.instances import build_from_schema, to_instance
from puq_magics.prompts.schema.python_types import is_schema_type, schema_of_type
from puq_magics.prompts.schema.shorthand import parse_short_form
from puq_magics.prompts.schema.validation import SCHEMA_HINT, check_schema, find_violations, to_strict_schema

#: Size limit of a schema file, in bytes.
_MAX_FILE_BYTES = 2_000_000
#: Number of violations that a repair request quotes.
_MAX_VIOLATIONS_QUOTED = 5
#: Size limit of an answer that json-repair gets, in characters.
_MAX_REPAIR_CHARS = 200_000
#: The name of a repair by json-repair, which may change more than the form.
GUESSED = "by json-repair, compare .text"
#: A single name, or a type of a module: not a short form that anyone meant.
_SINGLE_NAME = re.compile(r"[\w$][\w$.-]*|[^\W\d]\w*(\.\w+)+\[.*\]", re.DOTALL)
#: A type of Python that the short form does not have.
_TYPE_EXPRESSION = re.compile(
    r"(?:dict|set|frozenset|tuple|Dict|Set|Tuple|Optional|Union|Annotated|Literal|Sequence|Mapping)\[.*\]"
    r"|[\w.]+(?:\[.*\])?(?:\s*\|\s*[\w.]+(?:\[.*\])?)+",
    re.DOTALL,
)


@dataclass(frozen=True)
class SchemaAnswer:
    """An answer that fits a schema."""

    #: The JSON, and the same with instances of the schema's Python types.
    data: Any
    parsed: Any
    #: What had to be repaired to read it, such as ``trailing comma``.
    repairs: tuple[str, ...] = ()
    #: Why no instance could be made, where that is not the answer's fault; ``parsed`` is None then.
    problem: InputError | None = None


@dataclass(frozen=True)
class Schema:
    """A JSON Schema and its name; create one with `Schema.from_spec`."""

    json: dict[str, Any]
    #: The name that is sent: letters, digits, - and _, at most 64 characters.
    name: str = "answer"
    #: Origin of the schema, such as "the file person.json".
    source: str = ""
    #: Makes instances of Python types from data that fits; None for a schema without such types.
    to_instances: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_spec(cls, spec: object, variables: Mapping[str, Any] | None = None) -> Schema:
        """Read a schema in any accepted form; an existing file takes precedence over a variable of that name.

        Raises InputError for an invalid schema, and ConfigurationError if the package jsonschema is missing.
        """
        schema = (
            _from_text(spec, variables or {}) if isinstance(spec, (str, Path)) else _from_value(spec, "", "")
        )
        check_schema(schema.json)
        return schema

    @property
    def response_format(self) -> dict[str, Any]:
        """The request's ``response_format``, for servers that enforce the schema.

        It is ``strict`` only if that demands nothing beyond the schema: servers reject strict schemas with open
        objects or optional fields.
        """
        strict = to_strict_schema(self.json)
        sent = self.json if strict is None else strict
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, "schema": deepcopy(sent), "strict": strict is not None},
        }

    @property
    def instructions(self) -> str:
        """Instructions with the schema, for servers without ``response_format``."""
        return (
            "Answer with one JSON document and nothing else: no text around it, no code fence, no comments. "
            f"It must match this JSON Schema:\n\n{json.dumps(self.json, ensure_ascii=False)}"
        )

    def read_answer(self, text: str, *, is_complete: bool = True) -> SchemaAnswer:
        """Return the data of an answer, repaired where it is nearly JSON; the end of a cut-off one is not made up.

        Raises SchemaMismatchError if it is not JSON, or does not match the schema or a check of its Python type.
        """
        try:
            document = extract_json(text)
        except NotJSONError as error:
            repaired = _repair_by_library(strip_thinking(text)) if is_complete else None
            if repaired is None or find_violations(self.json, repaired.data):
                raise self._mismatch_error(
                    error.message, (error.message,), text, error.repair_prompt
                ) from None
            document = repaired
        self._check(find_violations(self.json, document.data), text)
        if self.to_instances is None:
            return SchemaAnswer(document.data, document.data, document.repairs)
        try:
            parsed = self.to_instances(document.data)
        except (ValueError, AssertionError) as error:
            self._check(_describe_failure(error), text)
        except Exception as error:  # noqa: BLE001 - a fault in the user's class
            reason = one_line(f"{type(error).__name__}: {error}", 200)
            problem = InputError(
                f"no instance could be made of the answer: {reason}.", hint="Its JSON is in .data."
            )
            return SchemaAnswer(document.data, None, document.repairs, problem)
        return SchemaAnswer(document.data, parsed, document.repairs)

    def _check(self, violations: tuple[str, ...], text: str) -> None:
        if not violations:
            return
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        listed = "\n".join(f"- {violation}" for violation in violations[:_MAX_VIOLATIONS_QUOTED])
        raise self._mismatch_error(
            f"the answer does not fit the schema: {violations[0]}{more}.",
            violations,
            text,
            f"Your last answer does not fit the JSON Schema:\n\n{listed}\n\n"
            "Answer again with the whole JSON document.",
        )

    def _mismatch_error(
        self, message: str, violations: tuple[str, ...], answer: str, repair_prompt: str
    ) -> SchemaMismatchError:
        repair_prompt = f"{repair_prompt}\n\n{self.instructions}"
        error = SchemaMismatchError(message, answer=answer, repair_prompt=repair_prompt)
        error.violations = violations
        return error


def _repair_by_library(text: str) -> JSONDocument | None:
    """Return the object or list that json-repair reads out of a text; None without one, or without json-repair."""
    try:
        import json_repair
    except ImportError:
        return None
    document = find_broken_json(text)
    if document is None or len(document) > _MAX_REPAIR_CHARS:
        return None
    try:
        data = json_repair.loads(document, skip_json_loads=True)
        json.dumps(data, allow_nan=False)
    except Exception:  # noqa: BLE001 - it promises none, and the text is a model's
        return None
    return JSONDocument(data, (GUESSED,)) if isinstance(data, dict | list) and data else None


def _describe_failure(error: Exception) -> tuple[str, ...]:
    """Return what a check of a Python type found: pydantic's list of errors, or the exception's message."""
    errors = getattr(error, "errors", None)
    if callable(errors) and type(error).__module__.startswith("pydantic"):
        found = [(".".join(map(str, each["loc"])), one_line(each["msg"], 200)) for each in errors()]
        return tuple(f"{place}: {said}" if place else said for place, said in found)
    return (one_line(str(error) or type(error).__name__, 200).rstrip("."),)


def _from_text(spec: str | Path, variables: Mapping[str, Any]) -> Schema:
    """Read a path, a variable's name, JSON, or the short form, which may end with a comma, as in ``name,``."""
    short_form = str(spec).strip()
    text = short_form.removesuffix(",").rstrip()
    if not text:
        raise InputError("the schema is empty.", hint=SCHEMA_HINT)
    path = _existing_file(text)
    if path is not None:
        return _from_file(path)
    if isinstance(spec, Path) or text.lower().endswith((".json", ".jsonc")) or re.match(r"[~.]?[\\/]", text):
        raise InputError(f"there is no schema file {text!r}.", hint="Check the path.")
    if text in variables:
        return _from_variable(text, variables[text])
    if text.startswith("{") and '"' in text:
        return _from_json(text, "the JSON", "")
    if _SINGLE_NAME.fullmatch(short_form):
        raise _unknown_name_error(text, variables)
    if _TYPE_EXPRESSION.fullmatch(text):
        hint = f"Assign it to a variable first, and give its name: Kind = {one_line(text, 60)}"
        raise InputError("this is a type of Python, which the short form does not have.", hint=hint)
    if text.startswith("<class "):
        raise InputError("the schema is the text of a class.", hint="Write the class's name without braces.")
    schema, classes = parse_short_form(text, variables)
    to_instances = partial(build_from_schema, schema, classes) if classes else None
    return Schema(schema, source="the short form", to_instances=to_instances)


def _unknown_name_error(text: str, variables: Mapping[str, Any]) -> InputError:
    """Return the error for a single name: a mistyped variable or file, or a short form of one field."""
    name = " ".join(text.split())
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    suggestion = did_you_mean(name, (key for key in variables if not _is_function(variables, key)))
    hint = f'For one field of that name, write "{shown} str".'
    if "." in name:
        hint = "Assign the class to a variable first, and give its name."
    return InputError(
        f"there is no variable and no file named {shown!r}.", hint=f"{suggestion} {hint}".strip()
    )


def _is_function(variables: Mapping[str, Any], name: str) -> bool:
    """Return True for a function, such as IPython's ``open``, which is no schema."""
    try:
        value = variables[name]
    except InputError:  # a variable of a function that has no value yet
        return False
    return callable(value) and not isinstance(value, type)


def _existing_file(text: str) -> Path | None:
    try:
        path = expand_path(text)
    except InputError:
        return None
    return path if path_exists(path) and not is_folder(path) else None


def _from_file(path: Path) -> Schema:
    source = f"the file {path.name}"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(
                f"{path.name} is too large for a schema.", hint="Name the file of the schema itself."
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise InputError(
            f"the schema {path.name} cannot be read: {reason}.", hint="Check the file."
        ) from error
    return _from_json(text, source, path.stem)


def _from_json(text: str, source: str, name: str) -> Schema:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        message = (
            f"the schema is not JSON: {error.msg} ({source}, line {error.lineno}, column {error.colno})."
        )
        raise InputError(message, hint=SCHEMA_HINT) from None
    except (ValueError, RecursionError):
        raise InputError(f"the schema is not JSON that can be read ({source}).", hint=SCHEMA_HINT) from None
    if not isinstance(value, dict):
        raise InputError(f"{source} is not a JSON Schema: it is not an object.", hint=SCHEMA_HINT)
    return _from_value(value, name, source)


def _from_variable(name: str, value: object) -> Schema:
    source = f"the variable {name}"
    if isinstance(value, (str, Path)):
        schema = _from_text(value, {})  # not the name of another variable, which could be endless
        return replace(
            schema, name=schema.name if schema.name != "answer" else _clean_name(name), source=source
        )
    return _from_value(value, name, source)


def _from_value(value: Any, name: str, source: str) -> Schema:
    if isinstance(value, Schema):
        return value
    if is_schema_type(value):
        own = getattr(value, "__name__", "") if isinstance(value, type) else ""
        return Schema(schema_of_type(value), _clean_name(own or name), source, partial(to_instance, value))
    if isinstance(value, Mapping):
        return _from_mapping(value, name, source)
    if isinstance(value, type) or not is_schema_type(type(value)):
        description = value.__name__ if isinstance(value, type) else f"a value of type {type(value).__name__}"
        raise InputError(f"{source or 'this'} is not a schema: it is {description}.", hint=SCHEMA_HINT)
    raise InputError(
        f"a {type(value).__name__} is data, not a schema.", hint=f"Give its class: {type(value).__name__}."
    )


def _from_mapping(value: Mapping[Any, Any], name: str, source: str) -> Schema:
    """Copy a dict, so that later changes do not affect the schema."""
    try:
        schema = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"the schema is not JSON: {reason}.", hint=SCHEMA_HINT) from None
    title = schema.get("title")
    return Schema(schema, _clean_name(name or (title if isinstance(title, str) else "")), source)


def _clean_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")[:64] or "answer"
