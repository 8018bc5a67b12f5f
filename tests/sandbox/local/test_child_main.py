from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WAIT = "sys.stdin.read()"


@dataclass
class Met:
    """What a parent has of a child."""

    answer: dict[str, str]
    code: int
    log: bytes


def meet(*behaviour: str) -> Met:
    """Meet a stub engine as its parent, and go when it has answered that it serves, or is gone."""
    path = os.pathsep.join([str(Path(__file__).parent), *(folder for folder in sys.path if folder)])
    command = [sys.executable, "-m", "stub_engine", *behaviour]
    env = {**os.environ, "PYTHONPATH": path}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"key\n")
        answer = json.loads(process.stdout.readline())
        if "url" not in answer:
            process.wait(60)
        rest, log = process.communicate(timeout=60)
        assert rest == b""
        return Met(answer, process.returncode, log)


def test_it_ends_in_peace_when_its_parent_closes_the_pipe() -> None:
    met = meet()
    assert (list(met.answer), met.code, met.log) == (["url"], 0, b"")


def test_who_says_no_key_is_not_served() -> None:
    command = [sys.executable, "-m", "puq_magics.sandbox.local.chat_engine", "no.gguf"]
    ran = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=60)
    assert (ran.stdout, ran.returncode) == (b"", 1)


def test_what_it_cannot_do_is_told_in_its_words() -> None:
    met = meet("refuse", "no such model: größte")
    assert (met.answer, met.code, met.log) == ({"error": "no such model: größte"}, 1, b"")


def test_what_nobody_foresaw_is_told_too_and_logged() -> None:
    met = meet("fail", "the moon")
    assert (met.answer, met.code) == ({"error": "LookupError: the moon"}, 1)
    assert b"Traceback" in met.log


def test_what_libraries_print_is_no_answer() -> None:
    met = meet("print")
    assert list(met.answer) == ["url"]
    assert met.log == b"a library prints as it loads\n"


def test_it_ends_when_its_parent_is_killed(
    start_parent: Callable[[str], Any], wait_for_end: Callable[[str], Callable[[], None]]
) -> None:
    parent_process = start_parent(WAIT)
    wait = wait_for_end(parent_process.url)
    parent_process.process.send_signal(signal.SIGKILL)
    wait()


def test_it_ends_although_a_fork_of_its_parent_holds_the_pipe(
    start_parent: Callable[[str], Any], wait_for_end: Callable[[str], Callable[[], None]]
) -> None:
    parent_process = start_parent(
        f"import warnings\nwarnings.simplefilter('ignore')\nif os.fork(): tell('forked')\n{WAIT}"
    )
    wait = wait_for_end(parent_process.url)
    assert parent_process.next_message() == "forked"
    parent_process.process.send_signal(signal.SIGKILL)
    wait()
    assert parent_process.process.stdin is not None  # which the fork still reads
    parent_process.process.stdin.close()
    assert parent_process.process.wait(60) == -signal.SIGKILL


def test_an_interrupt_of_its_parents_group_does_not_reach_it(start_parent: Callable[[str], Any]) -> None:
    parent_process = start_parent(
        f"try:\n    tell('ready'); {WAIT}\nexcept KeyboardInterrupt:\n    tell(ask())\n"
    )
    assert parent_process.next_message() == "ready"
    os.killpg(parent_process.process.pid, signal.SIGINT)
    assert parent_process.next_message() == 200


def test_a_fork_of_its_parent_does_not_end_it(start_parent: Callable[[str], Any]) -> None:
    parent_process = start_parent(
        "import warnings\nwarnings.simplefilter('ignore')\n"
        "forked = os.fork()\n"
        "if not forked:\n    child.stop(); os._exit(0)\n"
        "os.waitpid(forked, 0)\n"
        "tell(ask())\n"
    )
    assert parent_process.next_message() == 200


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(0)"])
def test_it_ends_with_the_interpreter_which_complains_of_nothing(
    start_parent: Callable[[str], Any], wait_for_end: Callable[[str], Callable[[], None]], ending: str
) -> None:
    parent_process = start_parent(f"{WAIT}\n{ending}")
    wait = wait_for_end(parent_process.url)
    _, complaints = parent_process.process.communicate(timeout=60)
    wait()
    assert (parent_process.process.returncode, complaints) == (0, b"")
