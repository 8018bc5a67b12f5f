"""The saved notebook: the order of its cells, which front ends do not send, and the records of its answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.files import check_is_file, expand_path, missing_file_error, path_exists, read_error
from puq_magics.outputs.results.provenance import ANSWERS_KEY, METADATA_KEY, Provenance, hash_cell

_MAX_BYTES = 20_000_000  # a larger file takes too long to read for each new turn
_MAX_AUDIT_BYTES = 500_000_000
_MAX_TOTAL = 1_000_000_000  # answers of a run
_ASKING_MAGIC = re.compile(
    r"^[ \t]*(?:[\w, ]+=\s*)?%{1,2}puq_"
    r"(?:chat|image|speak|transcribe|fix|map|grid|compare(?!.*[ ]--(?:votes?|export|merge)\b))\b",
    re.MULTILINE,
)
_NOT_A_NOTEBOOK = "Name a file that ends in .ipynb, as Jupyter saves it."


def saved_cell_order(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the ids of the cells as they were last saved; empty if the notebook's file is not known or not small.

    Jupyter Server names the file when it starts the kernel.
    """
    path = Path(environ.get("JPY_SESSION_NAME", ""))
    try:
        if path.suffix != ".ipynb" or path.stat().st_size > _MAX_BYTES:
            return ()
        cells = json.loads(path.read_bytes())["cells"]
        return tuple(str(cell["id"]) for cell in cells)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ()


@dataclass(frozen=True)
class SavedAnswer:
    """An answer in a saved notebook."""

    #: Its output's plain text; empty if it has none.
    text: str
    provenance: Provenance
    #: The first answers of a run with what each answers, how many there are, and how many of the first are cut.
    answers: tuple[tuple[str, str], ...] = ()
    total: int = 0
    cut: int = 0


@dataclass(frozen=True)
class SavedCell:
    """A code cell of a saved notebook. Anybody may have written all of it."""

    #: Its place among all cells, from 1.
    place: int
    source: str
    #: n of ``In[n]``; None if it was not run.
    number: int | None = None
    answers: tuple[SavedAnswer, ...] = field(default=())

    @property
    def asks(self) -> bool:
        """True if a magic in it asks a model."""
        return bool(_ASKING_MAGIC.search(self.source))

    @property
    def hash(self) -> str:
        """Hash of its text, as in a record of provenance."""
        return hash_cell(self.source)


def find_notebook(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of a notebook, of this one if ``name`` is empty. Raises InputError."""
    if name:
        path = expand_path(name)
        if not path_exists(path):
            raise missing_file_error(name, path)
        return path
    here = environ.get("JPY_SESSION_NAME", "")
    if not here.endswith(".ipynb"):
        raise InputError("the file of this notebook is not known.", hint="Name it: %puq_audit lesson.ipynb")
    if not path_exists(path := Path(here)):
        raise InputError(f"{here} is not there.", hint="Save the notebook, or name its file.")
    return path


def read_cells(path: Path) -> list[SavedCell]:
    """Return the code cells of a notebook. Raises InputError for what is no notebook of nbformat 4."""
    try:
        details = check_is_file(path, hint=_NOT_A_NOTEBOOK)
        if details.st_size > _MAX_AUDIT_BYTES:
            raise InputError(f"{path.name} is larger than 500 MB.", hint="Clear some of its outputs.")
        content = path.read_bytes()
    except (OSError, ValueError) as exc:
        raise read_error(path, exc) from None
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(f"{path.name} is not a notebook: it is not JSON.", hint=_NOT_A_NOTEBOOK) from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise InputError(
            f"{path.name} is not a notebook of format 4: it has no cells.",
            hint="jupyter nbconvert --to notebook converts older ones.",
        )
    return [
        _read_cell(place, cell)
        for place, cell in enumerate(cells, 1)
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]


def _read_cell(place: int, cell: Mapping[str, Any]) -> SavedCell:
    number, outputs = cell.get("execution_count"), cell.get("outputs")
    return SavedCell(
        place,
        _join_lines(cell.get("source")),
        number if isinstance(number, int) else None,
        tuple(_answers(outputs) if isinstance(outputs, list) else ()),
    )


def _answers(outputs: list[Any]) -> Iterator[SavedAnswer]:
    for output in outputs:
        metadata = output.get("metadata") if isinstance(output, dict) else None
        records = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
        data = output.get("data") if isinstance(records, list) else None
        text = _join_lines(data.get("text/plain")) if isinstance(data, dict) else ""
        for record in records if isinstance(records, list) else ():
            if (provenance := Provenance.from_json(record)) is not None:
                yield SavedAnswer(text, provenance, *_run_answers(metadata or {}))


def _run_answers(metadata: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], int, int]:
    kept = metadata.get(ANSWERS_KEY)
    listed, total, cut = (
        map(kept.get, ("answers", "total", "cut")) if isinstance(kept, dict) else (None, 0, 0)
    )
    pairs = [pair for pair in listed if isinstance(pair, list)] if isinstance(listed, list) else []
    answers = tuple((pair[0], pair[1]) for pair in pairs if [type(part) for part in pair] == [str, str])
    total = total if type(total) is int and total < _MAX_TOTAL else 0
    return answers, max(len(answers), total), cut if type(cut) is int and 0 < cut <= len(answers) else 0


def _join_lines(text: object) -> str:
    """Return a text that a notebook holds whole, or in lines."""
    lines = text if isinstance(text, list) else [text]
    return "".join(line for line in lines if isinstance(line, str))
