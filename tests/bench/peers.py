"""The peers, each in a virtual environment of its own that is made once and kept."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from subjects import Subject, cellmage, chatlab

# What to install for each; cellmage's magics import a package that it does not ask for.
_PACKAGES = {"chatlab": ("chatlab",), "cellmage": ("cellmage", "langchain-openai")}
_SUBJECTS: dict[str, Callable[[str], Subject]] = {"chatlab": chatlab, "cellmage": cellmage}
DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "puq-magics-bench-peers"


def install(folder: Path = DEFAULT_FOLDER) -> list[Subject]:
    """The peers that install, newest releases; those that do not are named on stderr and left out."""
    subjects = []
    for name, subject in _SUBJECTS.items():
        try:
            subjects.append(subject(str(_environment(folder / name, _PACKAGES[name]))))
        except subprocess.CalledProcessError as error:
            print(f"{name} does not install: {error.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return subjects


def _environment(folder: Path, packages: tuple[str, ...]) -> Path:
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        print(f"installing {packages[0]} …", file=sys.stderr, flush=True)
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        _run(str(python), "-m", "pip", "install", "--quiet", "ipykernel", *packages)
        done.touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
