"""Secrets in recordings: the same are masked as in the requests of ``%puq_fix``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from puq_magics.core.secret import redact_secrets
from puq_magics.prompts.redaction.masking import (
    MIN_SECRET_CHARS,
    SecretMasker,
    find_environment_secrets,
    is_definite_secret_name,
    is_secret_name,
)

#: Members that name a file beside the recording: of decoded base64, and of a download.
FILE, DOWNLOAD = "$file", "$download"
#: Members that hold names and kinds, which are no secrets.
_PLAIN_MEMBERS = frozenset(("model", "role", "type", "object", "finish_reason", "name", "voice", "size"))
#: Members of an answer that hold a part of its text.
_TEXT_MEMBERS = frozenset(("token", "text"))
_WEB_URL = re.compile(r"(https?://[^\s?#]+)[?#]\S*")


class Redaction:
    """Masks the secrets of one request and its answer; equal ones get the same placeholder."""

    def __init__(self, redact_answer: Callable[[str], str] = str) -> None:
        """``redact_answer`` takes out of a text what no answer may hold, such as a policy's solutions."""
        self._redact_answer = redact_answer
        self._masker = SecretMasker(find_environment_secrets(os.environ))
        self._keys: dict[str, str] = {}

    def mask(self, text: str) -> str:
        """Mask the secrets in a text."""
        return self._masker.mask(redact_secrets(text))

    def mask_key(self, key: str) -> str:
        """Mask the name of a member; there are few, and each is in many events."""
        if key not in self._keys:
            self._keys[key] = self.mask(key)
        return self._keys[key]

    def mask_member(self, name: str, text: str) -> str:
        """Mask a member of a request: all of it if its name is that of a secret."""
        if name in _PLAIN_MEMBERS:
            return redact_secrets(text)
        if name not in _TEXT_MEMBERS and is_secret_name(name) and len(text) >= MIN_SECRET_CHARS:
            return self._masker.mask_secret(text)
        return self.mask(text)

    def mask_answer(self, name: str, text: str) -> str:
        """Mask a member of an answer; a URL loses its query, which can be a permission."""
        if name in _PLAIN_MEMBERS:
            return redact_secrets(text)
        text = self._redact_answer(text)
        if name in ("url", "image_url") and (url := _WEB_URL.fullmatch(text)):
            return url[1]
        if is_definite_secret_name(name):
            return self._masker.mask_secret(text)
        return self.mask(text)

    def mask_events(self, events: Sequence[Any]) -> list[Any]:
        """Mask the events of a stream, also secrets that are split over several events."""
        places: dict[tuple[object, ...], list[tuple[Any, Any]]] = {}
        for event in events:
            _collect_strings(event, (), places)
        for place, owners in places.items():
            texts = [owner[key] for owner, key in owners]
            name = next((str(part) for part in reversed(place) if isinstance(part, str)), "")
            joined = "".join(texts)
            if len(texts) == 1 or name not in _PLAIN_MEMBERS:
                masked = self.mask_answer(name, joined)
                if masked != joined:
                    _distribute(masked, texts, owners)
        return list(events)


def _collect_strings(
    value: Any, place: tuple[object, ...], places: dict[tuple[object, ...], list[tuple[Any, Any]]]
) -> None:
    """Collect the strings of an event by their place in it."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items() if {FILE, DOWNLOAD}.isdisjoint(value) else ()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        index = item.get("index", key) if isinstance(item, dict) else key
        if isinstance(item, str):
            places.setdefault((*place, key), []).append((value, key))
        else:
            _collect_strings(item, (*place, index if isinstance(value, list) else key), places)


def _distribute(text: str, parts: Sequence[str], owners: Sequence[tuple[Any, Any]]) -> None:
    """Put a changed text in the place of its parts, each as long as before in proportion."""
    before, total, start = 0, max(1, sum(map(len, parts))), 0
    for number, (part, (owner, key)) in enumerate(zip(parts, owners, strict=True), 1):
        before += len(part)
        end = len(text) if number == len(parts) else len(text) * before // total
        owner[key] = text[start:end]
        start = end
