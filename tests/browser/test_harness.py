"""The harness shows what a front end does, and fails when it should. Plain IPython: no magic of ours."""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import (
    Chromium,
    Frontend,
    JupyterServer,
    LabNotebook,
    WaitTimeout,
    notebooks,
    scroll_jumps,
    serve,
    shrinks,
    text_losses,
)

Lab = Callable[..., LabNotebook]

COUNTING_SCRIPT = """
from IPython.display import HTML, display
display(HTML("<b>seen</b><script>window.ran = (window.ran || 0) + 1</script>"))
"""
STREAM = """
from IPython.display import Markdown, display
words = []
handle = display(Markdown(""), display_id=True)
"""
GROW = """
words += [f"- step {len(words)} is $x^{len(words)}$" for _ in range(4)]
handle.update(Markdown("\\n".join(words)))
"""


@pytest.fixture
def foreign_address() -> Iterator[str]:
    """`host:port` of a loopback address that is not the server's; nobody answers there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_tests_of_this_folder_are_marked(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("browser") is not None


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_run_all_shows_what_the_cells_display(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(
        "from IPython.display import Markdown\nprint('out')\nMarkdown('# Title\\nand $x^2$')",
        "1 / 0",
        "'never reached'",
        frontend=frontend,
    )
    assert [notebook.prompt(i) for i in range(3)] == ["[ ]:"] * 3
    notebook.run_all()
    assert [notebook.prompt(i) for i in range(3)] == ["[1]:", "[2]:", "[ ]:"]
    printed, shown = notebook.outputs(0)
    assert (printed.kind, printed.text) == ("stream", "out\n")
    assert shown.kind == "execute_result"
    assert "text/markdown" in shown.mimes
    assert "<h1" in shown.html
    assert "$" not in shown.text  # the formula has been typeset
    (error,) = notebook.outputs(1)
    assert error.kind == "error"
    assert "ZeroDivisionError" in error.text
    assert notebook.outputs(2) == []


def test_cells_are_changed_added_and_run_one_at_a_time(lab: Lab) -> None:
    notebook = lab("'first'", "'second'")
    notebook.set_source(0, "'changed'")
    assert notebook.add_cell("# A heading", "markdown") == 2
    assert notebook.add_cell("40 + 2") == 3
    notebook.run_cell(3)
    notebook.run_cell(0)
    assert [notebook.text(i) for i in (0, 1, 3)] == ["'changed'", "", "42"]
    assert [notebook.prompt(i) for i in (0, 1, 3)] == ["[2]:", "[ ]:", "[1]:"]


def test_kernel_has_this_python_and_folders_of_its_own(lab: Lab, jupyter_server: JupyterServer) -> None:
    notebook = lab(
        "import json, os, sys\n"
        "print(json.dumps([sys.executable, os.getcwd(), os.environ['HOME'], os.environ['IPYTHONDIR']]))"
    )
    notebook.run_all()
    executable, *folders = json.loads(notebook.text(0))
    assert executable == sys.executable
    assert all(Path(folder).is_relative_to(jupyter_server.root.parent) for folder in folders)


def test_saved_output_is_on_disk_and_comes_back(lab: Lab) -> None:
    notebook = lab(COUNTING_SCRIPT, "print('saved ' + 'words')", "words")
    notebook.run_all()
    assert notebook.page.evaluate("window.ran") == 1
    saved = json.loads(notebook.save().read_text(encoding="utf-8"))
    assert saved["cells"][1]["outputs"] == [
        {"name": "stdout", "output_type": "stream", "text": ["saved words\n"]}
    ]

    notebook.reopen()
    assert notebook.text(1) == "saved words\n"
    assert notebook.trusted(0)
    assert notebook.page.evaluate("window.ran") == 1  # the new page ran the signed notebook's script
    notebook.run_cell(1)
    assert notebook.prompt(1) == "[1]:"  # the old kernel is gone


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_a_strangers_notebook_is_not_trusted(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(COUNTING_SCRIPT, frontend=frontend)
    notebook.run_all()
    notebook.save()
    notebook.reopen(trusted=False)
    assert not notebook.trusted(0)
    assert notebook.text(0) == "seen"
    assert notebook.page.evaluate("window.ran === undefined")


def test_a_growing_output_is_sampled_at_every_step(lab: Lab, chromium: Chromium) -> None:
    notebook = lab("from IPython.display import Math\nMath('x')", STREAM, GROW)
    notebook.run_cell(0)  # a page's first formulas are painted raw, a little higher, while MathJax is loaded
    notebook.record(1)
    before = notebook.metrics()
    notebook.run_cell(1)
    lengths = []
    for _ in range(4):
        notebook.run_cell(2)
        lengths.append(len(notebook.text(1)))
    after = notebook.metrics()
    samples = notebook.samples()
    assert set(lengths) <= {sample.text for sample in samples}
    assert samples == sorted(samples, key=lambda sample: sample.t)
    assert samples[-1].height > samples[0].height
    assert {sample.outputs for sample in samples} == {0, 1}
    assert not shrinks(samples)
    assert not scroll_jumps(samples)
    assert after["LayoutCount"] > before["LayoutCount"]
    assert after["TaskDuration"] > before["TaskDuration"]
    assert chromium.cpu_seconds() > 0


def test_a_collapse_under_a_reader_at_the_tail_is_found(lab: Lab) -> None:
    notebook = lab(STREAM, GROW * 20, "handle.update(Markdown('gone'))")
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.scroll_to_end() > 0
    notebook.wait_until_stable()
    notebook.record(0)
    notebook.run_cell(2)
    samples = notebook.samples()
    assert shrinks(samples)
    assert text_losses(samples)
    assert scroll_jumps(samples)
    assert samples[-1].text == len("gone\n")


OUTSIDE_ASKERS = {
    "image": """display(HTML('<img src="http://{elsewhere}/image">'))""",
    "markdown": """display(Markdown('![](http://{elsewhere}/markdown)'))""",
    "frame": """display(HTML('<iframe src="http://{elsewhere}/frame"></iframe>'))""",
    "style": """display(HTML('<p style="background: url(http://{elsewhere}/style)">text</p>'))""",
    "fetch": """display(HTML('<script>fetch("http://{elsewhere}/fetch").catch(() => 0)</script>'))""",
    "socket": """display(HTML('<script>new WebSocket("ws://{elsewhere}/socket")</script>'))""",
    "name": """display(HTML('<img src="https://name.invalid/name">'))""",
}


def test_a_request_to_elsewhere_is_recorded_and_fails_the_test(
    jupyter_server: JupyterServer, chromium: Chromium, foreign_address: str
) -> None:
    asked = pytest.raises(AssertionError, match="requests left the test's own server")
    with asked, notebooks(jupyter_server, chromium) as lab:
        notebook = lab(
            "from IPython.display import HTML, Markdown, display",
            *(cell.replace("{elsewhere}", foreign_address) for cell in OUTSIDE_ASKERS.values()),
        )
        assert notebook.traffic.external_requests == []
        notebook.run_all()
        while len(set(notebook.traffic.external_requests)) < len(OUTSIDE_ASKERS):
            notebook.wait_until_stable()  # the browser tells of a request a moment after it was made
        external_requests = set(notebook.traffic.external_requests)
    assert {url.rsplit("/", 1)[1] for url in external_requests} == set(OUTSIDE_ASKERS)
    assert f"ws://{foreign_address}/socket" in external_requests


def test_what_a_test_expects_does_not_fail_it(lab: Lab, foreign_address: str) -> None:
    notebook = lab(
        f"from IPython.display import HTML, display\ndisplay(HTML('<img src=\"http://{foreign_address}/a\">'))",
        "display(HTML('<img src=\"data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAAC\">'))",
    )
    notebook.run_all()
    while not notebook.traffic.external_requests:
        notebook.wait_until_stable()  # the browser tells of a request a moment after it was made
    assert set(notebook.traffic.accept_external_requests()) == {f"http://{foreign_address}/a"}
    assert notebook.traffic.external_requests == []


def test_an_uncaught_error_in_the_page_fails_the_test(
    jupyter_server: JupyterServer, chromium: Chromium
) -> None:
    failed = pytest.raises(AssertionError, match="on purpose")
    with failed, notebooks(jupyter_server, chromium) as lab:
        notebook = lab(
            "from IPython.display import HTML, display",
            'display(HTML(\'<script>console.warn("a word"); setTimeout(() => { throw Error("on purpose") })\'))',
        )
        notebook.run_all()
        assert "warning: a word" in notebook.console


def test_interrupting_ends_a_cell_that_waits(lab: Lab) -> None:
    notebook = lab("print('started'); import threading; threading.Event().wait()", "'alive'")
    notebook.run_cell(0, wait=False)
    notebook.wait_text(0, "started")
    assert notebook.prompt(0) == "[*]:"
    with pytest.raises(WaitTimeout):
        notebook.wait_idle(timeout=0.3)
    with pytest.raises(WaitTimeout):
        notebook.wait_text(0, "KeyboardInterrupt", timeout=0.3)
    notebook.interrupt()
    notebook.wait_idle()
    assert [output.kind for output in notebook.outputs(0)] == ["stream", "error"]
    assert "KeyboardInterrupt" in notebook.text(0)
    notebook.run_cell(1)
    assert notebook.text(1) == "'alive'"


def test_screenshots_of_a_cell_and_of_the_window(lab: Lab, tmp_path: Path) -> None:
    notebook = lab("'shown'")
    notebook.run_all()
    window = png_size(notebook.screenshot(tmp_path / "window.png"))
    cell = png_size(notebook.screenshot(tmp_path / "cell.png", 0))
    assert window == (1280, 900)
    assert 0 < cell[1] < 200 < cell[0] < 1280


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"did not start:\n(.*\n)*.*encodings"),
        serve(tmp_path, {"PYTHONHOME": str(tmp_path / "nowhere")}),
    ):
        raise AssertionError("the server started")
