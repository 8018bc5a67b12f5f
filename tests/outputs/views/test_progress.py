from __future__ import annotations

import contextvars
import io
import threading
from queue import Queue
from typing import Any

import pytest

from puq_magics.outputs.views.progress import ProgressBar, Ticker, TransferView


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_shown_once_it_takes_long() -> None:
    clock = FakeClock()
    progress = ProgressBar("sending talk.mp3", clock=clock)
    progress.update(1, 10)
    assert (progress.is_worth_showing, progress.is_running) == (False, False)
    clock.now += 1
    assert (progress.is_worth_showing, progress.is_running) == (True, True)
    progress.update(10, 10)
    assert progress.is_running is False


@pytest.mark.parametrize(
    ("done", "total", "unit", "words"),
    [
        (51_000_000, 123_456_789, "bytes", "sending [##########--------------] 51.0 of 123.5 MB"),
        (0, 10, "bytes", "sending [------------------------] 0.0 of 0.0 MB"),
        (20, 10, "bytes", "sending [########################] 0.0 of 0.0 MB"),
        (1_250_000, 0, "bytes", "sending 1.2 MB"),
        (2, 5, "parts", "sending [##########--------------] 2 of 5 parts"),
        (2, 0, "parts", "sending 2 parts"),
    ],
)
def test_words(done: int, total: int, unit: str, words: str) -> None:
    clock = FakeClock()
    progress = ProgressBar("sending", unit, clock=clock)
    clock.now += 12
    progress.update(done, total)
    assert str(progress) == progress.bundle()["text/plain"] == f"{words} · 12 s"


def test_as_a_display_has_it() -> None:
    progress = ProgressBar("sending <b>.mp3", clock=FakeClock())
    progress.update(1_000_000, 3_000_000)
    assert progress.bundle()["text/html"] == (
        '<p><progress max="100" value="33"></progress> <em>sending &#60;b&#62;&#46;mp3 · 1.0 of 3.0 MB · 0 s</em></p>'
    )
    progress.update(1_000_000, 0)
    assert "<progress" not in progress.bundle()["text/html"]


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def test_it_ticks_beside_the_call_in_the_calls_context() -> None:
    ticks: Queue[tuple[float, str, str]] = Queue()
    WHO.set("the cell")
    with Ticker(
        lambda s: ticks.put((s, WHO.get(), threading.current_thread().name)), delay=0.001, interval=0.001
    ):
        first, second = ticks.get(timeout=30), ticks.get(timeout=30)
    assert 0 < first[0] < second[0]
    assert first[1:] == ("the cell", "puq-ticker")


def test_nothing_ticks_after_the_end() -> None:
    ticks: Queue[float] = Queue()
    with Ticker(ticks.put, delay=0.001, interval=0.001):
        ticks.get(timeout=30)
    seen = ticks.qsize()
    assert "puq-ticker" not in [thread.name for thread in threading.enumerate()]
    assert ticks.qsize() == seen


def test_the_end_waits_for_a_tick_that_runs() -> None:
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def _tick(_: float) -> None:
        entered.set()
        leave.wait(30)
        left.set()

    ticker = Ticker(_tick, delay=0.0)
    with ticker:
        entered.wait(30)
        stopping = threading.Thread(target=ticker.stop)
        stopping.start()
        assert stopping.is_alive()
        leave.set()
        stopping.join(30)
        assert left.is_set()


def test_a_quick_call_sees_no_tick() -> None:
    ticks: Queue[float] = Queue()
    with Ticker(ticks.put, delay=3600):
        pass
    assert ticks.empty()


def test_it_ends_when_the_call_fails() -> None:
    with pytest.raises(KeyboardInterrupt), Ticker(lambda _: None, delay=3600):
        raise KeyboardInterrupt
    assert "puq-ticker" not in [thread.name for thread in threading.enumerate()]


CELL = """
from puq_magics.outputs.views.progress import TransferView
times = iter([0.0] + [60.0] * 9)
view = TransferView(in_notebook=True, live={live}, clock=lambda: next(times))
view.report("downloading <b>x</b>", 1_000_000, 4_000_000)
view.report("downloading <b>x</b>", 1_500_000, 4_000_000)  # too soon to be painted
view.end("kept <b>here</b>")
"""


def test_one_display_of_a_notebook_says_how_far_it_is_and_then_what_came(fresh_kernel: Any) -> None:
    cell = fresh_kernel.run(CELL.format(live=True))
    assert cell.reply["status"] == "ok", cell.reply
    shown = [message["content"] for message in cell.messages if "display" in message["msg_type"]]
    assert len(shown) == 2
    assert len({content["transient"]["display_id"] for content in shown}) == 1
    assert "[######------------------] 1.0 of 4.0 MB · 60 s" in shown[0]["data"]["text/plain"]
    assert '<progress max="100" value="25">' in shown[0]["data"]["text/html"]
    assert "<b>" not in shown[0]["data"]["text/html"] + shown[1]["data"]["text/html"]
    assert shown[1]["data"]["text/plain"] == "kept <b>here</b>"


def test_without_updates_only_the_end_is_shown(fresh_kernel: Any) -> None:
    cell = fresh_kernel.run(CELL.format(live=False))
    assert [m["msg_type"] for m in cell.messages if "display" in m["msg_type"]] == ["display_data"]


class TerminalScreen(io.StringIO):
    """What is written, to a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_has_a_line_that_is_rewritten(is_terminal: bool) -> None:
    screen, times = TerminalScreen(is_terminal), iter([0.0] + [60.0] * 9)
    view = TransferView(in_notebook=False, clock=lambda: next(times), out=lambda: screen)
    view.report("downloading\x1b[2J", 1_000_000, 4_000_000)
    view.report("downloading\x1b[2J", 1_500_000, 4_000_000)
    view.end("kept here")
    line = "\r\x1b[K… downloading [######------------------] 1.0 of 4.0 MB · 60 s\r\x1b[K"
    assert screen.getvalue() == (line if is_terminal else "") + "kept here\n"


def test_what_is_quick_shows_its_end_alone() -> None:
    screen = TerminalScreen(True)
    view = TransferView(in_notebook=False, clock=lambda: 0.0, out=lambda: screen)
    view.report("unpacking", 1, 4)
    view.end("kept here")
    assert screen.getvalue() == "kept here\n"
