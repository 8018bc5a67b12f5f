"""Answers as recordings: events, JSON, text or media, with their times; and back to the bytes of a body."""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from puq_magics.api.request import Timing
from puq_magics.api.sse import SSEDecoder
from puq_magics.api.streams import is_end
from puq_magics.core import errors
from puq_magics.core.errors import APIConnectionError, APIError, RecordingError
from puq_magics.core.media_types import detect_audio_type, detect_image_type
from puq_magics.core.secret import redact_bytes
from puq_magics.replay.fingerprint import BASE64, DATA_URL, MIN_MEDIA_CHARS, map_strings, number_tool_calls
from puq_magics.replay.redaction import DOWNLOAD, FILE, Redaction

#: Version of the recordings; later ones are refused.
FORMAT = 1
_RANDOM_MEMBERS = ("id", "created", "system_fingerprint")
_MEDIA_PARTS = 16
#: Name of a file beside a recording.
MEDIA_NAME = re.compile(r"[a-z]+-[0-9a-f]{20}-[0-9a-f]{8}\.[a-z0-9]{2,5}")
_HEADERS = {"content-type": "type", "retry-after": "retry_after"}
_EXTENSIONS = {"audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/ogg": ".ogg"}

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
Part = tuple[float, bytes]


@dataclass
class RecordedAnswer:
    """One answer, as it arrived."""

    status: int
    headers: Mapping[str, str]
    #: Bytes of the body, with the seconds after the request at which they arrived.
    parts: list[Part] = field(default_factory=list)
    #: Seconds after the request at which the body ended.
    seconds: float = 0.0
    #: Error that ended it.
    error: APIError | None = None

    @property
    def timing(self) -> Timing:
        """The times that results show."""
        return Timing(self.seconds, self.parts[0][0] if self.parts else self.seconds)


class AnswerEncoder:
    """Makes the recording of one answer; ``media`` holds the files beside it."""

    def __init__(
        self,
        redaction: Redaction,
        tool_ids: Mapping[str, str],
        prefix: str,
        downloads: Mapping[str, bytes] | None = None,
    ) -> None:
        """``prefix`` begins the names of media files; ``downloads`` has what was downloaded, by URLs."""
        self.media: dict[str, bytes] = {}
        self._redaction = redaction
        self._tool_ids = dict(tool_ids)
        self._prefix = prefix
        self._downloads = downloads or {}

    def encode(self, answer: RecordedAnswer) -> dict[str, Any]:
        """Return the members ``response``, ``seconds`` and ``times`` of a recording."""
        response: dict[str, Any] = {"status": answer.status}
        for header, name in _HEADERS.items():
            if value := answer.headers.get(header):
                response[name] = self._redaction.mask(value)
        if answer.error is not None:
            response["error"] = {
                "type": type(answer.error).__name__,
                "message": self._redaction.mask(answer.error.message),
                "hint": self._redaction.mask(answer.error.hint),
                "was_sent": getattr(answer.error, "was_sent", True),
            }
        times = self._encode_body(answer, response)
        return {
            "response": response,
            "seconds": round(answer.seconds, 3),
            "times": [round(time, 3) for time in times],
        }

    def _encode_body(self, answer: RecordedAnswer, response: dict[str, Any]) -> list[float]:
        """Add the body to ``response``; return the times of its parts."""
        body = b"".join(data for _, data in answer.parts)
        first = [answer.parts[0][0]] if answer.parts else []
        if not body:
            return []
        if (decoded := _decode_events(answer.parts)) is not None:
            response["events"] = self._clean_events([data for _, data in decoded])
            return [time for time, _ in decoded]
        try:
            response["body"] = self._clean(_drop_random(json.loads(body)))
        except (ValueError, RecursionError):
            if not _is_text(body):
                response["file"] = self._add_media_file(body, answer.headers.get("content-type", ""))
                return first
            owners = [{"text": text} for text in _decode_text(answer.parts)]
            response["text"] = [owner["text"] for owner in self._redaction.mask_events(owners)]
            return [time for time, _ in answer.parts]
        return first

    def _clean_events(self, events: Sequence[Any]) -> list[Any]:
        cleaned = [
            self._extract_media(number_tool_calls(_drop_random(event), self._tool_ids))
            if isinstance(event, dict)
            else event
            for event in events
        ]
        return self._redaction.mask_events(cleaned)

    def _clean(self, value: Any) -> Any:
        extracted = self._extract_media(number_tool_calls(value, self._tool_ids))
        return self._mask(extracted)

    def _mask(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict) and not {FILE, DOWNLOAD}.isdisjoint(value):
            return value
        if isinstance(value, dict):
            return {key: self._mask(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mask(item, name) for item in value]
        return self._redaction.mask_answer(name, value) if isinstance(value, str) else value

    def _extract_media(self, value: Any) -> Any:
        """Return decoded JSON with media taken out into files, and members' names masked."""
        return map_strings(
            value, lambda _, text: self._extract_media_from_text(text), self._redaction.mask_key
        )

    def _extract_media_from_text(self, text: str) -> Any:
        if text in self._downloads:
            return {DOWNLOAD: self._add_media_file(self._downloads[text])}
        if len(text) < MIN_MEDIA_CHARS:
            return text
        url = DATA_URL.fullmatch(text)
        if url is None and not BASE64.fullmatch(text):
            return text
        encoded = text if url is None else url[2]
        try:
            data = base64.b64decode(encoded, validate=True)
        except ValueError:
            return text
        is_media = detect_image_type(data) or detect_audio_type(data)
        if not is_media or base64.b64encode(data).decode() != encoded:
            return text
        return {FILE: self._add_media_file(data)} | ({} if url is None else {"prefix": url[1]})

    def _add_media_file(self, data: bytes, content_type: str = "") -> str:
        data = redact_bytes(data)
        kind = detect_image_type(data) or detect_audio_type(data)
        extension = _EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), ".bin")
        if kind is not None:
            extension = kind.extension
        name = f"{self._prefix}-{hashlib.sha256(data).hexdigest()[:8]}{extension}"
        self.media[name] = data
        return name


def decode_answer(recording: Mapping[str, Any], load: Callable[[str], bytes]) -> RecordedAnswer:
    """Return the answer that a recording holds; ``load`` reads a file beside it. Raises RecordingError."""
    response = recording.get("response")
    if not isinstance(response, dict):
        raise RecordingError("the recording has no response.", hint="Record it again.")
    seconds = _number(recording.get("seconds"))
    times = recording.get("times")
    times = [_number(time) for time in times] if isinstance(times, list) else []
    bodies = _bodies(response, load)
    if len(bodies) > 1 and "file" in response:
        times = _spread(times[0] if times else 0.0, seconds, len(bodies))
    times = [*times[: len(bodies)], *[seconds] * (len(bodies) - len(times))]
    status = response.get("status", 200)
    return RecordedAnswer(
        status if isinstance(status, int) else 200,
        {header: str(response[name]) for header, name in _HEADERS.items() if name in response},
        list(zip(times, bodies, strict=True)),
        max([seconds, *times]),
        _decode_error(response.get("error")),
    )


def first_content_time(recording: Mapping[str, Any]) -> float | None:
    """Return the time of the first event of a stream that has content; None if it has none."""
    events, times = recording.get("response", {}).get("events"), recording.get("times")
    if not isinstance(events, list) or not isinstance(times, list):
        return None
    return next(
        (_number(time) for event, time in zip(events, times, strict=False) if _has_content(event)), None
    )


def _has_content(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(choices := event.get("choices"), list):
        return isinstance(event, dict)
    deltas = [choice.get("delta") for choice in choices if isinstance(choice, dict)]
    return any(
        value for delta in deltas if isinstance(delta, dict) for key, value in delta.items() if key != "role"
    )


def media_names(recording: Mapping[str, Any] | None) -> set[str]:
    """Return the names of the files that a recording, or a part of it, refers to."""
    return set(_find_media(recording or {}))


def _find_media(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key in (FILE, DOWNLOAD, "file") and isinstance(item, str) and MEDIA_NAME.fullmatch(item):
                yield item
            else:
                yield from _find_media(item)
    elif isinstance(value, list):
        for item in value:
            yield from _find_media(item)


def _bodies(response: Mapping[str, Any], load: Callable[[str], bytes]) -> list[bytes]:
    """Return the parts of a body."""
    if isinstance(events := response.get("events"), list):
        if media_names(response):  # seldom, and slower
            events = [_restore(event, load) for event in events]
        return [_encode_event(event) for event in events]
    if isinstance(texts := response.get("text"), list):
        return [str(text).encode("utf-8", "replace") for text in texts]
    if isinstance(name := response.get("file"), str):
        data = load(name)
        size = max(1, -(-len(data) // _MEDIA_PARTS))
        return [data[start : start + size] for start in range(0, len(data), size)]
    if "body" in response:
        return [_encode_json(_restore(response["body"], load)).encode("utf-8", "surrogatepass")]
    return []


def _restore(value: Any, load: Callable[[str], bytes]) -> Any:
    """Return decoded JSON with the files beside a recording in their places."""
    if isinstance(value, list):
        return [_restore(item, load) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(name := value.get(FILE), str):
        return str(value.get("prefix", "")) + base64.b64encode(load(name)).decode()
    if isinstance(name := value.get(DOWNLOAD), str):
        data = load(name)
        kind = detect_image_type(data)
        return f"data:{kind.mime if kind else ''};base64,{base64.b64encode(data).decode()}"
    return {key: _restore(item, load) for key, item in value.items()}


def _encode_event(event: Any) -> bytes:
    if not isinstance(event, str):
        return f"data: {_encode_json(event)}\n\n".encode("utf-8", "replace")
    lines = "\n".join(f"data: {line}" for line in event.split("\n"))
    return f"{lines}\n\n".encode("utf-8", "replace")


def _decode_events(parts: Sequence[Part]) -> list[tuple[float, Any]] | None:
    """Return the events of a stream with their times; None for another body."""
    start = b"".join(data for _, data in parts)[:64].lstrip()
    if not start.startswith((b"data:", b"event:", b"id:", b"retry:", b":")):
        return None
    decoder = SSEDecoder()
    events = [(time, event) for time, data in parts for event in decoder.feed(data)]
    last = parts[-1][0]
    events += [(last, event) for event in decoder.flush()]
    if not events or any(event.type != "message" for _, event in events):
        return None
    decoded: list[tuple[float, Any]] = []
    for time, event in events:
        try:
            decoded.append((time, json.loads(event.data)))
        except (ValueError, RecursionError):
            decoded.append((time, event.data))
    return decoded


def is_complete_stream(parts: Sequence[Part]) -> bool:
    """Return whether a stream that was closed early had ended already."""
    try:
        events = _decode_events(parts)
    except APIError:
        return False
    if not events:
        return False
    last = events[-1][1]
    if isinstance(last, dict):
        return str(last.get("type", "")).endswith(".done")
    return is_end(str(last))


def _drop_random(value: Any) -> Any:
    """Return a body or an event without its random id and its time."""
    if not isinstance(value, dict) or ("choices" not in value and "created" not in value):
        return value
    return {key: item for key, item in value.items() if key not in _RANDOM_MEMBERS}


def _decode_text(parts: Sequence[Part]) -> list[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(data, final=number == len(parts)) for number, (_, data) in enumerate(parts, 1)]


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _decode_error(error: Any) -> APIError | None:
    if not isinstance(error, dict):
        return None
    kind = getattr(errors, str(error.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, APIError)) or issubclass(kind, errors.APIStatusError):
        kind = APIConnectionError
    problem = kind(str(error.get("message", "")), hint=str(error.get("hint", "")))
    if isinstance(problem, APIConnectionError):
        problem.was_sent = bool(error.get("was_sent", True))
    return problem


def _number(value: Any) -> float:
    """Return a time of a recording; 0 for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 86_400 else 0.0


def _spread(first: float, last: float, number: int) -> list[float]:
    step = max(0.0, last - first) / max(1, number - 1)
    return [first + step * index for index in range(number)]
