"""Display of a streaming answer: the protocol of views, and the loop that drives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.thinking import ThinkingSplitter
from puq_magics.outputs.results.chat import ChatResult

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream

#: Seconds without a word after which text is shown that may be the beginning of an API key.
KEY_PAUSE = 0.1


class ChatView(Protocol):
    """Shows one answer."""

    @property
    def is_quiet(self) -> bool:
        """True if it shows nothing."""

    def prepare(self) -> None:
        """Make ready what showing needs; called beside the blocking call, from another thread."""

    def show_waiting(self, seconds: float) -> None:
        """Nothing has come yet; called beside the blocking call, from another thread."""

    def show_retry(self, retry: Retry) -> None:
        """The request is about to be made again."""

    def show_delta(self, delta: Delta) -> None:
        """More has come."""

    def idle_timeout(self) -> float | None:
        """Seconds until ``idle`` is to be called if nothing comes; None for never."""

    def show_idle(self) -> None:
        """Nothing came for that long."""

    def show_result(self, result: ChatResult) -> None:
        """The answer has ended, well or not; the result holds all of it."""

    def show_calls(self, result: ChatResult) -> None:
        """One of the functions that the answer calls is asked about, or runs, or has its outcome."""

    def abandon(self) -> None:
        """There is no answer; an error says why."""


def watch(stream: ChatStream, view: ChatView) -> None:
    """Show a stream until it ends; its errors pass through."""
    splitter = ThinkingSplitter()
    while not stream.finished:
        delta = stream.receive(view.idle_timeout())
        if delta:
            text, reasoning = splitter.feed(delta.text)
            if text != delta.text:
                delta = Delta(text, delta.reasoning + reasoning)
            if delta:
                view.show_delta(delta)
        elif not stream.finished:
            view.show_idle()


class QuietChatView:
    """Shows nothing."""

    is_quiet = True

    def prepare(self) -> None:
        """Implement `ChatView`."""

    def show_waiting(self, seconds: float) -> None:
        """Implement `ChatView`."""

    def show_retry(self, retry: Retry) -> None:
        """Implement `ChatView`."""

    def show_delta(self, delta: Delta) -> None:
        """Implement `ChatView`."""

    def idle_timeout(self) -> float | None:
        """Implement `ChatView`."""
        return None

    def show_idle(self) -> None:
        """Implement `ChatView`."""

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""

    def show_calls(self, result: ChatResult) -> None:
        """Implement `ChatView`."""

    def abandon(self) -> None:
        """Implement `ChatView`."""
