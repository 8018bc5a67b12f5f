"""The words of a recording: what routers answer, in JSON or as plain text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from puq_magics.core.errors import AnswerError, APIError, error_object, error_words, with_words
from puq_magics.core.media_types import said_instead
from puq_magics.api.types import Usage, joined_surrogates, read_number, read_usage

# A transcript may begin with a brace or a bracket of its own: {laughs}, <v Roger>.
_HALF_OBJECT = re.compile(rb"\s*\{\s*(?:[\"}]|\Z)")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording; ``start`` and ``end`` in seconds."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of a recording."""

    #: The text, or the subtitles when these were asked for.
    text: str
    #: As the router names it; empty when it does not say.
    language: str = ""
    #: Seconds; None when the router does not say.
    duration: float | None = None
    #: When they were asked for (``response_format="verbose_json"``) and given.
    segments: tuple[Segment, ...] = ()
    usage: Usage | None = None
    #: The router's id for the request, to quote when asking its people.
    request_id: str | None = None
    #: The answer as the router's JSON had it; empty when it was plain text.
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_transcript(parts: Iterable[bytes], request_id: str | None = None) -> Transcript:
    """An answer's body, which comes in parts, as a value, whichever format was asked for.

    Raises AnswerError when it holds no words, NetworkError when it breaks off; ``partial`` is the body's text then.
    """
    body = bytearray()
    try:
        for part in parts:
            body += part
        return _transcript(bytes(body), request_id)
    except APIError as error:
        error.partial = body.decode("utf-8-sig", "replace")
        raise


def _transcript(body: bytes, request_id: str | None) -> Transcript:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, str):
        return Transcript(joined_surrogates([answer]), request_id=request_id, raw={"text": answer})
    if isinstance(answer, dict):
        return _of_json(answer, request_id)
    if answer == [] or isinstance(answer, bool) or body.strip() == b"null":
        raise AnswerError("the answer holds no text.", hint="Check the base URL and the model.")
    return Transcript(_plain(body), request_id=request_id)


def _of_json(answer: Mapping[str, Any], request_id: str | None) -> Transcript:
    if answer.get("error"):
        words, _ = error_object(answer)
        raise AnswerError(with_words("the router answered with an error", words), hint="Try again.")
    segments = read_segments(answer.get("segments"))
    text = answer.get("text")
    if not isinstance(text, str):
        if not segments:
            raise AnswerError("the answer holds no text.", hint="Check the base URL and the model.")
        text = "".join(segment.text for segment in segments).strip()
    usage = answer.get("usage")
    duration = read_number(answer.get("duration"))
    if duration is None and isinstance(usage, dict):
        duration = read_number(usage.get("seconds"))
    language = answer.get("language")
    return Transcript(
        text=joined_surrogates([text]),
        language=language if isinstance(language, str) else "",
        duration=duration,
        segments=segments,
        usage=read_usage(usage),
        request_id=request_id,
        raw=answer,
    )


def read_segments(value: object) -> tuple[Segment, ...]:
    """Those of a list that have words and a beginning; none of anything else."""
    found = []
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, dict) and isinstance(text := entry.get("text"), str):
            start, end = read_number(entry.get("start")), read_number(entry.get("end"))
            if start is not None:
                found.append(Segment(start, start if end is None else end, joined_surrogates([text])))
    return tuple(found)


def _plain(body: bytes) -> str:
    """A body of words alone; what is none of these is an error."""
    if not body:
        raise AnswerError("the answer is empty.", hint="Check the recording, or use another model.")
    found = said_instead(body)
    cut_json = _HALF_OBJECT.match(body)
    if cut_json or found in ("SVG", "HTML") or _XML.match(body) or b"\x00" in body[:2048]:
        words, _ = error_words(body)
        found = "half of a JSON object" if cut_json else found or "something else"
        raise AnswerError(
            with_words(f"the answer holds {found} where a transcript should be", words),
            hint="What came is in the error's .partial; check the base URL and the model.",
        )
    return body.decode("utf-8-sig", "replace").replace("\r\n", "\n").strip("\n")
