"""Mask passwords, keys and tokens in text that is sent to a model.

A secret is recognized by its name (``api_key``), its form (``sk-…``, a long random word), its position
(``Authorization: …``), or because it is known: the router's key, the environment's secrets. Each gets a placeholder
of its own, ``<secret 1>``, so that equal secrets remain recognizable as equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from puq_magics.prompts.redaction.printed_tables import find_table_cells
from puq_magics.prompts.redaction.record_values import FIELD_INPUT, XML_VALUE, find_record_values
from puq_magics.prompts.redaction.secret_arguments import (
    CALL,
    ECHOED,
    FALLBACK,
    SET_COMMAND,
    SHORT_OPTION,
    SQL_PASSWORD,
    STRING_ARGUMENT,
    TUPLE_ASSIGNMENT,
    find_secret_argument,
)
from puq_magics.prompts.redaction.secret_formats import (
    CODE_BEFORE_NAME,
    CODE_IN_PROSE,
    KEY_IN_PROSE,
    PASSWORD_NAMES,
    PROSE_SECRET,
    TOKEN_FORMATS,
    find_card_numbers,
    find_ibans,
    find_seed_phrases,
    is_prose_secret,
)

#: Shorter secrets are masked only in place, not elsewhere: they may be parts of other words.
MIN_SECRET_CHARS = 6
#: Secrets of letters only: shorter ones may be ordinary words; up to the second length only whole words match.
MIN_WORD_CHARS, MAX_WHOLE_WORD_CHARS = 8, 12

# Words of a name such as `api_key`, `clientSecret`, `TOKEN`.
_WORD = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|\d+")
# Names of secrets of any type; of secrets that are texts; plurals that count only with one of the qualifiers.
_DEFINITE = """
passwords pw pass secret secrets credential credentials authorization bearer cookie cookies otp jwt auth psk
apikeys creds cred pswd psw geheim geheimnis mdp parola haslo sifre
"""
_POSSIBLE = "key token tok schlüssel ключ clave chave chiave clé"
_POSSIBLE_WORDS: Final = frozenset(_POSSIBLE.split())
_DEFINITE_WORDS: Final = frozenset(_DEFINITE.split()) | PASSWORD_NAMES - _POSSIBLE_WORDS
_KIND_WORDS: Final = frozenset(("auth", "authorization", "bearer", "cookie", "cookies", "jwt", "pass"))
_PLURAL_WORDS: Final = frozenset(("keys", "tokens"))
_PLURAL_CONTEXT = "api access auth private session refresh bot app id client signing"
_QUALIFIERS: Final = frozenset(_PLURAL_CONTEXT.split())
# Words of keys that are not secrets.
_DATA_KEYS = "sort sorting group grouping primary foreign dict cache row column index partition join merge"
_HARMLESS_WORDS: Final = frozenset(_DATA_KEYS.split())
_EMBEDDED_WORD = re.compile(
    r"password|passwd|passphrase|apikey|passwort|kennwort|contrase[nñ]a|motdepasse|wachtwoord|losenord"
    rf"|{'|'.join(name for name in PASSWORD_NAMES if not name.isascii())}"
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|PuTTY-User-Key-File-\d:.*?(?:Private-MAC:[^\n]*|\Z)",
    re.DOTALL,
)
# ``Authorization: Bearer …``: with any scheme, but not where code follows it, as in ``f"Bearer {key}"``.
_AUTHORIZATION_HEADER = re.compile(
    r"""(?i:\bauthorization)["']?\s*[:=]\s*[rbf]{0,2}["'`]?"""
    r"""(?:(?:Bearer|Token|Basic)\s+|[A-Za-z][A-Za-z-]{0,40}[ \t]+(?!-)(?=[^\s"'`<>,}]{4}|["'`$<{%]))?+"""
    r"""(?!\$?\{[\w.()\[\]]{0,80}\}|\w+=["'])(?P<value>[^\s"'`<>,}]{4,})"""
)
# ``name = "…"``, ``name: str = "…"``, ``"name": "…"``, ``["name"] = "…"``, ``name <- "…"``, ``$env:name = "…"``.
_STRING_VALUE = (
    r"""\s*(?::|(?::[\w.|\[\] ]{0,40})?(?<![=!<>])=(?!=)|<<?-)(?![ \t]*\n\s*(?:\"""|\'\'\'))\s*"""
    r"""(?P<prefix>[rRbBuUfF]{0,2})(?P<quote>\"""|'''|"|')(?P<value>(?:\\.|(?!(?P=quote)).)+)(?P=quote)"""
)
_NAMED_STRING = re.compile(
    r"""(?:\$env:|(?P<symbol>\[:))?(?<![\w-])(?P<name>[^\W\d][\w-]*)(?(symbol)\]|(?:["']\s*\])?["']?)"""
    rf"{_STRING_VALUE}",
    re.DOTALL,
)
# ``%env API_KEY=…``, ``!export API_KEY=…``: without quotes.
_SHELL_ASSIGNMENT = re.compile(
    r"""^[ \t]*(?:%(?:set_)?env|(?:[!%][ \t]*)?export)[ \t]+(?P<name>\w+)[= ][ \t]*(?P<value>[^\s"']+)""",
    re.MULTILINE,
)
# ``curl -u ada:…`` and ``auth=("ada", "…")``; ``--password …``.
_LOGIN_CREDENTIALS = re.compile(
    r"""(?<![\w-])(?:-u|--user)(?![\w-])(?:["']?,)?[=\s]?[ \t]?["'][^\s:"'=,]{1,80}:(?P<quoted>[^"'\n]{4,})["']"""
    r"""|(?<![\w-])(?:-u|--user)(?![\w-])["']?[=,\s]?[ \t]?["']?[^\s:"'=,]{1,80}:(?P<value>[^\s"']{4,})"""
    r"""|\b(?:auth=|HTTPBasicAuth)[ ]?\([ ]?(?:"[^"\n]{0,80}"|'[^'\n]{0,80}'),[ ]?["'](?P<other>[^"'\n]+)["']"""
)
_COMMAND_LINE_OPTION = re.compile(
    r"""(?<![^\s"'])--?(?P<name>[A-Za-z][\w-]{2,60})[ =]["']?(?P<value>(?![-<{$%])[^\s"']{4,})"""
)
# ``PASSWD = 12345678``, ``{"password": 12345678}``.
_NAMED_NUMBER = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)["']?\]?[ \t]*(?::|(?::[ ]?int[ ]?)?=)[ \t]*"""
    r"""(?P<value>-?\d[\d_.]{3,})(?![\w(])"""
)
_NUMERIC = "count length len min max size timeout ttl expiry expires number num limit retries attempts age"
_NUMERIC_WORDS: Final = frozenset(_NUMERIC.split())
# ``("password", "…")``.
_NAME_VALUE_PAIR = re.compile(
    r"""(?P<open>[(\[,])[ \t]?[rbu]?["'](?P<name>[A-Za-z_][\w-]{0,60})["'],[ \t]?"""
    r"""[rbu]?(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)[ \t]?[)\]]"""
)
# ``["--password", "…"]``.
_ARGUMENT_PAIR = re.compile(
    r"""["']--?(?P<name>[A-Za-z][\w-]{0,60})["'],\s{0,3}[rbuf]?(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
# ``credentials = ("ada", "…")``, ``"passwords": ["…", "…"]``.
_NAMED_ITEMS = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]{0,60})["']?\]?\s{0,3}[:=]\s{0,3}[(\[{](?P<value>[^()\[\]{}]{2,500})[)\]}]"""
)
_STRING_ITEM = re.compile(
    r"""(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n]){4,})(?P=quote)(?!\s*:)"""
)
# ``Password=…;``, ``?token=…&``, ``X-Api-Key: …``: without quotes, as in texts, and not as in code.
_UNQUOTED_VALUE = re.compile(
    r"""(?<![\w-])(?P<name>[A-Za-z_][\w-]*)(?:\\?["'])?[ \t]*(?P<sign>(?<![=!<>:])=(?!=)|:(?![=/:]))[ \t]*"""
    r"""(?:\\["'])?(?P<value>(?:(?!<secret[ ]\d|\\["'nrt])[^\s"',;&)}\]]){4,})"""
)
# ``password == "…"``
_COMPARISON = re.compile(
    r"""(?<![\w-])(?P<name>[^\W\d][\w-]{0,60})["']?\]?[ ]?[!=]=[ ]?[rbu]?(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
# ``"Bearer " + key``, ``f"Bearer {key}"``
_SCHEME = re.compile(r"(?i:bearer|token|basic|[\w-]*key) (?:\{\}|%s)?")
_FORMATTED_VALUE = re.compile(r"(?:[A-Za-z-]+ )?\{[^{}]*\}")
# Values that are not secrets: placeholders, calls, constants, reprs of objects.
_PLACEHOLDER_VALUE = re.compile(
    r"""\{[^{}]*\}?$|%[(sdr]|\$\{?[A-Za-z_]+\}?$|<|[A-Za-z_.]+[(\[]|(?:None|True|False|null|true|false)$|[*.…]+$"""
)
# Texts within code: magics, strings and comments. An unclosed string extends to the end.
_TEXT = (
    r"""^[ \t]*[!%][^\n]*|=[ \t]?![^=\n][^\n]*|\#[^\n]*"""
    r"""|\"""(?:\\.|(?!\""").)*(?:\"""|\Z)|'''(?:\\.|(?!''').)*(?:'''|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?"""
)
_TEXT_IN_CODE = re.compile(_TEXT, re.DOTALL | re.MULTILINE)
# A named string or any other text: so that no name in a text is that of what follows the text.
_NAMED_STRING_IN_CODE = re.compile(
    rf"""(?:(?P<key>["'])[^"'\n]{{0,80}}?)?(?<![\w-])(?P<name>[^\W\d][\w-]*)(?(key)(?P=key)(?:\s*\])?)"""
    rf"""{_STRING_VALUE}|(?P<text>{_TEXT})""",
    re.DOTALL | re.MULTILINE,
)
_MAX_NESTED_STRINGS = 3
# Lines of code in a traceback.
_TRACEBACK_LINE = re.compile(r"^  (?:-->|   ) *(?:\d+ \|[^\n]*|(?<=--> )[^\n]*)", re.MULTILINE)
_OTHER_LANGUAGE_MAGIC = re.compile(r"\s*%%(?!time|timeit|capture|prun|puq_)\w")
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
# Keys of AWS, Azure and others; not longer data, such as images.
_BASE64_KEY = re.compile(r"(?<![\w/+-])(?=\w*[/+])[A-Za-z0-9/+]{40,88}(?![\w/+-])")
_MASK_PATTERN = re.compile(r"<secret \d+>")


def is_secret_name(name: str) -> bool:
    """Return whether the name of a variable, key or attribute indicates a secret."""
    words = [word.lower() for word in _WORD.findall(name)]
    if is_definite_secret_name(name):
        return True
    if not _POSSIBLE_WORDS.isdisjoint(words):
        return _HARMLESS_WORDS.isdisjoint(words)
    return not _PLURAL_WORDS.isdisjoint(words) and not _QUALIFIERS.isdisjoint(words)


def is_definite_secret_name(name: str) -> bool:
    """Return whether the name certainly indicates a secret, as ``password`` does and ``key`` does not."""
    joined = re.sub("[_-]", "", name.lower())
    words = {joined, *(word.lower() for word in _WORD.findall(name))}
    return not _DEFINITE_WORDS.isdisjoint(words) or _EMBEDDED_WORD.search(joined) is not None


def find_environment_secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the secrets in environment variables."""
    return [
        value
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= MIN_SECRET_CHARS
    ]


class SecretMasker:
    """Replaces secrets by placeholders, and remembers them."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._masks: dict[str, str] = {}
        self._used: set[str] = set()
        self._known: dict[str, re.Pattern[str] | None] = {}
        for secret in known:
            self._add_known(secret)

    @property
    def count(self) -> int:
        """Number of secrets that were masked."""
        return len(self._used)

    def mask_secret(self, secret: str, *, everywhere: bool = True) -> str:
        """Return the placeholder of a secret; with ``everywhere``, mask later occurrences too."""
        if not secret or _MASK_PATTERN.search(secret):
            return secret
        if everywhere and not (
            secret.isalpha() and (len(secret) < MIN_WORD_CHARS or _is_secret_word(secret))
        ):
            self._add_known(secret)
        return self._mask_for(secret)

    def mask(self, text: str, *, code: bool = False) -> str:
        """Mask the secrets in a text; in ``code`` only strings, comments and magics are treated as text."""
        text = self.mask_known(text)
        text = _PRIVATE_KEY.sub(lambda match: self.mask_secret(match[0]), text)
        code = code and not _OTHER_LANGUAGE_MAGIC.match(text)
        for pattern in (_AUTHORIZATION_HEADER, _SHELL_ASSIGNMENT, XML_VALUE, FIELD_INPUT, SQL_PASSWORD):
            text = pattern.sub(self._mask_named, text)
        text = "".join(self._mask_strings(part, code=is_code) for part, is_code in _split_code(text, code))
        for pattern in (
            _LOGIN_CREDENTIALS,
            _COMMAND_LINE_OPTION,
            SHORT_OPTION,
            ECHOED,
            SET_COMMAND,
            _ARGUMENT_PAIR,
            FALLBACK,
        ):
            text = pattern.sub(self._mask_named, text)
        text = _COMPARISON.sub(self._mask_comparison, text)
        text = TUPLE_ASSIGNMENT.sub(self._mask_tuple, text)
        text = CALL.sub(self._mask_call, text)
        text = self._mask_cells(text, find_table_cells(text, is_secret_name))
        text = self._mask_cells(text, find_record_values(text, is_secret_name))
        text = _NAME_VALUE_PAIR.sub(self._mask_pair, text)
        text = _NAMED_ITEMS.sub(self._mask_items, text)
        text = _NAMED_NUMBER.sub(self._mask_number, text)
        text = TOKEN_FORMATS.sub(lambda match: self.mask_secret(match[0]), text)
        for secret in (*find_card_numbers(text), *find_ibans(text), *find_seed_phrases(text)):
            text = text.replace(secret, self.mask_secret(secret))
        if not code:
            text = self._mask_in_prose(text)
        text = "".join(self._mask_unquoted(part, code=is_code) for part, is_code in _split_code(text, code))
        text = _BASE64_KEY.sub(
            lambda match: (
                self.mask_secret(match[0]) if _alternates(re.sub("[/+]", "", match[0])) else match[0]
            ),
            text,
        )
        return _LONG_WORD.sub(
            lambda match: self.mask_secret(match[0]) if looks_random(match[0]) else match[0], text
        )

    def mask_known(self, text: str) -> str:
        """Mask the secrets that are already known."""
        for secret in sorted(self._known, key=len, reverse=True):  # one may be a part of another
            if secret in text:
                whole, mask = self._known[secret], self._mask_for(secret)
                text = whole.sub(mask, text) if whole else text.replace(secret, mask)
        return text

    def unmask(self, text: str, source: str) -> str:
        """Restore the secrets of ``source`` in a changed version of it."""
        for secret, mask in self._masks.items():
            if secret in source:
                text = text.replace(mask, secret)
        return text

    def _mask_strings(self, text: str, *, code: bool, depth: int = 0) -> str:
        """Mask ``name = "value"``, within other strings, too."""

        def _mask_string(match: re.Match[str]) -> str:
            masked = self._mask_named(match) if match["value"] else match[0]
            if masked != match[0] or depth == _MAX_NESTED_STRINGS:
                return masked
            inside = "value" if match["value"] else "text"
            start, end = (place - match.start() for place in match.span(inside))
            nested = self._mask_strings(match[inside], code=False, depth=depth + 1)
            return masked[:start] + nested + masked[end:]

        return (_NAMED_STRING_IN_CODE if code else _NAMED_STRING).sub(_mask_string, text)

    def _mask_named(self, match: re.Match[str]) -> str:
        """Mask the value of ``name = "value"`` if the name indicates a secret."""
        groups = match.groupdict()
        name = groups.get("name") or groups.get("key") or "authorization"
        group = next(each for each in ("value", "other", "quoted") if groups.get(each))
        value = match[group]
        if not is_secret_name(name) or (not is_definite_secret_name(name) and is_plain_word(value)):
            return match[0]
        is_format = "f" in (groups.get("prefix") or "").lower()
        if _SCHEME.fullmatch(value) or (is_format and _FORMATTED_VALUE.fullmatch(value)):
            return match[0]
        return self._replace_group(match, group)

    def _mask_comparison(self, match: re.Match[str]) -> str:
        """Mask the value in ``password == "…"``, but for kinds, as in ``auth == "basic"``."""
        words = {word.lower() for word in _WORD.findall(match["name"])}
        is_kind = is_plain_word(match["value"]) and not _KIND_WORDS.isdisjoint(words)
        return match[0] if is_kind or not is_definite_secret_name(match["name"]) else self._mask_named(match)

    def _mask_number(self, match: re.Match[str]) -> str:
        """Mask a number if its name certainly indicates a secret, and not a count."""
        words = {word.lower() for word in _WORD.findall(match["name"])}
        counted = not is_definite_secret_name(match["name"]) or not _NUMERIC_WORDS.isdisjoint(words)
        return match[0] if counted or _is_error(match["name"]) else self._replace_group(match)

    def _mask_tuple(self, match: re.Match[str]) -> str:
        """Mask the strings that are assigned to names of secrets."""
        names = [name.strip() for name in match["names"].split(",")]
        strings = list(STRING_ARGUMENT.finditer(match["values"]))
        if len(strings) != len(names):
            return match[0]
        text = match["values"]
        for name, string in zip(reversed(names), reversed(strings), strict=True):
            if is_secret_name(name) and not _PLACEHOLDER_VALUE.match(string["value"]):
                text = self._replace_span(text, *string.span("value"))
        return match["before"] + text

    def _mask_call(self, match: re.Match[str]) -> str:
        """Mask the argument of a call that is a secret by what is called."""
        function = match["function"]
        strings = list(STRING_ARGUMENT.finditer(match["arguments"]))
        named = is_secret_name(function.rpartition(".")[2]) and not _is_error(function)
        index = find_secret_argument(function, [string["value"] for string in strings], named=named)
        found = [] if index is None else [strings[index]]
        if any(
            (each["name"] or "").startswith("name") and is_definite_secret_name(each["value"])
            for each in strings
        ):
            found = strings  # pd.Series([…], name="password")
        text, offset = match[0], match.start("arguments") - match.start()
        for string in reversed([each for each in found if not each["name"]]):
            text = self._replace_span(text, *(offset + place for place in string.span("value")))
        return text

    def _mask_cells(self, text: str, cells: Iterable[tuple[int, int, str]]) -> str:
        """Mask the cells of tables and records whose name is that of a secret."""
        parts, position = [], 0
        for start, end, name in sorted(set(cells)):
            value = text[start:end]
            if not value.strip() or _PLACEHOLDER_VALUE.match(value):
                continue
            if is_definite_secret_name(name):
                is_secret = len(value) >= 4 or not value.isdigit()
            else:
                is_secret = is_secret_name(name) and len(value) >= MIN_WORD_CHARS and not is_plain_word(value)
            if is_secret and start >= position:
                parts += [
                    text[position:start],
                    self.mask_secret(value, everywhere=len(value) >= MIN_WORD_CHARS),
                ]
                position = end
        return "".join([*parts, text[position:]])

    def _mask_pair(self, match: re.Match[str]) -> str:
        """Mask the second item of ``("password", "…")``; words in a list are more likely column names."""
        name, value = match["name"], match["value"]
        plain = value.isidentifier() and not any(c.isdigit() for c in value)
        called = match["open"] != "[" and match[0][-1] == ")"
        if not is_secret_name(name) or (
            plain and (not called or not is_definite_secret_name(name) or is_secret_name(value))
        ):
            return match[0]
        return self._replace_group(match, everywhere=not plain)

    def _mask_items(self, match: re.Match[str]) -> str:
        """Mask the strings of a list whose name certainly indicates secrets."""
        if not is_definite_secret_name(match["name"]) or _is_error(match["name"]):
            return match[0]
        items = _STRING_ITEM.sub(lambda item: self._replace_group(item, everywhere=False), match["value"])
        start, end = (place - match.start() for place in match.span("value"))
        return match[0][:start] + items + match[0][end:]

    def _mask_in_prose(self, text: str) -> str:
        text = PROSE_SECRET.sub(self._mask_prose, text)
        for pattern in (CODE_IN_PROSE, CODE_BEFORE_NAME, KEY_IN_PROSE):
            text = pattern.sub(self._replace_group, text)
        return text

    def _mask_prose(self, match: re.Match[str]) -> str:
        if not is_prose_secret(match) or _PLACEHOLDER_VALUE.match(match["value"]):
            return match[0]
        return self._replace_group(match, everywhere=not match["value"].isalpha())

    def _mask_unquoted(self, text: str, *, code: bool) -> str:
        if not code:
            return _UNQUOTED_VALUE.sub(self._mask_unquoted_value, text)
        return _TEXT_IN_CODE.sub(
            lambda match: _UNQUOTED_VALUE.sub(self._mask_unquoted_value, self._mask_in_prose(match[0])), text
        )

    def _mask_unquoted_value(self, match: re.Match[str]) -> str:
        """Mask the value of ``name=value`` unless it looks like prose or code."""
        name, value = match["name"], match["value"]
        if not is_secret_name(name) or _is_error(name) or _PLACEHOLDER_VALUE.match(value):
            return match[0]
        prose = match["sign"] == ":" and (name.isalpha() or not is_definite_secret_name(name))
        if is_definite_secret_name(name):
            if prose and value.strip(".").isalpha() and len(value) < MIN_WORD_CHARS:
                return match[0]
            return self._replace_group(match, everywhere=not (prose and value.strip(".").isalpha()))
        if len(value) < MIN_WORD_CHARS or is_plain_word(value) or value.isdigit():
            return match[0]
        return self._replace_group(match, everywhere=not prose)

    def _replace_group(self, match: re.Match[str], group: str = "value", *, everywhere: bool = True) -> str:
        """Return the match with one group masked."""
        start, end = (place - match.start() for place in match.span(group))
        return self._replace_span(match[0], start, end, everywhere=everywhere)

    def _replace_span(self, text: str, start: int, end: int, *, everywhere: bool = True) -> str:
        return text[:start] + self.mask_secret(text[start:end], everywhere=everywhere) + text[end:]

    def _mask_for(self, secret: str) -> str:
        self._used.add(secret)
        return self._masks.setdefault(secret, f"<secret {len(self._masks) + 1}>")

    def _add_known(self, secret: str) -> None:
        for spelling in (secret, repr(secret)[1:-1]):
            if len(spelling) >= MIN_SECRET_CHARS and spelling not in self._known:
                short = spelling.isdigit() or (spelling.isalpha() and len(spelling) < MAX_WHOLE_WORD_CHARS)
                self._known[spelling] = re.compile(rf"(?<!\w){re.escape(spelling)}(?!\w)") if short else None


def _split_code(text: str, code: bool) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, which may have lines of code from tracebacks, and whether each is code."""
    end = 0
    for match in () if code else _TRACEBACK_LINE.finditer(text):
        yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    yield text[end:], code


def looks_random(word: str) -> bool:
    """Return whether letters and digits alternate too often for a word chosen by a person."""
    runs = re.findall(r"[A-Za-z0-9]{20,}", word)
    if any(len(re.findall(r"\d+", run)) >= 3 and not run.isdigit() for run in runs):
        return True
    return _alternates(word)


def _alternates(word: str) -> bool:
    kinds = ["a" if c.islower() else "A" if c.isupper() else "1" if c.isdigit() else "-" for c in word]
    changes = sum(left != right for left, right in pairwise(kinds))
    return {"a", "A", "1"} <= set(kinds) and changes / (len(word) - 1) >= 0.42


def is_plain_word(value: str) -> bool:
    """Return whether a value is a plain word, such as ``colour``."""
    return len(value) < 12 and not any(c.isdigit() for c in value)


def _is_secret_word(value: str) -> bool:
    """Return whether a value is itself such a name, as in ``password="password"``."""
    return value.lower() in _DEFINITE_WORDS | _POSSIBLE_WORDS | _PLURAL_WORDS


def _is_error(name: str) -> bool:
    return name.endswith(("Error", "Exception", "Warning"))
