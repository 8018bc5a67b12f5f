"""Differences between a request that has no recording and the nearest one that has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import SequenceMatcher
from typing import Any

from puq_magics.core.errors import RecordingError
from puq_magics.core.text import one_line, pluralize
from puq_magics.replay.cassette import Cassette
from puq_magics.replay.fingerprint import Fingerprint

#: Recordings that are read to find the nearest one.
_MAX_READ = 2_000
_MAX_COMPARED_CHARS, _MAX_QUOTED_CHARS = 2_000, 40
#: Fields that are lists of messages, or the text that is asked.
_TEXT_FIELDS = ("prompt", "input")
_MISSING = object()


def missing_error(cassette: Cassette, asked: Fingerprint) -> RecordingError:
    """Return the error for a request without a recording; it says what differs from the nearest one."""
    kind = asked.name.partition("-")[0]
    message = f"{cassette.folder.name} has no recording of this {_NOUNS.get(kind, 'request')}."
    nearest = _nearest(cassette, asked)
    if nearest is not None:
        name, document = nearest
        differences = list(describe_differences(asked.document, document))[:4]
        message += f" The nearest one is {name}: {'; '.join(differences) or 'it differs in its form'}."
    hint = "%puq_cassette auto asks the router, and records the answer."
    return RecordingError(message, hint=hint)


_NOUNS = {
    "image": "image request",
    "speech": "text to speak",
    "models": "model list",
    "balance": "balance",
    "tool": "function call",
}


def describe_differences(asked: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences as phrases: of the model, of messages, of parameters."""
    here, there = _fields(asked), _fields(recorded)
    if here.get("model") != there.get("model"):
        yield f"the model is {_quote(here.get('model'))} here, {_quote(there.get('model'))} there"
    yield from _message_differences(here.get("messages"), there.get("messages"))
    for name in sorted((here.keys() | there.keys()) - {"model", "messages"}):
        mine, theirs = here.get(name, _MISSING), there.get(name, _MISSING)
        if mine == theirs:
            continue
        if isinstance(mine, str) and isinstance(theirs, str):
            yield f"{name} {_text_difference(mine, theirs)}"
        elif mine is _MISSING:
            yield f"{name} is not set here, {_quote(theirs)} there"
        elif theirs is _MISSING:
            yield f"{name} is {_quote(mine)} here, not set there"
        else:
            yield f"{name} is {_quote(mine)} here, {_quote(theirs)} there"


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request's body or form."""
    body, form = document.get("body"), document.get("form")
    fields = dict(body) if isinstance(body, dict) else {}
    if isinstance(form, dict):
        with suppress(TypeError, ValueError):
            fields |= {str(name): value for name, value in form.get("fields", ())}
        file = form.get("file")
        fields["the file"] = file.get("sha256", "")[:12] if isinstance(file, dict) else ""
    params = document.get("params")
    return fields | (dict(params) if isinstance(params, dict) else {})


def _message_differences(here: Any, there: Any) -> Iterator[str]:
    if not isinstance(here, list) or not isinstance(there, list):
        return
    for number, (mine, theirs) in enumerate(zip(here, there, strict=False), 1):
        if mine == theirs:
            continue
        role = mine.get("role") if isinstance(mine, dict) else "?"
        if isinstance(theirs, dict) and role != theirs.get("role"):
            yield f"message {number} is of the {role} here, of the {theirs.get('role')} there"
        else:
            yield f"message {number} ({role}) {_text_difference(_content(mine), _content(theirs))}"
    if len(here) != len(there):
        yield f"there are {pluralize(len(here), 'message')} here, {len(there)} there"


def _text_difference(mine: str, theirs: str) -> str:
    """Return where two texts differ, with what each has there."""
    same = (number for number, (one, other) in enumerate(zip(mine, theirs, strict=False)) if one != other)
    start = next(same, min(len(mine), len(theirs)))
    shown = max(0, start - 12)
    return f"has {_excerpt(mine, shown)} here, {_excerpt(theirs, shown)} there, from character {start + 1} on"


def _excerpt(text: str, start: int) -> str:
    end = start + _MAX_QUOTED_CHARS
    excerpt = f"{'…' if start else ''}{text[start:end]}{'…' if len(text) > end else ''}"
    return repr(one_line(excerpt, _MAX_QUOTED_CHARS + 4))


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else message
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, sort_keys=True)


def _quote(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(text, 60)


def _nearest(cassette: Cassette, asked: Fingerprint) -> tuple[str, Mapping[str, Any]] | None:
    """Return the nearest recording of the same endpoint."""
    kind = asked.name.partition("-")[0]
    candidates = [name for name in cassette.recordings if name.startswith(f"{kind}-")][:_MAX_READ]
    best: tuple[float, str, Mapping[str, Any]] | None = None
    for name in candidates:
        with suppress(RecordingError):
            document = cassette.read(name).get("request")
            if not isinstance(document, dict) or document.get("endpoint") != asked.document.get("endpoint"):
                continue
            score = _similarity(asked.document, document)
            if best is None or score > best[0]:
                best = score, name, document
    return None if best is None else (best[1], best[2])


def _similarity(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return how near two requests are: by what they ask, then by the model, then by their parameters."""
    here, there = _fields(mine), _fields(theirs)
    names = here.keys() | there.keys()
    equal = sum(here.get(name, _MISSING) == there.get(name, _MISSING) for name in names)
    one, other = _asked_text(here), _asked_text(there)
    ratio = 1.0
    if one != other:
        one, other = one[-_MAX_COMPARED_CHARS:], other[-_MAX_COMPARED_CHARS:]
        ratio = SequenceMatcher(None, one, other, autojunk=False).quick_ratio()
    same_model = here.get("model") == there.get("model")
    return float(3 * ratio + same_model + equal / max(1, len(names)))


def _asked_text(fields: Mapping[str, Any]) -> str:
    messages = fields.get("messages")
    if isinstance(messages, list):
        return "\n".join(map(_content, messages))
    return next((text for name in _TEXT_FIELDS if isinstance(text := fields.get(name), str)), "")
