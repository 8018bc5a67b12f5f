"""Text of a Word document: paragraphs, headings, lists and tables.

The XML is read as a stream, without a tree and without entities, so that a hostile file costs no more than its limit.
"""

from __future__ import annotations

import re
import sys
import zipfile
from xml.parsers import expat

from puq_magics.core.errors import InputError
from puq_magics.core.text import pluralize
from puq_magics.prompts import markdown_tables
from puq_magics.prompts.documents.document import Document, ReadLimits

_MAIN_PART = re.compile(r"word/document\d*\.xml")
_HEADING = re.compile(r"(?:heading|title)\s?(\d?)", re.IGNORECASE)
_CHUNK = 65_536


class _LimitReachedError(Exception):
    """Enough was read."""


def read_docx(archive: zipfile.ZipFile, limits: ReadLimits) -> Document:
    """Return the text up to the limit. Raises InputError."""
    name = next((name for name in archive.namelist() if _MAIN_PART.fullmatch(name)), None)
    if name is None:
        raise InputError("it is no Word document.", hint="Save it as .docx.")
    text, is_cut = _DocxText(limits.characters), False
    try:
        with archive.open(name) as file:
            while chunk := file.read(_CHUNK):
                text.parse(chunk)
    except _LimitReachedError:
        is_cut = True
    notes = (f"{pluralize(text.image_count, 'image')} left out",) if text.image_count else ()
    return Document(text.finish(), notes=notes, language="markdown", is_cut=is_cut)


class _DocxText:
    """Collects the text of a document's XML."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._blocks: list[str] = []
        self._paragraphs: list[list[str]] = []  # one may hold another, in a text box
        self._mark = ""
        self._tables: list[list[list[str]]] = []
        self._in_run = self._in_text = False
        self._skipped = 0
        self.image_count = 0
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        self._parser = parser

    def parse(self, chunk: bytes) -> None:
        """Read a piece of the XML."""
        self._parser.Parse(chunk, False)

    def finish(self) -> str:
        """Return the text, with what was open at the end."""
        self._limit = sys.maxsize
        while self._paragraphs:
            self._end_paragraph()
        while self._tables:
            self._end_table()
        return "\n\n".join(self._blocks)

    def _refuse(self, *_: object) -> None:
        raise InputError("it declares entities, as no Word document does.", hint="Do not trust this file.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        if self._skipped or tag == "Fallback":  # the same text again, for old programs
            self._skipped += 1
        elif tag == "p":
            self._paragraphs.append([])
            self._mark = ""
        elif tag in ("r", "t"):
            self._in_run, self._in_text = True, tag == "t"
        elif tag in ("tab", "br", "cr") and self._in_run:
            self._add("\t" if tag == "tab" else "\n")
        elif tag in ("pStyle", "numPr"):
            self._mark = self._paragraph_mark(tag, attributes)
        elif tag in ("drawing", "pict"):
            self.image_count += 1
        elif tag == "tbl":
            self._tables.append([])
        elif tag == "tr" and self._tables:
            self._tables[-1].append([])
        elif tag == "tc" and self._tables and self._tables[-1]:
            self._count(1)
            self._tables[-1][-1].append("")

    def _end(self, name: str) -> None:
        tag = name.rpartition(" ")[2]
        if self._skipped:
            self._skipped -= 1
        elif tag == "t":
            self._in_text = False
        elif tag == "r":
            self._in_run = False
        elif tag == "p" and self._paragraphs:
            self._end_paragraph()
        elif tag == "tbl" and self._tables:
            self._end_table()

    def _data(self, text: str) -> None:
        if self._in_text and not self._skipped:
            self._add(text)

    def _add(self, text: str) -> None:
        if self._paragraphs:
            self._paragraphs[-1].append(text)
            self._count(len(text))

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise _LimitReachedError

    def _paragraph_mark(self, tag: str, attributes: dict[str, str]) -> str:
        if tag == "numPr":
            return "- "
        style = next((value for name, value in attributes.items() if name.endswith(" val")), "")
        heading = _HEADING.match(style)
        return f"{'#' * min(int(heading[1] or 1), 6)} " if heading else self._mark

    def _end_paragraph(self) -> None:
        text = "".join(self._paragraphs.pop()).strip()
        self._count(1)
        if not text:
            return
        if self._paragraphs:
            self._paragraphs[-1].append(f"\n{text}\n")
        elif self._tables and self._tables[-1] and self._tables[-1][-1]:
            cell = self._tables[-1][-1][-1]
            self._tables[-1][-1][-1] = f"{cell}\n{text}" if cell else text
        else:
            self._blocks.append(f"{self._mark}{text}")

    def _end_table(self) -> None:
        rows = [row for row in self._tables.pop() if row]
        if not rows:
            return
        if self._tables and self._tables[-1] and self._tables[-1][-1]:  # a table in a cell
            self._tables[-1][-1][-1] += "\n".join(" ".join(row) for row in rows)
        else:
            self._blocks.append(markdown_tables.rows_to_markdown(rows))
