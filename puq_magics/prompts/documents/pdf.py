"""Text of a PDF page by page, or its pages as images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, BinaryIO

from puq_magics.core.errors import InputError
from puq_magics.prompts.documents.document import Document, PageSelection, ReadLimits, require_module
from puq_magics.prompts.images import ContentPart, to_image_parts

#: The most pages that are sent as images, and their resolution in dots per inch.
MAX_PAGE_IMAGES, PAGE_DPI = 20, 150
_LOCKED_HINT = "Save a copy without the password, and attach that."


def read_pdf(stream: BinaryIO, limits: ReadLimits, pages: PageSelection) -> Document:
    """Return the text of the pages up to the limit, or images of them. Raises InputError."""
    if pages.as_images:
        return _read_images(stream, limits, pages)
    pypdf = require_module("pypdf", "a PDF")
    logging.getLogger("pypdf").addHandler(logging.NullHandler())  # it warns of each small fault of a file
    reader = pypdf.PdfReader(stream)
    _unlock(reader, pypdf)
    total = len(reader.pages)
    numbers = _page_numbers(pages, total)
    texts: list[str] = []
    size, empty, unreadable, last = 0, 0, 0, 0
    for last in numbers:
        try:
            text = reader.pages[last - 1].extract_text().strip()
        except Exception:  # noqa: BLE001 - pypdf raises many kinds for broken pages; the others can be read
            text, unreadable = "", unreadable + 1
        empty += not text
        texts.append(f"--- page {last} ---\n{text}\n")
        size += len(text)
        if size > limits.characters:
            break
    if not size:
        raise _no_text_error(len(numbers), unreadable)
    notes = [
        f"{count} of its pages {what}" for count, what in _counts(empty - unreadable, unreadable) if count
    ]
    return Document("\n".join(texts), _describe_pages(numbers[0], last, total), notes)


def _counts(empty: int, unreadable: int) -> tuple[tuple[int, str], ...]:
    return (empty, "without text"), (unreadable, "that cannot be read")


def _describe_pages(first: int, last: int, total: int) -> str:
    if first == last:
        return f"page {first} of {total:,}"
    return f"{total:,} pages" if last - first + 1 == total else f"pages {first:,} to {last:,} of {total:,}"


def _no_text_error(count: int, unreadable: int) -> InputError:
    if unreadable == count:
        return InputError(
            "its pages cannot be read.", hint="Print it to a new PDF, or attach it with :images."
        )
    return InputError(
        "it has no text: its pages are probably scanned.",
        hint="Its pages can be attached as images: paper.pdf:images, or paper.pdf:3-5:images.",
    )


def _unlock(reader: Any, pypdf: Any) -> None:
    """Open a PDF that is encrypted with an empty password, as those are that only restrict printing."""
    if not reader.is_encrypted:
        return
    try:
        is_open = bool(reader.decrypt(""))
    except pypdf.errors.DependencyError:
        raise InputError(
            "it is encrypted, and reading it needs cryptography.", hint="%pip install cryptography"
        ) from None
    if not is_open:
        raise InputError("it is protected by a password.", hint=_LOCKED_HINT)


def _page_numbers(pages: PageSelection, total: int) -> range:
    """Return the numbers of the selected pages that there are. Raises InputError."""
    last = total if pages.last is None else min(pages.last, total)
    if not total:
        raise InputError("it has no pages.", hint="Check that it was written completely.")
    if not 1 <= pages.first <= last:
        what = (
            f"page {pages.first}"
            if pages.last in (None, pages.first)
            else f"pages {pages.first} to {pages.last}"
        )
        raise InputError(f"it has no {what}.", hint=f"It has pages 1 to {total:,}.")
    return range(pages.first, last + 1)


def _read_images(stream: BinaryIO, limits: ReadLimits, pages: PageSelection) -> Document:
    pdfium = require_module("pypdfium2", "a PDF's pages as images")
    require_module("PIL.Image", "a PDF's pages as images")
    try:
        pdf = pdfium.PdfDocument(stream)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise InputError("it is protected by a password.", hint=_LOCKED_HINT) from None
        raise
    try:
        total = len(pdf)
        selected = _page_numbers(pages, total)
        numbers = selected[:MAX_PAGE_IMAGES]
        parts: list[ContentPart] = []
        for number in numbers:
            parts += _render_page(pdf[number - 1], limits)
    finally:
        pdf.close()
    notes: Sequence[str] = ()
    if len(selected) > len(numbers):
        notes = (
            f"{MAX_PAGE_IMAGES} of {len(selected):,} pages; paper.pdf:{numbers[-1] + 1}-…:images has the next",
        )
    return Document(label=_describe_pages(numbers[0], numbers[-1], total), parts=parts, notes=notes)


def _render_page(page: Any, limits: ReadLimits) -> Sequence[ContentPart]:
    side = max(*page.get_size(), 1)
    image = page.render(scale=min(PAGE_DPI / 72, limits.images.max_side / side)).to_pil()
    found = to_image_parts(image, limits.images)
    return found.parts if found else ()
