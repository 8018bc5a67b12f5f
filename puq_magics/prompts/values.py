"""Format values as text in a prompt.

Long values cost only what is shown of them: ten million items or a wide data frame are cut while they are formatted,
and both the text and a note state what was omitted.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import partial
from itertools import islice
from types import GeneratorType, ModuleType, NoneType
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.text import pluralize
from puq_magics.prompts import markdown_tables, tables, truncation
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.input_cells import InputCells
from puq_magics.prompts.markdown_tables import RenderLimits

#: Limits of a table, unless `head` or `full` sets others.
MAX_ROWS = 20
MAX_COLUMNS = 50
#: Elements of an array that are shown; of a larger one only the edges.
MAX_ARRAY_ELEMENTS = 1_000
#: Characters of a dict's key in a schema.
MAX_KEY_CHARS = 100
#: What to do in place of a call within a prompt.
CALL_HINT = "Call it in a cell, and insert the result: x = …, then {{x}}."
#: A limit that nothing reaches.
UNLIMITED = 10**15

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_LAZY_TYPES = (GeneratorType, KeysView, ValuesView, ItemsView, map, filter, zip, islice)


class RenderedText(str):
    """Text that is already within the limit."""

    __slots__ = ()


class RenderedBlock(RenderedText):
    """Text within the limit that needs lines of its own, such as a table."""

    __slots__ = ()


class ValueRenderer:
    """Formats the values of one prompt, each with at most ``limit`` characters, and provides the filters.

    ``notes`` state what was cut, ``parts`` are the images as content parts. With ``images`` None, ``| image`` is an
    error. With ``plain``, only values that can be a name, a number or a path are rendered.
    """

    def __init__(self, limit: int, images: ImageLimits | None = None, *, plain: bool = False) -> None:
        self._limit = limit
        self._images = images
        self._plain = plain
        self.reset()

    def reset(self) -> None:
        """Begin a prompt."""
        self.notes: list[str] = []
        self.parts: list[dict[str, Any]] = []
        self.start_expression("")

    def start_expression(self, label: str) -> None:
        """Start the next expression; ``label`` names it in notes."""
        self._label = label
        self._render_limits = RenderLimits(rows=MAX_ROWS, columns=MAX_COLUMNS, characters=self._limit)

    def render(self, value: Any) -> str:
        """Return a value's text. Raises InputError for a value without one."""
        if isinstance(value, RenderedText):
            return value
        if self._plain:
            _check_plain(value)
        if isinstance(value, InputCells):
            return RenderedBlock(self._truncate(str(value)))
        own = _native_text(value)
        if own is not None:
            return self._truncate(own)
        value = self._materialize(truncation.to_plain(value))
        _check_renderable(value)
        if tables.is_table(value):
            return self._render_table(markdown_tables.table_to_markdown(value, self._render_limits))
        if _is_array(value):
            return self._render_array(value)
        if isinstance(value, _CONTAINERS) and not hasattr(type(value), "_fields"):
            limit = self._render_limits.characters
            return self._with_cut_note(value, truncation.format_truncated(value, limit, self._to_plain))
        return self._truncate(str(value))

    # -- filters

    def head(self, value: Any, n: int = 5) -> Any:
        """Return the first ``n`` rows of a table, lines of a text, or items of another value."""
        if not isinstance(n, int) or n < 0:
            raise InputError(f"head takes a whole number, not {n!r}.", hint="Write for example head(5).")
        if isinstance(value, str):
            return _first_lines(value, n)
        # Requested rows are all shown; the default limit is for values without `head`.
        self._render_limits = replace(self._render_limits, rows=max(n, MAX_ROWS))
        if isinstance(value, dict):
            return dict(islice(value.items(), n))
        if tables.is_table(value):
            return tables.first_rows(value, n)
        if _is_array(value) or _is_pandas_sequence(value) or isinstance(value, (list, tuple)):
            return value[:n]
        return list(islice(value, n))

    def full(self, value: Any) -> Any:
        """Return the value, and lift all limits."""
        if isinstance(value, RenderedText):
            raise InputError("apply full before other filters.", hint="Write x | full | md.")
        self._render_limits = RenderLimits(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)
        return value

    def md(self, value: Any) -> str:
        """Format as Markdown: records and dicts as a table, a list as a list, others as without the filter."""
        value = self._materialize(value)
        if markdown_tables.is_records(value):
            return self._render_table(markdown_tables.records_to_markdown(value, self._render_limits))
        if isinstance(value, dict):
            return self._render_table(markdown_tables.mapping_to_markdown(value, self._render_limits))
        if isinstance(value, (list, tuple, set, frozenset)):
            text = self._with_cut_note(
                value, truncation.join_truncated(self._iter_bullets(value), self._render_limits.characters)
            )
            return RenderedBlock(text)
        text = self.render(value)
        return text if isinstance(text, RenderedText) else RenderedText(text)

    def json(self, value: Any) -> str:
        """Format as JSON, and values that JSON cannot represent as text.

        A table is a list of its rows, with the labels of its index. A series with labels is an object, unless the
        series or its index has a name.
        """
        value = self._materialize(value)
        _check_renderable(value)
        limit = self._render_limits.characters
        iter_chunks = truncation.iter_chunks(value, truncation.JSONFormat(limit, self._to_json_value))
        try:
            return self._with_cut_note(value, truncation.join_truncated(iter_chunks, limit))
        except truncation.NotSerializableError:
            message = "this value cannot be written as JSON: it holds itself, or is nested too deep."
            raise InputError(message, hint="Insert a part of it.") from None

    def schema(self, value: Any) -> str:
        """Describe the structure without the data: columns or keys, and their types."""
        if tables.is_table(value):
            table = tables.read_table(value, UNLIMITED)
            fields = [{"column": column.name, "type": column.type} for column in table.columns]
            limits = replace(self._render_limits, rows=UNLIMITED)
            listed = self._render_table(markdown_tables.records_to_markdown(fields, limits))
            rows, columns = pluralize(table.row_count, "row"), pluralize(table.column_count, "column")
            return RenderedBlock(f"{rows}, {columns}\n\n{listed}")
        if _is_array(value):
            return RenderedText(f"array of {value.dtype}, shape {_format_shape(value)}")
        return RenderedText(self._truncate(_describe_structure(value)))

    def image(self, value: Any) -> str:
        """Attach the image to the prompt, and return its number, as in ``[image 1]``."""
        from puq_magics.prompts.images import require_image_parts

        if self._images is None:
            raise InputError("images cannot be attached to this text.", hint="Use images in a chat's prompt.")
        image_parts = require_image_parts(value, self._images)
        for note in image_parts.notes:
            self._add_note(note)
        marks = []
        for part in image_parts.parts:
            if part not in self.parts:  # an image that is used twice is sent once
                self.parts.append(part)
            marks.append(f"[image {self.parts.index(part) + 1}]")
        return RenderedText(" ".join(marks))

    # -- limits and notes

    def _truncate(self, text: str) -> str:
        limit = self._render_limits.characters
        if len(text) <= limit:
            return text
        return self._append_note(text[:limit], f"cut at {limit:,} of {len(text):,} characters")

    def _with_cut_note(self, value: Any, truncated: tuple[str, bool]) -> str:
        text, cut = truncated
        if not cut:
            return RenderedText(text)
        size = f"; {pluralize(len(value), 'item')} in all" if isinstance(value, _CONTAINERS) else ""
        return self._append_note(text, f"cut at {self._render_limits.characters:,} characters{size}")

    def _append_note(self, text: str, note: str) -> str:
        self._add_note(note)
        return RenderedText(f"{text}… ({note})")

    def _render_table(self, table: markdown_tables.MarkdownTable) -> str:
        if table.omitted:
            self._add_note(", ".join(table.omitted))
        return RenderedBlock(table.text)

    def _add_note(self, note: str) -> None:
        self.notes.append(f"{self._label}: {note}")

    # -- types of values

    def _materialize(self, value: Any) -> Any:
        """Return an iterator, a dict's view, or an index as a list, as far as it can be shown."""
        size = self._render_limits.characters + 1
        if _is_pandas_sequence(value):
            return list(value[:size])
        return list(islice(value, size)) if isinstance(value, _LAZY_TYPES) else value

    def _render_array(self, array: Any) -> str:
        numpy = sys.modules["numpy"]
        array = _shorten_times(array) if array.dtype.kind == "M" else array
        elements = MAX_ARRAY_ELEMENTS if self._render_limits.rows == MAX_ROWS else UNLIMITED
        text = numpy.array2string(array, separator=", ", threshold=elements)
        if array.size <= elements:
            return self._truncate(text)
        note = f"the edges of an array of shape {_format_shape(array)}"
        self._add_note(note)
        return self._truncate(f"{text}\n({note}, {array.dtype})")

    def _iter_bullets(self, items: Any) -> Iterator[str]:
        limit = self._render_limits.characters
        before = "- "
        for item in items:
            text = (
                str.__str__(item)[: limit + 1]
                if isinstance(item, str)
                else truncation.format_truncated(item, limit, self._to_plain)[0]
            )
            yield before + text.replace("\n", "\n  ")
            before = "\n- "

    def _table_to_json(self, value: Any) -> Any:
        table = tables.read_table(value, UNLIMITED)
        count = self._render_limits.rows
        if count < table.row_count:
            self._add_note(f"{count:,} of {table.row_count:,} rows")
        rows = list(table.rows(count))
        if table.is_series and not table.index:
            return [cell for _, (cell,) in rows]
        names = _field_names(table)
        if names == ["index", tables.UNNAMED]:  # of a series with labels and without names
            labels = [markdown_tables.format_label(label) for (label,), _ in rows]
            if len(set(labels)) == len(labels):
                return dict(zip(labels, (cell for _, (cell,) in rows), strict=True))
        records = [[*labels, *cells] for labels, cells in rows]
        if len(set(names)) < len(names):
            return {"columns": names, "rows": records}
        return [dict(zip(names, record, strict=True)) for record in records]

    def _to_plain(self, value: Any) -> object:
        """Convert a value within a container."""
        return self._table_to_json(value) if tables.is_table(value) else truncation.to_plain(value)

    def _to_json_value(self, value: Any) -> object:
        """Convert a value that JSON cannot represent."""
        if tables.is_missing(value):
            return None
        if isinstance(value, float) and math.isinf(value):
            self._add_note("JSON has no infinity, it is null")
            return None
        if isinstance(value, (str, bool, int, float, dict, list)) or type(value) is tuple:
            return value
        if _is_array(value):
            return (
                list(value[: self._render_limits.characters + 1])
                if value.shape
                else self._to_json_value(value.item())
            )
        if tables.is_table(value):
            return self._table_to_json(value)
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return dict(value._asdict())
        if isinstance(value, Mapping):
            return dict(value)
        value = self._materialize(value)
        if isinstance(value, (set, frozenset, deque)):
            return list(islice(value, self._render_limits.characters + 1))
        return value if isinstance(value, list) else _object_to_plain(value)


def _object_to_plain(value: Any) -> object:
    """Convert an enum's member, a dataclass, or a pydantic model; others become text."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    dump = getattr(type(value), "model_dump", None)
    return dump(value) if callable(dump) else str(value)


def _field_names(table: tables.DataTable) -> list[str]:
    """Return the names of a row's fields: the levels of the index, and the columns."""
    unnamed = ["index"] if len(table.index) == 1 else [f"level_{n}" for n in range(len(table.index))]
    levels = [
        level.name if level.name is not None else name
        for level, name in zip(table.index, unnamed, strict=True)
    ]
    return [
        markdown_tables.format_label(name) for name in (*levels, *(column.name for column in table.columns))
    ]


def _native_text(value: Any) -> str | None:
    """Return the text of values that provide one: plain ones, results, and those with Markdown in notebooks."""
    kind = type(value)
    if callable(getattr(kind, "_puq_text_", None)):
        return str(value._puq_text_())
    if isinstance(value, str):
        return str.__str__(value)  # the text itself, whatever a subclass (such as an Enum) prints
    if value is None or isinstance(value, (bool, int, float, complex)):
        return str(value)
    if not isinstance(value, type) and callable(getattr(kind, "_repr_markdown_", None)):
        shown = value._repr_markdown_()
        shown = shown[0] if isinstance(shown, tuple) else shown  # (data, metadata)
        return shown if isinstance(shown, str) else None
    return None


def _check_renderable(value: Any) -> None:
    """Raise InputError for values without a useful text."""
    kind: Any = type(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        hint = "Decode them first; send the bytes of an image with | image, or with -a."
        raise InputError("bytes cannot be inserted.", hint=hint)
    if _is_image_type(kind):
        hint = "Write | image after it, or attach it with -a."
        raise InputError("an image cannot be inserted as text.", hint=hint)
    if tables.is_instance(value, "polars", "LazyFrame"):
        hint = "Collect it in a cell, and insert the result: x = frame.collect(), then {{x}}."
        raise InputError("a LazyFrame has no rows yet.", hint=hint)
    if inspect.iscoroutine(value):
        value.close()
        raise InputError("a coroutine cannot be inserted.", hint="Await it in a cell, and insert the result.")
    check_not_function(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        hint = "Insert one of its attributes, or give its class a __str__."
        raise InputError(f"a value of type {kind.__name__} has no text of its own.", hint=hint)


def _check_plain(value: Any) -> None:
    """Raise InputError for a value that can be neither a name nor a number nor a path."""
    is_many = isinstance(value, (type, *_CONTAINERS, *_LAZY_TYPES)) or _is_array(value)
    if value is None or is_many or tables.is_table(value) or _is_pandas_sequence(value):
        subject = "None" if value is None else f"a value of type {type(value).__name__}"
        hint = "Fill in a text, a number or a path; an option that takes a variable takes its bare name."
        raise InputError(f"{subject} cannot be the value of an option.", hint=hint)


def check_not_function(value: Any) -> None:
    """Raise InputError for a function, a method, or another object that is only there to be called."""
    is_function = inspect.isroutine(value) or isinstance(value, partial)
    if not (is_function or type(value).__name__ in ("ufunc", "_lru_cache_wrapper")):
        return
    name = getattr(value, "__name__", type(value).__name__)
    is_method = not isinstance(getattr(value, "__self__", None), (ModuleType, NoneType))
    hint = f'{CALL_HINT} A key of that name is ["{name}"].' if is_method else CALL_HINT
    raise InputError(f"{name!r} is a function, which cannot be inserted.", hint=hint)


def _is_image_type(kind: type) -> bool:
    shows = (getattr(kind, f"_repr_{name}_", None) for name in ("png", "jpeg"))
    return any(map(callable, shows)) or any(base.__module__ == "matplotlib.figure" for base in kind.__mro__)


def _is_array(value: Any) -> bool:
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return isinstance(array, type) and isinstance(value, array)


def _is_pandas_sequence(value: Any) -> bool:
    """Return whether a value is an index, such as ``df.columns``, or an array of pandas."""
    return tables.is_pandas(value, "Index") or tables.is_instance(
        value, "pandas.api.extensions", "ExtensionArray"
    )


def _shorten_times(array: Any) -> Any:
    """Return dates without a time where there is none, and times without zeros at their end."""
    units = (array.astype(f"datetime64[{unit}]") for unit in ("D", "s", "ms", "us"))
    return next((short for short in units if ((short == array) | (array != array)).all()), array)


def _format_shape(array: Any) -> str:
    return " × ".join(map(str, array.shape)) or "()"


def _first_lines(text: str, n: int) -> str:
    """Return the first lines of a text without splitting the rest."""
    end = 0
    for _ in range(n):
        found = text.find("\n", end)
        if found < 0:
            return text
        end = found + 1
    return text[: max(end - 1, 0)]


def _describe_structure(value: Any, depth: int = 4) -> str:
    """Return the types of a value's items, and a dict's keys; only the first items of long ones are read."""
    name = type(value).__name__
    if not isinstance(value, (dict, list, tuple, set, frozenset)) or depth == 0:
        return name
    if isinstance(value, dict):
        fields = [
            f"{str(key)[:MAX_KEY_CHARS]!r}: {_describe_structure(item, depth - 1)}"
            for key, item in islice(value.items(), MAX_COLUMNS)
        ]
        more = [f"… ({len(value):,} keys)"] if len(value) > MAX_COLUMNS else []
        return f"{{{', '.join(fields + more)}}}"
    kinds = dict.fromkeys(_describe_structure(item, depth - 1) for item in islice(value, MAX_ROWS))
    return f"{name} of {pluralize(len(value), 'item')}" + (f": {' | '.join(kinds)}" if kinds else "")
