"""Read a document as text; its kind is decided by its bytes."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import describe_non_media
from puq_magics.core.text import one_line
from puq_magics.prompts.documents.document import Document, PageSelection, ReadLimits

#: Bytes of an archive's files in all, unpacked, above which it is not read.
MAX_UNPACKED_BYTES = 200_000_000


def is_document(start: bytes) -> bool:
    """Return whether a file is a document, or may be one, by its first bytes."""
    kind = describe_non_media(start)
    return kind in ("PDF", "a ZIP archive", "Parquet") or (kind == "JSON" and _may_be_notebook(start))


def _may_be_notebook(start: bytes) -> bool:
    return b'"cells"' in start or b'"nbformat"' in start


def read_document(
    stream: BinaryIO, start: bytes, limits: ReadLimits, pages: PageSelection | None = None
) -> Document | None:
    """Return a document; None for JSON that is no notebook. Raises InputError.

    ``start`` is its beginning; ``pages`` are for a PDF alone.
    """
    kind = describe_non_media(start)
    if pages is not None and kind != "PDF":
        raise InputError("it has no pages to choose.", hint="Pages are for PDF: paper.pdf:3-5.")
    try:
        return _read(stream, kind, limits, pages or PageSelection())
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - the readers raise many kinds for broken files
        reason = one_line(f"{type(error).__name__}: {error}", 200).rstrip(".")
        raise InputError(
            f"it cannot be read ({reason}).", hint="Open it in its own program, and save it anew."
        ) from None


def _read(stream: BinaryIO, kind: str, limits: ReadLimits, pages: PageSelection) -> Document | None:
    if kind == "PDF":
        from puq_magics.prompts.documents.pdf import read_pdf

        return read_pdf(stream, limits, pages)
    if kind == "JSON":
        from puq_magics.prompts.documents.notebook import read_notebook

        return read_notebook(stream, limits)
    if kind == "Parquet":
        from puq_magics.prompts.documents.data_files import read_parquet

        return read_parquet(stream, limits)
    with zipfile.ZipFile(stream) as archive:
        return _read_archive(archive, stream, limits)


def _read_archive(archive: zipfile.ZipFile, stream: BinaryIO, limits: ReadLimits) -> Document:
    # Python unpacks no more of a file than its head says.
    if sum(info.file_size for info in archive.infolist()) > MAX_UNPACKED_BYTES:
        hint = f"At most {MAX_UNPACKED_BYTES // 1_000_000} MB are unpacked; save a smaller part of it."
        raise InputError("it is too large when unpacked.", hint=hint)
    names = archive.namelist()
    if any(name.startswith("word/") for name in names):
        from puq_magics.prompts.documents.docx import read_docx

        return read_docx(archive, limits)
    if any(name.startswith("xl/") for name in names):
        from puq_magics.prompts.documents.data_files import read_workbook

        return read_workbook(stream, limits)
    raise InputError("it is a ZIP archive.", hint="Unpack it, and attach the folder.")
