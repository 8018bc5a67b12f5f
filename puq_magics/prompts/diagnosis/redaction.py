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
#: Shorter secrets of letters only may be ordinary words; up to the second they are looked for as whole words.
SHORTEST_WORD, LONGEST_WORD = 8, 12

# A name is one of a secret by its words: `api_key`, `clientSecret`, `TOKEN`.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# Whose value is masked whatever it is; whose is if it is a text; of which several are, with another of the words.
_SURE = """
password passwords passwd passphrase passcode pwd pw pass secret secrets credential credentials
authorization bearer cookie cookies otp jwt auth apikey apikeys
"""
_STRONG: Final = frozenset(_SURE.split())
_WEAK: Final = frozenset(("key", "token", "tok"))
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
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?<=[Bb]earer )[^\s\"'<>]{8,}|(?<=://)[^\s/@:\"'<>]*:[^\s/@\"'<>]+(?=@)"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
)
_HEADER = re.compile(
    r"""(?i:\bauthorization)["']?\s*[:=]\s*[rbf]{0,2}["']?(?:(?:Bearer|Token|Basic)\s+)?"""
    r"""(?!(?:Bearer|Token|Basic)\s|\{[\w.()\[\]]{0,80}\})(?P<value>[^\s"'<>,}]{4,})"""
)
_NAMED = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)(?:["']\s*\])?["']?\s*(?::|(?::[\w.|\[\] ]{1,40})?(?<![=!<>])=(?!=))\s*"""
    r"""(?P<prefix>[rRbBuUfF]{0,2})(?P<quote>\"""|'''|"|')(?P<value>(?:\\.|(?!(?P=quote)).)+)(?P=quote)""",
    re.DOTALL,
)
# ``%env API_KEY=…``, ``!export API_KEY=…``: without quotes.
_SHELL = re.compile(
    r"""^[ \t]*(?:%(?:set_)?env|(?:[!%][ \t]*)?export)[ \t]+(?P<name>\w+)[= ][ \t]*(?P<value>[^\s"']+)""",
    re.MULTILINE,
)
# ``curl -u ada:…`` and ``auth=("ada", "…")``; ``--password …``.
_LOGIN = re.compile(
    r"""(?<![\w-])(?:-u|--user)(?![\w-])["']?[=,\s]?[ \t]?["']?[^\s:"'=,]{1,80}:(?P<value>[^\s"']{4,})"""
    r"""|\b(?:auth=|HTTPBasicAuth)[ ]?\([ ]?(?:"[^"\n]{0,80}"|'[^'\n]{0,80}'),[ ]?["'](?P<other>[^"'\n]+)["']"""
)
_OPTION = re.compile(r"""(?<!\S)--(?P<name>[A-Za-z][\w-]{0,60})[ =]["']?(?P<value>(?![-<{$%])[^\s"']{4,})""")
# ``PASSWD = 12345678``, ``{"password": 12345678}``.
_NUMBER = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)["']?\]?[ \t]*(?::|(?::[ ]?int[ ]?)?=)[ \t]*"""
    r"""(?P<value>-?\d[\d_.]{3,})(?![\w(])"""
)
_OF_COUNTS = "count length len min max size timeout ttl expiry expires number num limit retries attempts age"
_COUNTS: Final = frozenset(_OF_COUNTS.split())
# ``("password", "…")``.
_PAIR = re.compile(
    r"""(?P<open>[(\[,])[ \t]?[rbu]?["'](?P<name>[A-Za-z_][\w-]{0,60})["'],[ \t]?"""
    r"""[rbu]?(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)[ \t]?[)\]]"""
)
# ``Password=…;``, ``?token=…&``, ``X-Api-Key: …``: without quotes, as in texts, and not as in code.
_LOOSE = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)(?:\\?["'])?[ \t]*(?P<sign>(?<![=!<>:])=(?!=)|:(?![=/:]))[ \t]*"""
    r"""(?:\\["'])?(?P<value>(?:(?!<secret[ ]\d|\\["'nrt])[^\s"',;&)}\]]){4,})"""
)
# What such a value is not: a place to fill in, a call, a constant, the repr of an object.
_NO_VALUE = re.compile(
    r"""\{[^{}]*\}?$|%[(sdr]|\$\{?[A-Za-z_]+\}?$|<|[A-Za-z_.]+[(\[]|(?:None|True|False|null|true|false)$|[*.…]+$"""
)
# The places of code that are texts: magics, strings and comments. What is not closed goes on to the end.
_TEXTS = re.compile(
    r"""^[ \t]*[!%][^\n]*|=[ \t]?![^=\n][^\n]*|\#[^\n]*"""
    r"""|\"""(?:\\.|(?!\""").)*(?:\"""|\Z)|'''(?:\\.|(?!''').)*(?:'''|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
# Lines of code in a traceback.
_LISTED = re.compile(r"^  (?:-->|   ) *(?:\d+ \|[^\n]*|(?<=--> )[^\n]*)", re.MULTILINE)
_FOREIGN = re.compile(r"\s*%%(?!time|timeit|capture|prun|puq_)\w")
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
    return not _STRONG.isdisjoint(words) or _INSIDE.search(re.sub("[_-]", "", name.lower())) is not None


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """The secrets among an environment's variables."""
    return [value for name, value in environment.items() if is_secret(name) and len(value) >= SHORTEST]


class Masker:
    """Puts marks in the place of secrets; what it has masked once it knows again."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._marks: dict[str, str] = {}
        self._used: set[str] = set()
        self._known: dict[str, re.Pattern[str] | None] = {}
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
        if everywhere and not (secret.isalpha() and (len(secret) < SHORTEST_WORD or _is_label(secret))):
            self._remember(secret)
        return self._mark(secret)

    def mask(self, text: str, *, code: bool = False) -> str:
        """Return a text without its secrets; of ``code`` only strings, comments and magics are read as text."""
        text = self.again(text)
        text = _PEM.sub(lambda found: self.hide(found[0]), text)
        for pattern in (_HEADER, _SHELL, _NAMED, _LOGIN, _OPTION):
            text = pattern.sub(self._named, text)
        text = _PAIR.sub(self._pair, text)
        text = _NUMBER.sub(self._number, text)
        text = _KNOWN.sub(lambda found: self.hide(found[0]), text)
        text = self._in_code(text) if code and not _FOREIGN.match(text) else self._in_text(text)
        return _LONG.sub(lambda found: self.hide(found[0]) if is_random(found[0]) else found[0], text)

    def again(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        for secret in sorted(self._known, key=len, reverse=True):  # one may be a part of another
            if secret in text:
                whole, mark = self._known[secret], self._mark(secret)
                text = whole.sub(mark, text) if whole else text.replace(secret, mark)
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
        name, group = groups.get("name", "authorization"), "value" if groups["value"] else "other"
        value = found[group]
        if not is_secret(name) or (not is_strong(name) and is_word(value)):
            return found[0]
        if "f" in (groups.get("prefix") or "").lower() and re.fullmatch(r"\{[^{}]*\}", value):
            return found[0]
        return self._put(found, group)

    def _number(self, found: re.Match[str]) -> str:
        """Mask a number, if the name before it is surely one of a secret, and not of something counted."""
        words = {word.lower() for word in _WORD.findall(found["name"])}
        counted = not is_strong(found["name"]) or not _COUNTS.isdisjoint(words)
        return found[0] if counted or _is_error(found["name"]) else self._put(found)

    def _pair(self, found: re.Match[str]) -> str:
        """Mask the second of ``("password", "…")``; words in a list are more likely names of columns."""
        name, value = found["name"], found["value"]
        plain = value.isidentifier() and not any(c.isdigit() for c in value)
        called = found["open"] != "[" and found[0][-1] == ")"
        if not is_secret(name) or (plain and (not called or not is_strong(name) or is_secret(value))):
            return found[0]
        return self._put(found, everywhere=not plain)

    def _in_code(self, text: str) -> str:
        return _TEXTS.sub(lambda found: _LOOSE.sub(self._loose, found[0]), text)

    def _in_text(self, text: str) -> str:
        """A text, in which there may be lines of code as tracebacks have them."""
        parts, end = [], 0
        for found in _LISTED.finditer(text):
            parts += [_LOOSE.sub(self._loose, text[end : found.start()]), self._in_code(found[0])]
            end = found.end()
        return "".join([*parts, _LOOSE.sub(self._loose, text[end:])])

    def _loose(self, found: re.Match[str]) -> str:
        """Mask the value of ``name=value``, if it does not look like prose or code."""
        name, value = found["name"], found["value"]
        if not is_secret(name) or _is_error(name) or _NO_VALUE.match(value):
            return found[0]
        prose = found["sign"] == ":" and (name.isalpha() or not is_strong(name))
        if is_strong(name):
            if prose and value.strip(".").isalpha() and len(value) < SHORTEST_WORD:
                return found[0]
            return self._put(found, everywhere=not (prose and value.strip(".").isalpha()))
        if len(value) < SHORTEST_WORD or is_word(value) or value.isdigit():
            return found[0]
        return self._put(found, everywhere=not prose)

    def _put(self, found: re.Match[str], group: str = "value", *, everywhere: bool = True) -> str:
        """What was found, with a mark in the place of a group."""
        start, end = (place - found.start() for place in found.span(group))
        return found[0][:start] + self.hide(found[group], everywhere=everywhere) + found[0][end:]

    def _mark(self, secret: str) -> str:
        self._used.add(secret)
        return self._marks.setdefault(secret, f"<secret {len(self._marks) + 1}>")

    def _remember(self, secret: str) -> None:
        for spelling in (secret, repr(secret)[1:-1]):
            if len(spelling) >= SHORTEST and spelling not in self._known:
                short = spelling.isdigit() or (spelling.isalpha() and len(spelling) < LONGEST_WORD)
                self._known[spelling] = re.compile(rf"(?<!\w){re.escape(spelling)}(?!\w)") if short else None


def is_random(word: str) -> bool:
    """Whether letters and digits change too often for a word that somebody made up."""
    runs = re.findall(r"[A-Za-z0-9]{20,}", word)
    if any(len(re.findall(r"\d+", run)) >= 3 and not run.isdigit() for run in runs):
        return True
    kinds = ["a" if c.islower() else "A" if c.isupper() else "1" if c.isdigit() else "-" for c in word]
    changes = sum(left != right for left, right in pairwise(kinds))
    return {"a", "A", "1"} <= set(kinds) and changes / (len(word) - 1) >= 0.42


def is_word(value: str) -> bool:
    """Whether a value of a ``key`` is a plain word, like ``colour``."""
    return len(value) < 12 and not any(c.isdigit() for c in value)


def _is_label(value: str) -> bool:
    """Whether a value is itself the name of such a thing, as in ``password="password"``."""
    return value.lower() in _STRONG | _WEAK | _MANY


def _is_error(name: str) -> bool:
    return name.endswith(("Error", "Exception", "Warning"))
