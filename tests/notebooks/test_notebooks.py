"""Each notebook runs as it stands in the repository, and gives the outputs that are saved in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def offline() -> list[str]:
    """Return the start of a command that runs in a network namespace with loopback alone; empty if it cannot."""
    command = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        return (
            command if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0 else []
        )
    except FileNotFoundError:
        return []


def nbval(notebook: Path) -> subprocess.CompletedProcess[str]:
    """Run nbval strictly, from the recordings and without a network."""
    command = [
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
        "--puq-cassette=replay",
        notebook,
    ]
    return subprocess.run(
        [*offline(), *command],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def clean_environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    return env | {"PUQ_LIVE": "0", "PUQ_LEDGER": "0", "PUQ_CASSETTE_PACE": "0"}


#: What a student could write in place of the dots of the lesson.
ANSWERS = {
    "different_at_0 = ...": "different_at_0 = 1",
    "different_at_1 = ...": "different_at_1 = 3",
    "my_temperature = ...": "my_temperature = 0",
    "def is_one_word(text):\n    return ...": "def is_one_word(text):\n    return len(text.split()) == 1",
    "def count_right(rows):\n    return ...": (
        "def count_right(rows):\n    return sum(row['mood'] == row['right'] for row in rows)"
    ),
    "useless = ...": 'useless = "score"',
    "best_examples = ...": 'best_examples = "one of each"',
    "clear_pairs = ...": "clear_pairs = 1",
    "def average(values):\n    return ...": (
        "def average(values):\n    return sum(values) / len(values) if values else 0"
    ),
}

#: The first notebook and the lesson run with the other tests, the longer ones with the slow ones.
PATHS = [
    pytest.param(
        path, id=path.name, marks=[] if path.stem in ("quickstart", "teaching") else [pytest.mark.slow]
    )
    for path in sorted(NOTEBOOKS.glob("*.ipynb"))
]


@pytest.mark.parametrize("notebook", PATHS)
def test_it_gives_the_outputs_that_it_shows(notebook: Path) -> None:
    run = nbval(notebook)
    assert run.returncode == 0, run.stdout


def test_the_right_answers_solve_the_exercises_of_the_lesson() -> None:
    notebook = nbformat.read(NOTEBOOKS / "teaching.ipynb", as_version=4)
    for cell in notebook.cells:
        for question, answer in ANSWERS.items():
            cell.source = cell.source.replace(question, answer)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(NOTEBOOKS)}})
    client.execute(env=clean_environment())
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert [line for line in said.splitlines() if line.startswith("Exercise")] == [
        f"Exercise {number}: right." for number in range(1, 9)
    ]
    assert "8 of 8 exercises are right." in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "teaching"])
def test_two_replays_are_equal(name: str, tmp_path: Path) -> None:
    environment = clean_environment() | {"PUQ_CASSETTE": name, "PUQ_CASSETTE_MODE": "replay"}
    outputs = []
    for run in ("first.ipynb", "second.ipynb"):
        convert = [
            sys.executable,
            "-m",
            "nbconvert",
            "--to",
            "notebook",
            "--execute",
            "--output",
            tmp_path / run,
        ]
        subprocess.run(
            [*offline(), *convert, NOTEBOOKS / f"{name}.ipynb"],
            env=environment,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        notebook = nbformat.read(tmp_path / run, as_version=4)
        outputs.append([texts_of(cell.get("outputs", [])) for cell in notebook.cells])
    assert outputs[0] == outputs[1]


def texts_of(outputs: list[nbformat.NotebookNode]) -> list[object]:
    """What a cell shows; what it printed in one piece, as a kernel sends it in as many as the moment has."""
    texts: list[object] = []
    for output in outputs:
        if output.output_type == "stream" and texts and isinstance(texts[-1], str):
            texts[-1] += output.text
        else:
            texts.append(output.get("data") or output.get("text") or output.get("traceback"))
    return texts


@pytest.mark.slow
def test_another_output_is_noticed(tmp_path: Path) -> None:
    content = json.loads((NOTEBOOKS / "quickstart.ipynb").read_text(encoding="utf-8"))
    load = next(cell for cell in content["cells"] if "%load_ext" in "".join(cell["source"]))
    load = {**load, "source": ["%load_ext puq_magics"], "outputs": []}
    changed_cell = {**load, "id": "changed", "source": ["print(1 + 1)"], "metadata": {}}
    changed_cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["something else\n"]}]
    content["cells"] = [load, changed_cell]
    changed = tmp_path / "changed.ipynb"
    changed.write_text(json.dumps(content), encoding="utf-8")
    run = nbval(changed)
    assert run.returncode == 1
    assert "1 failed" in run.stdout
