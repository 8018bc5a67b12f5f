"""Paths as a person sees them: relative to the notebook, from which links in its outputs start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from IPython.core.getipython import get_ipython

from puq_magics.outputs.control_chars import strip_control_chars


def notebook_folder() -> Path:
    """Return the folder that links in an output start from: where the kernel started, whatever ``%cd`` did since.

    In a terminal, and without a shell, it is the working folder.
    """
    shell = get_ipython()
    started = shell.user_ns.get("_dh") if shell is not None and hasattr(shell, "kernel") else None
    return Path(started[0]) if started else Path.cwd()


def relative_to_notebook(path: Path) -> Path | None:
    """Return a path relative to the notebook's folder; None if it is not below it."""
    return _relative_to(path, notebook_folder())


def relative_link(path: Path) -> str | None:
    """Return a file's URL relative to the notebook; None if the file is not below its folder."""
    relative = relative_to_notebook(path)
    return quote(relative.as_posix()) if relative is not None else None


def display_path(path: Path) -> str:
    """Return a path for people, as plain text: without folders that are obvious, or that name the user."""
    below, home = relative_to_notebook(path), Path("~").expanduser()
    private = None if below or len(home.parts) < 2 else _relative_to(path, home)
    return " ".join(strip_control_chars(str(below or (Path("~") / private if private else path))).split())


def _relative_to(path: Path, folder: Path) -> Path | None:
    try:
        return (path.parent.resolve() / path.name).relative_to(folder.resolve())
    except ValueError:
        return None
