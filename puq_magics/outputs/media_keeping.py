"""Files of a result that nobody asked to save, and that must be: too large for a notebook, or made in a terminal."""

from __future__ import annotations

from pathlib import Path

from puq_magics.core.errors import InputError
from puq_magics.outputs.results.base import MediaResult, Result, Savable


def save_large(result: MediaResult, folder: Path | None = None) -> None:
    """Save, beside the notebook, what of a result is too large for it and was not saved before."""
    from puq_magics.core.files import notebook_folder

    for file, data, words in result.beyond_limit():
        if file.path is None:
            _keep(result, file, data, words, folder or notebook_folder())


def _keep(result: Result, file: Savable, data: bytes, words: str, folder: Path) -> None:
    """Save a file of a result under a free name; where that cannot be, as a temporary file, which is noted."""
    from puq_magics.core.files import kept, save_numbered

    try:
        file.path = save_numbered(data, folder, words, file.type.extension)
    except InputError as exc:
        try:
            file.path = kept(data, file.type.extension)
        except InputError:
            result.note(f"{exc.message} What came is in the result alone: .save() writes it.")
        else:
            result.note(f"{exc.message} What came is kept in {file.path}")


def saved_lines(result: Result, folder: Path) -> list[str]:
    """Save what was not saved before; a line for each file, saying where it is."""
    from puq_magics.outputs.results.media_html import megabytes, shown_path

    lines = []
    for file, data, words in result.files if isinstance(result, MediaResult) else ():
        if file.path is None:
            _keep(result, file, data, words, folder)
        where = "not saved" if file.path is None else f"saved {shown_path(file.path)}"
        lines.append(f"{where} ({megabytes(len(data))})")
    return lines
