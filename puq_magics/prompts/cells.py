"""Attach cells of the running notebook: their source as typed, and their outputs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from puq_magics.core.errors import InputError
from puq_magics.core.fences import format_code_block
from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.images import ContentPart, to_image_parts
from puq_magics.prompts.input_cells import format_source

#: A cell, or a range of cells, as ``-a`` takes it; a negative number counts back from the running cell.
CELL_NAME = re.compile(r"cell:(-?\d{1,7})(?:-(\d{1,7}))?")
#: The most cells that one name attaches, and the most images of one cell.
MAX_CELLS, MAX_CELL_IMAGES = 50, 20
#: Types of an output that can be sent, best first.
IMAGE_TYPES, TEXT_TYPES = ("image/png", "image/jpeg"), ("text/markdown", "text/latex", "text/plain")
# The text of an object that is only there to be displayed, such as <IPython.core.display.HTML object>.
_NO_TEXT = re.compile(r"<[\w.]+ (?:object|at )[^>]*>")
# What a progress bar wrote over: a line up to the last carriage return.
_OVERWRITTEN = re.compile(r"[^\r\n]*\r(?=[^\r\n])")


@dataclass(frozen=True)
class ExecutedCell:
    """A cell that was run: its source as typed, and its outputs in their order.

    An output is a text, or data by MIME type, as front ends get it. ``notes`` state what is not known of it.
    """

    number: int
    source: str
    outputs: Sequence[str | Mapping[str, Any]]
    notes: tuple[str, ...] = ()


class CellReader(Protocol):
    """The cells of a shell."""

    @property
    def running(self) -> int:
        """The number of the running cell."""

    def cell(self, number: int) -> ExecutedCell | None:
        """Return a cell that was run; None if there is none of this number."""


def attach_cells(
    name: str, history: CellReader | None, limit: int, image_limits: ImageLimits
) -> tuple[list[ContentPart], list[str]]:
    """Return the parts for a name such as ``cell:5`` or ``cell:3-7``, and notes. Raises InputError."""
    numbers = _cell_numbers(name, history)
    parts: list[ContentPart] = []
    notes: list[str] = []
    for number in numbers:
        cell = history.cell(number) if history is not None else None
        if history is None or cell is None:
            last = (history.running if history is not None else 1) - 1
            hint = f"The last cell before this one is cell:{last}." if last > 0 else "Run a cell first."
            raise InputError(f"there is no cell {number} before this one.", hint=hint)
        more, cell_notes = _format_cell(cell, limit, image_limits)
        parts += more
        notes += [f"cell:{number}: {note}" for note in (*cell.notes, *cell_notes)]
    return parts, notes


def _cell_numbers(name: str, history: CellReader | None) -> range:
    match = CELL_NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"{name[:100]!r} names no cell.", hint="Write -a cell:5, or -a cell:3-7 for several."
        )
    first = int(match[1])
    if first < 0 and history is not None:
        first += history.running
    last = int(match[2]) if match[2] else first
    if last < first:
        raise InputError(f"{name}: a range begins with its lower number.", hint="Write it like cell:3-7.")
    if last - first >= MAX_CELLS:
        raise InputError(
            f"{name} has more than {MAX_CELLS} cells.", hint=f"Attach at most {MAX_CELLS} at once."
        )
    return range(first, last + 1)


def _format_cell(
    cell: ExecutedCell, limit: int, image_limits: ImageLimits
) -> tuple[list[ContentPart], list[str]]:
    text = _CellText(format_source(cell.number, cell.source[:limit]), limit)
    parts: list[ContentPart] = []
    notes: list[str] = ["the source is cut"] if len(cell.source) > limit else []
    image_count = 0
    for output in cell.outputs:
        image = "" if isinstance(output, str) else next((output[t] for t in IMAGE_TYPES if output.get(t)), "")
        if not image:
            text.add(output if isinstance(output, str) else _bundle_text(output, notes))
            continue
        image_count += 1
        if image_count <= MAX_CELL_IMAGES:
            data = image if isinstance(image, bytes) else base64.b64decode(image)
            found = to_image_parts(data, image_limits)
            parts += [
                {"type": "text", "text": text.take() or "Output, an image:"},
                *(found.parts if found else ()),
            ]
            notes += found.notes if found else ()
    if rest := text.take():
        parts.append({"type": "text", "text": rest})
    if image_count > MAX_CELL_IMAGES:
        notes.append(f"{MAX_CELL_IMAGES} of {image_count:,} images")
    if text.length > limit:
        notes.append(f"the first {limit:,} of {text.length:,} characters of its output")
    return parts, list(dict.fromkeys(notes))


class _CellText:
    """Texts of a cell between its images: the outputs are in code blocks, of at most ``limit`` characters in all."""

    def __init__(self, source: str, limit: int) -> None:
        self._blocks = [source]
        self._limit = limit
        self._output: list[str] = []
        self.length = 0

    def add(self, output: str) -> None:
        """Add the text of an output."""
        kept = output[: max(self._limit - self.length, 0)]
        self.length += len(output)
        if kept.strip():
            self._output.append(kept)

    def take(self) -> str:
        """Return what was added since the last time."""
        if self._output:
            self._blocks.append(f"Output:\n\n{format_code_block(_join_outputs(self._output))}")
        text = "\n\n".join(self._blocks)
        self._blocks, self._output = [], []
        return text


def _join_outputs(outputs: Sequence[str]) -> str:
    """Join outputs, each on a line of its own."""
    text = ""
    for output in outputs:
        text += "\n" if text and not text.endswith("\n") else ""
        text += output
    return strip_control_chars(_OVERWRITTEN.sub("", text)).rstrip("\n")


def _bundle_text(bundle: Mapping[str, Any], notes: list[str]) -> str:
    """Return the text of an output; without any, a note says of which type it was."""
    text = next((bundle[kind] for kind in TEXT_TYPES if isinstance(bundle.get(kind), str)), "")
    if text and not _NO_TEXT.fullmatch(text.strip()):
        return f"{text}\n"
    others = [kind for kind in bundle if kind not in TEXT_TYPES]
    if others:
        notes.append(f"an output of type {others[0]} was left out")
        return ""
    return f"{text}\n" if text else ""
