"""Tables in a real JupyterLab: sortable where they are trusted, plain where they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab import LabNotebook

CELL = """
from puq_magics.api.types import Model
from puq_magics.outputs.tables.table import ModelTable
ModelTable([
    Model("a/b", "$x^2$ and $y$", "P", input_price=10.0),
    Model("a/c", "<img src=x onerror=alert(1)>", "P", input_price=9.0),
    Model("a/d", "N", "P"),
])
"""
NAMES = {"a/b": "$x^2$ and $y$", "a/c": "<img src=x onerror=alert(1)>", "a/d": "N"}


def rows(notebook: LabNotebook) -> dict[str, str]:
    """Codes and names, in the order in which they stand there."""
    look = "[...document.querySelectorAll('.jp-OutputArea tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    return {code: name for code, name, *_ in notebook.page.evaluate(look)}


def sorting(notebook: LabNotebook) -> list[str | None]:
    look = "[...document.querySelectorAll('.jp-OutputArea th')].map(h => h.getAttribute('aria-sort'))"
    said: list[str | None] = notebook.page.evaluate(look)
    return said


def test_a_click_or_a_key_on_a_header_sorts(lab: Callable[..., LabNotebook]) -> None:
    notebook = lab(CELL, "1")
    notebook.run_all()
    assert rows(notebook) == NAMES
    price = notebook.page.get_by_role("button", name="input price")
    price.click()
    assert list(rows(notebook)) == ["a/c", "a/b", "a/d"]  # by number, not by words; without a price last
    assert sorting(notebook) == [None] * 4 + ["ascending", None]
    price.focus()
    for key, order, codes in [("Enter", "descending", "bcd"), ("Space", "ascending", "cbd")]:
        notebook.page.keyboard.press(key)
        assert list(rows(notebook)) == [f"a/{letter}" for letter in codes]
        assert sorting(notebook)[4] == order
    for key in "dd":
        notebook.page.keyboard.press(key)  # JupyterLab's for deleting a cell
    assert rows(notebook) == NAMES
    assert notebook.page.locator(".jp-CodeCell").count() == 2


def test_in_a_strangers_notebook_it_is_a_plain_table(lab: Callable[..., LabNotebook]) -> None:
    notebook = lab(CELL)
    notebook.run_all()
    notebook.save()
    notebook.reopen(trusted=False)
    assert rows(notebook) == NAMES
    assert "<script" not in notebook.outputs(0)[0].html
    assert notebook.page.locator(".jp-OutputArea th button").count() == 0
    assert notebook.page.locator(".jp-OutputArea mjx-container").count() == 0
