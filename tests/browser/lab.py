"""Drive a real JupyterLab, or Notebook 7, in headless Chromium. No pytest in here.

In a test below this folder, with the fixtures of `conftest.py`:

    def test_it(lab):
        notebook = lab("1 + 1", "print('hello')")       # one string a code cell; frontend="notebook" for Notebook 7
        notebook.run_all()                              # returns when the kernel is idle and all is rendered
        assert notebook.outputs(1)[0].text == "hello\\n"
        notebook.save()
        notebook.reopen(trusted=False)                  # a new page and kernel; outputs no longer signed

At its end the `lab` fixture closes what it opened, and fails the test if a page asked anybody but its
own server for anything or had an uncaught error. A test that provokes such a thing says so:
`notebook.traffic.accept_external_requests()`, `notebook.traffic.accept_page_errors()`.

While an answer streams:

    notebook.record(0)                                  # every painted state of cell 0's output area
    notebook.run_cell(0)
    samples = notebook.samples()
    assert not shrinks(samples) and not scroll_jumps(samples)
    notebook.metrics()["TaskDuration"]                  # seconds of the page's main thread; chromium.cpu_seconds()

Elsewhere (a benchmark), with this folder on `sys.path`:

    with serve(folder) as server, browse(server.origin, folder / "browser") as chromium:
        with notebooks(server, chromium) as lab:        # `lab` as above; one server and one browser do for many
            notebook = lab("1 + 1")

Cells count from 0. Whatever waits raises `WaitTimeout` (playwright's) after `timeout` seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Literal
from uuid import uuid4

from lab_browser import Chromium, Traffic, browse, find_chromium
from lab_samples import Sample, scroll_jumps, shrinks, text_losses
from lab_server import JupyterServer, serve
from playwright.sync_api import CDPSession, Error, Page, expect
from playwright.sync_api import TimeoutError as WaitTimeout

__all__ = [
    "Chromium",
    "Frontend",
    "JupyterServer",
    "LabNotebook",
    "Output",
    "Sample",
    "Traffic",
    "WaitTimeout",
    "browse",
    "find_chromium",
    "notebooks",
    "scroll_jumps",
    "serve",
    "shrinks",
    "text_losses",
    "write_notebook",
]

Frontend = Literal["lab", "notebook"]

#: Seconds to wait for anything, unless a call says otherwise; no test depends on how long it is.
TIMEOUT = 120.0
expect.set_options(timeout=TIMEOUT * 1000)
#: Milliseconds between two looks: a look at every frame would show in the page's CPU time.
_POLLING = 40


@dataclass(frozen=True)
class Output:
    """One output of a cell as the page has it (off screen too)."""

    #: `stream`, `display_data`, `execute_result` or `error`.
    kind: str
    #: The MIME types of its bundle.
    mimes: tuple[str, ...]
    #: The `textContent` of what is rendered.
    text: str
    #: The HTML of what is rendered, after the front end's sanitiser (if it used one).
    html: str


def write_notebook(path: Path, cells: Sequence[str | dict[str, Any]]) -> Path:
    """Write an unsigned notebook by hand; a string is a code cell, a dict an nbformat cell (id added)."""
    content = {
        "cells": [{"id": f"cell-{i}", **_cell(cell)} for i, cell in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def _cell(cell: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(cell, dict):
        return cell
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell}


class LabNotebook:
    """One notebook file of a server, opened in a page of its own.

    `path` is relative to the server's root, with `/`. The cells run by the front end's own commands
    (those of its menus), so that no key press is lost; for keys and clicks there is `page`.
    """

    def __init__(
        self, server: JupyterServer, chromium: Chromium, path: str, frontend: Frontend = "lab"
    ) -> None:
        self.server = server
        self.chromium = chromium
        self.path = path
        self.frontend = frontend
        self._page: Page | None = None
        self._metrics: CDPSession | None = None

    # The page -------------------------------------------------------------------------------------

    @property
    def page(self) -> Page:
        """playwright's page, for everything that has no method here."""
        assert self._page is not None, f"{self.path} is not open"
        return self._page

    @property
    def traffic(self) -> Traffic:
        """What the browser's pages asked for, and what went wrong in them."""
        return self.chromium.traffic

    @property
    def console(self) -> list[str]:
        """The console's lines, as `kind: text`."""
        return self.traffic.console

    @property
    def file(self) -> Path:
        """The notebook on disk."""
        return self.server.root / self.path

    def open(self, *, timeout: float = TIMEOUT) -> LabNotebook:
        """Open the notebook with a fresh kernel, and wait until that is idle and all is rendered."""
        assert self._page is None, f"{self.path} is open already"
        # A workspace of its own: JupyterLab restores nothing of earlier tests.
        lab = f"/lab/workspaces/{uuid4().hex}/tree/{self.path}"
        self._page = self.chromium.context.new_page()
        self._page.set_default_timeout(timeout * 1000)
        try:
            self._page.goto(
                self.server.page_url(lab if self.frontend == "lab" else f"/notebooks/{self.path}"),
                wait_until="domcontentloaded",
            )
            self._wait("path => window.puqHarness?.ready(path)", timeout)
        except Error as error:
            error.add_note("The server's log ends:\n" + "".join(list(self.server.log)[-15:]))
            raise
        self.wait_until_stable(timeout=timeout)
        return self

    def close(self) -> None:
        """Close the page and end the kernel; what was not saved is lost. Closing twice does nothing."""
        if self._page is None:
            return
        self._page.close()
        self._page = self._metrics = None
        self.server.end_sessions(self.path)

    def reopen(self, *, trusted: bool = True, timeout: float = TIMEOUT) -> LabNotebook:
        """Close, and open again with a new kernel.

        With `trusted=False` the file is as if from a stranger: changed a little behind the server's
        back, so that its signature no longer holds.
        """
        self.close()
        if not trusted:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            content["metadata"]["stranger"] = uuid4().hex
            self.file.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return self.open(timeout=timeout)

    def __enter__(self) -> LabNotebook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Running --------------------------------------------------------------------------------------

    def run_all(self, *, wait: bool = True, timeout: float = TIMEOUT) -> None:
        """Run all cells (up to the first error). With `wait=False` return at once: see `wait_idle`."""
        self._run("runAll", self.path, wait=wait, timeout=timeout)

    def run_cell(self, index: int, *, wait: bool = True, timeout: float = TIMEOUT) -> None:
        """Run one cell. With `wait=False` return at once: see `wait_idle` and `wait_text`."""
        self._run("runCell", self.path, index, wait=wait, timeout=timeout)

    def interrupt(self) -> None:
        """Interrupt the kernel, and wait until the server has done so (not until the cell has ended)."""
        self._do("interrupt", self.path)

    def wait_idle(self, *, timeout: float = TIMEOUT, rendered: bool = True) -> None:
        """Wait until nothing runs, no prompt is `[*]`, and (if `rendered`) all is rendered."""
        self._wait("path => window.puqHarness.idle(path)", timeout)
        if rendered:
            self.wait_until_stable(timeout=timeout)

    def wait_text(self, index: int, text: str, *, timeout: float = TIMEOUT) -> None:
        """Wait until `text` is shown in the outputs of a cell."""
        shown = "([path, i, text]) => window.puqHarness.outputs(path, i).some(o => o.text.includes(text))"
        self.page.wait_for_function(
            shown, arg=[self.path, index, text], timeout=timeout * 1000, polling=_POLLING
        )

    def wait_until_stable(self, *, timeout: float = TIMEOUT) -> None:
        """Wait until the notebook has stopped changing and the page is waiting for no answer."""
        deadline = monotonic() + timeout
        while True:
            waiting, asked = set(self.traffic.pending), len(self.traffic.requests)
            self._do("settle", self.path, timeout=timeout)
            # What was asked for in the meantime may not be rendered yet, though its answer has come.
            if not waiting and len(self.traffic.requests) == asked:
                return
            if monotonic() > deadline:
                raise WaitTimeout(f"no answer to {[request.url for request in self.traffic.pending]}")

    # Cells ----------------------------------------------------------------------------------------

    def set_source(self, index: int, source: str) -> None:
        """Replace the source of a cell."""
        self._call("setSource", self.path, index, source)

    def add_cell(self, source: str, kind: Literal["code", "markdown", "raw"] = "code") -> int:
        """Add a cell at the end; return its index."""
        return int(self._call("addCell", self.path, source, kind))

    def prompt(self, index: int) -> str:
        """The execution prompt: `[ ]:`, `[*]:`, `[3]:`."""
        return str(self._call("prompt", self.path, index))

    def trusted(self, index: int) -> bool:
        """Whether the front end trusts the outputs of a cell."""
        return bool(self._call("trusted", self.path, index))

    def outputs(self, index: int) -> list[Output]:
        """The outputs of a cell, as far as it shows them (JupyterLab stops at 50)."""
        found = self._call("outputs", self.path, index)
        return [Output(o["kind"], tuple(o["mimes"]), o["text"], o["html"]) for o in found]

    def text(self, index: int) -> str:
        """The text of all outputs of a cell, one after the other."""
        return "".join(output.text for output in self.outputs(index))

    def save(self, *, timeout: float = TIMEOUT) -> Path:
        """Save as the front end does; return the file."""
        self._do("save", self.path, timeout=timeout)
        return self.file

    def screenshot(self, path: Path, index: int | None = None) -> Path:
        """Write a PNG of one cell, or of the whole window; return its path."""
        if index is None:
            self.page.screenshot(path=path)
            return path
        cell = self.page.evaluate_handle(
            "([path, i]) => window.puqHarness.cellNode(path, i)", [self.path, index]
        ).as_element()
        assert cell is not None
        cell.screenshot(path=path)
        return path

    # Measuring ------------------------------------------------------------------------------------

    def record(self, index: int) -> None:
        """Begin to record the painted states of a cell's output area (and end any other recording)."""
        self._call("record", self.path, index)

    def samples(self) -> list[Sample]:
        """End the recording; return its states in the order of time, the first taken by `record`."""
        return [Sample(**sample) for sample in self._call("stopRecording")]

    def scroll_to_end(self) -> float:
        """Scroll to the notebook's last line, as a reader of a tail does; return the `scrollTop`."""
        return float(self._call("scrollToEnd", self.path))

    def metrics(self) -> dict[str, float]:
        """The page's counters since it was opened: `TaskDuration` (s), `LayoutCount`, `JSHeapUsedSize`, …"""
        if self._metrics is None:
            self._metrics = self.chromium.context.new_cdp_session(self.page)
            self._metrics.send("Performance.enable")
        found = self._metrics.send("Performance.getMetrics")["metrics"]
        return {metric["name"]: float(metric["value"]) for metric in found}

    # ----------------------------------------------------------------------------------------------

    def _call(self, function: str, *args: object) -> Any:
        return self.page.evaluate(
            "([name, args]) => window.puqHarness[name](...args)", [function, list(args)]
        )

    def _wait(self, condition: str, timeout: float) -> None:
        self.page.wait_for_function(condition, arg=self.path, timeout=timeout * 1000, polling=_POLLING)

    def _do(self, action: str, *args: object, timeout: float = TIMEOUT) -> None:
        """Start an action of `lab.js` that takes time, and wait for it; what it throws is raised here."""
        job = self._call("start", action, *args)
        done = self.page.wait_for_function(
            "id => window.puqHarness.finish(id)", arg=job, timeout=timeout * 1000, polling=_POLLING
        ).json_value()
        assert done["state"] == "done", f"{action} failed in the page: {done['value']}"

    def _run(self, action: str, *args: object, wait: bool, timeout: float) -> None:
        if not wait:
            self._call("start", action, *args)
            return
        self._do(action, *args, timeout=timeout)
        self.wait_idle(timeout=timeout)


@contextmanager
def notebooks(server: JupyterServer, chromium: Chromium) -> Iterator[Callable[..., LabNotebook]]:
    """Give `lab(*cells, frontend="lab", name="notebook.ipynb")`, which writes a notebook and opens it.

    The notebooks of one block have a folder, and so their kernels a working directory, of their own.
    At its end they are closed, and `AssertionError` is raised if a page asked elsewhere for anything
    or had an uncaught error.
    """
    folder = uuid4().hex[:8]
    opened: list[LabNotebook] = []
    chromium.traffic.forget()

    def lab(
        *cells: str | dict[str, Any], frontend: Frontend = "lab", name: str = "notebook.ipynb"
    ) -> LabNotebook:
        notebook = LabNotebook(server, chromium, f"{folder}/{name}", frontend)
        write_notebook(notebook.file, cells)
        opened.append(notebook)
        return notebook.open()

    try:
        yield lab
    finally:
        for notebook in opened:
            notebook.close()
    chromium.traffic.check()
