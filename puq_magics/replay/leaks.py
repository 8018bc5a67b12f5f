"""Search of a cassette for what it should not hold: secrets, orphans, cut files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from puq_magics.core.errors import PuqError
from puq_magics.core.text import format_size, one_line, pluralize
from puq_magics.replay.cassette import SETTINGS_FILE, Cassette, split_recording_name
from puq_magics.replay.fingerprint import map_strings, name_of
from puq_magics.replay.recorded_answer import media_names
from puq_magics.replay.redaction import Redaction

_LARGE_BYTES = 5_000_000
_HASH = re.compile(r"sha256,[0-9a-f]{64}")  # of data that was sent
_MASK = re.compile(r"<secret \d+>")
#: What is personal rather than secret, and so is not masked.
_PERSONAL = (
    ("an e-mail address", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")),
    ("a path of a home folder", re.compile(r"(?:/home/|/Users/|C:\\Users\\)[\w.-]+")),
)


def find_problems(cassette: Cassette) -> Iterator[str]:
    """Yield what is wrong with a cassette, one line each."""
    used: set[str] = set()
    for name in cassette.recordings:
        try:
            recording = cassette.read(name)
        except PuqError as error:
            yield error.message
            continue
        media = media_names(recording)
        used |= media
        for missing in sorted(media - cassette.names):
            yield f"{name}: {missing} is missing"
        request = recording.get("request")
        if not isinstance(request, dict):
            yield f"{name}: it has no request"
        elif name_of(request) != split_recording_name(name)[0]:
            yield f"{name}: its request was edited, and no longer has this name: no request finds it"
        yield from (f"{name}: {words}" for words in _leaks(recording))
    for name in sorted(cassette.names - used - set(cassette.recordings) - {SETTINGS_FILE}):
        yield f"{name}: belongs to no recording; prune deletes it"
    for path in cassette.partial_files():
        yield (
            f"{path.name}: a recording that is being written, or was cut; "
            "the next %puq_cassette record deletes it (on Windows and network drives, delete it yourself)"
        )
    for name in sorted(cassette.names):
        if (size := cassette.size(name)) > _LARGE_BYTES:
            yield f"{name}: {format_size(size)}"


def _leaks(recording: object) -> Iterator[str]:
    """Yield what looks like a secret, without quoting it."""
    redaction = Redaction()
    found: list[str] = []

    def look(name: str, text: str) -> str:
        if name.startswith("$") or name in ("file", "sha256"):
            return text
        text = _HASH.sub("", text)
        if len(_MASK.findall(redaction.mask(text))) > len(_MASK.findall(text)):
            found.append(f"what looks like a secret is in {one_line(name, 40) or 'a text'}")
        found.extend(f"{what} is in {one_line(name, 40)}" for what, form in _PERSONAL if form.search(text))
        return text

    map_strings(recording, look, lambda key: look("a name", key))
    counts = {words: found.count(words) for words in dict.fromkeys(found)}
    for words, count in counts.items():
        yield words if count == 1 else f"{words} ({pluralize(count, 'time')})"


def summarize(cassette: Cassette, name: str) -> tuple[str, str, str]:
    """Return the model, the status and the beginning of the question of a recording. Raises RecordingError."""
    recording = cassette.read(name)
    request, response = recording.get("request"), recording.get("response")
    body = request.get("body") if isinstance(request, dict) else None
    fields = body if isinstance(body, dict) else {}
    messages = fields.get("messages")
    prompt = messages[-1].get("content") if isinstance(messages, list) and messages else None
    prompt = prompt or fields.get("prompt") or fields.get("input") or (request or {}).get("endpoint", "")
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
    status = response.get("status", "") if isinstance(response, dict) else ""
    return str(fields.get("model", "")), str(status), one_line(text, 60)
