"""The JSON that a scripted model answers with: one that fits what was asked for, or, clumsily, does not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from puq_magics.sandbox.chat_request import ChatRequest, Message
from puq_magics.sandbox.response_format import Wanted, schema_in_words
from puq_magics.sandbox.scripted.json_answers import fitting

#: How a clumsy answer begins; who sends it back is answered well.
CLUMSY: Final = "Certainly! Here is the JSON that you asked for:"
#: Where a prompt stops speaking of its subject, and begins to speak of the answer's form.
_FORM: Final = re.compile(r"\bAnswer with one JSON document|\bJSON Schema\b")
#: Words that ask for some JSON, whatever it holds.
_ANY: Final = re.compile(r"\bAnswer with one JSON document\b")
_REPAIR: Final = re.compile(r"\b(?:does not fit|not JSON|not valid JSON)\b")


def wanted(request: ChatRequest) -> Wanted | None:
    """The JSON that a request asks for, by its field or in its words; None when it asks for none."""
    if request.wanted is not None:
        return request.wanted
    told = [message.text for message in reversed(request.messages) if message.role != "assistant"]
    found = next((one for one in map(schema_in_words, told) if one is not None), None)
    if found is None and any(_ANY.search(text) for text in told):
        return Wanted({})
    return found


def document(request: ChatRequest, asked: Wanted) -> str:
    """A document that fits, made of the request's own words."""
    topic = _topic(request)
    if asked.schema:
        return _spelled(fitting(asked.schema, topic))
    words = re.findall(r"\w+", topic)
    facts = {
        "question": " ".join(topic.split())[:200],
        "words": len(words),
        "longest": max(words, key=len, default=""),
    }
    return _spelled({**facts, "scripted": True})


def clumsy_document(request: ChatRequest, asked: Wanted) -> str:
    """A document that does not fit, among words; the one that fits where a clumsy one came back."""
    if any(CLUMSY in message.text for message in request.messages[-2:]):
        return document(request, asked)
    good = json.loads(document(request, asked))
    bad = (
        _spelled(_spoiled(good, asked.schema))
        if asked.schema and isinstance(good, dict) and good
        else "{'no': JSON,}"
    )
    return f"{CLUMSY}\n\n```json\n{bad}\n```\n"


def _spelled(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _spoiled(good: dict[str, Any], schema: Any) -> dict[str, Any]:
    """The same with a value of the wrong type, a number in words if there is one, and the last field left out."""
    numbers = [
        name for name, value in good.items() if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    name = (numbers or list(good))[0]
    required = schema.get("required", ()) if isinstance(schema, Mapping) else ()
    left_out = [key for key in good if key in required and key != name][-1:]
    wrong: object = f"about {good[name]}" if numbers else {"clumsy": good[name]}
    return {key: wrong if key == name else value for key, value in good.items() if key not in left_out}


def _topic(request: ChatRequest) -> str:
    """The words that the data is made of: the question's, or, when a repair is asked for, those before it."""
    own = [message for message in request.messages if message.role == "user"] or [Message("user", "")]
    question = own[-1]
    if len(own) > 1 and _REPAIR.search(question.text) and request.messages[-2].role == "assistant":
        question = own[-2]
    return _FORM.split(question.text)[0].strip()
