"""What a reader sees while an output grows, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Sample:
    """One painted state of a cell's output area; lengths in CSS pixels."""

    #: Milliseconds of the page's clock (`performance.now`).
    t: float
    #: Characters of its `textContent`, without a line that says how long nothing came.
    text: int
    #: Its `scrollHeight`.
    height: float
    #: Outputs in it.
    outputs: int
    #: The notebook's `scrollTop`.
    scroll: float
    #: Where its cell begins, from the upper edge of the notebook's window: what the reader's eye follows.
    top: float


def shrinks(samples: Sequence[Sample], tolerance: float = 2.0) -> list[tuple[Sample, Sample]]:
    """The neighbours between which the output became lower by more than `tolerance` pixels."""
    return [(a, b) for a, b in pairwise(samples) if a.height - b.height > tolerance]


def text_losses(samples: Sequence[Sample], tolerance: int = 0) -> list[tuple[Sample, Sample]]:
    """The neighbours between which the output lost more than `tolerance` characters."""
    return [(a, b) for a, b in pairwise(samples) if a.text - b.text > tolerance]


def scroll_jumps(samples: Sequence[Sample], tolerance: float = 2.0) -> list[tuple[Sample, Sample]]:
    """The neighbours between which the cell moved in the window by more than `tolerance` pixels.

    A cell whose output grows must stay where it is: nobody scrolls while a test records. What counts is
    `top`, not `scroll`, which may well change to keep the text in place.
    """
    return [(a, b) for a, b in pairwise(samples) if abs(a.top - b.top) > tolerance]
