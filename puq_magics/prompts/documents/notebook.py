"""Cells of a notebook file, with the text of their outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from puq_magics.core.errors import InputError
from puq_magics.core.fences import format_code_block
from puq_magics.core.text import pluralize
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.prompts.documents.document import Document, ReadLimits

#: Size of a file above which it is not read, in bytes: it may hold many images.
MAX_NOTEBOOK_BYTES = 200_000_000


def read_notebook(stream: BinaryIO, limits: ReadLimits) -> Document | None:
    """Return the cells up to the limit; None for JSON that is no notebook. Raises InputError."""
    data = stream.read(MAX_NOTEBOOK_BYTES + 1)
    if len(data) > MAX_NOTEBOOK_BYTES:
        raise InputError("it is too large for a notebook.", hint="Clear the outputs that you do not need.")
    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError):
        return None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or "nbformat" not in notebook:
        return None
    language = str(_dict(_dict(notebook.get("metadata")).get("language_info")).get("name") or "python")
    blocks: list[str] = []
    size, images = 0, 0
    for cell in cells:
        for block, is_image in _format_cell(_dict(cell), language):
            images += is_image
            size += len(block)
            blocks += [block] if block.strip() else []
        if size > limits.characters:
            break
    notes = (f"{pluralize(images, 'image')} left out",) if images else ()
    return Document("\n\n".join(blocks), pluralize(len(cells), "cell"), notes, language="markdown")


def _format_cell(cell: dict[str, Any], language: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of a cell and of its outputs, each with whether it is an image that is left out."""
    source = _text(cell.get("source"))
    if cell.get("cell_type") != "code":
        yield source, False
        return
    if source.strip():
        yield format_code_block(source, language), False
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        text, is_image = _output_text(_dict(output))
        yield (f"Output:\n\n{format_code_block(text)}" if text.strip() else ""), is_image


def _output_text(output: dict[str, Any]) -> tuple[str, bool]:
    if output.get("output_type") == "error":
        return f"{output.get('ename')}: {output.get('evalue')}", False
    data = _dict(output.get("data"))
    is_image = any(str(kind).startswith("image/") for kind in data)
    shown = _text(data.get("text/markdown") or data.get("text/plain")) if not is_image else ""
    return strip_control_chars(_text(output.get("text")) or shown), is_image


def _text(value: object) -> str:
    """Return a text that may be split into lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
