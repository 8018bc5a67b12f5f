"""The notebooks on real models: what is in the answers is looked at, not their exact words."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LOCAL = "local/smollm2-135m-instruct"
#: A small model can go on for long; and at 0 it says the same each time.
CALM = "\n%config PuqMagics.max_tokens = 300\n%config PuqMagics.temperature = 0"


@pytest.fixture
def run(weights: Path) -> Iterator[Any]:
    """Runs a notebook as papermill and nbconvert do, with nobody to ask, and gives its cells by their beginnings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PUQ_")}
    env = kept | {"PUQ_BASE_URL": "sandbox-local", "PUQ_LIVE": "0", "PUQ_WEIGHTS": str(weights.parent)}

    def _run(name: str) -> ExecutedNotebook:
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        first.source += CALM
        return ExecutedNotebook(
            NotebookClient(notebook, timeout=300).execute(env=env | {"PUQ_LEDGER": "0"}).cells
        )

    return _run


class ExecutedNotebook:
    """A notebook that has run."""

    def __init__(self, cells: list[Any]) -> None:
        self._cells = cells

    def text(self, beginning: str) -> str:
        """What stands below the cell that begins so, as text."""
        (cell,) = [cell for cell in self._cells if cell.source.startswith(beginning)]
        if all(output.output_type == "stream" for output in cell.outputs):
            return "".join(output.text for output in cell.outputs)  # in as many pieces as the moment had
        (output,) = cell.outputs
        return str(output["data"].get("text/markdown") or output["data"]["text/plain"])


def words(text: str) -> list[str]:
    return [word for word in (w.strip(".,!?;:\"'").casefold() for w in text.split()) if word]


def test_chat_in_the_quickstart(run: Any) -> None:
    ran = run("quickstart.ipynb")
    explained = ran.text("%%puq_chat\nExplain")
    assert LOCAL in explained
    assert "notebook" in explained.casefold()
    assert len(words(explained)) > 20
    assert "kestrel" in ran.text("%%puq_chat -o answer").casefold()
    model, finish, *_ = ran.text("print(answer.model").split()
    assert (model, finish) in ((LOCAL, "stop"), (LOCAL, "length"))
    assert ["model", LOCAL] in [line.split() for line in ran.text("%puq").splitlines()]


def test_voice_and_transcription(run: Any) -> None:
    ran = run("voice_and_pictures.ipynb")
    spoken = "The lighthouse keeper writes down the weather three times a day. At noon the wind came from the west."
    assert "local/hibari" in ran.text("%%puq_speak")
    assert "MP3" in ran.text("%%puq_speak")
    heard, footer = ran.text("%puq_transcribe").rsplit("\n\n", 1)
    assert "local/whisper-tiny.en" in footer
    wrong = [word for word in words(spoken) if word not in words(heard)]
    assert len(wrong) <= 1, heard
    assert LOCAL in ran.text("%%puq_chat")


def test_data_code_and_conversations_in_the_tour(run: Any) -> None:
    ran = run("tour.ipynb")
    animal = ast.literal_eval(ran.text("animal.data"))
    assert set(animal) == {"name", "legs", "songs"}
    assert isinstance(animal["name"], str)
    assert type(animal["legs"]) is int
    assert all(isinstance(song, str) for song in animal["songs"])
    assert json.loads(ran.text('%%puq_chat --schema "name').split("```")[1].removeprefix("json")) == animal
    assert "def " in ran.text("%%puq_chat -f code")
    assert f"{LOCAL} · birds · new" in ran.text("%%puq_chat -c birds\n")
    assert "Oslo" in ran.text("for call in dry.calls")
    assert LOCAL in ran.text("%puq_fix --hint")
    assert LOCAL in ran.text("%puq_fix why")
