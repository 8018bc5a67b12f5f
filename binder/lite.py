"""Build notebooks for the browser: JupyterLite on Pyodide, replaying recordings, without a key and without a router.

    pip install -e ".[lite]"
    python binder/lite.py OUT [NOTEBOOK ...]

Everything comes from the package registries: Pyodide through npm, wheels through pip. The site asks no other server.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("quickstart.ipynb", "teaching.ipynb")
#: What is installed in the browser beside the package; the hard dependencies without those that need a socket.
REQUIREMENTS = (
    "micropip", "ipython", "requests", "requests-toolbelt", "jinja2", "platformdirs", "anywidget", "ipywidgets",
    "jsonschema",
)  # fmt: skip
PRELOADED = ("puq-magics", "ipython", "ipywidgets", "anywidget", "jsonschema")
_PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "package.json")
_KERNEL_PLUGIN = "@jupyterlite/pyodide-kernel-extension:kernel"


def main() -> None:
    """Build the site."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the site; replaced if it exists")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: quickstart and teaching")
    args = parser.parse_args()
    notebooks = args.notebooks or [path for name in NOTEBOOKS if (path := ROOT / "notebooks" / name).exists()]
    with tempfile.TemporaryDirectory() as folder:
        build(args.out.resolve(), [path.resolve() for path in notebooks], Path(folder))


def build(out: Path, notebooks: list[Path], work: Path) -> None:
    """Build the site in ``out``, with ``work`` for what is temporary."""
    pyodide = work / "static" / "pyodide"
    pyodide.mkdir(parents=True)
    info = fetch_pyodide(pyodide, work)
    download_wheels(pyodide, work)
    write_lock(pyodide, info)
    files = work / "content"
    for notebook in notebooks:
        copy_notebook(notebook, files)
    # A notebook that names no cassette is the first one.
    env = {"PUQ_CASSETTE_MODE": "replay", "PUQ_CASSETTE": notebooks[0].stem}
    options = {"loadPyodideOptions": {"packages": list(PRELOADED), "env": env}, "disablePyPIFallback": True}
    config = {"jupyter-config-data": {"litePluginSettings": {_KERNEL_PLUGIN: options}}}
    (work / "jupyter-lite.json").write_text(json.dumps({"jupyter-lite-schema-version": 0, **config}))
    shutil.rmtree(out, ignore_errors=True)
    run(
        sys.executable,
        "-m",
        "jupyterlite_core",
        "build",
        "--contents",
        str(files),
        "--output-dir",
        str(out),
        cwd=work,
    )


def copy_notebook(notebook: Path, folder: Path) -> None:
    """Copy a notebook, and its recordings: the folder or file beside it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(notebook, folder)
    for recording in notebook.parent.glob(f"{notebook.stem}.cassette*"):
        copy = shutil.copytree if recording.is_dir() else shutil.copy
        copy(recording, folder / recording.name)


def fetch_pyodide(folder: Path, work: Path) -> dict[str, Any]:
    """Fetch the version of Pyodide that the kernel is made for; return the ``info`` of its lock file."""
    from jupyterlite_pyodide_kernel.constants import PYODIDE_VERSION

    run("npm", "pack", "--silent", f"pyodide@{PYODIDE_VERSION}", cwd=work)
    with tarfile.open(work / f"pyodide-{PYODIDE_VERSION}.tgz") as archive:
        archive.extractall(work, filter="data")
    for name in _PYODIDE_FILES:
        shutil.copy(work / "package" / name, folder)
    info: dict[str, Any] = json.loads((work / "package" / "pyodide-lock.json").read_text())["info"]
    return info


def download_wheels(folder: Path, work: Path) -> None:
    """Download the wheels for the browser's Python, all of them pure, and build the package's own."""
    from jupyterlite_pyodide_kernel.constants import PYODIDE_PYTHON_VERSION

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    # There is no pure wheel of markupsafe; without a compiler its build makes one.
    run(*pip, "wheel", "--no-deps", "--no-binary=markupsafe", "-w", str(work / "pure"), "markupsafe",
        env={"CC": "false"})  # fmt: skip
    write_pure_rpds(work / "pure")
    run(*pip, "download", "-d", str(folder), f"--find-links={work / 'pure'}", "--only-binary=:all:",
        "--platform=any", "--abi=none", "--implementation=py", f"--python-version={PYODIDE_PYTHON_VERSION}",
        *REQUIREMENTS)  # fmt: skip
    run(*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT))


def write_pure_rpds(folder: Path) -> None:
    """Write a wheel of rpds-py, which jsonschema needs, with the part of it that is in plain Python here."""
    name, version = "rpds_py", "99"
    info = f"{name}-{version}.dist-info"
    files = {
        "rpds.py": (ROOT / "binder" / "rpds_pure.py").read_text(encoding="utf-8"),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: rpds-py\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


def write_lock(folder: Path, info: dict[str, Any]) -> None:
    """Write Pyodide's lock file for the wheels in the folder."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = {
        "python_version": info["python"].rpartition(".")[0], "python_full_version": info["python"],
        "sys_platform": "emscripten", "platform_system": "Emscripten",
        "implementation_name": "cpython", "os_name": "posix", "extra": "",
    }  # fmt: skip
    wheels = {path: read_wheel(path) for path in sorted(folder.glob("*.whl"))}
    names = {canonicalize_name(metadata["Name"]) for metadata, _ in wheels.values()}
    packages = {}
    for path, (metadata, modules) in wheels.items():
        requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
        needed = {
            canonicalize_name(each.name)
            for each in requirements
            if each.marker is None or each.marker.evaluate(environment)
        }
        name = canonicalize_name(metadata["Name"])
        packages[name] = {
            "name": name,
            "version": metadata["Version"],
            "file_name": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "install_dir": "site",
            "package_type": "package",
            "imports": modules,
            "depends": sorted(needed & names),
            "unvendored_tests": False,
        }
    lock = {"info": info, "packages": packages}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock, indent=1))


def read_wheel(path: Path) -> tuple[Any, list[str]]:
    """Return the metadata of a wheel, and its modules."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        tops = {name.split("/")[0].removesuffix(".py") for name in names}
        return Parser().parsestr(wheel.read(metadata).decode()), sorted(
            top for top in tops if top.isidentifier()
        )


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a command; end with its output if it fails."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} … failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
