"""Each notebook runs as it stands in the repository, and gives the outputs that are saved in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def nbval(notebook: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval strictly; what varies (ports, seconds) is named in the sanitising file, and nowhere else."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    sanitising = NOTEBOOKS / "nbval_sanitize.cfg"
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            notebook.parent,
            "--nbval",
            "--nbval-sanitize-with",
            sanitising,
            notebook,
        ],
        env=env | {"PUQ_LIVE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


#: The first notebook runs with the other tests, the longer ones with the slow ones.
PATHS = [
    pytest.param(path, id=path.name, marks=[] if path.stem == "quickstart" else [pytest.mark.slow])
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
]


@pytest.mark.parametrize("notebook", PATHS)
def test_it_gives_the_outputs_that_it_shows(notebook: Path) -> None:
    run = nbval(notebook)
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_another_output_is_noticed(tmp_path: Path) -> None:
    content = json.loads((NOTEBOOKS / "quickstart.ipynb").read_text(encoding="utf-8"))
    load = next(cell for cell in content["cells"] if "%load_ext" in "".join(cell["source"]))
    changed_cell = {**load, "id": "changed", "source": ["print(1 + 1)"]}
    changed_cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["something else\n"]}]
    content["cells"] = [load, changed_cell]
    changed = tmp_path / "changed.ipynb"
    changed.write_text(json.dumps(content), encoding="utf-8")
    run = nbval(changed)
    assert run.returncode == 1
    assert "1 failed" in run.stdout
