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
    "%puq_chat -f text hello",
    "%puq_chat --dry-run hello",
    "%%puq_compare -m sandbox/short -m sandbox/fail\nWhat is a cell?",
    "%%puq_compare -m sandbox/short -m sandbox/chat --blind\nWhat is a cell?",
    "%puq_sandbox status",
    "%puq_models nothing",
    "rows = [{'a': 1}]\ndef weather(city: str) -> str:\n    return 'dry'",
    "%%puq_map rows -o rated\n{{a}}?",
    "rated",
    "%puq_chat --tools-auto weather Is it dry in Oslo?",
    "%puq_chat -m sandbox/shrt hello",
)
SERIOUS = ("serious", "critical")
#: Faults of the outputs as the front end draws them, by rule, element and impact.
FAULTS = """async () => {
  const found = await axe.run({ include: [[".jp-OutputArea-output"]] }, { resultTypes: ["violations"] });
  return found.violations.flatMap((fault) => fault.nodes.map((node) => [fault.impact, fault.id, node.html]));
}"""
#: Text with too little contrast to what is behind it (WCAG AA): its ratio, colours, element and words. axe judges
#: nothing above a transparent background, which almost all outputs have.
FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const blend = ([r, g, b, a], behind) => [r, g, b].map((value, n) => value * a + behind[n] * (1 - a));
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const measure = (element, foreground) => {
    const path = [];
    for (let at = element; at; at = at.parentElement) path.unshift(getComputedStyle(at));
    let [behind, opacity] = [[255, 255, 255], 1];
    for (const style of path) {
      opacity *= Number(style.opacity);
      const [r, g, b, a] = rgba(style.backgroundColor);
      behind = blend([r, g, b, a * opacity], behind);
    }
    const [r, g, b, a] = rgba(foreground);
    const [dark, light] = [luminance(behind), luminance(blend([r, g, b, a * opacity], behind))].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const isLarge = ({ fontSize, fontWeight }) => parseFloat(fontSize) >= (fontWeight >= 700 ? 18.66 : 24);
  let judged = 0;
  const faint = [];
  const judge = (element, words, style = getComputedStyle(element)) => {
    if (!words.trim() || element.disabled || !element.checkVisibility({ visibilityProperty: true })) return;
    judged += 1;
    const ratio = measure(element, style.color);
    if (ratio < (isLarge(style) ? 3 : 4.5))
      faint.push(`${ratio.toFixed(2)} ${style.color}: ${element.outerHTML.slice(0, 120)}: ${words.slice(0, 60)}`);
  };
  for (const output of document.querySelectorAll(".jp-OutputArea-output")) {
    const texts = document.createTreeWalker(output, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      if (!element.closest("style, script, mjx-container, .cm-editor, pre code, option"))
        judge(element, texts.currentNode.data);
    }
    for (const field of output.querySelectorAll("input, select")) {
      judge(field, field.value);
      if (field.placeholder) judge(field, field.placeholder, getComputedStyle(field, "::placeholder"));
    }
  }
  return [judged, faint];
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
    judged, faint = notebook.page.evaluate(FAINT)
    assert judged > 200
    assert not faint, "\n".join(sorted(set(faint)))
