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
#: Fields that are lists of messages, or the text of the prompt.
_TEXT_FIELDS = ("prompt", "input")
_MISSING = object()


def missing_error(cassette: Cassette, requested: Fingerprint) -> RecordingError:
    """Return the error for a request without a recording; it says what differs from the nearest one."""
    kind = requested.name.partition("-")[0]
    message = f"{cassette.folder.name} has no recording of this {_NOUNS.get(kind, 'request')}."
    nearest = _nearest(cassette, requested)
    if nearest is not None:
        name, document = nearest
        differences = list(describe_differences(requested.document, document))[:4]
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


def describe_differences(request: Mapping[str, Any], recording: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences as phrases: of the model, of messages, of parameters."""
    requested, recorded = _fields(request), _fields(recording)
    if requested.get("model") != recorded.get("model"):
        yield f"the model is {_quote(requested.get('model'))} here, {_quote(recorded.get('model'))} there"
    yield from _message_differences(requested.get("messages"), recorded.get("messages"))
    for name in sorted((requested.keys() | recorded.keys()) - {"model", "messages"}):
        value, recorded_value = requested.get(name, _MISSING), recorded.get(name, _MISSING)
        if value == recorded_value:
            continue
        if isinstance(value, str) and isinstance(recorded_value, str):
            yield f"{name} {_text_difference(value, recorded_value)}"
        elif value is _MISSING:
            yield f"{name} is not set here, {_quote(recorded_value)} there"
        elif recorded_value is _MISSING:
            yield f"{name} is {_quote(value)} here, not set there"
        else:
            yield f"{name} is {_quote(value)} here, {_quote(recorded_value)} there"


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


def _message_differences(requested: Any, recorded: Any) -> Iterator[str]:
    if not isinstance(requested, list) or not isinstance(recorded, list):
        return
    for number, (message, recorded_message) in enumerate(zip(requested, recorded, strict=False), 1):
        if message == recorded_message:
            continue
        role = message.get("role") if isinstance(message, dict) else "?"
        if isinstance(recorded_message, dict) and role != recorded_message.get("role"):
            yield f"message {number} is of the {role} here, of the {recorded_message.get('role')} there"
        else:
            texts = _content(message), _content(recorded_message)
            yield f"message {number} ({role}) {_text_difference(*texts)}"
    if len(requested) != len(recorded):
        yield f"there are {pluralize(len(requested), 'message')} here, {len(recorded)} there"


def _text_difference(requested: str, recorded: str) -> str:
    """Return where two texts differ, with what each has there."""
    same = (
        number for number, (one, other) in enumerate(zip(requested, recorded, strict=False)) if one != other
    )
    start = next(same, min(len(requested), len(recorded)))
    shown = max(0, start - 12)
    return f"has {_excerpt(requested, shown)} here, {_excerpt(recorded, shown)} there, from character {start + 1} on"


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


def _nearest(cassette: Cassette, requested: Fingerprint) -> tuple[str, Mapping[str, Any]] | None:
    """Return the nearest recording of the same endpoint."""
    kind = requested.name.partition("-")[0]
    candidates = [name for name in cassette.recordings if name.startswith(f"{kind}-")][:_MAX_READ]
    best: tuple[float, str, Mapping[str, Any]] | None = None
    for name in candidates:
        with suppress(RecordingError):
            document = cassette.read(name).get("request")
            if not isinstance(document, dict) or document.get("endpoint") != requested.document.get(
                "endpoint"
            ):
                continue
            score = _similarity(requested.document, document)
            if best is None or score > best[0]:
                best = score, name, document
    return None if best is None else (best[1], best[2])


def _similarity(request: Mapping[str, Any], recording: Mapping[str, Any]) -> float:
    """Return how near two requests are: by what they ask, then by the model, then by their parameters."""
    requested, recorded = _fields(request), _fields(recording)
    names = requested.keys() | recorded.keys()
    equal = sum(requested.get(name, _MISSING) == recorded.get(name, _MISSING) for name in names)
    one, other = _prompt_text(requested), _prompt_text(recorded)
    ratio = 1.0
    if one != other:
        one, other = one[-_MAX_COMPARED_CHARS:], other[-_MAX_COMPARED_CHARS:]
        ratio = SequenceMatcher(None, one, other, autojunk=False).quick_ratio()
    same_model = requested.get("model") == recorded.get("model")
    return float(3 * ratio + same_model + equal / max(1, len(names)))


def _prompt_text(fields: Mapping[str, Any]) -> str:
    messages = fields.get("messages")
    if isinstance(messages, list):
        return "\n".join(map(_content, messages))
    return next((text for name in _TEXT_FIELDS if isinstance(text := fields.get(name), str)), "")
