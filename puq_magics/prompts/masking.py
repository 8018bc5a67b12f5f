"""Passwords, keys and tokens are taken out of what is sent to a model.

What is one shows by its name (``api_key``), by its look (``sk-…``, a long random word), by where it stands
(``Authorization: …``), or because somebody says so: the router's key, the environment's secrets. Each gets a mark of
its own, ``<secret 1>``, so that a reader still sees which of two places hold the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

#: Shorter secrets are masked where they stand, but not looked for elsewhere: they are parts of other words.
SHORTEST = 6

# A name is one of a secret by its words: `api_key`, `clientSecret`, `TOKEN`.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Whose value is masked whatever it is; whose is if it is a text; of which several are, with another of the words.
_SURE = """
password passwords passwd passphrase passcode pwd pw pass secret secrets credential credentials
authorization bearer cookie cookies otp jwt auth apikey apikeys
"""
_STRONG: Final = frozenset(_SURE.split())
_WEAK: Final = frozenset(("key", "token"))
_MANY: Final = frozenset(("keys", "tokens"))
_WITH_MANY = "api access auth private session refresh bot app id client signing"
_QUALIFIERS: Final = frozenset(_WITH_MANY.split())
# Keys of another kind.
_OF_DATA = "sort sorting group grouping primary foreign dict cache row column index partition join merge"
_HARMLESS: Final = frozenset(_OF_DATA.split())
_INSIDE = re.compile(r"password|passwd|passphrase|apikey")

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Keys of well-known makers, Bearer headers, JSON Web Tokens, the password of a URL.
_KNOWN = re.compile(
    r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{8,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{12,}"
    r"|\bhf_[A-Za-z0-9]{16,}|\bxox[a-z]-[\w-]{10,}|\bA[KS]IA[A-Z0-9]{12,}|\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?<=[Bb]earer )[^\s\"'<>]{8,}|(?<=://)[^\s/@:\"'<>]*:[^\s/@\"'<>]+(?=@)"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
)
_HEADER = re.compile(
    r"""(?i:\bauthorization)["']?\s*[:=]\s*[rbf]{0,2}["']?(?:(?:Bearer|Token|Basic)\s+)?(?P<value>[^\s"'<>,}]{4,})"""
)
_NAMED = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)(?:["']\s*\])?["']?\s*(?::|(?::[\w.|\[\] ]{1,40})?(?<![=!<>])=(?!=))\s*"""
    r"""[rRbBuU]{0,2}(?P<quote>\"""|'''|"|')(?P<value>(?:\\.|(?!(?P=quote)).)+)(?P=quote)""",
    re.DOTALL,
)
# ``%env API_KEY=…``, ``!export API_KEY=…``: without quotes.
_SHELL = re.compile(
    r"""^\s*(?:%(?:set_)?env|[!%]?\s*export)\s+(?P<name>\w+)[= ]\s*(?P<value>[^\s"']+)""", re.MULTILINE
)
_LONG = re.compile(r"[A-Za-z0-9_-]{20,}")
_MARK = re.compile(r"<secret \d+>")


def is_secret(name: str) -> bool:
    """Whether a variable, key or attribute of that name holds a secret, to judge by its words."""
    words = [word.lower() for word in _WORD.findall(name)]
    if is_strong(name):
        return True
    if not _WEAK.isdisjoint(words):
        return _HARMLESS.isdisjoint(words)
    return not _MANY.isdisjoint(words) and not _QUALIFIERS.isdisjoint(words)


def is_strong(name: str) -> bool:
    """Whether the name leaves no doubt, as ``password`` does and ``key`` does not."""
    words = {word.lower() for word in _WORD.findall(name)}
    return not _STRONG.isdisjoint(words) or _INSIDE.search(name.lower().replace("_", "")) is not None


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The secrets among an environment's variables."""
    return [value for name, value in environment.items() if is_secret(name) and len(value) >= SHORTEST]


class Masker:
    """Puts marks in the place of secrets; what it has masked once it knows again."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._marks: dict[str, str] = {}
        self._used: set[str] = set()
        self._known: list[str] = []
        for secret in known:
            self._remember(secret)

    @property
    def count(self) -> int:
        """How many secrets it has put a mark in the place of."""
        return len(self._used)

    def hide(self, secret: str, *, everywhere: bool = True) -> str:
        """Return the mark of a secret, which from now on is masked ``everywhere``."""
        if not secret or _MARK.search(secret):
            return secret
        if everywhere and len(secret) >= SHORTEST and not secret.isalpha():
            self._remember(secret)
        return self._mark(secret)

    def mask(self, text: str) -> str:
        """Return a text without its secrets."""
        text = self.again(text)
        text = _PEM.sub(lambda found: self.hide(found[0]), text)
        for pattern in (_HEADER, _SHELL, _NAMED):
            text = pattern.sub(self._named, text)
        text = _KNOWN.sub(lambda found: self.hide(found[0]), text)
        return _LONG.sub(lambda found: self.hide(found[0]) if is_random(found[0]) else found[0], text)

    def again(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, self._mark(secret))
        return text

    def restore(self, text: str, source: str) -> str:
        """Put back those secrets that stand in ``source``, into a changed version of it."""
        for secret, mark in self._marks.items():
            if secret in source:
                text = text.replace(mark, secret)
        return text

    def _named(self, found: re.Match[str]) -> str:
        """Mask the value of ``name = "value"``, if the name is one of a secret."""
        groups = found.groupdict()
        name, value = groups.get("name", "authorization"), found["value"]
        if not is_secret(name) or (not is_strong(name) and _is_word(value)):
            return found[0]
        start, end = (place - found.start() for place in found.span("value"))
        return found[0][:start] + self.hide(value) + found[0][end:]

    def _mark(self, secret: str) -> str:
        self._used.add(secret)
        return self._marks.setdefault(secret, f"<secret {len(self._marks) + 1}>")

    def _remember(self, secret: str) -> None:
        for spelling in (secret, repr(secret)[1:-1]):
            if len(spelling) >= SHORTEST and spelling not in self._known:
                self._known.append(spelling)
        self._known.sort(key=len, reverse=True)  # one may be a part of another


def is_random(word: str) -> bool:
    """Whether letters and digits change too often for a word that somebody made up."""
    runs = re.findall(r"[A-Za-z0-9]{20,}", word)
    if any(len(re.findall(r"\d+", run)) >= 3 and not run.isdigit() for run in runs):
        return True
    kinds = ["a" if c.islower() else "A" if c.isupper() else "1" if c.isdigit() else "-" for c in word]
    changes = sum(left != right for left, right in pairwise(kinds))
    return {"a", "A", "1"} <= set(kinds) and changes / (len(word) - 1) >= 0.42


def _is_word(value: str) -> bool:
    """Whether a value of a ``key`` is a plain word, like ``colour``."""
    return len(value) < 12 and not any(c.isdigit() for c in value)
