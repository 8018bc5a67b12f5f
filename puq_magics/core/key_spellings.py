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
#: Characters of the longest escape.
_MAX_ESCAPE = 12
# An escape that may not be complete yet.
_ESCAPE_START = re.compile(rf"[\\&%][\\\w&#;%]{{0,{_MAX_ESCAPE}}}")


class KeySpellings:
    """Patterns of one key; they are in closures, so that no ``vars()`` shows them."""

    __slots__ = ("find_unfinished", "redact")

    def __init__(self, key: str) -> None:
        if len(key) < MIN_LENGTH:
            self.redact: Callable[[str], str] = lambda text: text.replace(key, "…")
            self.find_unfinished: Callable[[str, int], int] = lambda text, _: len(text)
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

        def _find(text: str, minimum: int) -> int:
            tail = text[-_MAX_ESCAPE * len(key) :]
            if not ("\\" in tail or "&" in tail or "%" in tail):
                return min(_find_unfinished(text, word, minimum) for word in words)
            return min(_find_unfinished_spelling(text, word, minimum) for word in words)

        self.redact = _redact
        self.find_unfinished = _find


def _find_unfinished(text: str, word: str, minimum: int) -> int:
    """Return where the word's beginning stands at the text's end; the text's length if it does not."""
    prefix = word[:minimum]
    start = text.find(prefix, max(0, len(text) - len(word) + 1))
    while start >= 0 and not word.startswith(text[start:]):
        start = text.find(prefix, start + 1)
    return len(text) if start < 0 else start


def _find_unfinished_spelling(text: str, word: str, minimum: int) -> int:
    """Return the same as `_find_unfinished` for a beginning that may have escapes, and end within one."""
    first = re.compile(f"(?={_spelling(word[0])}|{_ESCAPE_START.pattern}\\Z)")
    for start in first.finditer(text, max(0, len(text) - _MAX_ESCAPE * len(word))):
        position, count, found = start.start(), 0, 0
        while count < len(word):
            if _ESCAPE_START.fullmatch(text, position):
                found = count + 1
            if not (sign := _sign_pattern(word[count]).match(text, position)):
                break
            position, count = sign.end(), count + 1
        if position == len(text) and count < len(word):
            found = count
        if found >= minimum:
            return start.start()
    return len(text)


def _encodings(key: str) -> Iterator[str]:
    """Yield the key in hexadecimal, and the characters of base64 that stand for it alone, at each alignment."""
    yield key.encode().hex()
    yield key.encode().hex().upper()
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        text = b64encode(bytes(offset) + key.encode()).decode()[first : (offset + len(key)) * 8 // 6]
        yield text
        yield text.translate({ord("+"): "-", ord("/"): "_"})


@cache
def _sign_pattern(sign: str) -> re.Pattern[str]:
    return re.compile(_spelling(sign))


@cache
def _spelling(sign: str) -> str:
    """Return a pattern of one character: itself, or its escape in JSON, HTML or a URL, escaped again or not."""
    code = ord(sign)
    itself = sign if sign.isalnum() else rf"\\*{re.escape(sign)}"
    named = "|".join(re.escape(name.rstrip(";")) for name in _html_names(sign))
    return (
        rf"(?:\\+(?:u00|x)(?i:{code:02x})|%(?:25)*(?i:{code:02x})"
        rf"|&(?:amp;)*(?:\#(?:0*{code}|(?i:x0*{code:x}))(?![0-9a-fA-F]){f'|(?:{named})' if named else ''});?"
        rf"|{itself})"  # last, as an escape may begin with the sign
    )


def _html_names(sign: str) -> list[str]:
    if sign.isalnum():
        return []
    from html.entities import html5

    return [name for name, value in html5.items() if value == sign and name.endswith(";")]
