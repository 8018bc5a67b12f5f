"""The Chromium part: what a stream costs a real JupyterLab, and what its reader sees.

It stands on the laboratory of the browser tests (`tests/browser/lab.py`).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from answers import Shape
from kernel import EXTENSIONS, CellError
from report import Table, UpperLimit
from rig import BenchmarkSession
from subjects import Subject, plain_updates

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))

from lab import Chromium, LabNotebook, WaitTimeout, browse, notebooks, scroll_jumps, serve, shrinks

RATE = 100  # chunks a second
SHAPE = Shape(rate=RATE, profile="formulas")
SECONDS = len(SHAPE.pieces()) / RATE
UPDATES = 25
#: The same text in a few even steps over the same time, from a cell that asks nobody.
YARDSTICK = plain_updates(SHAPE.text(), UPDATES, SECONDS)

_WATCH = Path(__file__).with_name("watch.js").read_text(encoding="utf-8")
_LAST_WORD = "zebra"
_MATHJAX = "from IPython.display import Math\nMath('x')"  # a page's first formula loads it
_PATIENCE = 120.0  # seconds after the last chunk

_TASK = "TaskDuration, s"
_RATIO = f"TaskDuration ÷ {YARDSTICK.name}, by pair"
_FINISHED = "last chunk → last word on screen, ms"
_TARGETS = {
    _TASK: None,
    _RATIO: UpperLimit(1.5),
    "CPU of all of Chromium, s": None,
    "layouts": None,
    _FINISHED: UpperLimit(500),
    "painted states": None,
    "of these with raw LaTeX": UpperLimit(0, worst=True),
    "shrinks": UpperLimit(0, worst=True),
    "scroll jumps": UpperLimit(0, worst=True),
    "outputs at the end": None,
}


def measure(rig: BenchmarkSession, rounds: int) -> Table:
    """A lesson with 50 formulas, streamed into JupyterLab by each subject in turn."""
    size = len(SHAPE.text()) / 1000
    table = Table(f"JupyterLab: {size:.1f} kB, 50 formulas, {len(SHAPE.pieces())} chunks at {RATE} a second")
    rows = {label: table.row(label, target) for label, target in _TARGETS.items()}
    for order in rig.rounds(rounds, YARDSTICK):
        figures = {subject: _run(rig, subject) for subject in order if subject.shows}
        for subject, found in figures.items():
            if subject is not YARDSTICK and _TASK in found:
                found[_RATIO] = found[_TASK] / figures[YARDSTICK][_TASK]
            for label, value in found.items():
                rows[label].add(subject.name, value)
    return table


def _run(rig: BenchmarkSession, subject: Subject) -> dict[str, float]:
    """One lesson in a page, a kernel, a server and a browser of its own; the figures by their rows' labels."""
    setup = "\n".join(filter(None, (subject.load, subject.setup(rig.server.base))))
    with _laboratory(rig, subject) as (lab, chromium):
        notebook = lab(_MATHJAX, setup or "pass", subject.prepare or "pass", subject.cell)
        rig.server.set_answer(Shape(chunks=40, rate=400))
        notebook.run_all()  # the measured cell too: a first answer, after which all is loaded
        if error := next((output.text for output in notebook.outputs(3) if output.kind == "error"), ""):
            raise CellError(f"{subject} in JupyterLab: {error}")
        notebook.run_cell(2)
        measured = notebook.add_cell("pass")
        notebook.run_cell(measured)  # the page scrolls to it now, and not when the measuring has begun
        notebook.set_source(measured, subject.cell)
        rig.server.set_answer(SHAPE)
        try:
            return _watched(rig, notebook, chromium, measured)
        except WaitTimeout:  # the page has frozen, or is not half through
            return {_FINISHED: float("inf")}


def _watched(rig: BenchmarkSession, notebook: LabNotebook, chromium: Chromium, cell: int) -> dict[str, float]:
    notebook.wait_until_stable()
    notebook.page.evaluate(_WATCH, [notebook.path, cell, _LAST_WORD])
    notebook.record(cell)
    before, busy = notebook.metrics(), chromium.cpu_seconds()
    notebook.run_cell(cell, wait=False)
    time.sleep(SECONDS + 0.5)  # asking the page while it works would be work for it
    notebook.wait_idle(timeout=_PATIENCE)
    after, busy = notebook.metrics(), chromium.cpu_seconds() - busy
    samples = notebook.samples()
    seen = notebook.page.evaluate("() => { window.benchWatch.stop(); return window.benchWatch.seen }")
    figures = {
        _TASK: after["TaskDuration"] - before["TaskDuration"],
        "CPU of all of Chromium, s": busy,
        "layouts": after["LayoutCount"] - before["LayoutCount"],
        "painted states": seen["states"],
        "of these with raw LaTeX": seen["raw"],
        "shrinks": len(shrinks(samples)),
        "scroll jumps": len(scroll_jumps(samples)),
        "outputs at the end": len(notebook.outputs(cell)),
    }
    if records := rig.server.records():
        figures[_FINISHED] = _after(notebook, records[-1].writes[-1], seen["finished"])
    return figures


def _after(notebook: LabNotebook, written: int, finished: float | None) -> float:
    """The ms from a write (monotonic ns) to a moment of the page's clock; infinite for None.

    The two clocks are compared by asking the page for its time: of a few answers the quickest is the best.
    """
    if finished is None:
        return float("inf")
    looks = []
    for _ in range(9):
        start = time.monotonic_ns()
        page = notebook.page.evaluate("performance.now()")
        end = time.monotonic_ns()
        looks.append((end - start, (start + end) / 2e6 - page))
    offset = min(looks)[1]
    return float(finished + offset - written / 1e6)


@contextmanager
def _laboratory(
    rig: BenchmarkSession, subject: Subject
) -> Iterator[tuple[Callable[..., LabNotebook], Chromium]]:
    environment = {"PYTHONPATH": str(EXTENSIONS), **subject.environment(rig.server.base)}
    with (
        tempfile.TemporaryDirectory(prefix="bench-lab-") as name,
        serve(folder := Path(name), environment) as server,
        browse(server.origin, folder / "browser") as chromium,
        notebooks(server, chromium) as lab,
    ):
        spec = folder / "data" / "kernels" / "python3" / "kernel.json"
        kernel = json.loads(spec.read_text())
        kernel["argv"][0] = subject.python
        spec.write_text(json.dumps(kernel))
        yield lab, chromium
