"""What shows an answer while it comes: the protocol, and the loop that drives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.outputs.results.chat import ChatResult

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream


class View(Protocol):
    """Shows one answer."""

    def prepare(self) -> None:
        """Make ready what showing needs; called beside the blocking call, from another thread."""

    def waiting(self, seconds: float) -> None:
        """Nothing has come yet; called beside the blocking call, from another thread."""

    def retrying(self, retry: Retry) -> None:
        """The request is about to be made again."""

    def show(self, delta: Delta) -> None:
        """More has come."""

    def patience(self) -> float | None:
        """Seconds until ``idle`` is to be called if nothing comes; None for never."""

    def idle(self) -> None:
        """Nothing came for that long."""

    def end(self, result: ChatResult) -> None:
        """The answer has ended, well or not; the result holds all of it."""

    def abandon(self) -> None:
        """There is no answer; an error says why."""


def watch(stream: ChatStream, view: View) -> None:
    """Show a stream until it ends; its errors pass through."""
    while not stream.finished:
        delta = stream.receive(view.patience())
        if delta:
            view.show(delta)
        elif not stream.finished:
            view.idle()


class QuietView:
    """Shows nothing."""

    def prepare(self) -> None:
        """See View."""

    def waiting(self, seconds: float) -> None:
        """See View."""

    def retrying(self, retry: Retry) -> None:
        """See View."""

    def show(self, delta: Delta) -> None:
        """See View."""

    def patience(self) -> float | None:
        """See View."""
        return None

    def idle(self) -> None:
        """See View."""

    def end(self, result: ChatResult) -> None:
        """See View."""

    def abandon(self) -> None:
        """See View."""
