"""Tab in a real JupyterLab and Notebook 7: the list comes, is narrowed by typing, and what is chosen stands there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lab import Frontend, LabNotebook
from playwright.sync_api import expect

Lab = Callable[..., LabNotebook]

SETUP = """
%load_ext puq_magics
%puq_sandbox --pace 0
%config PuqMagics.aliases = {"fast": "sandbox/echo"}
topic, topical = "x", "y"
session = get_ipython().magics_manager.registry["PuqCommands"].session
len(session.account().model_list.fetch())
"""


class CompletionEditor:
    """Types in the second cell of a notebook, and looks at the list of completions."""

    def __init__(self, notebook: LabNotebook) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.editor = self.page.locator(".jp-CodeCell .cm-content").nth(1)
        self.list = self.page.locator(".jp-Completer:not(.lm-mod-hidden)")

    def tab(self, text: str, behind: str = "") -> None:
        """Type anew, leave the cursor before ``behind``, and press Tab."""
        self.notebook.set_source(1, "")
        self.editor.click()
        self.page.keyboard.insert_text(text + behind)
        for _ in behind:
            self.page.keyboard.press("ArrowLeft")
        # JupyterLab gives an editor its completions some time after the click; until then Tab indents.
        expect(self.page.locator(".jp-CodeCell").nth(1).locator(".jp-mod-completer-enabled")).to_have_count(1)
        self.page.keyboard.press("Tab")

    def completions(self, first: str) -> list[str]:
        """The list, once it has come."""
        expect(self.list.locator(".jp-Completer-match", has_text=first).first).to_be_visible()
        return self.list.locator(".jp-Completer-match").all_inner_texts()

    def types(self) -> list[str]:
        """The word beside each."""
        return self.list.locator(".jp-Completer-typeExtended").all_inner_texts()

    def choose(self) -> str:
        """Take the active one; the cell as it stands then."""
        self.page.keyboard.press("Enter")
        expect(self.list).to_have_count(0)
        return self.text

    @property
    def text(self) -> str:
        lines = self.editor.locator(".cm-line").all_inner_texts()
        return "\n".join(line.rstrip("\n") for line in lines)


@pytest.fixture
def completion_editor(lab: Lab, request: Any) -> CompletionEditor:
    frontend: Frontend = getattr(request, "param", "lab")
    notebook = lab(SETUP, "", frontend=frontend)
    notebook.run_cell(0)
    assert int(notebook.outputs(0)[-1].text) > 5
    return CompletionEditor(notebook)


@pytest.mark.parametrize("completion_editor", ["lab", "notebook"], indirect=True)
def test_a_model_is_found_and_chosen(completion_editor: CompletionEditor) -> None:
    completion_editor.tab("%puq_chat -m sand", " hello")
    completions = completion_editor.completions("sandbox/echo")
    assert len(completions) > 4
    assert all(offer.startswith("sandbox/") for offer in completions)
    assert set(completion_editor.types()) == {"chat"}
    completion_editor.page.keyboard.type("box/echo")
    expect(completion_editor.list.locator(".jp-Completer-match")).to_have_count(1)
    assert completion_editor.choose() == "%puq_chat -m sandbox/echo hello"
    completion_editor.notebook.run_cell(1)
    assert "hello" in completion_editor.notebook.text(1)


def test_one_that_has_the_word_inside_is_found(completion_editor: CompletionEditor) -> None:
    completion_editor.tab("%puq_chat -m hor")
    assert completion_editor.completions("sandbox/short") == ["sandbox/short"]
    assert completion_editor.choose() == "%puq_chat -m sandbox/short"


def test_options_are_legible(completion_editor: CompletionEditor) -> None:
    completion_editor.tab("%puq_chat --m")
    assert sorted(completion_editor.completions("--model")) == ["--max-tokens", "--model"]
    assert completion_editor.types() == ["option", "option"]
    for match, word in zip(
        completion_editor.list.locator(".jp-Completer-match").all(),
        completion_editor.list.locator(".jp-Completer-typeExtended").all(),
        strict=True,
    ):
        left, right = match.bounding_box(), word.bounding_box()
        assert left is not None
        assert right is not None
        assert left["x"] + left["width"] <= right["x"], "they overprint each other"


def test_in_a_cell_magic(completion_editor: CompletionEditor) -> None:
    completion_editor.tab("%%puq_chat ")
    completions = completion_editor.completions("sandbox/echo")
    assert completions[0] == "fast"
    assert completions.index("sandbox/echo") < completions.index("--system")
    completion_editor.page.keyboard.press("Escape")
    completion_editor.tab("%%puq_chat fast\nTell me of {{topi")
    assert completion_editor.completions("topical") == ["topic", "topical"]
    assert completion_editor.choose() == "%%puq_chat fast\nTell me of {{topic"
