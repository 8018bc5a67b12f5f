from __future__ import annotations

import pytest

from puq_magics.outputs.views.progress import Progress


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_is_shown_once_it_takes_long() -> None:
    clock = Clock()
    progress = Progress("sending talk.mp3", clock=clock)
    progress.reach(1, 10)
    assert (progress.is_long, progress.is_running) == (False, False)
    clock.now += 1
    assert (progress.is_long, progress.is_running) == (True, True)
    progress.reach(10, 10)
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
    clock = Clock()
    progress = Progress("sending", unit, clock=clock)
    clock.now += 12
    progress.reach(done, total)
    assert str(progress) == progress.bundle()["text/plain"] == f"{words} · 12 s"


def test_as_a_display_has_it() -> None:
    progress = Progress("sending <b>.mp3", clock=Clock())
    progress.reach(1_000_000, 3_000_000)
    assert progress.bundle()["text/html"] == (
        '<p><progress max="100" value="33"></progress> <em>sending &#60;b&#62;&#46;mp3 · 1.0 of 3.0 MB · 0 s</em></p>'
    )
    progress.reach(1_000_000, 0)
    assert "<progress" not in progress.bundle()["text/html"]
