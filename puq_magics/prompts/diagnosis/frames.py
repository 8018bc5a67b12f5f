"""Short tracebacks: the user's frames with their source lines, and one line for the frames of each library.

This module does not depend on IPython: a ``CellLookup`` provides the source of cells.
"""

from __future__ import annotations

import ast
import linecache
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType

from puq_magics.core.text import pluralize

#: Number of the user's frames that are shown: the first and the last ones.
MAX_FIRST_FRAMES, MAX_LAST_FRAMES = 3, 6
#: Lines shown before and after the failing line of a file.
CONTEXT_LINES = 3
#: Limits of a line, in characters, and of an expression, in lines.
MAX_LINE_CHARS, MAX_EXPRESSION_LINES = 300, 12

_IDENTIFIER = re.compile(r"(?<![\w.])[^\W\d]\w*")


@dataclass(frozen=True)
class CellSource:
    """A cell: its label for display, and its source as typed."""

    label: str
    text: str
    #: Number of lines at the beginning that are not code, such as ``%%time``.
    skipped_lines: int = 0


#: Returns the cell whose code has a file name; None if there is none.
CellLookup = Callable[[str], CellSource | None]


@dataclass(frozen=True)
class FrameInfo:
    """A frame of a traceback, with the lines and columns of the failing expression."""

    frame: FrameType
    first: int
    last: int
    columns: tuple[int, int] | None
    cell: CellSource | None

    @property
    def filename(self) -> str:
        """The file name of the frame's code."""
        return self.frame.f_code.co_filename

    @property
    def is_user_code(self) -> bool:
        """True for the user's own code, False for a library's."""
        if self.cell is not None:
            return True
        if self.filename.startswith("<"):
            return self.frame.f_globals.get("__name__") == "__main__"
        return not self.filename.startswith(_library_folders())

    @property
    def library(self) -> str:
        """The package that the frame belongs to."""
        name = self.frame.f_globals.get("__name__")
        return name.partition(".")[0] if type(name) is str else "a library"

    @property
    def label(self) -> str:
        """The location, for display."""
        place = self.cell.label if self.cell else short_path(self.filename)
        return f"{place}, line {self.first}, in {self.frame.f_code.co_qualname}"

    @property
    def lines(self) -> list[str]:
        """The source of the file or cell as compiled; empty if unavailable."""
        lines = linecache.getlines(self.filename, self.frame.f_globals)
        return lines or (
            self.cell.text.splitlines(keepends=True)[self.cell.skipped_lines :] if self.cell else []
        )

    def names(self) -> list[str]:
        """Return the names in the failing statement in order, then the function's other variables."""
        first, last = _statement_lines(self.lines, self.first, self.last)
        text = "".join(self.lines[first - 1 : last])
        names = dict.fromkeys(_IDENTIFIER.findall(text))
        if self.frame.f_code.co_name != "<module>":
            names |= dict.fromkeys(self.frame.f_locals)
        return list(names)

    def variables(self) -> Iterator[tuple[str, object]]:
        """Yield the names that are variables, and their values."""
        for name in self.names():
            for variables in (self.frame.f_locals, self.frame.f_globals):
                if name in variables:
                    if not name.startswith("__") and name != "get_ipython":
                        yield name, variables[name]
                    break


def extract_frames(trace: TracebackType | None, lookup: CellLookup) -> list[FrameInfo]:
    """Return the frames of a traceback, oldest first, from the user's first frame on."""
    frame_infos: list[FrameInfo] = []
    cells: dict[str, CellSource | None] = {}
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in cells:
            cells[code.co_filename] = lookup(code.co_filename)
        first, last, columns = _error_position(code, trace.tb_lasti, trace.tb_lineno)
        frame_infos.append(FrameInfo(trace.tb_frame, first, last, columns, cells[code.co_filename]))
        trace = trace.tb_next
    start = next((index for index, frame_info in enumerate(frame_infos) if frame_info.is_user_code), None)
    return frame_infos if start is None else frame_infos[start:]


def user_frames(frame_infos: Sequence[FrameInfo]) -> list[FrameInfo]:
    """Return the user's own frames, of many only the first and the last ones."""
    own = [frame_info for frame_info in frame_infos if frame_info.is_user_code]
    return (
        own
        if len(own) <= MAX_FIRST_FRAMES + MAX_LAST_FRAMES
        else own[:MAX_FIRST_FRAMES] + own[-MAX_LAST_FRAMES:]
    )


def format_traceback(frame_infos: Sequence[FrameInfo]) -> list[str]:
    """Return the lines of a traceback."""
    lines: list[str] = []
    shown = {id(frame_info) for frame_info in user_frames(frame_infos)}
    omitted = 0
    for (is_user_code, library), group in groupby(
        frame_infos, lambda frame_info: (frame_info.is_user_code, _fold_key(frame_info))
    ):
        run = list(group)
        if not is_user_code:
            lines += [] if omitted else [_format_folded(library, run)]
            continue
        for frame_info in run:
            if id(frame_info) not in shown:
                omitted += 1
                continue
            if omitted:
                lines.append(f"[{omitted:,} more frames of this kind]")
                omitted = 0
            lines += [frame_info.label, *_format_frame_source(frame_info)]
    return lines


def format_source_lines(
    lines: Sequence[str], first: int, last: int, columns: tuple[int, int] | None, context_lines: int
) -> list[str]:
    """Return numbered lines, with an arrow at those from ``first`` to ``last``, and carets below ``columns``."""
    begin, end = max(1, first - context_lines), min(len(lines), last + context_lines)
    width = len(str(end))
    listing: list[str] = []
    for number in range(begin, end + 1):
        text = lines[number - 1].rstrip("\r\n")
        mark = "-->" if first <= number <= last else "   "
        listing.append(f"  {mark} {number:>{width}} | {text[:MAX_LINE_CHARS]}".rstrip())
        if first == last == number and columns is not None and columns[0] < min(columns[1], MAX_LINE_CHARS):
            left, right = columns
            if text[left:right].strip() != text.strip():
                listing.append(
                    f"      {'':>{width}} | {' ' * left}{'^' * (min(right, MAX_LINE_CHARS) - left)}"
                )
    return listing


def short_path(filename: str) -> str:
    """Return a path relative to the working folder, or the file's name, without the user's folders."""
    path = Path(filename)
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.name


def library_versions(frame_infos: Sequence[FrameInfo]) -> list[str]:
    """Return the versions of Python and of the libraries in a traceback."""
    versions = [f"Python {sys.version_info.major}.{sys.version_info.minor}"]
    for library in dict.fromkeys(
        frame_info.library for frame_info in frame_infos if not frame_info.is_user_code
    ):
        module = sys.modules.get(library)
        version = vars(module).get("__version__") if type(module) is ModuleType else None
        if type(version) is str:
            versions.append(f"{library} {version}")
    return versions


def _format_frame_source(frame_info: FrameInfo) -> list[str]:
    last = min(
        frame_info.last,
        _statement_lines(frame_info.lines, frame_info.first, frame_info.last)[1],
        frame_info.first + MAX_EXPRESSION_LINES,
    )
    return format_source_lines(
        frame_info.lines, frame_info.first, last, frame_info.columns, 0 if frame_info.cell else CONTEXT_LINES
    )


def _fold_key(frame_info: FrameInfo) -> str:
    return "" if frame_info.is_user_code else frame_info.library


def _format_folded(library: str, run: Sequence[FrameInfo]) -> str:
    frame_info = run[-1]
    file = "/".join(Path(frame_info.filename).parts[-2:])
    name = frame_info.frame.f_code.co_qualname
    count = pluralize(len(run), "frame")
    return f"[{count} inside {library}, the last at {file}, line {frame_info.first}, in {name}]"


def _error_position(code: CodeType, instruction: int, line: int) -> tuple[int, int, tuple[int, int] | None]:
    """Return the lines of the failing expression, and its columns if it is on one line."""
    first, last, left, right = next(islice(code.co_positions(), max(instruction, 0) // 2, None), (None,) * 4)
    if first is None or last is None or first != line:
        return line, line, None
    if left is None or right is None or first != last:
        return line, last, None
    text = linecache.getline(code.co_filename, line).encode()
    return line, last, (len(text[:left].decode(errors="replace")), len(text[:right].decode(errors="replace")))


def _statement_lines(lines: Sequence[str], first: int, last: int) -> tuple[int, int]:
    """Return the lines of the statement around a line; of a compound statement, those of its header."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return first, last
    best = (first, last)
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or not node.lineno <= first <= (node.end_lineno or node.lineno):
            continue
        body = getattr(node, "body", None)
        end = (node.end_lineno or last) if not body else max(node.lineno, body[0].lineno - 1)
        if first <= end:  # the walk goes inwards: the innermost is last
            best = (node.lineno, end)
    return best


@cache
def _library_folders() -> tuple[str, ...]:
    """Return the folders of code that is not the user's own."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [path for path in sys.path if path.rstrip("/\\").endswith(("site-packages", "dist-packages"))]
    # There is no such folder in Pyodide, whatever the annotation says.
    folders += [site.getusersitepackages() or "", str(Path(__file__).parents[1])]
    return tuple(str(Path(folder)) + ("\\" if "\\" in folder else "/") for folder in folders if folder)
