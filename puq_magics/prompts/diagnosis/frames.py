"""A traceback in short: the user's frames with their lines, and those of libraries folded into one line a library.

Nothing here knows of IPython: where the source of a cell is, a ``Lookup`` tells.
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

#: Frames of the user's that are shown: the first ones and the last ones.
FIRST, LAST = 3, 6
#: Lines around the failing one, of a file.
AROUND = 3
#: Characters of a line, and lines of an expression.
WIDEST, TALLEST = 300, 12

_NAME = re.compile(r"(?<![\w.])[^\W\d]\w*")


@dataclass(frozen=True)
class Source:
    """A cell: what people call it, and its source as it was typed."""

    label: str
    text: str
    #: Lines at its beginning that are no part of its code, such as ``%%time``.
    skipped: int = 0


#: Gives the cell whose code has that file name; None if it is no cell's.
Lookup = Callable[[str], Source | None]


@dataclass(frozen=True)
class Place:
    """One frame of a traceback, at the line where it was left."""

    frame: FrameType
    first: int
    last: int
    columns: tuple[int, int] | None
    cell: Source | None

    @property
    def filename(self) -> str:
        """The file name of the frame's code."""
        return self.frame.f_code.co_filename

    @property
    def is_users(self) -> bool:
        """Whether it is the user's own code, rather than a library's."""
        if self.cell is not None:
            return True
        if self.filename.startswith("<"):
            return self.frame.f_globals.get("__name__") == "__main__"
        return not self.filename.startswith(_libraries())

    @property
    def library(self) -> str:
        """The package that the frame belongs to."""
        named = self.frame.f_globals.get("__name__")
        return named.partition(".")[0] if type(named) is str else "a library"

    @property
    def label(self) -> str:
        """Where it is, for people."""
        where = self.cell.label if self.cell else short_path(self.filename)
        return f"{where}, line {self.first}, in {self.frame.f_code.co_qualname}"

    @property
    def lines(self) -> list[str]:
        """The source of the file or cell as it was compiled; empty when there is none."""
        lines = linecache.getlines(self.filename, self.frame.f_globals)
        return lines or (self.cell.text.splitlines(keepends=True)[self.cell.skipped :] if self.cell else [])

    def names(self) -> list[str]:
        """The names in the statement that failed, in their order, then those of the function's other variables."""
        first, last = _statement(self.lines, self.first, self.last)
        text = "".join(self.lines[first - 1 : last])
        names = dict.fromkeys(_NAME.findall(text))
        if self.frame.f_code.co_name != "<module>":
            names |= dict.fromkeys(self.frame.f_locals)
        return list(names)

    def variables(self) -> Iterator[tuple[str, object]]:
        """Those of the names that are variables now, and their values."""
        for name in self.names():
            for variables in (self.frame.f_locals, self.frame.f_globals):
                if name in variables:
                    if not name.startswith("__") and name != "get_ipython":
                        yield name, variables[name]
                    break


def places(trace: TracebackType | None, lookup: Lookup) -> list[Place]:
    """The frames of a traceback, the oldest first, without those that lead to the user's first one."""
    found: list[Place] = []
    cells: dict[str, Source | None] = {}
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in cells:
            cells[code.co_filename] = lookup(code.co_filename)
        first, last, columns = _position(code, trace.tb_lasti, trace.tb_lineno)
        found.append(Place(trace.tb_frame, first, last, columns, cells[code.co_filename]))
        trace = trace.tb_next
    start = next((index for index, place in enumerate(found) if place.is_users), None)
    return found if start is None else found[start:]


def users(found: Sequence[Place]) -> list[Place]:
    """The user's own frames, of many only the first and the last ones."""
    own = [place for place in found if place.is_users]
    return own if len(own) <= FIRST + LAST else own[:FIRST] + own[-LAST:]


def written(found: Sequence[Place]) -> list[str]:
    """The lines of a traceback."""
    lines: list[str] = []
    shown = {id(place) for place in users(found)}
    left_out = 0
    for (is_users, library), group in groupby(found, lambda place: (place.is_users, _folded(place))):
        run = list(group)
        if not is_users:
            lines += [] if left_out else [_fold(library, run)]
            continue
        for place in run:
            if id(place) not in shown:
                left_out += 1
                continue
            if left_out:
                lines.append(f"[{left_out:,} more frames of this kind]")
                left_out = 0
            lines += [place.label, *_listing(place)]
    return lines


def listed(
    lines: Sequence[str], first: int, last: int, columns: tuple[int, int] | None, around: int
) -> list[str]:
    """Some lines with their numbers, an arrow at those from ``first`` to ``last``, and carets below a part of one."""
    begin, end = max(1, first - around), min(len(lines), last + around)
    width = len(str(end))
    listing: list[str] = []
    for number in range(begin, end + 1):
        text = lines[number - 1].rstrip("\r\n")
        mark = "-->" if first <= number <= last else "   "
        listing.append(f"  {mark} {number:>{width}} | {text[:WIDEST]}".rstrip())
        if first == last == number and columns is not None and columns[0] < min(columns[1], WIDEST):
            left, right = columns
            if text[left:right].strip() != text.strip():
                listing.append(f"      {'':>{width}} | {' ' * left}{'^' * (min(right, WIDEST) - left)}")
    return listing


def short_path(filename: str) -> str:
    """A file's name as people of this project would say it: nothing of where they live."""
    path = Path(filename)
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return path.name


def versions(found: Sequence[Place]) -> list[str]:
    """Python's version, and those of the libraries that a traceback goes through."""
    said = [f"Python {sys.version_info.major}.{sys.version_info.minor}"]
    for library in dict.fromkeys(place.library for place in found if not place.is_users):
        module = sys.modules.get(library)
        version = vars(module).get("__version__") if type(module) is ModuleType else None
        if type(version) is str:
            said.append(f"{library} {version}")
    return said


def _listing(place: Place) -> list[str]:
    last = min(place.last, _statement(place.lines, place.first, place.last)[1], place.first + TALLEST)
    return listed(place.lines, place.first, last, place.columns, 0 if place.cell else AROUND)


def _folded(place: Place) -> str:
    return "" if place.is_users else place.library


def _fold(library: str, run: Sequence[Place]) -> str:
    place = run[-1]
    count = "1 frame" if len(run) == 1 else f"{len(run):,} frames"
    file = "/".join(Path(place.filename).parts[-2:])
    return f"[{count} inside {library}, the last at {file}, line {place.first}, in {place.frame.f_code.co_qualname}]"


def _position(code: CodeType, instruction: int, line: int) -> tuple[int, int, tuple[int, int] | None]:
    """The lines of the expression that failed, and its columns when it stands on one."""
    first, last, left, right = next(islice(code.co_positions(), max(instruction, 0) // 2, None), (None,) * 4)
    if first is None or last is None or first != line:
        return line, line, None
    if left is None or right is None or first != last:
        return line, last, None
    text = linecache.getline(code.co_filename, line).encode()
    return line, last, (len(text[:left].decode(errors="replace")), len(text[:right].decode(errors="replace")))


def _statement(lines: Sequence[str], first: int, last: int) -> tuple[int, int]:
    """The lines of the statement around a line; of one with a body, those of its head."""
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
        if first <= end:  # the walk goes inwards: the innermost comes last
            best = (node.lineno, end)
    return best


@cache
def _libraries() -> tuple[str, ...]:
    """Folders of code that is not the user's own."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [path for path in sys.path if path.rstrip("/\\").endswith(("site-packages", "dist-packages"))]
    folders += [site.getusersitepackages(), str(Path(__file__).parents[1])]
    return tuple(str(Path(folder)) + ("\\" if "\\" in folder else "/") for folder in folders)
