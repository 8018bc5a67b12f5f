"""Runs and comparisons in a real JupyterLab: the vote, and what an interrupted run leaves."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.browser

SETUP = "%load_ext puq_magics\n%puq_sandbox --pace 0\nrows = [{'text': f'row {n}'} for n in range(40)]"


def test_answers_stand_side_by_side_and_a_click_votes(lab: Any) -> None:
    notebook = lab(
        SETUP,
        "%%puq_compare -m sandbox/clever -m sandbox/guesser --blind\nWhat is 17 + 25?",
        "%puq_compare --votes",
    )
    notebook.page.set_viewport_size({"width": 1280, "height": 900})
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert "sandbox/" not in notebook.outputs(1)[0].text
    columns = notebook.page.locator(
        ".jp-Cell-outputArea div[style*='flex: 1'], .jp-Cell-outputArea div[style*='flex:1']"
    )
    first, second = (columns.nth(number).bounding_box() for number in (0, 1))
    assert abs(first["y"] - second["y"]) < 2
    assert first["x"] < second["x"]
    notebook.page.get_by_role("button", name="B", exact=True).click()
    notebook.wait_text(1, "Your vote: sandbox/")
    notebook.wait_text(1, "to the first token")
    notebook.run_cell(2)
    assert "cannot tell" in notebook.outputs(2)[0].text


def test_an_interrupted_run_goes_on(lab: Any) -> None:
    notebook = lab(
        f"{SETUP}\n%puq_sandbox --pace 10",
        "%%puq_map rows --workers 2 -o answers\nSay {{text}}",
        "%puq_sandbox --pace 0",
        "%%puq_map rows --workers 2 -o answers\nSay {{text}}",
        "len(answers), sum(row['error'] is None for row in answers)",
    )
    notebook.run_cell(0)
    notebook.run_cell(1, wait=False)
    notebook.wait_text(1, "left")
    notebook.interrupt()
    notebook.wait_idle()
    assert "not asked yet" in notebook.outputs(1)[0].text
    for index in (2, 3, 4):
        notebook.run_cell(index)
    assert "were there" in notebook.outputs(3)[0].text
    assert "(40, 40)" in notebook.outputs(4)[0].text
