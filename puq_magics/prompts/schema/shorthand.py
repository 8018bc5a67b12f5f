"""The short form of a schema: ``name, age int, tags [str]``.

Fields are separated by commas or line ends; each is a name, then its type. The grammar::

    field   = name ["?"] [type] ["-" text]          the type is str by default; "?": may be null; "-": a description
    type    = "str" | "int" | "float" | "bool" | "date" | "datetime" | "time" | "any"    (or a synonym)
            | "[" type "]"                          a list:        tags [str]
            | "[" fields "]"                        records:       people [name, age int]
            | "{" fields "}"                        an object:     address {street, city}
            | word "|" word …                       one of several words:  size small|medium|large

A colon may stand between name and type. A whole form in brackets, ``[name, age int]``, is a list of records.
"""

from __future__ import annotations

import re
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

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
_FIELD_NAME = re.compile(r"[\w$][\w$.-]{0,99}")
_HINT = 'Write fields between commas, each a name and its type: "name, age int, tags [str]".'
#: Nesting of brackets.
_MAX_DEPTH = 20


def parse_shorthand(text: str) -> dict[str, Any]:
    """Return the JSON Schema of a short form. Raises InputError, which quotes the invalid token."""
    parser = _Parser(text)
    schema = parser.parse_list() if parser.is_next("[") else parser.parse_fields("")
    if parser.lexeme:
        raise parser.syntax_error("unexpected")
    return schema


class _Parser:
    """Recursive descent parser of one short form."""

    def __init__(self, text: str) -> None:
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
                raise InputError(f"The schema has two fields named {name!r}.", hint=_HINT)
            properties[name] = self._parse_field(name)
            if self._kind != "end" and self.lexeme != closing:
                problem = f"unexpected after the field {name!r}" if self.lexeme else f"no closing {closing}"
                raise self.syntax_error(problem)
        if not properties:
            raise InputError("The schema has no fields.", hint=_HINT)
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
        schema = (
            dict(self._parse_type(name))
            if self._kind in ("word", "symbol") and self.lexeme not in "]}"
            else dict(_STRING)
        )
        may_be_null = self._accept("?") or may_be_null
        if may_be_null and schema:
            schema = _make_nullable(schema)
        if self._kind == "note":
            schema["description"] = self._advance()[1:].strip()
        return schema

    def _parse_type(self, name: str) -> dict[str, Any]:
        if self.lexeme == "[":
            return self.parse_list()
        if self._accept("{"):
            return self._parse_nested_fields("}")
        if self._kind != "word":
            raise self.syntax_error(f"not a type, at the field {name!r}")
        words = [self._advance()]
        while self._accept("|"):
            if self._kind != "word":
                raise self.syntax_error("not a choice", after="|")
            words.append(self._advance())
        if len(words) > 1 and not set(words) <= TYPE_SCHEMAS.keys() | {"null", "None"}:
            return {"type": "string", "enum": list(dict.fromkeys(words))}
        return self._resolve_types(words)

    def _resolve_types(self, words: list[str]) -> dict[str, Any]:
        kinds = [TYPE_SCHEMAS[word] for word in words if word in TYPE_SCHEMAS]
        for word in words:
            if word not in TYPE_SCHEMAS and word not in ("null", "None"):
                hint = did_you_mean(word, TYPE_SCHEMAS) or f"The types are {', '.join(TYPE_SCHEMAS)}."
                raise InputError(f"{word!r} in the schema is not a type.", hint=f"{hint} {_HINT}")
        schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return _make_nullable(schema) if len(kinds) < len(words) else schema

    def parse_list(self) -> dict[str, Any]:
        """Parse a list: of a type, if the brackets hold nothing else, or of records."""
        self._advance()
        following = [token for _, token in self._tokens[self._position + 1 : self._position + 2]]
        bare = self._kind == "word" and following in (["]"], ["|"])
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
            raise InputError(f"The schema has brackets more than {_MAX_DEPTH} deep.", hint=_HINT)

    def syntax_error(self, problem: str, after: str = "") -> InputError:
        """Return the error for the next token."""
        place = f" after {after!r}" if after else ""
        token = f"{self.lexeme[:60]!r} is" if self.lexeme else "its end is"
        return InputError(f"The schema cannot be read{place}: {token} {problem}.", hint=_HINT)


def _make_nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with null allowed."""
    if "enum" in schema:
        return {"type": ["string", "null"], "enum": [*schema["enum"], None]}
    if set(schema) == {"type"}:
        return {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
