"""Cells that were run: what the shell keeps of them, and what they displayed, which it does not keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.interactiveshell import InteractiveShell

from puq_magics.session.cell_tracker import CellTracker

if TYPE_CHECKING:
    from puq_magics.prompts.cells import ExecutedCell

#: The most displays that are kept, and their characters and bytes in all; the oldest go first.
MAX_DISPLAYS, MAX_DISPLAY_BYTES = 200, 30_000_000
#: Types that a prompt can have. Others, such as HTML, are kept by name alone.
_KEPT_TYPES = ("image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain")


@dataclass(frozen=True)
class _Display:
    cell: int
    #: How many pieces the shell had of the cell's output before it.
    position: int
    data: Mapping[str, Any]
    size: int


class CellHistory:
    """The cells of a shell, with the latest of what they displayed.

    Displays are noted on their way to the front end: by reference, so that an ordinary cell costs nothing.
    """

    def __init__(self, shell: InteractiveShell, cell_tracker: CellTracker) -> None:
        self._shell = shell
        self._history: Any = shell.history_manager
        self._cell_tracker = cell_tracker
        self._displays: dict[object, _Display] = {}
        self._dropped: set[int] = set()
        #: The cell in which it began to note displays.
        self._first = self.running
        self._publisher: Any = shell.display_pub
        self._publish = self._publisher.publish
        self._wrapper = self._note_and_publish
        vars(self._publisher)["publish"] = self._wrapper

    def close(self) -> None:
        """Note no more displays."""
        self._displays.clear()
        if vars(self._publisher).get("publish") is self._wrapper:
            del self._publisher.publish

    @property
    def running(self) -> int:
        """The number of the running cell, or of the last one."""
        return self._cell_tracker.number or int(self._shell.displayhook.prompt_count)

    @property
    def numbers(self) -> range:
        """The numbers of all cells, with the running one."""
        return range(1, len(self._history.input_hist_raw))

    def cell(self, number: int) -> ExecutedCell | None:
        """Return a cell that was run before this one; None if there is none of this number."""
        from puq_magics.prompts.cells import ExecutedCell

        if number not in self.numbers or number >= self.running:
            return None
        return ExecutedCell(
            number, self.source(number), tuple(self._outputs(number)), tuple(self._notes(number))
        )

    def source(self, number: int) -> str:
        """Return the source of a cell as typed; the number is one of ``numbers``."""
        return str(self._history.input_hist_raw[number])

    def _outputs(self, number: int) -> Iterator[str | Mapping[str, Any]]:
        """Yield printed texts, displays, the value and the traceback of a cell, in their order."""
        displays = [display for display in list(self._displays.values()) if display.cell == number]
        printed: list[str] = []
        for position, piece in enumerate(self._pieces(number)):
            shown = [display.data for display in displays if display.position == position]
            if printed and (shown or not isinstance(piece, str)):
                yield "".join(printed)
                printed.clear()
            yield from shown
            if isinstance(piece, str):
                printed.append(piece)
            else:
                yield piece
        yield "".join(printed)
        count = self._count_pieces(number)
        yield from (display.data for display in displays if display.position >= count)
        if error := getattr(self._history, "exceptions", {}).get(number):
            yield "\n".join(error["traceback"])

    def _pieces(self, number: int) -> Iterator[str | Mapping[str, Any]]:
        """Yield what the shell keeps: printed texts piece by piece, and the value's data by type."""
        if not hasattr(self._history, "outputs"):  # an IPython before 9
            if text := self._history.output_hist_reprs.get(number):
                yield {"text/plain": text}
            return
        for output in self._history.outputs.get(number, ()):
            if output.output_type == "execute_result":
                yield output.bundle
            elif output.output_type != "display_data":  # those are noted here
                yield from output.bundle["stream"]

    def _count_pieces(self, number: int) -> int:
        """Return the number of pieces, as `_pieces` yields them, without going through all."""
        outputs = getattr(self._history, "outputs", {}).get(number, ())
        kept = [each for each in outputs if each.output_type != "display_data"]
        return sum(1 if each.output_type == "execute_result" else len(each.bundle["stream"]) for each in kept)

    def _notes(self, number: int) -> Iterator[str]:
        if number < self._first:
            yield "what it displayed is not known, as it ran before the extension was loaded"
        if number in self._dropped:
            yield "some of what it displayed is no longer kept"
        if not hasattr(self._history, "outputs"):
            yield "what it printed is not known: that needs IPython 9"

    def _note_and_publish(self, data: Any, metadata: Any = None, *args: Any, **kwargs: Any) -> Any:
        with suppress(Exception):  # a display must not fail by it
            self._note(data, kwargs.get("transient") or {}, is_update=kwargs.get("update", False))
        return self._publish(data, metadata, *args, **kwargs)

    def _note(self, data: Mapping[str, Any], transient: Mapping[str, Any], *, is_update: bool) -> None:
        key = transient.get("display_id") or object()
        kept = {
            kind: value if kind in _KEPT_TYPES and isinstance(value, str | bytes) else ""
            for kind, value in data.items()
        }
        size = sum(map(len, kept.values()))
        before = self._displays.get(key) if is_update else self._displays.pop(key, None)
        if is_update and before is None:
            return
        number = self._cell_tracker.number
        if before is not None and is_update:
            display = _Display(before.cell, before.position, kept, size)
        elif number is not None:
            display = _Display(number, self._count_pieces(number), kept, size)
        else:
            return
        self._displays[key] = display
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        size = sum(display.size for display in list(self._displays.values()))
        while size > MAX_DISPLAY_BYTES or len(self._displays) > MAX_DISPLAYS:
            dropped = self._displays.pop(next(iter(self._displays)))
            size -= dropped.size
            self._dropped.add(dropped.cell)
