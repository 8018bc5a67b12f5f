"""Secrets in records: rows of HTML tables, tuples below their names, and names beside their values in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

#: Where a secret stands in a text, and its name.
Cell = tuple[int, int, str]

_HTML_ROW = re.compile(
    r"<tr\b[^<>]{0,200}>(?P<cells>(?:(?!</?t(?:r|able)\b).){1,20000})", re.IGNORECASE | re.DOTALL
)
_HTML_CELL = re.compile(r"<t[hd]\b[^<>]{0,200}>\s{0,20}(?P<value>[^<]{0,2000})", re.IGNORECASE)
_NAME = r"""["']?[^\W\d][\w.-]{0,60}["']?"""
#: ``('id', 'password')``, ``users (id, password)``, and a line ``id, password``.
_HEADING = re.compile(
    rf"[(\[][ ]?(?P<names>{_NAME}(?:,\s{{0,3}}{_NAME}){{1,40}}),?[ ]?[)\]]"
    rf"|^(?:\w{{1,20}}:[ ])?(?P<line>{_NAME}(?:,[ ]?{_NAME}){{1,40}})$",
    re.MULTILINE,
)
_ROW = re.compile(r"[(\[](?P<items>[^()\[\]]{3,1000})[)\]]")
_ITEM = re.compile(
    r"""\s*[rbu]?(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)\s*(?:,|\Z)|[^,"']*(?:,|\Z)"""
)
#: ``{"name": "password", "value": "…"}``
_NAMED_VALUE = re.compile(
    r"""["'](?:name|key|field|variable)["']\s{0,10}:\s{0,10}["'](?P<name>[A-Za-z_][\w.-]{0,60})["']\s{0,10},\s{0,20}"""
    r"""["'](?:value|val|content|default)["']\s{0,10}:\s{0,10}(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
#: ``<password>…</password>``, ``<add key="password" value="…"/>``
XML_VALUE = re.compile(
    r"""<(?i:(?!key>))(?P<name>[A-Za-z_][\w.:-]{0,60})>(?P<value>[^<>\n]{1,500})</"""
    r"""|(?<=[ ])(?:name|key)=["'](?P<key>[\w.:-]{1,60})["']\s{1,9}value=["'](?P<other>[^"'<>\n]{1,500})["']"""
)
#: The name and the value of a field in an error of pydantic.
FIELD_INPUT = re.compile(
    r"""^(?P<name>[A-Za-z_][\w.]{0,60})\n[^\n]{0,400}?\binput_value=(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)""",
    re.MULTILINE,
)
_MAX_HEADINGS = 20


def find_record_values(text: str, is_secret_name: Callable[[str], bool]) -> Iterator[Cell]:
    """Yield the values in records that stand under or beside a secret's name."""
    for match in _NAMED_VALUE.finditer(text):
        yield *match.span("value"), match["name"]
    yield from _html_cells(text)
    yield from _row_items(text, is_secret_name)


def _html_cells(text: str) -> Iterator[Cell]:
    names: list[str] = []
    for row in _HTML_ROW.finditer(text):
        cells = list(_HTML_CELL.finditer(text, *row.span("cells")))
        values = [cell["value"].strip() for cell in cells]
        if len(cells) == 2:
            yield *cells[1].span("value"), values[0]
        if len(cells) != len(names):
            names = values
            continue
        for cell, name in zip(cells, names, strict=True):
            yield *cell.span("value"), name


def _row_items(text: str, is_secret_name: Callable[[str], bool]) -> Iterator[Cell]:
    """Yield the strings in tuples and lists that are as long as names of a heading, at the place of a secret's."""
    headings: dict[int, list[str]] = {}
    spans = set()
    for match in _HEADING.finditer(text):
        names = [name.strip(" \n\t\"'") for name in (match["names"] or match["line"]).split(",")]
        if any(map(is_secret_name, names)) and len(headings) < _MAX_HEADINGS:
            headings.setdefault(len(names), names)
            spans.add(match.start())
    for row in _ROW.finditer(text) if headings else ():
        items = list(_ITEM.finditer(row["items"]))[:-1] if row["items"] else []
        names = headings.get(len(items), [])
        words = [item["value"] or "" for item in items]
        if not names or row.start() in spans or (row[0][0] == "[" and all(map(str.isidentifier, words))):
            continue
        for item, name in zip(items, names, strict=True):
            if item["value"]:
                start = row.start("items")
                yield start + item.start("value"), start + item.end("value"), name
