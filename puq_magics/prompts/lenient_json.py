"""Read JSON that is nearly right: trailing commas, single quotes, words of Python, unquoted keys, comments, NaN.

The text is rewritten token by token, and then read strictly: what is missing is not made up, and an end that is not
closed stays an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import isfinite
from typing import Any, NoReturn

TRAILING_COMMA, SINGLE_QUOTES, UNQUOTED_KEYS = "trailing comma", "single quotes", "unquoted keys"
COMMENTS, PYTHON_WORDS, LINE_BREAKS = "comments", "Python's True, False or None", "line breaks in a text"
ESCAPED_APOSTROPHES = "escaped apostrophes"
NOT_A_NUMBER = "NaN or infinity made null"
_MAX_DEPTH = 100
_PYTHON = {"True": "true", "False": "false", "None": "null"}
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<single>'(?:[^'\\]|\\.)*')
    |(?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)
    |(?P<constant>-?(?:Infinity|NaN)\b)
    |(?P<word>(?:[^\W\d]|\$)[\w$-]*)
    |(?P<number>-?\d[\d.eE+-]*)
    |(?P<mark>[\[\]{}:,])""",
    re.DOTALL | re.VERBOSE,
)
_QUOTE_OR_ESCAPE = re.compile(r"""\\.|["\n\r\t]""", re.DOTALL)
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", r"\'": "'"}


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")  # Python's json takes NaN and Infinity, the standard does not


def _parse_float(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _reject_constant(text)  # 1e999, which Python makes infinite


#: Reads what the standard calls JSON, and nothing else.
DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_parse_float)


def read_lenient_json(text: str, start: int = 0, *, to_end: bool = True) -> tuple[Any, tuple[str, ...], int]:
    """Read the object or list that begins at ``start``; return it, what was repaired in it, and where it ends.

    Raises ValueError if it cannot be read, or if ``to_end`` and something follows it; JSONDecodeError, with the
    document's end, if only its inside cannot be read.
    """
    repairs: dict[str, None] = {}
    tokens, end = _document_tokens(text, start)
    if to_end and text[end:].strip():
        raise ValueError("something follows the document")
    document = "".join(_rewrite(tokens, repairs))
    try:
        return DECODER.decode(document), tuple(repairs), end
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), text, end) from None


def _document_tokens(text: str, start: int) -> tuple[list[tuple[str, str]], int]:
    """Return the kinds and texts of the document's tokens, without space, and the document's end."""
    tokens: list[tuple[str, str]] = []
    depth, position = 0, start
    while match := _TOKEN.match(text, position):
        kind, lexeme, position = str(match.lastgroup), match.group(), match.end()
        if kind == "space":
            continue
        tokens.append((kind, lexeme))
        if kind == "mark":
            depth += (lexeme in "[{") - (lexeme in "]}")
        if depth <= 0 or depth > _MAX_DEPTH:
            break
    if depth or len(tokens) < 2:
        raise ValueError("no object and no list that ends")
    return tokens, position


def _rewrite(tokens: list[tuple[str, str]], repairs: dict[str, None]) -> Iterator[str]:
    """Yield the tokens as JSON, and add what was repaired to ``repairs``."""
    if any(kind == "comment" for kind, _ in tokens):
        repairs[COMMENTS] = None
        tokens = [lexeme for lexeme in tokens if lexeme[0] != "comment"]
    for (kind, lexeme), (_, following) in zip(tokens, [*tokens[1:], ("", "")], strict=True):
        if lexeme == "," and following in ("]", "}"):
            repairs[TRAILING_COMMA] = None
        elif kind in ("string", "single"):
            yield _rewrite_string(lexeme, repairs)
        elif following == ":" and kind in ("word", "constant", "number"):
            repairs[UNQUOTED_KEYS] = None
            yield f'"{lexeme}"'
        elif kind == "constant" or (kind == "number" and _is_too_large(lexeme)):
            repairs[NOT_A_NUMBER] = None
            yield "null"
        elif lexeme in _PYTHON:
            repairs[PYTHON_WORDS] = None
            yield _PYTHON[lexeme]
        else:
            yield f"{lexeme} "  # two numbers side by side stay two


def _is_too_large(number: str) -> bool:
    """Return whether a number with a point or an exponent is infinite as a float."""
    try:
        return any(char in number for char in ".eE") and not isfinite(float(number))
    except ValueError:
        return False


def _rewrite_string(lexeme: str, repairs: dict[str, None]) -> str:
    if lexeme[0] == "'":
        repairs[SINGLE_QUOTES] = None
    if any(char in lexeme for char in "\n\r\t"):
        repairs[LINE_BREAKS] = None
    if lexeme[0] == '"' and r"\'" in lexeme:
        repairs[ESCAPED_APOSTROPHES] = None
    inner = _QUOTE_OR_ESCAPE.sub(lambda match: _ESCAPES.get(match.group(), match.group()), lexeme[1:-1])
    return f'"{inner}"'
