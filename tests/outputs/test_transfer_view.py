from __future__ import annotations

import io
from typing import Any

import pytest

from puq_magics.outputs.views.progress import TransferView

CELL = """
from puq_magics.outputs.views.progress import TransferView
times = iter([0.0] + [60.0] * 9)
view = TransferView(in_notebook=True, live={live}, clock=lambda: next(times))
view.report("downloading <b>x</b>", 1_000_000, 4_000_000)
view.report("downloading <b>x</b>", 1_500_000, 4_000_000)  # too soon to be painted
view.end("kept <b>here</b>")
"""


def test_one_display_of_a_notebook_says_how_far_it_is_and_then_what_came(notebook: Any) -> None:
    cell = notebook.run(CELL.format(live=True))
    assert cell.reply["status"] == "ok", cell.reply
    shown = [message["content"] for message in cell.messages if "display" in message["msg_type"]]
    assert len(shown) == 2
    assert len({content["transient"]["display_id"] for content in shown}) == 1
    assert "[######------------------] 1.0 of 4.0 MB · 60 s" in shown[0]["data"]["text/plain"]
    assert '<progress max="100" value="25">' in shown[0]["data"]["text/html"]
    assert "<b>" not in shown[0]["data"]["text/html"] + shown[1]["data"]["text/html"]
    assert shown[1]["data"]["text/plain"] == "kept <b>here</b>"


def test_without_updates_only_the_end_is_shown(notebook: Any) -> None:
    cell = notebook.run(CELL.format(live=False))
    assert [m["msg_type"] for m in cell.messages if "display" in m["msg_type"]] == ["display_data"]


class Screen(io.StringIO):
    """What is written, to a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_has_a_line_that_is_rewritten(is_terminal: bool) -> None:
    screen, times = Screen(is_terminal), iter([0.0] + [60.0] * 9)
    view = TransferView(in_notebook=False, clock=lambda: next(times), out=lambda: screen)
    view.report("downloading\x1b[2J", 1_000_000, 4_000_000)
    view.report("downloading\x1b[2J", 1_500_000, 4_000_000)
    view.end("kept here")
    line = "\r\x1b[K… downloading [######------------------] 1.0 of 4.0 MB · 60 s\r\x1b[K"
    assert screen.getvalue() == (line if is_terminal else "") + "kept here\n"


def test_what_is_quick_shows_its_end_alone() -> None:
    screen = Screen(True)
    view = TransferView(in_notebook=False, clock=lambda: 0.0, out=lambda: screen)
    view.report("unpacking", 1, 4)
    view.end("kept here")
    assert screen.getvalue() == "kept here\n"
