"""The quickstart in a real JupyterLab: the answer grows, nothing leaves the server, what is saved was seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import Frontend, LabNotebook, scroll_jumps, shrinks, text_losses

from puq_magics.sandbox import Sandbox

Lab = Callable[..., LabNotebook]
QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def cells() -> list[dict[str, Any]]:
    """The quickstart's cells, without the outputs that lie in the repository."""
    found: list[dict[str, Any]] = json.loads(QUICKSTART.read_text(encoding="utf-8"))["cells"]
    return [
        cell | {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell
        for cell in found
    ]


def index_of(text: str) -> int:
    return next(i for i, cell in enumerate(cells()) if text in "".join(cell["source"]))


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_run_all_streams_saves_and_reopens(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(*cells(), frontend=frontend, name="quickstart.ipynb")
    question = index_of("Explain what a notebook cell is")
    notebook.record(question)
    notebook.run_all()
    samples = notebook.samples()

    grown = {sample.text for sample in samples}
    assert len(grown) > 10, "the answer did not grow"
    assert not text_losses(samples)
    assert not shrinks(samples, tolerance=40)  # a table's first rows replace its half-received header
    (answer,) = notebook.outputs(question)
    assert "text/markdown" in answer.mimes
    assert "<table" in answer.html
    assert "mjx-container" in answer.html
    assert "sandbox/chat" in answer.text
    assert [
        cell for cell in range(len(cells())) if any(o.kind == "error" for o in notebook.outputs(cell))
    ] == []

    saved = json.loads(notebook.save().read_text(encoding="utf-8"))
    (output,) = saved["cells"][question]["outputs"]
    assert set(output["data"]) == {"text/markdown", "text/plain"}
    seen = {
        i: [o.text for o in notebook.outputs(i)]
        for i, cell in enumerate(cells())
        if cell["cell_type"] == "code"
    }
    notebook.reopen()
    assert {i: [o.text for o in notebook.outputs(i)] for i in seen} == seen


def test_an_answer_that_grows_below_the_window_leaves_the_reader_in_place(lab: Lab, sandbox: Sandbox) -> None:
    router = {"PUQ_BASE_URL": sandbox.base_url, "PUQ_API_KEY": sandbox.token}
    connect = f"%load_ext puq_magics\nimport os\nos.environ.update({router})"
    notebook = lab(connect, "%%puq_chat sandbox/chat\nA table, code and a formula, please.")
    notebook.run_cell(0)
    notebook.scroll_to_end()
    sandbox.configure(pace=1)  # until Lab has moved to the cell that runs
    notebook.run_cell(1, wait=False)
    notebook.wait_text(1, "")
    notebook.wait_until_stable()
    notebook.record(1)
    sandbox.configure(pace=None)
    notebook.wait_idle()
    samples = notebook.samples()
    assert len(samples) > 10
    assert not scroll_jumps(samples)


def test_interrupt_keeps_what_came_and_stops_run_all(lab: Lab) -> None:
    notebook = lab(
        "%load_ext puq_magics\n%puq_sandbox",
        "%%puq_chat sandbox/stall\nGo on for ever.",
        "print('after')",
        "print(_puq.interrupted, len(_puq.text) > 20)",
    )
    notebook.run_all(wait=False)
    notebook.wait_text(1, "interrupt me when")
    notebook.interrupt()
    notebook.wait_idle()
    answer, error = notebook.outputs(1)
    assert "interrupt me when" in answer.text
    assert "interrupted" in answer.text
    assert error.kind == "error"
    assert error.text.strip().count("\n") <= 1  # a sentence, wrapped between words
    assert "Traceback" not in error.text
    assert notebook.outputs(2) == []
    notebook.run_cell(3)
    assert notebook.text(3).strip() == "True True"
