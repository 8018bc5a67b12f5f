"""Sources of the notebook's cells, with their numbers: ``{{In[3:7]}}``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsIndex, overload

from puq_magics.core.fences import format_code_block


class InputCells(list[str]):
    """Sources of cells as typed: ``In``, and its slices. The text of several is a code block for each."""

    def __init__(self, sources: Iterable[str], numbers: Sequence[int] | None = None) -> None:
        super().__init__(sources)
        self.numbers = range(len(self)) if numbers is None else numbers

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> str: ...
    @overload
    def __getitem__(self, index: slice, /) -> InputCells: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> str | InputCells:
        if isinstance(index, slice):
            return InputCells(super().__getitem__(index), self.numbers[index])
        return super().__getitem__(index)

    def __str__(self) -> str:
        cells = zip(self.numbers, self, strict=True)
        return "\n\n".join(format_source(number, source) for number, source in cells if source.strip())


def format_source(number: int, source: str) -> str:
    """Return the source of a cell as a code block, with its number."""
    code = source.strip("\n")
    return f"Cell In[{number}]:\n\n{format_code_block(code, 'python')}"
