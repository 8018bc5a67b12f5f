"""Example JSON for a schema, generated from a prompt; the same for the same request.

Numbers and names are taken from the prompt where they match; the rest is random, seeded by the prompt. Patterns in
the schema are ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import dropwhile
from random import Random
from typing import Any, Final
from zlib import crc32

from puq_magics.sandbox.chat_request import ChatRequest, JsonFormat, Message, find_schema_in_text
from puq_magics.sandbox.validation import invalid

#: Objects within objects; deeper, only what is required is written.
_DEEPEST: Final = 5
#: Beyond that, nothing is: the schema has no end.
_BOTTOM: Final = 40
#: Characters of a prompt that are read, and of an example; each value counts as some characters.
MAX_PROMPT_CHARS: Final = 20_000
MAX_EXAMPLE_CHARS: Final = 100_000
_CHARS_PER_VALUE: Final = 10
_MAX_NUMBERS: Final = 200
#: Names of fields that want a name of something.
_NAMES: Final = re.compile(r"name|title|author|person|who|city|country|place|company|subject|product", re.I)
#: Words that say nothing of a prompt's subject.
_COMMON_WORDS: Final = """
about above after also and any are ask document does fit from for give has have how into its just
json like list make name names nothing people please schema say show tell than that the them then
there these they this those was what when where which who why will with words write you your answer
"""
#: Capital letters that begin a sentence rather than a name.
_NO_NAME_WORDS: Final = """
A An And Answer Are As At But Describe Do Explain Extract Fill Find For From Give He Her His How I If In Invent
Is It JSON List Make Name On Or Please Read Return She Show Tell The Their These They This To What When Where Which
Who Why We Write You
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_NO_NAMES: Final = frozenset(_NO_NAME_WORDS.split())


def example_for_schema(schema: object, prompt: str) -> Any:
    """Return a value that fits the schema. Raises ErrorResponse for one that is invalid or too much."""
    try:
        return _ExampleGenerator(schema, prompt[:MAX_PROMPT_CHARS]).value(schema, "", 0)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise invalid("The JSON Schema cannot be read: a keyword in it has an impossible value") from error


class _ExampleGenerator:
    def __init__(self, root: object, prompt: str) -> None:
        self._root = root
        self._prompt = prompt
        self._random = Random(crc32(prompt.encode("utf-8", "replace")))  # noqa: S311 - a seed, to say the same again
        self._chars_left = MAX_EXAMPLE_CHARS
        words = re.findall(r"[^\W\d_][\w'’-]*", prompt)
        self._names = _distinct(_proper_names(prompt))
        self._words = _distinct(
            word.lower() for word in words if len(word) > 3 and word.lower() not in _COMMON
        )
        # Possessive: digits that were tried are not tried again in other groups.
        numbers = re.findall(r"(?<![\w.])-?\d{1,15}+(?:\.\d++)?+(?!\.*\w)", prompt)
        self._numbers = [float(number) for number in numbers[:_MAX_NUMBERS]]
        self._lower_prompt = prompt.lower()
        self._taken: dict[str, int] = {}

    def _spend(self, chars: int) -> None:
        """Count characters of the example, or work that takes as long. Raises ErrorResponse when it is too much."""
        self._chars_left -= chars
        if self._chars_left < 0:
            raise invalid(
                f"The JSON Schema asks for more than the sandbox writes, {MAX_EXAMPLE_CHARS:,} characters: "
                "lower its minItems, minLength or minProperties"
            )

    def value(self, schema: object, name: str, depth: int) -> Any:
        """A value for the field ``name``."""
        self._spend(_CHARS_PER_VALUE + len(name))
        if not isinstance(schema, Mapping) or depth > _BOTTOM:
            return self._text({}, name)
        schema = self._resolved(schema)
        for key in ("const", "default"):
            if key in schema and (key == "const" or not schema.get("type")):
                return self._copied(schema[key])
        if schema.get("enum"):
            return self._copied(self._choice(list(schema["enum"])))
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self.value(self._chosen(choices, depth), name, depth + 1)
        return self._of_type(_type(schema), schema, name, depth)

    def _copied(self, value: Any) -> Any:
        self._spend(len(json.dumps(value)))
        return value

    def _of_type(self, kind: str, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, name, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number":
                return self._number(schema, name, whole=kind == "integer")
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
        return self._text(schema, name)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema with what it points at, and what it is put together of."""
        for _ in range(_DEEPEST * 2):
            pointer = schema.get("$ref")
            if not isinstance(pointer, str):
                break
            others = {key: item for key, item in schema.items() if key != "$ref"}
            schema = {**self._at(pointer), **others}
            self._spend(len(pointer) + len(schema))
        for part in schema.get("allOf") or ():
            schema = _merged(schema, self._resolved(part) if isinstance(part, Mapping) else {})
            self._spend(_CHARS_PER_VALUE + len(schema["required"]) + len(schema.get("properties") or ()))
        return schema

    def _at(self, pointer: str) -> Mapping[str, Any]:
        found: Any = self._root
        for step in pointer.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key, {}) if isinstance(found, Mapping) and key else found
        return found if isinstance(found, Mapping) else {}

    def _chosen(self, choices: list[Any], depth: int) -> Any:
        """The first that is more than null; far down, null where it may be."""
        empty = [choice for choice in choices if isinstance(choice, Mapping) and choice.get("type") == "null"]
        full = [choice for choice in choices if choice not in empty]
        return (empty or full)[0] if depth > _DEEPEST and empty else (full or choices)[0]

    def _object(self, schema: Mapping[str, Any], name: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = dict.fromkeys(schema.get("required") or ())
        names = [*properties, *(key for key in required if key not in properties)]
        self._spend(len(names))
        if depth > _DEEPEST:
            names = [key for key in names if key in required]
        rest = schema.get("additionalProperties")
        made = {key: self.value(properties.get(key, rest), key, depth + 1) for key in names}
        least = max(schema.get("minProperties", 0), 2 if isinstance(rest, Mapping) and not properties else 0)
        words = (word for word in self._words if word not in made)
        while len(made) < least:
            made[next(words, f"key{len(made) + 1}")] = self.value(rest, name, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        places = schema.get("prefixItems") or []
        items = schema.get("items", {} if not places else False)
        least = max(schema.get("minItems", 0), len(places))
        most = min(schema.get("maxItems", math.inf), len(places) if items is False else math.inf)
        usual = self._length(items) if depth <= _DEEPEST else 0
        made = [
            self.value(places[number] if number < len(places) else items, name, depth + 1)
            for number in range(int(max(least, min(most, usual))))
        ]
        return _all_different(made) if schema.get("uniqueItems") else made

    def _length(self, items: object) -> int:
        """Return the number of items: the number of names in the prompt if items have names; else two."""
        resolved = self._resolved(items) if isinstance(items, Mapping) else {}
        properties = resolved.get("properties") or {}
        self._spend(len(properties))
        named = any(_NAMES.search(key) for key in properties)
        return min(5, max(2, len(self._names))) if named and self._names else 2

    def _number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> float:
        step = schema.get("multipleOf") or (1 if whole else 0)
        low, high = _bounds(schema, step if whole else 0)
        near = self._numbers_near(name)
        candidates = near or self._numbers[self._taken.get("#", 0) :]
        for number in candidates:
            fits_whole = number.is_integer() or not whole
            if (
                fits_whole
                and low <= number <= high
                and (not step or math.isclose(number / step, round(number / step)))
            ):
                self._taken["#"] = self._taken.get("#", 0) + (not near)
                return int(number) if whole or (number.is_integer() and step == 1) else number
        low, high = _range(low, high)
        drawn = self._random.uniform(low, high)
        if not step:
            rounded = round(drawn, 2)
            return rounded if low <= rounded <= high else drawn
        number = step * max(math.ceil(low / step), min(math.floor(high / step), round(drawn / step)))
        return int(number) if whole else round(number, 9)

    def _numbers_near(self, name: str) -> list[float]:
        """Numbers that the prompt has beside the field's name, as in "age 36"."""
        word = name.replace("_", " ")
        if not word or word.lower() not in self._lower_prompt:
            return []
        self._spend(20 * _CHARS_PER_VALUE + len(word))  # a pattern of its own
        word = re.escape(word)
        found = re.findall(rf"\b{word}\W{{0,3}}(?:is |of |was )?(-?\d+(?:\.\d+)?)", self._prompt, re.I)
        return [float(number) for number in found]

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        made = self._formatted(str(schema.get("format") or "")) or self._next_word(name)
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        self._spend(len(made))
        parts, length = [made], len(made)
        while length < least:
            parts.append(f" {self._next_word('')}")
            length += len(parts[-1])
            self._spend(len(parts[-1]))
        made = "".join(parts)
        return made if len(made) <= most else made[: int(most)]

    def _formatted(self, kind: str) -> str:
        draw = self._random.randrange
        date = f"20{draw(10, 30)}-{draw(1, 13):02}-{draw(1, 29):02}"
        time = f"{draw(24):02}:{draw(60):02}:00Z"
        word = re.sub(r"[^a-z0-9]", "", self._next_word("").lower()) or "word"
        made = {
            "date": date,
            "time": time,
            "date-time": f"{date}T{time}",
            "duration": f"PT{draw(1, 60)}M",
            "email": f"{word}@example.org",
            "uri": f"https://example.org/{word}",
            "hostname": f"{word}.example.org",
            "ipv4": f"192.0.2.{draw(1, 255)}",
            "ipv6": f"2001:db8::{draw(1, 255):x}",
            "uuid": f"{draw(1 << 32):08x}-0000-4000-8000-{draw(1 << 48):012x}",
        }
        return made.get(kind, "")

    def _next_word(self, name: str) -> str:
        """The next name of the prompt for what wants one, else its next word."""
        wants_name = bool(_NAMES.search(name)) and bool(self._names)
        pool = self._names if wants_name else self._words or ["scripted"]
        number = self._taken.get("names" if wants_name else "words", 0)
        self._taken["names" if wants_name else "words"] = number + 1
        return pool[number % len(pool)]

    def _choice(self, options: list[Any]) -> Any:
        """The option that the prompt names, else one by lot."""
        self._spend(_CHARS_PER_VALUE * len(options))
        named = (option for option in options if isinstance(option, str) and self._mentions(option))
        return next(named, None) or options[self._random.randrange(len(options))]

    def _mentions(self, word: str) -> bool:
        if not word or word.lower() not in self._lower_prompt:
            return False
        self._spend(20 * _CHARS_PER_VALUE + len(word))  # a pattern of its own
        return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self._prompt, re.I) is not None


def _type(schema: Mapping[str, Any]) -> str:
    """The type that is written: of several the first that is more than null; where none is said, what fits."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if {"properties", "required", "additionalProperties"} & schema.keys():
        return "object"
    if {"items", "prefixItems", "minItems"} & schema.keys():
        return "array"
    return "number" if {"minimum", "maximum", "multipleOf"} & schema.keys() else "string"


def _bounds(schema: Mapping[str, Any], step: float) -> tuple[float, float]:
    """The least and the most that a number may be; ``step`` inside of a bound that is left out itself."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(above := schema.get("exclusiveMinimum"), int | float):
        low = max(above + (step or 0.5), low if low is not None else -math.inf)
    if isinstance(below := schema.get("exclusiveMaximum"), int | float):
        high = min(below - (step or 0.5), high if high is not None else math.inf)
    if low is not None and high is not None and low > high:  # between two bounds that are close
        low = high = (low + high) / 2
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _range(low: float, high: float) -> tuple[float, float]:
    """Bounds to draw from: of ordinary numbers where there is none."""
    if low == -math.inf:
        low = 1 if high == math.inf else min(0, high - 100)
    return low, max(100, low + 100) if high == math.inf else high


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {**other, **{key: item for key, item in one.items() if key != "allOf"}}
    if "properties" in one and "properties" in other:
        both["properties"] = {**other["properties"], **one["properties"]}
    both["required"] = _distinct([*(other.get("required") or []), *(one.get("required") or [])])
    return both


def _all_different(made: list[Any]) -> list[Any]:
    """Return the items with repeated strings and numbers replaced by new ones."""
    taken: set[Any] = set()
    tries: dict[Any, int] = {}
    for place, item in enumerate(made):
        if not isinstance(item, str | int | float) or isinstance(item, bool):
            continue
        number = tries.get(item, 1)
        while made[place] in taken and (isinstance(item, str) or abs(item) < 2**53):
            number += 1
            made[place] = f"{item} {number}" if isinstance(item, str) else item + number - 1
        taken.add(made[place])
        tries[item] = number
    return made


def _proper_names(prompt: str) -> Iterator[str]:
    """Find runs of capitalised words, such as "Ada Lovelace", except a word that only begins a sentence."""
    for run in re.findall(r"[^\W\d_a-z][\w'’-]*(?:[ ]+[^\W\d_a-z][\w'’-]*)*", prompt):
        words = run.split()
        name = dropwhile(lambda word: word in _NO_NAMES or not word[0].isupper(), words)
        if words := list(name):
            yield " ".join(words)


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


#: How a clumsy answer begins; who sends it back is answered well.
MALFORMED_OPENING: Final = "Certainly! Here is the JSON that you asked for:"
#: Where a prompt stops speaking of its subject, and begins to speak of the answer's form.
_FORM: Final = re.compile(r"\bAnswer with one JSON document|\bJSON Schema\b")
#: Words that ask for some JSON, whatever it holds.
_ANY: Final = re.compile(r"\bAnswer with one JSON document\b")
_REPAIR: Final = re.compile(r"\b(?:does not fit|not JSON|not valid JSON)\b")


def find_json_format(request: ChatRequest) -> JsonFormat | None:
    """Return the JSON format requested by the field or in the prompt; None for text."""
    if request.json_format is not None:
        return request.json_format
    told = [message.text for message in reversed(request.messages) if message.role != "assistant"]
    found = next((one for one in map(find_schema_in_text, told) if one is not None), None)
    if found is None and any(_ANY.search(text) for text in told):
        return JsonFormat({})
    return found


def json_answer(request: ChatRequest, asked: JsonFormat) -> str:
    """Return a matching document, generated from the request."""
    topic = _topic(request)
    if asked.schema:
        return _spelled(example_for_schema(asked.schema, topic))
    facts = {
        "question": " ".join(topic.split())[:200],
        "answer": "A script knows none; a real model would answer here.",
    }
    return _spelled({**facts, "scripted": True})


def malformed_json_answer(request: ChatRequest, asked: JsonFormat) -> str:
    """Return a document that does not match, inside text; a matching one after a repair request."""
    if any(MALFORMED_OPENING in message.text for message in request.messages[-2:]):
        return json_answer(request, asked)
    good = json.loads(json_answer(request, asked))
    bad = (
        _spelled(_corrupt(good, asked.schema))
        if asked.schema and isinstance(good, dict) and good
        else "{'no': JSON,}"
    )
    return f"{MALFORMED_OPENING}\n\n```json\n{bad}\n```\n"


def _spelled(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _corrupt(good: dict[str, Any], schema: Any) -> dict[str, Any]:
    """Return the document with one value of a wrong type and without its last field."""
    numbers = [
        name for name, value in good.items() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    name = (numbers or list(good))[0]
    required = schema.get("required", ()) if isinstance(schema, Mapping) else ()
    left_out = [key for key in good if key in required and key != name][-1:]
    wrong: object = f"about {good[name]}" if numbers else {"clumsy": good[name]}
    return {key: wrong if key == name else value for key, value in good.items() if key not in left_out}


def _topic(request: ChatRequest) -> str:
    """Return the text to generate data from: the question, or for a repair request the question before it."""
    own = [message for message in request.messages if message.role == "user"] or [Message("user", "")]
    question = own[-1]
    if len(own) > 1 and _REPAIR.search(question.text) and request.messages[-2].role == "assistant":
        question = own[-2]
    return _FORM.split(question.text)[0].strip()
