"""Files and variables that go along with a prompt: images as they are, all else as fenced text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path, PurePath
from typing import Any, TypeVar

from puq_magics.core import files
from puq_magics.core.errors import InputError, PuqError
from puq_magics.core.suggestions import did_you_mean
from puq_magics.prompts import markdown_tables as tables
from puq_magics.prompts.image_resize import KINDS, Limits, kind_of
from puq_magics.prompts.images import Part, Pictures, pictures

_Found = TypeVar("_Found")
#: Characters of one text, unless the caller says otherwise.
LIMIT = 100_000
TAKES = (
    f"It takes the path of an image ({KINDS}) or of a text file, or a variable: "
    "a figure, an image, text, a table, a result."
)
#: Columns of a table, characters of its cells, and bytes of an image file that is read at all.
_COLUMNS, _CELL, _LARGEST = 200, 10_000, 200_000_000
_LANGUAGES = {
    ".py": "python", ".md": "markdown", ".txt": "", ".ipynb": "json", ".js": "javascript", ".ts": "typescript",
    ".sh": "bash", ".yml": "yaml", ".htm": "html", ".rs": "rust", ".rb": "ruby", ".jl": "julia", ".log": "",
}  # fmt: skip


@dataclass(frozen=True)
class Attached:
    """What goes along with a prompt.

    ``parts`` belong behind the prompt's own text part, in a message's ``content``; ``notes`` say what was cut or
    scaled down, and which of a file and a variable of the same name was taken.
    """

    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()


def attach(
    names: Sequence[str],
    variables: Mapping[str, Any],
    *,
    limit: int = LIMIT,
    picture_limits: Limits | None = None,
) -> Attached:
    """Read what ``names`` name: files, or else variables; the same name twice is read once.

    A text has at most ``limit`` characters. Raises InputError for anything that cannot be sent.
    """
    limits = picture_limits or Limits()
    each = [_one(name, variables, _Reader(limit, limits)) for name in dict.fromkeys(n.strip() for n in names)]
    notes = dict.fromkeys(note for attached in each for note in attached.notes)
    return Attached(tuple(part for attached in each for part in attached.parts), tuple(notes))


def _one(name: str, variables: Mapping[str, Any], reader: _Reader) -> Attached:
    if not name:
        raise InputError("there is nothing after -a.", hint=TAKES)
    path = files.path_of(name)
    is_file = files.is_there(path) and not files.is_folder(path)
    is_variable = name.isidentifier() and name in variables
    if is_file:
        notes = (f"the file {path.name} was taken, not the variable",) if is_variable else ()
        found = reader.file(path)
        return Attached(found.parts, notes + found.notes)
    if is_variable:
        return reader.variable(name, variables[name])
    if files.is_there(path):
        raise InputError(f"{files.shown(name)} is a folder.", hint="Attach files of it, one by one.")
    raise _nothing(name, path, variables)


def _nothing(name: str, path: Path, variables: Mapping[str, Any]) -> InputError:
    if re.match(r"\w+://", name):
        return InputError(f"{files.shown(name)} is an address.", hint="Download it, and attach the file.")
    if name.isidentifier():
        message = f"there is neither a file nor a variable named {files.shown(name)}."
        return InputError(message, hint=did_you_mean(name, variables) or TAKES)
    root = re.match(r"[^\W\d]\w*(?=[.\[(])", name)
    if root and root.group() in variables:
        hint = f"It takes a name: x = {name[:100]}, then -a x. In a prompt, {{{{{name[:100]}}}}} will do."
        return InputError(f"there is no file {files.shown(name)}.", hint=hint)
    return files.missing(name, path)


@dataclass(frozen=True)
class _Reader:
    """Reads one attachment."""

    limit: int
    limits: Limits

    def file(self, path: Path) -> Attached:
        """Read a file; of its path, only its name is sent."""
        content = files.read(path, lambda start, size: self._wanted(path.name, start, size))
        return self._bytes(path.name, "File", content)

    def variable(self, name: str, value: Any) -> Attached:
        """Read a variable."""
        if isinstance(value, PurePath):
            return self._path(name, value)
        shows = self._told(name, lambda: pictures(value, self.limits))
        if shows is not None:
            return Attached(shows.parts, tuple(f"{name}: {note}" for note in shows.notes))
        value = value.getvalue() if isinstance(value, (BytesIO, StringIO)) else value
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            if not data:
                raise InputError(f"the variable {name} is empty.", hint=TAKES)
            return self._bytes(name, "Variable", files.Content(data[: self.limit * 4 + 4], len(data)))
        if tables.is_pandas(value):
            return self._told(name, lambda: self._table(name, value))
        if not _has_text(value):
            raise _refused(name, value)
        return self._told(name, lambda: self._written(name, value))

    def _path(self, name: str, value: PurePath) -> Attached:
        path = files.path_of(str(value))
        if not files.is_there(path):
            error = files.missing(str(value), path)
            raise InputError(f"the variable {name}: {error.message}", hint=error.hint)
        return self.file(path)

    def _told(self, name: str, work: Callable[[], _Found]) -> _Found:
        """Do something with a variable's value, and name the variable in what goes wrong."""
        try:
            return work()
        except PuqError as error:
            raise InputError(f"the variable {name}: {error.message}", hint=error.hint) from None
        except Exception as error:
            words = " ".join(str(error).split())[:200].rstrip(".")
            message = f"the variable {name} cannot be read: {type(error).__name__}: {words}."
            raise InputError(message, hint="Show it in a cell of its own to see where.") from error

    def _wanted(self, name: str, start: bytes, size: int) -> int:
        if kind_of(start) is None:
            return self.limit * 4 + 4  # UTF-8 has four bytes a character at most
        if size > _LARGEST:
            message = f"{_plain(name)}: an image of {_size(size)} is too large."
            raise InputError(message, hint="Make it smaller first.")
        return size

    def _bytes(self, name: str, what: str, content: files.Content) -> Attached:
        """An image, or text."""
        if kind_of(content.data) is not None:
            return self._image(name, content.data)
        text = _decoded(content)
        if text is None:
            raise _binary(name, content.data)
        if len(text) <= self.limit and content.is_whole:
            return self._text(name, what, text, "")
        said = f"the first {min(self.limit, len(text)):,} characters of {_size(content.size)}"
        return self._text(name, what, text[: self.limit], said)

    def _image(self, name: str, data: bytes) -> Attached:
        try:
            shows = pictures(data, self.limits) or Pictures(())
        except InputError as error:
            raise InputError(f"{_plain(name)}: {error.message}", hint=error.hint) from None
        return Attached(shows.parts, tuple(f"{_plain(name)}: {note}" for note in shows.notes))

    def _written(self, name: str, value: Any) -> Attached:
        """A text, what a result says, or JSON."""
        from puq_magics.prompts.values import Renderer

        if isinstance(value, str):
            text = str.__str__(value)
            said = f"the first {self.limit:,} of {len(text):,} characters" if len(text) > self.limit else ""
            attached = self._text(name, "Variable", text[: self.limit], said)
            return Attached(attached.parts, attached.notes + _names_a_file(name, text))
        renderer = Renderer(self.limit)
        renderer.begin(name)
        text = renderer.text(value)
        attached = self._text(name, "Variable", text, "")
        return Attached(attached.parts, tuple(renderer.notes))

    def _table(self, name: str, value: Any) -> Attached:
        extent = tables.Extent(self.limit // 4 + 1, _COLUMNS, self.limit, _CELL)
        table = tables.of_frame(value, extent)
        notes = (f"{name}: {', '.join(table.left_out)}",) if table.left_out else ()
        return Attached((_text_part(f"Variable {name}:\n\n{table.text}"),), notes)

    def _text(self, name: str, what: str, text: str, cut: str) -> Attached:
        """A text in a fence; ``cut`` says what of it this is, if it is not all."""
        text = text.replace("\r\n", "\n")
        if not text.strip():
            raise InputError(f"{_plain(name)} is empty.", hint="There is nothing in it to send.")
        label = f"{what} {_plain(name)}{f' ({cut})' if cut else ''}:"
        language = _language(name) if what == "File" else ""
        return Attached(
            (_text_part(f"{label}\n\n{fenced(text, language)}"),), (f"{_plain(name)}: {cut}",) if cut else ()
        )


def fenced(text: str, language: str = "") -> str:
    """Text as a block of code whose fence is longer than any that the text holds."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}{language}\n{text}{end}{fence}"


def _text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def _decoded(content: files.Content) -> str | None:
    """The text of UTF-8, whose last character may be cut through where the bytes are; None for anything else."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(content.data.removeprefix(codecs.BOM_UTF8), final=content.is_whole)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text or text.startswith("%PDF-") else text


def _binary(name: str, data: bytes) -> InputError:
    from puq_magics.core.media_types import describe_non_media, detect_audio_type

    start = data[: files.START]
    hint = TAKES
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and detect_audio_type(start) is None:
        said = ": it is text in UTF-16"
        hint = "Save it as UTF-8."
    elif (audio := detect_audio_type(start)) is not None:
        said = f": it is audio ({audio.format})"
        hint = "%puq_transcribe makes text of it, which can be attached."
    elif (other := describe_non_media(start)) in ("PDF", "a ZIP archive"):
        said = f": it is {other}"
        hint = "Attach its text, or its pages as images."
    else:
        said = ": it is neither UTF-8 text nor an image of a kind that models take"
        hint = f"Save text as UTF-8, and an image as {KINDS}."
    return InputError(f"{_plain(name)} cannot be sent{said}.", hint=hint)


def _has_text(value: Any) -> bool:
    """Whether a value is text, data that JSON has a notation for, or knows its own text."""
    if isinstance(value, (str, dict, list, tuple, set, frozenset)):
        return True
    if isinstance(value, type):
        return False
    return any(callable(getattr(type(value), name, None)) for name in ("_puq_text_", "_repr_markdown_"))


def _refused(name: str, value: Any) -> InputError:
    kind = type(value).__name__
    message = f"the variable {name} cannot be attached: it is of type {kind}."
    if kind == "ndarray" and value.ndim in (2, 3):
        return InputError(message, hint=f"For an image, attach PIL.Image.fromarray({name}), or a plot of it.")
    return InputError(message, hint=TAKES)


def _names_a_file(name: str, text: str) -> tuple[str, ...]:
    """Say so if a text is the path of a file: that may have been meant."""
    if len(text) > 300 or "\n" in text or not re.search(r"[./\\]", text) or "\0" in text:
        return ()
    path = Path(text)
    if not files.is_there(path) or files.is_folder(path):
        return ()
    return (f"{name}: its text was attached, not the file that it names (Path({name}) is that)",)


def _language(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    language = _LANGUAGES.get(suffix, suffix[1:])
    return language if re.fullmatch(r"[a-z][a-z0-9+]{0,15}", language) else ""


def _plain(name: str) -> str:
    """A file's name on one line, whatever stands in it."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else "_" for c in text)
    return text if len(text) <= 100 else f"{text[:60]}…{text[-39:]}"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
