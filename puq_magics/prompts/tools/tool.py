"""A function of the notebook as a tool: described for the model by its signature, annotations and docstring."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.secret import redact_json, redact_secrets
from puq_magics.core.suggestions import did_you_mean
from puq_magics.prompts.schema.instances import to_instance
from puq_magics.prompts.schema.python_types import schema_of_type
from puq_magics.prompts.schema.validation import check_schema, find_violations
from puq_magics.prompts.tools.docstrings import Docstring, ParameterText

#: Names that servers take.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_DESCRIPTION_CHARS = 4_000
#: Types by their names in docstrings.
_NAMED_TYPES: Mapping[str, Any] = {
    "str": str, "string": str, "int": int, "integer": int, "float": float, "number": float,
    "bool": bool, "boolean": bool, "list": list, "dict": dict,
}  # fmt: skip
_EMPTY = inspect.Parameter.empty
_NAMES_HINT = "Name functions of the notebook: --tools f,g."


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    function: Callable[..., Any]
    description: str
    #: JSON Schema of the arguments, an object.
    schema: dict[str, Any]
    #: The types of the parameters, by name.
    types: Mapping[str, Any]

    @classmethod
    def from_function(cls, name: str, function: Callable[..., Any]) -> Tool:
        """Describe a function. Raises InputError for one that cannot be described, with what to do."""
        if _NAME.fullmatch(name) is None:
            raise InputError(
                f"{name} is not a name for a tool.", hint="Use at most 64 letters of ASCII, digits and _."
            )
        signature = _signature(name, function)
        docstring = Docstring.parse(_docstring(function))
        types = {
            each.name: _type_of(name, each, docstring.parameters.get(each.name))
            for each in signature.parameters.values()
        }
        schema = _schema(name, signature, types, docstring.parameters)
        check_schema(schema)
        return cls(name, function, docstring.description[:_MAX_DESCRIPTION_CHARS], schema, types)

    @property
    def definition(self) -> dict[str, Any]:
        """The tool as a request has it, without API keys in a docstring or a default."""
        described = {"description": self.description} if self.description else {}
        function = {"name": self.name, **described, "parameters": self.schema}
        return {"type": "function", "function": redact_json(function, redact_secrets)}

    def violations(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what is wrong with arguments, a line each."""
        return find_violations(self.schema, dict(arguments))

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with arguments that fit the schema; return what it returns, also an awaitable."""
        values = {name: to_instance(self.types[name], value) for name, value in arguments.items()}
        positional = []
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
                break
            positional.append(values.pop(parameter.name) if parameter.name in values else parameter.default)
        return self.function(*positional, **values)


def find_tools(names: list[str], variables: Mapping[str, Any]) -> dict[str, Tool]:
    """Return the functions of these names, described. Raises InputError."""
    if not names:
        raise InputError("no function is named.", hint=_NAMES_HINT)
    return {name: Tool.from_function(name, _find_function(name, variables)) for name in names}


def _find_function(name: str, variables: Mapping[str, Any]) -> Callable[..., Any]:
    if not name.isidentifier():
        raise InputError(f"{name!r} is not the name of a function.", hint=_NAMES_HINT)
    if name not in variables:
        functions = [each for each, value in list(variables.items()) if inspect.isfunction(value)]
        guess = did_you_mean(name, functions)
        raise InputError(f"there is no function {name}. {guess}".rstrip(), hint="Define it before this cell.")
    value = variables[name]
    if isinstance(value, type):
        raise InputError(
            f"{name} is a class.", hint="Give a function that makes what is needed, and returns what to tell."
        )
    if not callable(value):
        raise InputError(f"{name} is not a function but {type(value).__name__}.", hint="Give a function.")
    function: Callable[..., Any] = value
    return function


def _signature(name: str, function: Callable[..., Any]) -> inspect.Signature:
    wrap = f"Wrap it in a function with annotated parameters: def {name}_tool(…): …"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise InputError(f"{name} has no signature that can be read.", hint=wrap) from None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InputError(f"{name} takes {parameter}, which a JSON Schema cannot describe.", hint=wrap)
    target: Any = function.func if isinstance(function, functools.partial) else function
    target = inspect.unwrap(target if inspect.isroutine(target) else type(target).__call__)
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the annotations of {name} cannot be read: {reason}",
            hint="Define the types in the notebook itself.",
        ) from None
    parameters = [
        each.replace(annotation=hints.get(each.name, each.annotation))
        for each in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def _docstring(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        function = function.func
    return inspect.getdoc(function) or ""


def _type_of(name: str, parameter: inspect.Parameter, documented: ParameterText | None) -> Any:
    """Return the type of a parameter, by its annotation, the docstring, or its default. Raises InputError."""
    if parameter.annotation is not _EMPTY:
        return parameter.annotation
    written = re.split(r",|\bor\b|\bof\b|\[", documented.type)[0].strip() if documented is not None else ""
    if written.lower() in _NAMED_TYPES:
        return _NAMED_TYPES[written.lower()]
    if documented is not None and (choices := re.fullmatch(r"\{(.+)\}.*", documented.type)):
        options = [each.strip().strip("'\"") for each in choices[1].split(",")]
        return typing.Literal[tuple(options)]
    if type(parameter.default) in (str, int, float, bool):
        return type(parameter.default)
    raise InputError(
        f"the parameter {parameter.name} of {name} has no annotation.",
        hint=f"Write its type, such as def {name}({parameter.name}: str).",
    )


def _schema(
    name: str, signature: inspect.Signature, types: Mapping[str, Any], documented: Mapping[str, ParameterText]
) -> dict[str, Any]:
    """Return the schema of all arguments. Raises InputError for a type that JSON cannot represent."""
    parameters = signature.parameters
    optional = {each for each, parameter in parameters.items() if parameter.default is not _EMPTY}
    fields = {each: typing.NotRequired[kind] if each in optional else kind for each, kind in types.items()}
    schema = schema_of_type(typing.TypedDict(name, fields))  # type: ignore[operator]
    for each, part in schema["properties"].items():
        text = documented[each].text if each in documented else _annotated_text(types[each])
        if text:
            part["description"] = text
        if each in optional:
            part |= _default(parameters[each].default)
    return schema


def _annotated_text(kind: Any) -> str:
    """Return the description in an ``Annotated`` type: a string, or that of pydantic's ``Field``."""
    notes = getattr(kind, "__metadata__", ())
    texts = [note if isinstance(note, str) else getattr(note, "description", None) for note in notes]
    return next((text for text in texts if isinstance(text, str)), "")


def _default(value: object) -> dict[str, Any]:
    value = value.value if isinstance(value, enum.Enum) else value
    try:
        return {"default": json.loads(json.dumps(value, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {}
