"""Save unparseable response bytes of a failed answer to temporary files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress

from puq_magics.api.types import join_surrogates
from puq_magics.core.errors import APIError, InputError
from puq_magics.core.files import save_to_temp_file
from puq_magics.core.media_types import describe_non_media, detect_audio_type, detect_image_type

#: What a browser would run has the extension of a text: nobody asked for a page of that.
_EXTENSIONS = {"JSON": ".json", "HTML": ".txt", "SVG": ".txt", "XML": ".txt", "text": ".txt"}
#: Where an object of JSON has the words; they may be cut.
_TEXT = re.compile(r'"text"\s*:\s*"((?:[^"\\]|\\.)*\\?)', re.DOTALL)
_AFTER_LIST = re.compile(r"\]\s*,\s*\Z")


def save_partial(error: APIError, payloads: Iterable[bytes]) -> None:
    """Save data that is no result to temporary files; the error names them."""
    try:
        paths = [str(save_to_temp_file(data, _extension(data))) for data in payloads if data]
    except InputError as exc:  # no room left, say
        error.extend_hint(f"What came could not be kept: {exc.message}")
        return
    if paths:
        error.extend_hint(f"What came instead is kept in {', '.join(paths)}")


def transcript_text(body: bytes) -> str:
    """Return the text of a transcript body that may be cut; empty if it is something else."""
    kind = describe_non_media(body)
    if kind == "JSON":
        return _transcript_text_of_json(body)
    return body.decode("utf-8-sig", "replace").strip() if kind == "text" else ""


def _transcript_text_of_json(body: bytes) -> str:
    """Return the received part of ``text`` in a JSON object, or of its segments, which may precede it."""
    text = body.decode("utf-8-sig", "replace")
    found = list(_TEXT.finditer(text))
    segments = text.find('"segments"')
    if not found or not 0 <= segments < found[0].start():
        return _decode_cut_string(found[0][1]).strip() if found else ""
    whole = [each for each in found if _AFTER_LIST.search(text, max(0, each.start() - 40), each.start())]
    parts = [each for each in found if each not in whole]
    return max(
        ("".join(_decode_cut_string(each[1]) for each in some).strip() for some in (parts, whole)), key=len
    )


def _decode_cut_string(words: str) -> str:
    """A string of JSON that may be cut, in the midst of an escape even."""
    for end in range(len(words), max(len(words) - 12, -1), -1):
        with suppress(ValueError):
            return join_surrogates([json.loads(f'"{words[:end]}"', strict=False)])
    return ""


def _extension(data: bytes) -> str:
    kind = detect_image_type(data) or detect_audio_type(data)
    return kind.extension if kind is not None else _EXTENSIONS.get(describe_non_media(data), ".bin")
