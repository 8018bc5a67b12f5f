"""The tour in a real JupyterLab; code that goes into a new cell, and HTML of which nothing active remains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import LabNotebook

Lab = Callable[..., LabNotebook]
TOUR = Path(__file__).parents[2] / "notebooks" / "tour.ipynb"
START = "%load_ext puq_magics\n%puq_sandbox --pace 0"
ONCE = "%%puq_chat -f code\nWrite code that counts the letters in a word."
TWICE = "for word in ('first', 'second'):\n    %puq_chat -f code Write code for the {{word}} word."
HOSTILE = (
    '<h2 onclick="window.ran = 1">Fine</h2> <b style="position: fixed">bold</b> <script>window.ran = 2</script>'
    '<img src="x" onerror="window.ran = 3"> <a href="javascript:window.ran = 4">here</a> <iframe srcdoc="x"></iframe>'
    r" <svg onload='window.ran = 5'></svg> \(\href{javascript:window.ran=6}{x}\)"
)
# Every element of the answer, with its attributes.
ELEMENTS = """() => [...document.querySelectorAll('.jp-RenderedHTMLCommon *')].map(
  (element) => [element.tagName.toLowerCase(), ...element.getAttributeNames()])"""


def tour() -> list[dict[str, Any]]:
    """The tour's cells, without the outputs that lie in the repository."""
    cells: list[dict[str, Any]] = json.loads(TOUR.read_text(encoding="utf-8"))["cells"]
    bare = {"outputs": [], "execution_count": None}
    return [cell | bare if cell["cell_type"] == "code" else cell for cell in cells]


def saved_cells(notebook: LabNotebook) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.save().read_text(encoding="utf-8"))["cells"]
    return cells


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_the_tour_runs_to_its_end(lab: Lab) -> None:
    cells = tour()
    notebook = lab(*cells, name="tour.ipynb")
    notebook.run_all()
    saved = saved_cells(notebook)
    before = {cell["id"] for cell in cells}
    (new,) = [cell for cell in saved if cell["id"] not in before]
    asked = saved[saved.index(new) - 1]
    assert "-f code" in source(asked)
    assert "len(word)" in source(new)
    assert (new["cell_type"], new["execution_count"], new["outputs"]) == ("code", None, [])

    code = [cell for cell in saved if cell["cell_type"] == "code" and cell is not new]
    assert all(cell["execution_count"] for cell in code), "it stopped before its end"
    failed = [cell["id"] for cell in code if any(o["output_type"] == "error" for o in cell["outputs"])]
    meant = [cell["id"] for cell in cells if "raises-exception" in cell["metadata"].get("tags", ())]
    assert failed == meant


def test_code_goes_into_one_new_cell_and_is_not_run(lab: Lab) -> None:
    notebook = lab(START, ONCE, TWICE, f"%%puq_chat -f html -m sandbox/clumsy\n{HOSTILE}", "print('the end')")
    notebook.run_all()
    texts = [source(cell) for cell in saved_cells(notebook)]
    assert len(texts) == 7
    assert (texts[1], texts[3]) == (ONCE, TWICE)
    first, second = texts[4].split("\n\n# --- answer 2 ---\n")
    assert "the first word" in first
    assert "the second word" in second
    assert [notebook.prompt(index) for index in (2, 4)] == ["[ ]:", "[ ]:"]
    assert notebook.outputs(2) == notebook.outputs(4) == []
    assert notebook.text(6) == "the end\n"
    assert "added to the cell below, not run" in notebook.text(3)

    (answer,) = notebook.outputs(5)
    assert "text/html" in answer.mimes
    assert "Fine" in answer.text
    assert "<b>bold</b>" in answer.html
    found = notebook.page.evaluate(ELEMENTS)
    assert {tag for tag, *_ in found}.isdisjoint({"script", "iframe", "svg", "style", "mjx-container"})
    elements = [each for each in found if each[0] != "pre"]  # ours, of plain text
    assert [
        each for each in elements if any(name.startswith(("on", "src", "style")) for name in each[1:])
    ] == []
    notebook.page.get_by_text("Fine", exact=True).last.click()
    assert notebook.page.evaluate("window.ran") is None
