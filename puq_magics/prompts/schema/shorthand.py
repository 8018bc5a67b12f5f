"""The short form of a schema: ``name, age int, tags [str]``.

Fields are separated by commas or line ends; each is a name, then its type. The grammar::

    field   = name ["?"] [type] ["-" text]          the type is str by default; "?": may be null; "-": a description
    type    = "str" | "int" | "float" | "bool" | "date" | "datetime" | "time" | "any"    (or a synonym)
            | ["int" | "float"] low ".." high       a range:       score int 1..5, share 0.0..1.0, age int 0..
            | class                                 a class:       review Review
            | "[" type "]" | "list[" type "]"       a list:        tags [str], reviews [Review]
            | "[" fields "]"                        records:       people [name, age int]
            | "{" fields "}"                        an object:     address {street, city}
            | word "|" word …                       one of several words:  size small|medium|large

A colon may stand between name and type. A whole form in brackets, ``[name, age int]`` or ``[Review]``, is a list.
A class is a variable of the notebook: a pydantic model, a dataclass, a TypedDict or an enum.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.prompts.schema.python_types import SchemaBuilder, is_schema_type

_NUMBER, _INTEGER, _STRING, _BOOLEAN = ({"type": name} for name in ("number", "integer", "string", "boolean"))
TYPE_SCHEMAS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("str", "string", "text"), _STRING),
    **dict.fromkeys(("int", "integer"), _INTEGER),
    **dict.fromkeys(("float", "number", "double"), _NUMBER),
    **dict.fromkeys(("bool", "boolean"), _BOOLEAN),
    **{name: {"type": "string", "format": name} for name in ("date", "time", "email", "uri", "uuid")},
    "datetime": {"type": "string", "format": "date-time"},
    "any": {},
}
_TOKEN = re.compile(
    r"[^\S\n]*(?:(?P<end>[,;\n])|(?P<symbol>[\[\]{}:?|])|(?P<note>-\s[^,;\n\[\]{}]*)|(?P<word>[^\s,;:?|\[\]{}]+))"
)
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)?\.\.(-?\d+(?:\.\d+)?)?")
_FIELD_NAME = re.compile(r"[\w$][\w$.-]{0,99}")
_RANGE_HINT = 'Write a range like "score int 1..5", "share float 0..1" or "age int 0..".'
_HINT = 'Write fields between commas, each a name and its type: "name, age int, tags [str]".'
#: Nesting of brackets.
_MAX_DEPTH = 20


def parse_short_form(text: str, variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON Schema of a short form, and the classes that it names, by their ``$ref``.

    Raises InputError, which quotes the invalid token.
    """
    parser = _Parser(text, variables)
    is_list = text.lstrip()[:5] in ("list[", "List[") and parser.skip_list()  # "list [str]" is a field
    schema = parser.parse_list() if is_list or parser.is_next("[") else parser.parse_fields("")
    if parser.lexeme:
        raise parser.syntax_error("unexpected")
    definitions = parser.builder.definitions
    return {**schema, "$defs": definitions} if definitions else schema, parser.classes


class _Parser:
    """Recursive descent parser of one short form."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        #: Schemas of the classes that are named, and the classes by their ``$ref``.
        self.builder = SchemaBuilder()
        self.classes: dict[str, Any] = {}
        self._variables = variables
        self._tokens = [
            (kind, match[kind]) for match in _TOKEN.finditer(text.strip()) if (kind := match.lastgroup)
        ]
        self._position = 0
        self._depth = 0

    @property
    def lexeme(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._position][1] if self._position < len(self._tokens) else ""

    @property
    def _kind(self) -> str:
        return self._tokens[self._position][0] if self._position < len(self._tokens) else ""

    def is_next(self, token: str) -> bool:
        return self.lexeme == token

    def _advance(self) -> str:
        token = self.lexeme
        self._position += 1
        return token

    def _accept(self, token: str) -> bool:
        """Consume the token if it is the next one; return whether it was."""
        is_next = self.lexeme == token
        self._position += is_next
        return is_next

    def parse_fields(self, closing: str) -> dict[str, Any]:
        """Parse fields up to the closing bracket, as an object."""
        properties: dict[str, Any] = {}
        while self.lexeme != closing:
            if closing and not self.lexeme:
                raise self.syntax_error(f"no closing {closing}")
            if self._kind == "end":
                self._advance()
                continue
            if self._kind != "word" or _FIELD_NAME.fullmatch(self.lexeme) is None:
                raise self.syntax_error("not a field name")
            name = self._advance()
            if name in properties:
                raise InputError(f"the schema has two fields named {name!r}.", hint=_HINT)
            properties[name] = self._parse_field(name)
            if self._kind != "end" and self.lexeme != closing:
                problem = f"unexpected after the field {name!r}" if self.lexeme else f"no closing {closing}"
                raise self.syntax_error(problem)
        if not properties:
            raise InputError("the schema has no fields.", hint=_HINT)
        if closing:
            self._advance()
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _parse_field(self, name: str) -> dict[str, Any]:
        """Parse the type of a field and its description."""
        may_be_null = self._accept("?")
        self._accept(":")
        if self._kind in ("word", "symbol") and self.lexeme not in "]}":
            schema = dict(self._parse_type(name))
        elif _is_class(self._variables.get(name)):
            hint = f'Write "{name.lower()} {name}" for a field of that class, or "[{name}]" for a list of it.'
            raise InputError(f"{name} in the schema is a class, not a field.", hint=hint)
        else:
            schema = dict(_STRING)
        may_be_null = self._accept("?") or may_be_null
        if may_be_null and schema:
            schema = _make_nullable(schema)
        if self._kind == "note":
            schema["description"] = self._advance()[1:].strip()
        return schema

    def _parse_type(self, name: str) -> dict[str, Any]:
        if self.lexeme == "[" or self.skip_list():
            return self.parse_list()
        if self._accept("{"):
            return self._parse_nested_fields("}")
        if self._kind != "word":
            raise self.syntax_error(f"not a type, at the field {name!r}")
        if _RANGE.fullmatch(self.lexeme) or (
            self.lexeme in TYPE_SCHEMAS and _RANGE.fullmatch(self._following)
        ):
            return self._parse_range()
        words = [self._advance()]
        while self._accept("|"):
            if self._kind != "word":
                raise self.syntax_error("not a choice", after="|")
            words.append(self._advance())
        are_types = all(word in ("null", "None") or self._is_type(word) for word in words)
        if (
            len(words) > 1
            and not are_types
            and not any(_is_class(self._variables.get(word)) for word in words)
        ):
            return {"type": "string", "enum": list(dict.fromkeys(words))}
        return self._resolve_types(words)

    def _is_type(self, word: str) -> bool:
        return word in TYPE_SCHEMAS or _is_class(self._variables.get(word))

    def _resolve_types(self, words: list[str]) -> dict[str, Any]:
        kinds = [self._type_schema(word) for word in words if word not in ("null", "None")]
        schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return _make_nullable(schema) if len(kinds) < len(words) else schema

    def _type_schema(self, word: str) -> dict[str, Any]:
        if word in TYPE_SCHEMAS:
            return TYPE_SCHEMAS[word]
        if not self._is_type(word):
            classes = [name for name, value in self._variables.items() if _is_class(value)]
            hint = (
                did_you_mean(word, [*TYPE_SCHEMAS, *classes]) or f"The types are {', '.join(TYPE_SCHEMAS)}."
            )
            raise InputError(f"{word!r} in the schema is not a type.", hint=f"{hint} {_HINT}")
        ref = self.builder.define(self._variables[word])
        self.classes[ref] = self._variables[word]
        return {"$ref": ref}

    def _parse_range(self) -> dict[str, Any]:
        """Parse the limits of a number, with its type before them or without one."""
        name = "" if _RANGE.fullmatch(self.lexeme) else self._advance()
        text = self._advance()
        low, high = (None if limit is None else float(limit) for limit in _RANGE.fullmatch(text).groups())  # type: ignore[union-attr]
        is_whole = "." not in text.replace("..", "")
        schema = dict(TYPE_SCHEMAS[name or ("int" if is_whole else "float")])
        kind = schema.get("type")
        if kind not in ("integer", "number") or (low is None and high is None):
            raise InputError(f"{text!r} in the schema is no range of {name or 'numbers'}.", hint=_RANGE_HINT)
        if kind == "integer" and not is_whole:
            raise InputError(
                f"the range {text} of an int has limits that are no whole numbers.", hint=_RANGE_HINT
            )
        if low is not None and high is not None and low > high:
            raise InputError(f"the range {text} is empty.", hint="Write the lower limit first.")
        limits = {"minimum": low, "maximum": high}
        whole = {key: int(value) if is_whole else value for key, value in limits.items() if value is not None}
        return {**schema, **whole}

    def skip_list(self) -> bool:
        """Skip the word ``list`` before a bracket; return whether it was there."""
        is_list = self.lexeme in ("list", "List") and self._following == "["
        self._position += is_list
        return is_list

    @property
    def _following(self) -> str:
        """The token behind the next one; empty at the end."""
        return self._tokens[self._position + 1][1] if self._position + 1 < len(self._tokens) else ""

    def parse_list(self) -> dict[str, Any]:
        """Parse a list: of a type, if the brackets hold nothing else, or of records."""
        self._advance()
        is_range = self.lexeme in TYPE_SCHEMAS and _RANGE.fullmatch(self._following)
        bare = self._kind == "word" and (self._following in ("]", "|") or is_range)
        if bare or self.lexeme in ("[", "{"):
            items = self._parse_nested_type()
            if not self._accept("]"):
                raise self.syntax_error("no closing ]")
            return {"type": "array", "items": items}
        return {"type": "array", "items": self._parse_nested_fields("]")}

    def _parse_nested_type(self) -> dict[str, Any]:
        self._enter_bracket()
        schema = self._parse_type("")
        self._depth -= 1
        return schema

    def _parse_nested_fields(self, closing: str) -> dict[str, Any]:
        self._enter_bracket()
        schema = self.parse_fields(closing)
        self._depth -= 1
        return schema

    def _enter_bracket(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InputError(f"the schema has brackets more than {_MAX_DEPTH} deep.", hint=_HINT)

    def syntax_error(self, problem: str, after: str = "") -> InputError:
        """Return the error for the next token."""
        place = f" after {after!r}" if after else ""
        token = f"{self.lexeme[:60]!r} is" if self.lexeme else "its end is"
        return InputError(f"the schema cannot be read{place}: {token} {problem}.", hint=_HINT)


def _is_class(value: object) -> bool:
    """Return whether a variable holds a class that a field can have as its type."""
    return isinstance(value, type) and (is_schema_type(value) or issubclass(value, enum.Enum))


def _make_nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with null allowed."""
    if "enum" in schema:
        return {"type": ["string", "null"], "enum": [*schema["enum"], None]}
    if set(schema) == {"type"}:
        return {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
