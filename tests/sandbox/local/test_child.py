from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox.local.process import Child, EngineError, Running

Ask = Callable[[Running], dict[str, Any]]


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def _start(*behaviour: str, module: str = "stub_engine") -> Child:
        started.append(Child(module, behaviour))
        return started[-1]

    yield _start
    for child in started:
        child.stop()


def settled(child: Child) -> Child:
    child.settled.result(60)
    return child


def refusal(child: Child) -> str:
    with pytest.raises(EngineError) as refused:
        settled(child).running()
    assert not child.hopeful
    return str(refused.value)


def is_there(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_serves_who_knows_the_key(start: Callable[..., Child], ask: Ask) -> None:
    child = settled(start())
    running = child.running()
    assert running.url.startswith("http://127.0.0.1:")
    assert ask(running)["pid"] == child.pid
    with pytest.raises(requests.HTTPError, match="401"):
        ask(Running(running.url, "another"))
    assert child.hopeful


def test_nobody_can_read_the_key(start: Callable[..., Child], ask: Ask) -> None:
    running = settled(start()).running()
    known = ask(running)
    assert running.key not in str(known)
    assert known["stdin"] == ""
    assert running.key not in repr(running)


def test_the_users_own_key_is_none_of_its_business(
    start: Callable[..., Child], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "secret")
    monkeypatch.setenv("COLOUR", "blue")
    environ = ask(settled(start()).running())["environ"]
    assert environ["COLOUR"] == "blue"
    assert not [name for name in environ if name.startswith("PUQ_")]


def test_it_has_a_session_of_its_own(start: Callable[..., Child], ask: Ask) -> None:
    child = settled(start())
    assert ask(child.running())["session"] == child.pid != os.getsid(0)


def test_what_lies_in_the_working_folder_is_not_taken_for_a_library(
    start: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", tmp_path, *sys.path])  # as in a notebook
    assert settled(start()).running().url


def test_why_it_cannot_serve(start: Callable[..., Child]) -> None:
    assert refusal(start("refuse", "tiny.gguf is cut short")) == "tiny.gguf is cut short"
    assert refusal(start("fail", "the moon")) == "LookupError: the moon"


def test_who_ends_without_a_word_is_quoted_without_the_key(start: Callable[..., Child]) -> None:
    assert refusal(start("exit", "no\x1b memory")) == "it ended with code 7 (no memory …)"


def test_a_module_that_is_not_there(start: Callable[..., Child]) -> None:
    words = refusal(start(module="there_is_none"))
    assert words.startswith("it ended with code 1 (")
    assert "No module named there_is_none" in words


def test_who_speaks_another_language_is_ended(start: Callable[..., Child]) -> None:
    child = start(module="this")  # prints a poem
    assert refusal(child) == "it does not answer as an engine does"
    child.ended.result(60)


def test_a_python_that_is_not_there(start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    child = start()
    assert refusal(child).startswith("no process can be started (")
    assert child.pid is None
    assert child.post_mortem()


def test_its_log_neither_blocks_it_nor_grows(start: Callable[..., Child]) -> None:
    child = settled(start("chatter"))
    assert child.running().url
    assert child.pid is not None
    os.kill(child.pid, signal.SIGTERM)
    child.ended.result(60)
    assert len(child._log) <= 16_384
    assert child._last_words() == f" ({'y' * 200})"


def test_it_is_gone_when_it_was_stopped(start: Callable[..., Child]) -> None:
    child = settled(start())
    pid = child.pid
    assert pid is not None
    assert is_there(pid)
    child.stop()
    assert not is_there(pid)
    assert child.pid is None
    assert not child.hopeful
    assert child.post_mortem() == "was stopped"
    child.stop()


def test_it_may_be_stopped_before_it_has_begun(start: Callable[..., Child]) -> None:
    child = start()
    child.stop()
    assert child.ended.done()
    assert refusal(child) == "it was stopped"


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "signal 9 (SIGKILL)"), (signal.SIGRTMIN + 3, "signal 37")]
)
def test_how_it_ended(start: Callable[..., Child], number: int, words: str) -> None:
    child = settled(start())
    assert child.post_mortem() == "has closed the connection"
    assert child.pid is not None
    os.kill(child.pid, number)
    child.ended.result(60)
    assert child.post_mortem() == f"ended by {words}"
    assert not child.hopeful
