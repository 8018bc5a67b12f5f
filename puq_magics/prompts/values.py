"""Values as the text that stands in a prompt.

Whatever a variable holds, it costs what is shown of it: ten million items or a wide data frame are cut while
they are written, and both the text and a note say what was left out.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import replace
from itertools import islice
from types import GeneratorType
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.prompts import markdown_tables as tables
from puq_magics.prompts import truncation as bounded
from puq_magics.prompts.image_resize import Limits
from puq_magics.prompts.markdown_tables import Extent, is_pandas

#: Rows and columns of a table, unless `head` or `full` asks for others.
ROWS = 20
COLUMNS = 50
#: Elements of an array that are written out; of a larger one only the edges.
ELEMENTS = 1_000
#: Characters of a dict's key in a schema.
KEY = 100
#: More than anything has.
ALL = 10**15

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_LAZY = (GeneratorType, KeysView, ValuesView, ItemsView, map, filter, zip, islice)


class Ready(str):
    """Text that is cut to size already."""

    __slots__ = ()


class Block(Ready):
    """Such a text that needs lines of its own: a table."""

    __slots__ = ()


class Renderer:
    """Writes the values of one prompt, each at most ``limit`` characters long.

    ``notes`` says what was cut. `head`, `full`, `md`, `json`, `schema` and `image` may stand behind a ``|``;
    ``parts`` are the images, as parts of a message's content. Without ``images`` there can be none.
    """

    def __init__(self, limit: int, images: Limits | None = None) -> None:
        self._limit = limit
        self._images = images
        self.notes: list[str] = []
        self.parts: list[dict[str, Any]] = []
        self.begin("")

    def begin(self, label: str) -> None:
        """Start on the next expression; notes will call it ``label``."""
        self._label = label
        self._extent = Extent(rows=ROWS, columns=COLUMNS, characters=self._limit)

    def text(self, value: Any) -> str:
        """Return a value's text; raise `InputError` for one that has none."""
        if isinstance(value, Ready):
            return value
        own = _own_text(value)
        if own is not None:
            return self._cut(own)
        value = self._held(value)
        _refuse(value)
        if is_pandas(value):
            return self._table(tables.of_frame(value, self._extent))
        if _is_array(value):
            return self._array(value)
        if isinstance(value, _CONTAINERS) and not hasattr(type(value), "_fields"):
            return self._spelled(value, bounded.spell(value, self._extent.characters))
        return self._cut(str(value))

    # -- filters

    def head(self, value: Any, n: int = 5) -> Any:
        """The first ``n`` rows of a table, lines of a text, or items of anything else."""
        if not isinstance(n, int) or n < 0:
            raise InputError(f"head takes a whole number, not {n!r}.", hint="Write head(5), say.")
        if isinstance(value, str):
            return _lines(value, n)
        # What was asked for is shown: the usual limits on rows and elements are for what nobody asked for.
        self._extent = replace(self._extent, rows=max(n, ROWS))
        if isinstance(value, dict):
            return dict(islice(value.items(), n))
        if is_pandas(value):
            return value.iloc[:n]
        if _is_array(value) or isinstance(value, (list, tuple)):
            return value[:n]
        return list(islice(value, n))

    def full(self, value: Any) -> Any:
        """All of the value, however long it is."""
        if isinstance(value, Ready):
            raise InputError(
                "full comes too late: what stands before it has cut.", hint="Write x | full | md."
            )
        self._extent = Extent(ALL, ALL, ALL, ALL)
        return value

    def md(self, value: Any) -> str:
        """Markdown: records and dicts as a table, a list as a list, all else as without this filter."""
        value = self._held(value)
        if tables.is_records(value):
            return self._table(tables.of_records(value, self._extent))
        if isinstance(value, dict):
            return self._table(tables.of_mapping(value, self._extent))
        if isinstance(value, (list, tuple, set, frozenset)):
            text = self._spelled(value, bounded.take(self._bullets(value), self._extent.characters))
            return Block(text)
        text = self.text(value)
        return text if isinstance(text, Ready) else Ready(text)

    def json(self, value: Any) -> str:
        """JSON; a table as a list of its rows, and as text whatever JSON has no notation for."""
        value = self._rows(value) if is_pandas(value) else self._held(value)
        limit = self._extent.characters
        pieces = bounded.pieces(value, bounded.Json(limit, self._as_json))
        try:
            return self._spelled(value, bounded.take(pieces, limit))
        except bounded.NotJSONError:
            message = "this value cannot be written as JSON: it holds itself, or is nested too deep."
            raise InputError(message, hint="Fill in a part of it.") from None

    def schema(self, value: Any) -> str:
        """The shape without the data: columns and their types, or keys and theirs."""
        if is_pandas(value):
            frame = tables.as_frame(value)
            rows, columns = frame.shape
            fields = [{"column": n, "type": t} for n, t in zip(frame.columns, frame.dtypes, strict=True)]
            table = self._table(tables.of_records(fields, replace(self._extent, rows=ALL)))
            return Block(f"{_count(rows, 'row')}, {_count(columns, 'column')}\n\n{table}")
        if _is_array(value):
            return Ready(f"array of {value.dtype}, shape {_shape(value)}")
        return Ready(self._cut(_sketch(value)))

    def image(self, value: Any) -> str:
        """The image goes along with the prompt; here stands its number, as in ``[image 1]``."""
        from puq_magics.prompts.images import required

        if self._images is None:
            raise InputError("no image can go along with this text.", hint="A chat's prompt takes images.")
        shows = required(value, self._images)
        for note in shows.notes:
            self._note(note)
        marks = []
        for part in shows.parts:
            if part not in self.parts:  # one that is named twice is sent once
                self.parts.append(part)
            marks.append(f"[image {self.parts.index(part) + 1}]")
        return Ready(" ".join(marks))

    # -- how much of it

    def _cut(self, text: str) -> str:
        limit = self._extent.characters
        if len(text) <= limit:
            return text
        return self._with_note(text[:limit], f"cut at {limit:,} of {len(text):,} characters")

    def _spelled(self, value: Any, spelled: tuple[str, bool]) -> str:
        text, cut = spelled
        if not cut:
            return Ready(text)
        size = f"; {_count(len(value))} in all" if isinstance(value, _CONTAINERS) else ""
        return self._with_note(text, f"cut at {self._extent.characters:,} characters{size}")

    def _with_note(self, text: str, said: str) -> str:
        self._note(said)
        return Ready(f"{text}… ({said})")

    def _table(self, table: tables.Table) -> str:
        if table.left_out:
            self._note(", ".join(table.left_out))
        return Block(table.text)

    def _note(self, said: str) -> None:
        self.notes.append(f"{self._label}: {said}")

    # -- kinds of values

    def _held(self, value: Any) -> Any:
        """Return what an iterator or a dict's view gives as a list, as far as it can be shown."""
        return list(islice(value, self._extent.characters + 1)) if isinstance(value, _LAZY) else value

    def _array(self, array: Any) -> str:
        numpy = sys.modules["numpy"]
        elements = ELEMENTS if self._extent.rows == ROWS else ALL
        text = numpy.array2string(array, separator=", ", threshold=elements)
        if array.size <= elements:
            return self._cut(text)
        said = f"the edges of an array of shape {_shape(array)}"
        self._note(said)
        return self._cut(f"{text}\n({said}, {array.dtype})")

    def _bullets(self, items: Any) -> Iterator[str]:
        limit = self._extent.characters
        before = "- "
        for item in items:
            text = str.__str__(item)[: limit + 1] if isinstance(item, str) else bounded.spell(item, limit)[0]
            yield before + text.replace("\n", "\n  ")
            before = "\n- "

    def _rows(self, value: Any) -> list[Any]:
        rows = len(value)
        if self._extent.rows < rows:
            self._note(f"{self._extent.rows:,} of {rows:,} rows")
        part = value.iloc[: self._extent.rows]
        if is_pandas(part, "Series"):
            return list(part)
        names = [str(name) for name in part.columns]
        return [dict(zip(names, row, strict=True)) for row in part.itertuples(index=False, name=None)]

    def _as_json(self, value: Any) -> object:
        """Return something JSON has a notation for in place of what it has none for."""
        if tables.is_missing(value) or (isinstance(value, float) and math.isinf(value)):
            return None
        if isinstance(value, (str, bool, int, float, dict, list, tuple)):
            return value
        if _is_array(value):
            return list(value[: self._extent.characters + 1]) if value.shape else self._as_json(value.item())
        if is_pandas(value):
            return self._rows(value)
        if isinstance(value, (set, frozenset, deque)):
            return list(islice(value, self._extent.characters + 1))
        return str(value)


def _own_text(value: Any) -> str | None:
    """Return the text of values that know theirs: plain ones, results, what notebooks show as Markdown."""
    kind = type(value)
    if callable(getattr(kind, "_puq_text_", None)):
        return str(value._puq_text_())
    if isinstance(value, str):
        return str.__str__(value)  # what it says, whatever a subclass (an Enum, say) prints
    if value is None or isinstance(value, (bool, int, float, complex)):
        return str(value)
    if not isinstance(value, type) and callable(getattr(kind, "_repr_markdown_", None)):
        shown = value._repr_markdown_()
        shown = shown[0] if isinstance(shown, tuple) else shown  # (data, metadata)
        return shown if isinstance(shown, str) else None
    return None


def _refuse(value: Any) -> None:
    """Raise `InputError` for values that have no text worth sending."""
    kind: Any = type(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        hint = "Decode them first; an image's bytes go along with | image, or with -a."
        raise InputError("bytes cannot be filled in.", hint=hint)
    if _is_picture(kind):
        hint = "Write | image after it, or attach it with -a."
        raise InputError("an image cannot be filled in as text.", hint=hint)
    if inspect.iscoroutine(value):
        value.close()
        raise InputError(
            "a coroutine cannot be filled in.", hint="Await it in a cell, and fill in what it gives."
        )
    if inspect.isroutine(value):
        name = getattr(value, "__name__", "f")
        hint = f'Write {name}() to call it, or ["{name}"] for a key of that name.'
        raise InputError(f"{name!r} is a function, which has no text to fill in.", hint=hint)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        hint = "Fill in one of its attributes, or give its class a __str__."
        raise InputError(f"a value of type {kind.__name__} has no text of its own.", hint=hint)


def _is_picture(kind: type) -> bool:
    shows = (getattr(kind, f"_repr_{name}_", None) for name in ("png", "jpeg"))
    return any(map(callable, shows)) or any(base.__module__ == "matplotlib.figure" for base in kind.__mro__)


def _is_array(value: Any) -> bool:
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return isinstance(array, type) and isinstance(value, array)


def _shape(array: Any) -> str:
    return " × ".join(map(str, array.shape)) or "()"


def _count(number: int, thing: str = "item") -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _lines(text: str, n: int) -> str:
    """Return the first lines of a text without splitting the rest."""
    end = 0
    for _ in range(n):
        found = text.find("\n", end)
        if found < 0:
            return text
        end = found + 1
    return text[: max(end - 1, 0)]


def _sketch(value: Any, depth: int = 4) -> str:
    """Return the types of what a value holds, and a dict's keys; long ones are judged by their beginning."""
    name = type(value).__name__
    if not isinstance(value, (dict, list, tuple, set, frozenset)) or depth == 0:
        return name
    if isinstance(value, dict):
        fields = [
            f"{str(key)[:KEY]!r}: {_sketch(item, depth - 1)}" for key, item in islice(value.items(), COLUMNS)
        ]
        more = [f"… ({len(value):,} keys)"] if len(value) > COLUMNS else []
        return f"{{{', '.join(fields + more)}}}"
    kinds = dict.fromkeys(_sketch(item, depth - 1) for item in islice(value, ROWS))
    return f"{name} of {_count(len(value))}" + (f": {' | '.join(kinds)}" if kinds else "")
