from __future__ import annotations

from typing import Any

import pytest

from puq_magics.api.client import Router
from puq_magics.api.types import Delta
from puq_magics.core.errors import StreamError
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.views.notebook import NotebookView
from puq_magics.outputs.views.terminal import TerminalView
from puq_magics.outputs.views.view import ChatView, QuietChatView, watch


class RecordingView(QuietChatView):
    """Notes what it is told."""

    def __init__(self, patience: float | None = None) -> None:
        self.deltas: list[Delta] = []
        self.idled = 0
        self._patience = patience

    def show_delta(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def idle_timeout(self) -> float | None:
        return self._patience

    def show_idle(self) -> None:
        self.idled += 1


@pytest.fixture
def router(sandbox: Any) -> Any:
    with Router(sandbox.token, sandbox.base_url) as router:
        yield router


@pytest.mark.parametrize("view", [QuietChatView(), NotebookView(), TerminalView()])
def test_each_is_a_view(view: ChatView) -> None:
    public = [name for name in dir(ChatView) if not name.startswith("_")]
    assert [name for name in public if not callable(getattr(view, name))] == ["is_quiet"]
    assert {
        "is_quiet",
        "prepare",
        "show_waiting",
        "show_retry",
        "show_delta",
        "idle_timeout",
        "show_idle",
        "show_result",
        "show_calls",
        "abandon",
    } == set(public)


def test_every_word_is_shown_in_order(router: Router) -> None:
    view = RecordingView()
    with router.stream_chat("hi", model="sandbox/think") as stream:
        watch(stream, view)
        assert "".join(delta.text for delta in view.deltas) == stream.text != ""
        assert "".join(delta.reasoning for delta in view.deltas) == stream.reasoning != ""


def test_the_view_is_told_when_nothing_comes(serve: Any) -> None:
    view = RecordingView(patience=0.001)

    def _answer(connection: Any) -> None:
        connection.send_head()
        while not view.idled:
            connection.send(b": keep-alive\n\n")
        connection.send_event("Words.")
        connection.send_done()

    with Router(base_url=serve(_answer).url) as router, router.stream_chat("hi", model="a/b") as stream:
        watch(stream, view)
    assert view.idled
    assert "".join(delta.text for delta in view.deltas) == "Words."


def test_errors_pass_through_after_what_came(router: Router) -> None:
    view = RecordingView()
    with router.stream_chat("hi", model="sandbox/fail") as stream, pytest.raises(StreamError) as caught:
        watch(stream, view)
    # What came in one read with the error is in the error alone; a view gets it by its ``end``.
    assert stream.text == caught.value.partial
    assert stream.text.endswith("but it will not")
    assert stream.text.startswith("".join(delta.text for delta in view.deltas))


def test_quiet_shows_nothing(capsys: Any) -> None:
    view = QuietChatView()
    view.show_waiting(1.0)
    view.show_delta(Delta("words"))
    view.show_idle()
    view.show_result(ChatResult(text="words", model="a/b"))
    view.abandon()
    assert view.idle_timeout() is None
    assert capsys.readouterr() == ("", "")
