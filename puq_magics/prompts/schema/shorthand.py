"""The short form of a schema: ``name, age int, tags [str]``.

Fields stand between commas (or line ends), each a name, then its type. The types::

    field   = name ["?"] [type] ["-" words]         type is str where there is none; "?": may be null
    type    = "str" | "int" | "float" | "bool" | "date" | "datetime" | "time" | "any"    (or a longer name for one)
            | "[" type "]"                          a list:        tags [str]
            | "[" fields "]"                        records:       people [name, age int]
            | "{" fields "}"                        an object:     address {street, city}
            | word "|" word …                       one of words:  size small|medium|large

A colon may stand between name and type. A whole form in brackets, ``[name, age int]``, is a list of records.
"""

from __future__ import annotations

import re
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.suggestions import did_you_mean

_NUMBER, _WHOLE, _TEXT, _TRUTH = ({"type": name} for name in ("number", "integer", "string", "boolean"))
TYPES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("str", "string", "text"), _TEXT),
    **dict.fromkeys(("int", "integer"), _WHOLE),
    **dict.fromkeys(("float", "number", "double"), _NUMBER),
    **dict.fromkeys(("bool", "boolean"), _TRUTH),
    **{name: {"type": "string", "format": name} for name in ("date", "time", "email", "uri", "uuid")},
    "datetime": {"type": "string", "format": "date-time"},
    "any": {},
}
_SIGN = re.compile(
    r"[^\S\n]*(?:(?P<end>[,;\n])|(?P<sign>[\[\]{}:?|])|(?P<note>-\s[^,;\n\[\]{}]*)|(?P<word>[^\s,;:?|\[\]{}]+))"
)
_FIELD = re.compile(r"[\w$][\w$.-]{0,99}")
_HINT = 'Write fields between commas, each a name and its type: "name, age int, tags [str]".'
#: Brackets within brackets.
_DEEPEST = 20


def read_short_form(text: str) -> dict[str, Any]:
    """Return the JSON Schema of a short form; raise `InputError`, which names the wrong word."""
    reader = _Reader(text)
    schema = reader.list_of() if reader.follows("[") else reader.fields("")
    if reader.sign:
        raise reader.wrong("too much")
    return schema


class _Reader:
    """Reads one short form, a sign at a time."""

    def __init__(self, text: str) -> None:
        self._signs = [
            (kind, found[kind]) for found in _SIGN.finditer(text.strip()) if (kind := found.lastgroup)
        ]
        self._place = 0
        self._depth = 0

    @property
    def sign(self) -> str:
        """The sign or word that comes next; empty at the end."""
        return self._signs[self._place][1] if self._place < len(self._signs) else ""

    @property
    def _kind(self) -> str:
        return self._signs[self._place][0] if self._place < len(self._signs) else ""

    def follows(self, sign: str) -> bool:
        return self.sign == sign

    def _take(self) -> str:
        sign = self.sign
        self._place += 1
        return sign

    def _skips(self, sign: str) -> bool:
        """Whether the sign came next; it is taken then."""
        found = self.sign == sign
        self._place += found
        return found

    def fields(self, closer: str) -> dict[str, Any]:
        """Fields up to the closing bracket, as an object."""
        properties: dict[str, Any] = {}
        while self.sign != closer:
            if closer and not self.sign:
                raise self.wrong(f"no closing {closer}")
            if self._kind == "end":
                self._take()
                continue
            if self._kind != "word" or _FIELD.fullmatch(self.sign) is None:
                raise self.wrong("no name of a field")
            name = self._take()
            if name in properties:
                raise InputError(f"The schema has two fields named {name!r}.", hint=_HINT)
            properties[name] = self._field(name)
            if self._kind != "end" and self.sign != closer:
                what = f"one word too many at the field {name!r}" if self.sign else f"no closing {closer}"
                raise self.wrong(what)
        if not properties:
            raise InputError("The schema has no fields.", hint=_HINT)
        if closer:
            self._take()
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _field(self, name: str) -> dict[str, Any]:
        """The type of the field, and what is said of it."""
        may_be_null = self._skips("?")
        self._skips(":")
        schema = (
            dict(self._type(name))
            if self._kind in ("word", "sign") and self.sign not in "]}"
            else dict(_TEXT)
        )
        may_be_null = self._skips("?") or may_be_null
        if may_be_null and schema:
            schema = _or_null(schema)
        if self._kind == "note":
            schema["description"] = self._take()[1:].strip()
        return schema

    def _type(self, name: str) -> dict[str, Any]:
        if self.sign == "[":
            return self.list_of()
        if self._skips("{"):
            return self._deeper("}")
        if self._kind != "word":
            raise self.wrong(f"no type, at the field {name!r}")
        words = [self._take()]
        while self._skips("|"):
            if self._kind != "word":
                raise self.wrong("no word to choose", after="|")
            words.append(self._take())
        if len(words) > 1 and not set(words) <= TYPES.keys() | {"null", "None"}:
            return {"type": "string", "enum": list(dict.fromkeys(words))}
        return self._named(words)

    def _named(self, words: list[str]) -> dict[str, Any]:
        kinds = [TYPES[word] for word in words if word in TYPES]
        for word in words:
            if word not in TYPES and word not in ("null", "None"):
                hint = did_you_mean(word, TYPES) or f"The types are {', '.join(TYPES)}."
                raise InputError(f"{word!r} in the schema is not a type.", hint=f"{hint} {_HINT}")
        schema = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return _or_null(schema) if len(kinds) < len(words) else schema

    def list_of(self) -> dict[str, Any]:
        """A list: of a type, where the brackets hold nothing else, or of records."""
        self._take()
        following = [sign for _, sign in self._signs[self._place + 1 : self._place + 2]]
        bare = self._kind == "word" and following in (["]"], ["|"])
        if bare or self.sign in ("[", "{"):
            items = self._guarded_type()
            if not self._skips("]"):
                raise self.wrong("no closing ]")
            return {"type": "array", "items": items}
        return {"type": "array", "items": self._deeper("]")}

    def _guarded_type(self) -> dict[str, Any]:
        self._enter()
        schema = self._type("")
        self._depth -= 1
        return schema

    def _deeper(self, closer: str) -> dict[str, Any]:
        self._enter()
        schema = self.fields(closer)
        self._depth -= 1
        return schema

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InputError(f"The schema has brackets more than {_DEEPEST} deep.", hint=_HINT)

    def wrong(self, what: str, after: str = "") -> InputError:
        """The error that names what stands where it should not."""
        place = f" after {after!r}" if after else ""
        shown = repr(self.sign[:60]) + " is" if self.sign else "At its end there is"
        return InputError(f"The schema cannot be read{place}: {shown} {what}.", hint=_HINT)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null."""
    if "enum" in schema:
        return {"type": ["string", "null"], "enum": [*schema["enum"], None]}
    if set(schema) == {"type"}:
        return {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
