"""Fingerprints of requests: the part of a request that a recording is found by, and the name of its file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from puq_magics.api.request import Request
from puq_magics.replay.redaction import Redaction

#: Characters from which on a string may be encoded media, and from which on base64 is surely data.
MIN_MEDIA_CHARS, _MIN_DATA_CHARS = 64, 512
DATA_URL: Final = re.compile(r"(data:[\w.+/-]{1,100};base64,)([A-Za-z0-9+/]+={0,2})")
BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_KINDS = {
    "completions": "chat",
    "generations": "image",
    "speech": "speech",
    "transcriptions": "transcription",
    "models": "models",
    "balance": "balance",
}
#: Numbers of cells, as in tracebacks: they are others in each session.
_CELL_NUMBER = re.compile(r"\bIn\[\d+\]")
#: Last line of the data of %puq_fix: a recording is for every Python that can run the notebook.
_VERSIONS = re.compile(r"^Versions: Python .*$", re.MULTILINE)
_BLOCK_SIZE = 1 << 20
_NAME_CHARS = 20
#: Fields that say how an answer is to be sent, and not what is asked.
_IGNORED_FIELDS = ("stream_options",)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A request as a recording keeps it."""

    #: Kind and hash, such as ``chat-1c4f…``.
    name: str
    #: Endpoint, parameters, and body or form; without secrets.
    document: Mapping[str, Any]
    #: New ids of the tool calls in it by the ids that the router gave.
    tool_ids: dict[str, str] = field(default_factory=dict)


def fingerprint(request: Request, redaction: Redaction | None = None) -> Fingerprint:
    """Return the fingerprint of a request, with its secrets masked if ``redaction`` is given."""
    tool_ids: dict[str, str] = {}
    document: dict[str, Any] = {"endpoint": f"{request.method} {request.path}"}
    if request.params:
        document["params"] = dict(request.params)
    if isinstance(request.body, bytes):
        body = json.loads(request.body)
        for name in _IGNORED_FIELDS:
            body.pop(name, None)
        document["body"] = _clean(number_tool_calls(body, tool_ids), redaction)
    elif request.body is not None:
        fields = [list(pair) for pair in request.body.fields]
        document["form"] = {
            "fields": _clean(fields, redaction),
            "file": {"sha256": _hash_file(request), "size": request.body.file.size},
        }
    return Fingerprint(name_of(document), document, tool_ids)


def fingerprint_call(name: str, arguments: Any) -> Fingerprint:
    """Return the fingerprint of a function's call, which is recorded like a request."""
    document = {"endpoint": f"TOOL {name}", "body": _clean(arguments, Redaction())}
    return Fingerprint(name_of(document), document)


def name_of(document: Mapping[str, Any]) -> str:
    """Return the name of a recording by the request that it holds."""
    endpoint = str(document.get("endpoint", ""))
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    last = endpoint.rpartition("/")[2] if "/" in endpoint else ""
    return f"{_KINDS.get(last, 'tool' if endpoint.startswith('TOOL ') else 'request')}-{digest[:_NAME_CHARS]}"


def map_strings(
    value: Any, change: Callable[[str, str], Any], change_key: Callable[[str], str] = str, name: str = ""
) -> Any:
    """Return decoded JSON with each string replaced by ``change(member_name, string)``, and each member's name."""
    if isinstance(value, str):
        return change(name, value)
    if isinstance(value, list):
        return [map_strings(item, change, change_key, name) for item in value]
    if isinstance(value, dict):
        return {change_key(key): map_strings(item, change, change_key, key) for key, item in value.items()}
    return value


def number_tool_calls(value: Any, tool_ids: dict[str, str]) -> Any:
    """Return decoded JSON with the random ids of tool calls replaced by numbers, in their order."""
    if isinstance(value, list):
        return [number_tool_calls(item, tool_ids) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {}
    for key, item in value.items():
        if key == "tool_calls" and isinstance(item, list):
            changed[key] = [_number(call, "id", tool_ids) for call in item]
        else:
            changed[key] = number_tool_calls(item, tool_ids)
    return _number(changed, "tool_call_id", tool_ids)


def _number(value: Any, name: str, tool_ids: dict[str, str]) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), str) or not value[name]:
        return value
    return {**value, name: tool_ids.setdefault(value[name], f"call_{len(tool_ids) + 1}")}


def _clean(value: Any, redaction: Redaction | None) -> Any:
    def change(name: str, text: str) -> str:
        if len(text) >= MIN_MEDIA_CHARS and (data := _shorten_data(text)):
            return data
        text = _VERSIONS.sub("Versions:", _CELL_NUMBER.sub("In[n]", text))
        return text if redaction is None else redaction.mask_member(name, text)

    return map_strings(value, change, str if redaction is None else redaction.mask_key)


def _shorten_data(text: str) -> str:
    """Return encoded data as its hash; empty for another text."""
    url = DATA_URL.fullmatch(text)
    if url is None and not (len(text) >= _MIN_DATA_CHARS and BASE64.fullmatch(text)):
        return ""
    data = text if url is None else url[2]
    start = "" if url is None else url[1].removesuffix("base64,")
    return f"{start}sha256,{hashlib.sha256(data.encode()).hexdigest()}"


def _hash_file(request: Request) -> str:
    digest = hashlib.sha256()
    for block in _blocks(request):
        digest.update(block)
    return digest.hexdigest()


def _blocks(request: Request) -> Iterable[bytes]:
    from puq_magics.api.uploads import MultipartForm

    if isinstance(request.body, MultipartForm):
        with request.body.file.open() as file:
            while block := file.read(_BLOCK_SIZE):
                yield block
