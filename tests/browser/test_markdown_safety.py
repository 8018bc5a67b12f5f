"""Hostile text, made safe, does nothing in a real front end; benign text looks as it was meant.

The corpus is tests/support/corpus.py. Texts are shown live, as trusted Markdown: nothing sanitises them there.
"""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from corpus import BOUNDED_FORMULAS, PAYLOADS, UNBOUNDED_FORMULAS
from lab import Frontend, LabNotebook

from puq_magics.outputs.markdown.feed import MarkdownFeed, sanitize_markdown

Lab = Callable[..., LabNotebook]

_NAMES = (
    "script img svg iframe object embed base meta link style form button input textarea audio video source"
)
DANGEROUS = {*_NAMES.split(), "details", "marquee", "template", "applet", "frame"}


class ElementRecorder(HTMLParser):
    """Notes whatever in an output's HTML could do more than be read."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DANGEROUS:
            self.faults.append(tag)
        for name, value in attrs:
            if name.startswith(("on", "data-commandlinker")) or name in (
                "src",
                "srcset",
                "srcdoc",
                "action",
                "poster",
            ):
                self.faults.append(f"{tag} {name}={value}")
            if name == "href" and not (value or "").lower().startswith(
                ("http://", "https://", "mailto:", "#")
            ):
                self.faults.append(f"{tag} {name}={value}")
            if name == "style" and "url" in (value or ""):
                self.faults.append(f"{tag} {name}={value}")


def faults_of(html: str) -> list[str]:
    walker = ElementRecorder()
    walker.feed(html)
    walker.close()
    return walker.faults


def show(*markdowns: str) -> str:
    """The code of a cell that shows each of these texts live."""
    return f"""
from IPython.display import display
for markdown in {list(markdowns)!r}:
    display({{"text/markdown": markdown}}, raw=True)
"""


def ran(notebook: LabNotebook) -> object:
    return notebook.page.evaluate("window.ran")


def in_batches(texts: list[str]) -> list[str]:
    """One cell for every forty texts: a front end shows fifty outputs of a cell."""
    return [show(*texts[start : start + 40]) for start in range(0, len(texts), 40)]


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_payloads_do_nothing(lab: Lab, frontend: Frontend) -> None:
    texts = [sanitize_markdown(text) for text in PAYLOADS.values()]
    texts += ["\n\n".join(sanitize_markdown(f"- {text}") for text in PAYLOADS.values())]
    cells = in_batches(texts)
    notebook = lab(*cells, frontend=frontend)
    notebook.run_all()
    notebook.wait_until_stable()
    outputs = [output for index in range(len(cells)) for output in notebook.outputs(index)]
    assert len(outputs) == len(texts)
    for text, output in zip(texts, outputs, strict=True):
        assert faults_of(output.html) == [], text
        assert output.text.strip(), text
    assert ran(notebook) is None


@pytest.mark.parametrize("trusted", [True, False])
def test_payloads_do_nothing_in_a_notebook_that_is_opened_again(lab: Lab, trusted: bool) -> None:
    texts = [sanitize_markdown(text) for text in PAYLOADS.values()]
    cells = in_batches(texts)
    notebook = lab(*cells)
    notebook.run_all()
    notebook.save()
    notebook.reopen(trusted=trusted)
    assert {notebook.trusted(index) for index in range(len(cells))} == {trusted}
    outputs = [output for index in range(len(cells)) for output in notebook.outputs(index)]
    assert len(outputs) == len(texts)
    for text, output in zip(texts, outputs, strict=True):
        assert faults_of(output.html) == [], text
        assert output.text.strip(), text
    assert ran(notebook) is None


def test_frames_of_payloads_do_nothing(lab: Lab) -> None:
    frames = []
    for text in PAYLOADS.values():
        feed = MarkdownFeed(segment_size=40)
        for start in range(0, len(text), 17):
            frames += [segment.markdown for segment in feed.feed(text[start : start + 17])]
            frames.append(feed.frame())
    frames = sorted({frame for frame in frames if frame})
    # Many in one output: they end their own blocks.
    cells = in_batches(["\n\n".join(frames[start : start + 5]) for start in range(0, len(frames), 5)])
    notebook = lab(*cells)
    notebook.run_all()
    notebook.wait_until_stable()
    for index in range(len(cells)):
        for output in notebook.outputs(index):
            assert faults_of(output.html) == []
    assert ran(notebook) is None


@pytest.mark.parametrize(
    "name",
    ["img onerror", "definition's label goes on into a fence", "definition's title goes on into a fence"],
)
def test_the_same_texts_do_run_when_they_are_shown_as_they_are(lab: Lab, name: str) -> None:
    notebook = lab(show(PAYLOADS[name]))
    notebook.run_all()
    notebook.wait_until_stable()
    assert faults_of(notebook.outputs(0)[0].html) != []
    notebook.page.wait_for_function("window.ran === 1")
    notebook.traffic.accept_external_requests()


READABLE = r"""Prices: $5 to $6, \$7 or US$8, and &#36;9. Path: \\server\new.

Formulas: \(a < b\), $x^2$, and

\[
\begin{aligned}
a &= b \\[2pt]

- c
\end{aligned}
\]

1. Run
   ```bash
   echo $HOME <b> $PATH
   ```
2. See `\begin{a}` and `x|y`

| a | b |
|---|---|
| $|x|$ | `p|q` |

```python
re.compile("\\(x\\)")
```
"""


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_readable_text_reads_as_meant(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(show(sanitize_markdown(READABLE)), frontend=frontend)
    notebook.run_all()
    notebook.wait_until_stable()
    output = notebook.outputs(0)[0]
    assert "Prices: $5 to $6, $7 or US$8, and $9. Path: \\server\\new." in output.text
    assert output.html.count("<mjx-container") == 4
    assert "mjx-merror" not in output.html
    assert "echo $HOME <b> $PATH" in output.text
    assert 're.compile("\\\\(x\\\\)")' in output.text
    for code in ("\\begin{a}", "x|y", "p|q"):
        assert f"<code>{code}</code>" in output.html
    assert output.html.count("<td>") == 2


_SIZES = """outputs => outputs.map(output => Math.max(output.scrollHeight,
    ...[...output.querySelectorAll('mjx-container *')].map(each => each.getBoundingClientRect().height)))"""
_ERRORS = "outputs => outputs.map(output => output.querySelector('mjx-merror')?.textContent ?? '')"


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_no_formula_is_larger_than_a_page(lab: Lab, frontend: Frontend) -> None:
    shown = [sanitize_markdown(f"$${formula}$$") for formula in BOUNDED_FORMULAS]
    cells = [
        *in_batches(shown),
        *in_batches([sanitize_markdown(f"$${each}$$") for each in UNBOUNDED_FORMULAS]),
    ]
    notebook = lab(*cells, frontend=frontend)
    notebook.run_all()
    notebook.wait_until_stable()
    outputs = ".jp-OutputArea-output"
    sizes: list[float] = notebook.page.eval_on_selector_all(outputs, _SIZES)
    assert len(sizes) == len(BOUNDED_FORMULAS) + len(UNBOUNDED_FORMULAS)
    assert max(sizes) < 800, sizes
    errors: list[str] = notebook.page.eval_on_selector_all(outputs, _ERRORS)
    assert [error for error in errors if error] == []
