from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from puq_magics.sandbox.local.process import EngineError, EngineProcess, RunningEngine

Ask = Callable[[RunningEngine], dict[str, Any]]


@pytest.fixture
def start() -> Iterator[Callable[..., EngineProcess]]:
    started: list[EngineProcess] = []

    def _start(*behaviour: str, module: str = "stub_engine") -> EngineProcess:
        started.append(EngineProcess(module, behaviour))
        return started[-1]

    yield _start
    for child in started:
        child.stop()


def ready(child: EngineProcess) -> EngineProcess:
    child.ready.result(60)
    return child


def refusal(child: EngineProcess) -> str:
    with pytest.raises(EngineError) as refused:
        ready(child).running()
    assert not child.is_usable
    return str(refused.value)


def is_there(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_serves_who_knows_the_key(start: Callable[..., EngineProcess], engine_info: Ask) -> None:
    child = ready(start())
    running = child.running()
    assert running.url.startswith("http://127.0.0.1:")
    assert engine_info(running)["pid"] == child.pid
    with pytest.raises(requests.HTTPError, match="401"):
        engine_info(RunningEngine(running.url, "another"))
    assert child.is_usable


def test_nobody_can_read_the_key(start: Callable[..., EngineProcess], engine_info: Ask) -> None:
    running = ready(start()).running()
    known = engine_info(running)
    assert running.key not in str(known)
    assert known["stdin"] == ""
    assert running.key not in repr(running)


def test_the_users_own_key_is_none_of_its_business(
    start: Callable[..., EngineProcess], engine_info: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "secret")
    monkeypatch.setenv("COLOUR", "blue")
    environ = engine_info(ready(start()).running())["environ"]
    assert environ["COLOUR"] == "blue"
    assert not [name for name in environ if name.startswith("PUQ_")]


def test_it_has_a_session_of_its_own(start: Callable[..., EngineProcess], engine_info: Ask) -> None:
    child = ready(start())
    assert engine_info(child.running())["session"] == child.pid != os.getsid(0)


def test_what_lies_in_the_working_folder_is_not_taken_for_a_library(
    start: Callable[..., EngineProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", tmp_path, *sys.path])  # as in a notebook
    assert ready(start()).running().url


def test_why_it_cannot_serve(start: Callable[..., EngineProcess]) -> None:
    assert refusal(start("refuse", "tiny.gguf is cut short")) == "tiny.gguf is cut short"
    assert refusal(start("fail", "the moon")) == "LookupError: the moon"


def test_who_ends_without_a_word_is_quoted_without_the_key(start: Callable[..., EngineProcess]) -> None:
    assert refusal(start("exit", "no\x1b memory")) == "it ended with code 7 (no memory …)"


def test_a_module_that_is_not_there(start: Callable[..., EngineProcess]) -> None:
    words = refusal(start(module="there_is_none"))
    assert words.startswith("it ended with code 1 (")
    assert "No module named there_is_none" in words


def test_who_speaks_another_language_is_ended(start: Callable[..., EngineProcess]) -> None:
    child = start(module="this")  # prints a poem
    assert refusal(child) == "it does not answer as an engine does"
    child.ended.result(60)


def test_a_python_that_is_not_there(
    start: Callable[..., EngineProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    child = start()
    assert refusal(child).startswith("no process can be started (")
    assert child.pid is None
    assert child.exit_description()


def test_its_log_neither_blocks_it_nor_grows(start: Callable[..., EngineProcess]) -> None:
    child = ready(start("chatter"))
    assert child.running().url
    assert child.pid is not None
    os.kill(child.pid, signal.SIGTERM)
    child.ended.result(60)
    assert len(child._log) <= 16_384
    assert child._last_log_line() == f" ({'y' * 200})"


def test_it_is_gone_when_it_was_stopped(start: Callable[..., EngineProcess]) -> None:
    child = ready(start())
    pid = child.pid
    assert pid is not None
    assert is_there(pid)
    child.stop()
    assert not is_there(pid)
    assert child.pid is None
    assert not child.is_usable
    assert child.exit_description() == "was stopped"
    child.stop()


def test_it_may_be_stopped_before_it_has_begun(start: Callable[..., EngineProcess]) -> None:
    child = start()
    child.stop()
    assert child.ended.done()
    assert refusal(child) == "it was stopped"


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "signal 9 (SIGKILL)"), (signal.SIGRTMIN + 3, "signal 37")]
)
def test_how_it_ended(start: Callable[..., EngineProcess], number: int, words: str) -> None:
    child = ready(start())
    assert child.exit_description() == "has closed the connection"
    assert child.pid is not None
    os.kill(child.pid, number)
    child.ended.result(60)
    assert child.exit_description() == f"ended by {words}"
    assert not child.is_usable
