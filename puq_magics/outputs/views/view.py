"""Display of a streaming answer: the protocol of views, and the loop that drives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.thinking import ThinkingSplitter
from puq_magics.outputs.results.chat import ChatResult

if TYPE_CHECKING:
    from puq_magics.api.chat import ChatStream

#: Seconds without a word after which text is shown that may be the beginning of an API key.
KEY_PAUSE = 0.1


class CallView(Protocol):
    """Shows one call, of any kind."""

    @property
    def is_quiet(self) -> bool:
        """True if it shows nothing."""

    def prepare(self) -> None:
        """Import what showing needs; called from another thread during the blocking call."""

    def show_waiting(self, seconds: float) -> None:
        """Show that nothing has arrived yet; called from another thread during the blocking call."""

    def show_retry(self, retry: Retry) -> None:
        """Show that the request is about to be sent again."""

    def show_result(self, result: Any) -> None:
        """Show the result, complete or not, for good."""

    def abandon(self) -> None:
        """Remove what was shown: there is no result, and an error follows."""


class ChatView(CallView, Protocol):
    """Shows one answer."""

    def show_delta(self, delta: Delta) -> None:
        """Show further text."""

    def idle_timeout(self) -> float | None:
        """Return the seconds until ``show_idle`` is to be called if nothing arrives; None for never."""

    def show_idle(self) -> None:
        """Update the display after a pause."""

    def show_calls(self, result: ChatResult) -> None:
        """Show the tool calls and their states."""


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
