"""axe-core finds no serious fault in the outputs and widgets, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import LabNotebook

CELLS = (
    "%load_ext puq_magics\n%puq_sandbox --pace 0",
    "%puq_chat Explain what a notebook cell is, with a table, some code and a formula.",
    "%puq_chat -m sandbox/think -c trip Why is the sky blue?",
    "%puq_image -n 2 A red kite",
    "%puq_speak -o hello Hello, and welcome.",
    "%puq_transcribe --response-format verbose_json hello",
    "%puq_transcribe --record",
    "%puq_models",
    "%puq_chats",
    "%puq_usage",
    "%puq",
    "%puq_choose",
)
SERIOUS = ("serious", "critical")
#: Faults of the outputs as the front end draws them, by rule, element and impact.
FAULTS = """async () => {
  const found = await axe.run({ include: [[".jp-OutputArea-output"]] }, { resultTypes: ["violations"] });
  return found.violations.flatMap((fault) => fault.nodes.map((node) => [fault.impact, fault.id, node.html]));
}"""
#: What JupyterLab itself draws within outputs: its code and formulas have its colours and roles.
LABS_OWN = ("mjx-", '<span class="ͼ', "jp-")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_no_serious_fault(lab: Callable[..., LabNotebook], theme: str) -> None:
    notebook = lab(*CELLS)
    notebook.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
    )
    notebook.page.set_viewport_size(
        {"width": 1280, "height": 6_000}
    )  # the contrast of what is off screen is unknown
    notebook.run_all()
    notebook.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    faults: list[list[Any]] = notebook.page.evaluate(FAULTS)
    serious = {
        f"{rule}: {html[:200]}"
        for impact, rule, html in faults
        if impact in SERIOUS and not any(own in html for own in LABS_OWN)
    }
    assert not serious, "\n".join(sorted(serious))
