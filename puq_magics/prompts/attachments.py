"""Convert files and variables to message parts: images, or text in a code block."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TypeVar

from puq_magics.core import files
from puq_magics.core.errors import EmptyFileError, InputError, PuqError
from puq_magics.core.fences import format_code_block
from puq_magics.core.text import format_size, one_line
from puq_magics.prompts import folders, markdown_tables, tables
from puq_magics.prompts.cells import CellReader, attach_cells
from puq_magics.prompts.documents.document import Document, PageSelection, ReadLimits
from puq_magics.prompts.documents.reading import is_document, read_document
from puq_magics.prompts.image_resize import IMAGE_FORMATS, ImageLimits, is_image
from puq_magics.prompts.images import ContentPart, ImageParts, to_image_parts

_T = TypeVar("_T")
#: Default limit of a text, in characters.
MAX_TEXT_CHARS = 100_000
ACCEPTED_HINT = (
    f"Give the path of an image ({IMAGE_FORMATS}), text, document or folder, a cell (cell:5), or a variable: "
    "a figure, an image, text, a table, a result."
)
#: Limits of a table, in columns and in characters of a cell; of an image file that is read, in bytes.
_MAX_COLUMNS, _MAX_CELL_CHARS, _MAX_IMAGE_BYTES = 200, 10_000, 200_000_000
_PAGES = re.compile(
    r"(?P<path>.+?)(?::(?P<first>\d{1,7})(?:(?P<dash>-)(?P<last>\d{1,7})?)?)?(?P<images>:images)?"
)
_LANGUAGES_BY_SUFFIX = {
    ".py": "python", ".md": "markdown", ".txt": "", ".ipynb": "json", ".js": "javascript", ".ts": "typescript",
    ".sh": "bash", ".yml": "yaml", ".htm": "html", ".rs": "rust", ".rb": "ruby", ".jl": "julia", ".log": "",
}  # fmt: skip


@dataclass(frozen=True)
class Attachments:
    """Parts of a message, to be put after the prompt's text.

    ``notes`` state what was cut or scaled down, and if a file was taken although there is a variable of that name.
    """

    parts: tuple[ContentPart, ...] = ()
    notes: tuple[str, ...] = ()


def attach(
    names: Sequence[str],
    variables: Mapping[str, Any],
    *,
    limit: int = MAX_TEXT_CHARS,
    image_limits: ImageLimits | None = None,
    cells: CellReader | None = None,
) -> Attachments:
    """Read files, or variables where there is no file of the name; the same name is read once.

    ``cell:5`` is a cell of ``cells``. Texts are cut at ``limit`` characters. Raises InputError for anything that
    cannot be sent.
    """
    reader = _AttachmentReader(limit, image_limits or ImageLimits(), cells)
    attached = [_attach_one(name, variables, reader) for name in dict.fromkeys(n.strip() for n in names)]
    notes = dict.fromkeys(note for each in attached for note in each.notes)
    return Attachments(tuple(part for each in attached for part in each.parts), tuple(notes))


def _attach_one(name: str, variables: Mapping[str, Any], reader: _AttachmentReader) -> Attachments:
    if not name:
        raise InputError("-a needs a file or a variable name.", hint=ACCEPTED_HINT)
    path, pages = _split_pages(name)
    is_file = files.path_exists(path) and not files.is_folder(path)
    is_variable = name.isidentifier() and name in variables
    if is_file:
        notes = (f"the file {path.name} was taken, not the variable",) if is_variable else ()
        attached = reader.attach_file(path, pages=pages)
        return Attachments(attached.parts, notes + attached.notes)
    if is_variable:
        return reader.attach_variable(name, variables[name])
    if name.startswith("cell:"):
        return reader.attach_cells(name)
    if files.is_folder(path) or folders.is_pattern(name):
        return reader.attach_folder(path, name)
    raise _not_found_error(name, path, variables)


def _split_pages(name: str) -> tuple[Path, PageSelection | None]:
    """Return a path, and the pages that are named behind it: ``paper.pdf:3-5``, ``paper.pdf:images``."""
    path = files.expand_path(name)
    match = _PAGES.fullmatch(name)
    if match is None or not (match["first"] or match["images"]) or files.path_exists(path):
        return path, None
    base = files.expand_path(match["path"])
    if not files.path_exists(base):
        return path, None
    first = int(match["first"] or 1)
    is_open = match["first"] is None or match["dash"]
    last = int(match["last"]) if match["last"] else None if is_open else first
    return base, PageSelection(first, last, bool(match["images"]))


def _not_found_error(name: str, path: Path, variables: Mapping[str, Any]) -> InputError:
    if re.match(r"\w+://", name):
        return InputError(f"{files.quote_name(name)} is a URL.", hint="Download it, and attach the file.")
    if name.isidentifier():
        return files.missing_name_error(name, variables, ACCEPTED_HINT)
    root = re.match(r"[^\W\d]\w*(?=[.\[(])", name)
    if root and root.group() in variables:
        hint = f"Assign it first: x = {name[:100]}, then -a x; or write {{{{{name[:100]}}}}} in the prompt."
        return InputError(f"there is no file {files.quote_name(name)}.", hint=hint)
    return files.missing_file_error(name, path)


@dataclass(frozen=True)
class _AttachmentReader:
    """Reads attachments within limits."""

    limit: int
    limits: ImageLimits
    cells: CellReader | None = None

    def attach_cells(self, name: str) -> Attachments:
        """Read cells that were run, with their outputs."""
        parts, notes = attach_cells(name, self.cells, self.limit, self.limits)
        return Attachments(tuple(parts), tuple(notes))

    def attach_file(self, path: Path, name: str = "", *, pages: PageSelection | None = None) -> Attachments:
        """Read a file; only its name is sent, or ``name``, and not its path."""
        name = name or path.name
        content = files.read_file(path, lambda start, size: self._bytes_to_read(name, start, size))
        if is_document(content.data[: files.SNIFF_BYTES]) or pages is not None:
            with files.open_file(path) as stream:
                document = self._read_document(name, stream, content.data, pages)
            if document is not None:
                return self._attach_document(name, "File", document)
        return self._attach_bytes(name, "File", content)

    def attach_folder(self, path: Path, name: str) -> Attachments:
        """List a folder, or the files that match a pattern, and read them up to the limit."""
        parts, notes = folders.attach_folder(_printable_name(name), path, self.limit, self._read_listed)
        return Attachments(tuple(parts), tuple(notes))

    def _read_listed(
        self, path: Path, name: str, limit: int, takes_images: bool
    ) -> tuple[Sequence[ContentPart], Sequence[str]] | str:
        """Read a file of a folder, or return what it is if it is not attached."""
        try:
            start = files.read_file(path, lambda *_: 0)
            if is_image(start.data) and not takes_images:
                return "image"
            if not (is_image(start.data) or is_document(start.data)) and _decode_text(start) is None:
                return "binary file"
            attached = replace(self, limit=limit).attach_file(path, name)
        except EmptyFileError:
            return "empty file"
        except InputError:
            return "unreadable file"
        return attached.parts, attached.notes

    def _read_document(
        self, name: str, stream: BinaryIO, start: bytes, pages: PageSelection | None = None
    ) -> Document | None:
        limits = ReadLimits(self.limit, self.limits)
        try:
            return read_document(stream, start[: files.SNIFF_BYTES], limits, pages)
        except InputError as error:
            raise InputError(f"{_printable_name(name)}: {error.message}", hint=error.hint) from None

    def _attach_document(self, name: str, what: str, document: Document) -> Attachments:
        """Attach the text of a document up to the limit, or images of its pages."""
        shown = _printable_name(name)
        is_cut = document.is_cut or len(document.text) > self.limit
        cut = f"the first {self.limit:,} characters" if is_cut else ""
        part = ", ".join(filter(None, (document.label, cut)))
        label = f"{what} {shown}{f' ({part})' if part else ''}:"
        notes = [*document.notes, part] if is_cut else document.notes
        noted = tuple(f"{shown}: {note}" for note in notes)
        if document.parts:
            return Attachments((_text_part(label), *document.parts), noted)
        text = document.text[: self.limit]
        if not text.strip():
            raise EmptyFileError(f"{shown} is empty.", hint="Attach something that has content.")
        body = text if document.language is None else format_code_block(text, document.language)
        return Attachments((_text_part(f"{label}\n\n{body}"),), noted)

    def attach_variable(self, name: str, value: Any) -> Attachments:
        """Read a variable."""
        if isinstance(value, PurePath):
            return self._attach_path(name, value)
        image_parts = self._prefix_errors(name, lambda: to_image_parts(value, self.limits))
        if image_parts is not None:
            return Attachments(image_parts.parts, tuple(f"{name}: {note}" for note in image_parts.notes))
        value = value.getvalue() if isinstance(value, (BytesIO, StringIO)) else value
        if isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            if not data:
                raise EmptyFileError(f"the variable {name} is empty.", hint=ACCEPTED_HINT)
            if is_document(data[: files.SNIFF_BYTES]):
                document = self._read_document(name, BytesIO(data), data)
                if document is not None:
                    return self._attach_document(name, "Variable", document)
            return self._attach_bytes(
                name, "Variable", files.FileContent(data[: self.limit * 4 + 4], len(data))
            )
        if tables.is_table(value):
            return self._prefix_errors(name, lambda: self._attach_table(name, value))
        if not _is_attachable(value):
            raise _unsupported_type_error(name, value)
        return self._prefix_errors(name, lambda: self._attach_value(name, value))

    def _attach_path(self, name: str, value: PurePath) -> Attachments:
        path = files.expand_path(str(value))
        if files.is_folder(path):
            return self.attach_folder(path, path.name)
        if not files.path_exists(path):
            error = files.missing_file_error(str(value), path)
            raise InputError(f"the variable {name}: {error.message}", hint=error.hint)
        return self.attach_file(path)

    def _prefix_errors(self, name: str, work: Callable[[], _T]) -> _T:
        """Call ``work``; its errors name the variable."""
        try:
            return work()
        except PuqError as error:
            raise InputError(f"the variable {name}: {error.message}", hint=error.hint) from None
        except Exception as error:
            reason = one_line(str(error), 200).rstrip(".")
            message = f"the variable {name} cannot be read: {type(error).__name__}: {reason}."
            raise InputError(message, hint="Display it in a cell of its own to see the traceback.") from error

    def _bytes_to_read(self, name: str, start: bytes, size: int) -> int:
        if not is_image(start):
            return self.limit * 4 + 4  # UTF-8 has four bytes a character at most
        if size > _MAX_IMAGE_BYTES:
            message = f"{_printable_name(name)}: an image of {format_size(size)} is too large."
            raise InputError(message, hint="Make it smaller first.")
        return size

    def _attach_bytes(self, name: str, what: str, content: files.FileContent) -> Attachments:
        """Attach bytes as an image or as text."""
        if is_image(content.data):
            return self._attach_image(name, content.data)
        text = _decode_text(content)
        if text is None:
            raise _unsupported_data_error(name, content.data)
        if len(text) <= self.limit and content.is_whole:
            return self._attach_text(name, what, text, "")
        cut = f"the first {min(self.limit, len(text)):,} characters of {_size_in_prompt(content.size)}"
        return self._attach_text(name, what, text[: self.limit], cut)

    def _attach_image(self, name: str, data: bytes) -> Attachments:
        try:
            image_parts = to_image_parts(data, self.limits) or ImageParts(())
        except InputError as error:
            raise InputError(f"{_printable_name(name)}: {error.message}", hint=error.hint) from None
        return Attachments(
            image_parts.parts, tuple(f"{_printable_name(name)}: {note}" for note in image_parts.notes)
        )

    def _attach_value(self, name: str, value: Any) -> Attachments:
        """Attach a string, or the text of another value."""
        from puq_magics.prompts.values import ValueRenderer

        if isinstance(value, str):
            text = str.__str__(value)
            cut = f"the first {self.limit:,} of {len(text):,} characters" if len(text) > self.limit else ""
            attached = self._attach_text(name, "Variable", text[: self.limit], cut)
            return Attachments(attached.parts, attached.notes + _path_note(name, text))
        renderer = ValueRenderer(self.limit)
        renderer.start_expression(name)
        text = renderer.render(value)
        attached = self._attach_text(name, "Variable", text, "")
        return Attachments(attached.parts, tuple(renderer.notes))

    def _attach_table(self, name: str, value: Any) -> Attachments:
        render_limits = markdown_tables.RenderLimits(
            self.limit // 4 + 1, _MAX_COLUMNS, self.limit, _MAX_CELL_CHARS
        )
        table = markdown_tables.table_to_markdown(value, render_limits)
        notes = (f"{name}: {', '.join(table.omitted)}",) if table.omitted else ()
        return Attachments((_text_part(f"Variable {name}:\n\n{table.text}"),), notes)

    def _attach_text(self, name: str, what: str, text: str, cut: str) -> Attachments:
        """Attach a text as a code block; ``cut`` describes the part if it is not the whole text."""
        text = text.replace("\r\n", "\n")
        if not text.strip():
            raise EmptyFileError(
                f"{_printable_name(name)} is empty.", hint="Attach something that has content."
            )
        label = f"{what} {_printable_name(name)}{f' ({cut})' if cut else ''}:"
        language = _fence_language(name) if what == "File" else ""
        return Attachments(
            (_text_part(f"{label}\n\n{format_code_block(text, language)}"),),
            (f"{_printable_name(name)}: {cut}",) if cut else (),
        )


def _text_part(text: str) -> ContentPart:
    return {"type": "text", "text": text}


def _decode_text(content: files.FileContent) -> str | None:
    """Decode UTF-8, whose last character may be incomplete if the bytes are cut; None for other data."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(content.data.removeprefix(codecs.BOM_UTF8), final=content.is_whole)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _unsupported_data_error(name: str, data: bytes) -> InputError:
    from puq_magics.core.media_types import describe_non_media, detect_audio_type

    start = data[: files.SNIFF_BYTES]
    hint = ACCEPTED_HINT
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and detect_audio_type(start) is None:
        reason = ": it is text in UTF-16"
        hint = "Save it as UTF-8."
    elif (audio := detect_audio_type(start)) is not None:
        reason = f": it is audio ({audio.format})"
        hint = "Transcribe it first with %puq_transcribe, and attach the text."
    elif describe_non_media(start) == "an old or encrypted Office document":
        reason = ": it is an old Office document, or has a password"
        hint = "Save it as .docx or .xlsx, without a password."
    else:
        reason = ": it is neither UTF-8 text nor an image of a supported format"
        hint = f"Save text as UTF-8, and an image as {IMAGE_FORMATS}."
    return InputError(f"{_printable_name(name)} cannot be sent{reason}.", hint=hint)


def _is_attachable(value: Any) -> bool:
    """Return whether a value is text, a container, or provides its own text."""
    if isinstance(value, (str, dict, list, tuple, set, frozenset)):
        return True
    if isinstance(value, type):
        return False
    return any(callable(getattr(type(value), name, None)) for name in ("_puq_text_", "_repr_markdown_"))


def _unsupported_type_error(name: str, value: Any) -> InputError:
    kind = type(value).__name__
    message = f"the variable {name} cannot be attached: it is of type {kind}."
    if kind == "ndarray" and value.ndim in (2, 3):
        return InputError(message, hint=f"For an image, attach PIL.Image.fromarray({name}), or a plot of it.")
    return InputError(message, hint=ACCEPTED_HINT)


def _path_note(name: str, text: str) -> tuple[str, ...]:
    """Return a note if a text is the path of a file, which may have been meant."""
    if len(text) > 300 or "\n" in text or not re.search(r"[./\\]", text) or "\0" in text:
        return ()
    path = Path(text)
    if not files.path_exists(path) or files.is_folder(path):
        return ()
    return (f"{name}: its text was attached, not the file of that name (use Path({name}) for the file)",)


def _fence_language(name: str) -> str:
    suffix = PurePath(name).suffix.lower()
    language = _LANGUAGES_BY_SUFFIX.get(suffix, suffix[1:])
    return language if re.fullmatch(r"[a-z][a-z0-9+]{0,15}", language) else ""


def _printable_name(name: str) -> str:
    """Return a file's name on one line, without control characters."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    text = "".join(c if c.isprintable() else "_" for c in text)
    return text if len(text) <= 100 else f"{text[:60]}…{text[-39:]}"


def _size_in_prompt(count: int) -> str:
    """Return a size as prompts have it: with another text, cassettes would not find their recordings."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
