from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from clients import KEY

from puq_magics.api.request import Retry
from puq_magics.api.types import Delta
from puq_magics.core.secret import Secret
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.views.terminal import TerminalView
from puq_magics.outputs.views.view import KEY_PAUSE

ERASE = "\r\x1b[K"


class FakeTTY(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(text: str, **more: Any) -> ChatResult:
    return ChatResult(text=text, model="a/b", **more)


@pytest.mark.parametrize("kind", [io.StringIO, FakeTTY])
def test_text_as_it_comes_then_the_footer(kind: type[io.StringIO]) -> None:
    out = kind()
    view = TerminalView(out=lambda: out)
    view.show_delta(Delta("Hello"))
    assert out.getvalue() == "Hello"
    view.show_delta(Delta(" you"))
    assert out.getvalue() == "Hello you"
    view.show_result(result("Hello you!"))
    assert out.getvalue() == "Hello you!\n[a/b]\n"


@pytest.mark.parametrize(
    ("footer", "end"), [("full", "\n[a/b · 2.0 s]\n"), ("short", "\n[a/b]\n"), ("none", "\n")]
)
def test_the_footer(footer: str, end: str) -> None:
    out = io.StringIO()
    TerminalView(footer=footer, out=lambda: out).show_result(result("Hello", latency=2.0))
    assert out.getvalue() == f"Hello{end}"


def test_without_live_all_comes_at_the_end() -> None:
    out = FakeTTY()
    view = TerminalView(live=False, out=lambda: out)
    view.show_waiting(1.0)
    view.show_retry(Retry("too many requests", 1.0, 1, 2))
    view.show_delta(Delta("Hello"))
    assert out.getvalue() == ""
    view.show_result(result("Hello"))
    assert out.getvalue() == "Hello\n[a/b]\n"


def test_a_key_is_erased_and_its_beginning_shown_in_a_pause() -> None:
    _secret = Secret(KEY)
    out = io.StringIO()
    view = TerminalView(out=lambda: out)
    view.show_delta(Delta(f"a {KEY} b {KEY[:10]}"))
    assert (out.getvalue(), view.idle_timeout()) == ("a … b ", KEY_PAUSE)
    view.show_idle()
    assert (out.getvalue(), view.idle_timeout()) == (f"a … b {KEY[:10]}", None)
    view.show_delta(Delta(KEY[10:] + " c"))
    view.show_result(result(f"a {KEY} b {KEY} c {KEY[:9]}"))
    assert out.getvalue() == f"a … b {KEY[:10]}… c {KEY[:9]}\n[a/b]\n"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_control_characters_are_taken_out_however_they_are_split(size: int) -> None:
    out = FakeTTY()
    view = TerminalView(out=lambda: out)
    text = "a\x1b[31mred\x1b[0m \x1b]8;;http://c.example\x07link\x1b]8;;\x07 \x1b]0;title\x1b\\\x08\x07\x9b2Jb\tc\n\u202ed\r\ne"  # noqa: E501
    for start in range(0, len(text), size):
        view.show_delta(Delta(text[start : start + size]))
    view.show_result(result(text))
    shown = out.getvalue()
    assert shown == "ared link b\tc\nd\ne\n[a/b]\n"


def test_the_status_line_gives_way_to_the_words() -> None:
    out = FakeTTY()
    view = TerminalView(out=lambda: out)
    view.show_waiting(0.6)
    assert out.getvalue() == f"{ERASE}… waiting 1 s"
    view.show_retry(Retry("too many requests\x1b[2J", 1.5, 1, 2))
    assert out.getvalue().endswith(f"{ERASE}… too many requests; trying again in 1.5 s (1 of 2)")
    view.show_delta(Delta(reasoning="hm" * 600))
    assert out.getvalue().endswith(f"{ERASE}… reasoning, 1,200 characters")
    view.show_delta(Delta("Hello"))
    assert out.getvalue().endswith(f"{ERASE}Hello")
    view.show_waiting(3.0)
    view.show_result(result("Hello"))
    assert out.getvalue().endswith(f"{ERASE}Hello\n[a/b]\n")


def test_the_notice_of_a_retry_ends_with_its_pause() -> None:
    out = FakeTTY()
    view = TerminalView(out=lambda: out)
    view.show_retry(Retry("too many requests", 60.0, 1, 2))
    view.show_waiting(1.0)
    assert out.getvalue().endswith("trying again in 60.0 s (1 of 2)")
    view.show_retry(Retry("too many requests", 0.0, 2, 2))
    view.show_waiting(61.0)
    assert out.getvalue().endswith("… waiting 61 s")


def test_a_call_that_fails_leaves_no_status() -> None:
    out = FakeTTY()
    view = TerminalView(out=lambda: out)
    view.show_waiting(0.6)
    view.abandon()
    assert out.getvalue().endswith(ERASE)


def test_no_status_where_lines_cannot_be_erased() -> None:
    out = io.StringIO()
    view = TerminalView(out=lambda: out)
    view.show_waiting(0.6)
    view.show_retry(Retry("too many requests", 1.5, 1, 2))
    view.show_delta(Delta(reasoning="hm"))
    view.abandon()
    assert out.getvalue() == ""


def test_an_interrupted_answer_says_so() -> None:
    out = io.StringIO()
    view = TerminalView(footer="none", out=lambda: out)
    view.show_delta(Delta("Half an"))
    view.show_result(result("Half an", status="interrupted"))
    assert out.getvalue() == "Half an\n[interrupted]\n"


def test_in_a_terminal_a_stall_is_said_and_an_interrupt_has_its_own_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = FakeTTY()
    view = TerminalView(footer="none", out=lambda: out)
    view.show_delta(Delta("Half an"))
    assert view.idle_timeout() is not None
    monkeypatch.setattr("puq_magics.outputs.views.terminal.monotonic", lambda: monotonic() + 5)
    view.show_idle()
    assert out.getvalue() == f"Half an\n{ERASE}… 5 s without a word"
    view.show_delta(Delta(" answer"))
    assert out.getvalue().endswith(f"{ERASE}\x1b[A\x1b[7C answer")
    view.show_result(result("Half an answer", status="interrupted"))
    assert out.getvalue().endswith(" answer\r\x1b[14C\x1b[K\n^C\n[interrupted]\n")


def test_a_status_below_a_head_has_not_its_style(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = FakeTTY()
    view = TerminalView(footer="none", out=lambda: out)
    view.show_delta(Delta("# A h"))
    monkeypatch.setattr("puq_magics.outputs.views.terminal.monotonic", lambda: monotonic() + 5)
    view.show_idle()
    view.show_delta(Delta("ead"))
    head, reset = "\x1b[1;4m", "\x1b[0m"
    assert out.getvalue() == f"{head}A h{reset}\n{ERASE}… 5 s without a word{ERASE}\x1b[A\x1b[3C{head}ead"


def test_words_stream_into_the_shells_output(sandbox_shell: Any) -> None:
    out = sandbox_shell.run("%puq_chat -m sandbox/short hi").out
    assert out.count("You asked") == 1
    assert "\x1b" not in out
    assert "[sandbox/short · " in out


def read_until(terminal: int, words: str, seen: bytearray) -> None:
    while words.encode() not in seen:
        seen += os.read(terminal, 4096)


def test_ipython_in_a_real_terminal(serve: Any, tmp_path: Path) -> None:
    """The words are on the terminal while the answer is still held back, and the wait before them was erased."""
    waiting, reading = threading.Event(), threading.Event()

    def _answer(connection: Any) -> None:
        waiting.wait(30)
        connection.send_head()
        connection.send_event("The first\x1b[31m words")
        reading.wait(30)
        connection.send_event(" and the last.")
        connection.send_done()

    terminal, ours = pty.openpty()
    code = "%load_ext puq_magics\n%puq_chat -m a/b hi"
    env = os.environ | {"PUQ_BASE_URL": serve(_answer).url, "IPYTHONDIR": str(tmp_path), "TERM": "xterm"}
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "-c", code]
    with subprocess.Popen(command, stdin=ours, stdout=ours, stderr=ours, env=env) as process:
        os.close(ours)
        seen = bytearray()
        read_until(terminal, "… waiting", seen)
        waiting.set()
        read_until(terminal, "The first words", seen)
        assert b"and the last" not in seen
        reading.set()
        read_until(terminal, " s]", seen)
        assert process.wait(30) == 0
    os.close(terminal)
    shown = seen.decode()
    assert f"{ERASE}The first words and the last.\r\n[a/b" in shown
    assert "\x1b[31m" not in shown
