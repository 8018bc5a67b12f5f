"""The plugin for pytest: notebooks run from their cassettes, and strict nbval passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = (
    "%load_ext puq_magics\n%puq_sandbox --pace 0",
    "%puq_chat Why is the sky blue?",
    "%puq_chat Why is the sky blue?",
    "print(_puq.latency, _puq.time_to_first_token, _puq.cost)",
    "%%puq_compare -m sandbox/chat -m sandbox/short\nWhat is it?",
    "rows = [{'x': 1}, {'x': 2}]",
    "%%puq_grid --over rows --repeat 2\nTriple {{x}}",
    "%puq_image --size 64x64 a cat",
    "%puq_balance",
)
#: Runs a command in a network namespace that has loopback alone.
OFFLINE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def execute(path: Path, **environment: str) -> None:
    """Run a notebook in its folder, and save its outputs in it."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env=clean_environment() | environment)
    nbformat.write(notebook, path)


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")} | {
        "PUQ_LEDGER": "0"
    }


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that was recorded, with the outputs of its replay."""
    path = tmp_path_factory.mktemp("lesson") / "lesson.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    execute(path, PUQ_CASSETTE="lesson", PUQ_CASSETTE_MODE="record")
    execute(path, PUQ_CASSETTE="lesson", PUQ_CASSETTE_PACE="0", PUQ_LIVE="0")
    return path


def run_pytest(
    path: Path, *options: str, command: Sequence[str] = (), nbval: bool = True
) -> subprocess.CompletedProcess[str]:
    plain = ["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(path.parent)]
    arguments = [sys.executable, "-m", "pytest", *plain, *(["--nbval"] if nbval else []), *options, str(path)]
    return subprocess.run(
        [*command, *arguments],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=path.parent,
    )


def test_a_recorded_notebook_passes_strictly(lesson: Path) -> None:
    run = run_pytest(lesson, "--puq-cassette=replay")
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_it_passes_twice_without_a_network(lesson: Path, tmp_path: Path) -> None:
    tools = shutil.which("unshare") and shutil.which("ip")
    if not tools or subprocess.run([*OFFLINE, "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    shutil.copytree(lesson.parent, tmp_path / "moved")  # a notebook in another folder
    for _ in range(2):
        run = run_pytest(tmp_path / "moved" / lesson.name, "--puq-cassette=replay", command=OFFLINE)
        assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_none_fails_on_any_request(lesson: Path) -> None:
    run = run_pytest(lesson, "--puq-cassette=none")
    assert run.returncode == 1
    assert "no request is allowed here" in run.stdout


def test_none_fails_on_requests_of_the_client_too(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "import os\nfrom puq_magics.api import Router\n\n\ndef test_it():\n"
        "    assert os.environ['PUQ_CASSETTE_MODE'] == 'none'\n"
        "    Router('key-of-12-signs', 'http://127.0.0.1:9').balance()\n"
    )
    run = run_pytest(path, "--puq-cassette=none", nbval=False)
    assert "RecordingError: no request is allowed here (GET /v1/credits/balance)" in run.stdout


def test_the_plugin_is_inert_without_its_option(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        "import os, sys\n\n\ndef test_it():\n    assert not any(n.startswith('PUQ_CASSETTE') for n in os.environ)\n"
        "    assert not any(n.startswith('puq_magics.api') for n in sys.modules)\n"
    )
    run: Any = run_pytest(path, nbval=False)
    assert run.returncode == 0, run.stdout
