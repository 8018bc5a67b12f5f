"""Find an API key in text that others send, in other spellings too.

A key that is echoed may have the escapes of JSON, HTML or URLs, or be in base64 or hexadecimal.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import cache

#: Characters of the shortest key that is looked for in other spellings: others would be found in any text.
MIN_LENGTH = 12
#: Characters at a text's end that count as the beginning of a key: fewer end too many texts.
_MIN_PREFIX = 8


class KeySpellings:
    """Patterns of one key; they are in closures, so that no ``vars()`` shows them."""

    __slots__ = ("find_unfinished", "redact")

    def __init__(self, key: str) -> None:
        if len(key) < MIN_LENGTH:
            self.redact: Callable[[str], str] = lambda text: text.replace(key, "…")
            self.find_unfinished: Callable[[str], int] = len
            return
        words = list(dict.fromkeys([key, *_encodings(key)]))

        @cache  # on first use: it takes as long as a request
        def _pattern() -> re.Pattern[str]:
            return re.compile("|".join("".join(map(_spelling, word)) for word in words))

        def _redact(text: str) -> str:
            if "\\" in text or "&" in text or "%" in text:  # the signs that begin an escape
                return _pattern().sub("…", text)
            for word in words:
                text = text.replace(word, "…")
            return text

        self.redact = _redact
        self.find_unfinished = lambda text: min(_find_unfinished(text, word) for word in words)


def _find_unfinished(text: str, word: str) -> int:
    """Return where the word's beginning stands at the text's end; the text's length if it does not."""
    prefix = word[:_MIN_PREFIX]
    start = text.find(prefix, max(0, len(text) - len(word) + 1))
    while start >= 0 and not word.startswith(text[start:]):
        start = text.find(prefix, start + 1)
    return len(text) if start < 0 else start


def _encodings(key: str) -> Iterator[str]:
    """Yield the key in hexadecimal, and the characters of base64 that stand for it alone, at each alignment."""
    yield key.encode().hex()
    yield key.encode().hex().upper()
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        text = b64encode(bytes(offset) + key.encode()).decode()[first : (offset + len(key)) * 8 // 6]
        yield text
        yield text.translate({ord("+"): "-", ord("/"): "_"})


def _spelling(sign: str) -> str:
    """Return a pattern of one character: itself, or its escape in JSON, HTML or a URL, escaped again or not."""
    code = ord(sign)
    itself = sign if sign.isalnum() else rf"\\*{re.escape(sign)}"
    named = "|".join(re.escape(name.rstrip(";")) for name in _html_names(sign))
    return (
        rf"(?:{itself}|\\+(?:u00|x)(?i:{code:02x})|%(?:25)*(?i:{code:02x})"
        rf"|&(?:amp;)*(?:\#(?:0*{code}|(?i:x0*{code:x}))(?![0-9a-fA-F]){f'|(?:{named})' if named else ''});?)"
    )


def _html_names(sign: str) -> list[str]:
    if sign.isalnum():
        return []
    from html.entities import html5

    return [name for name, value in html5.items() if value == sign and name.endswith(";")]
