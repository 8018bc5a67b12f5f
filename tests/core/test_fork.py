"""Calls in processes made by fork: each gets the answers to its own requests, and no lock of the parent's."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from puq_magics.api import Router
from puq_magics.sandbox import Sandbox
from puq_magics.session.budget import CostTracker
from puq_magics.session.ledger import Ledger, LedgerEntry
from puq_magics.session.model_list import ModelList

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # Python warns of it where threads run
]

PROCESSES = 8


@pytest.fixture
def echo_url() -> Iterator[str]:
    """Server that keeps connections open and answers each chat with its own question."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = []

    def _serve(sock: socket.socket) -> None:
        with suppress(OSError, ValueError), sock.makefile("rb") as file:
            while file.readline():
                length = 0
                while (line := file.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                question = json.loads(file.read(length))["messages"][0]["content"]
                answer = json.dumps({"choices": [{"message": {"content": question}}]}).encode()
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    def _accept() -> None:
        with suppress(OSError):
            while True:
                sockets.append(listener.accept()[0])
                threading.Thread(target=_serve, args=(sockets[-1],), daemon=True).start()

    thread = threading.Thread(target=_accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    for sock in [listener, *sockets]:
        sock.close()
    thread.join()


def _in_child(work: Callable[[], object]) -> int:
    """Run the work in a forked process; return its exit code: 0 if it returned something true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _ask(router: Router, name: str, calls: int) -> int:
    """Return how many answers were those to the questions."""
    questions = [f"{name} {number}" for number in range(calls)]
    return sum(router.chat(question, model="a/b").text == question for question in questions)


@pytest.mark.parametrize("calls", [100, pytest.param(625, marks=pytest.mark.slow)])
def test_each_process_gets_its_own_answers(echo_url: str, calls: int) -> None:
    with Router(base_url=echo_url) as router:
        assert _ask(router, "before", 3) == 3  # so that there is a connection to inherit
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()

        def _work(number: int) -> None:
            results.put(_ask(router, f"process {number}", calls))

        processes = [context.Process(target=_work, args=(number,)) for number in range(PROCESSES)]
        for process in processes:
            process.start()
        right = [results.get() for _ in processes]
        for process in processes:
            process.join()
        assert right == [calls] * PROCESSES
        assert _ask(router, "after", 3) == 3


def test_a_grandchild_and_a_closed_router_ask_anew(echo_url: str) -> None:
    with Router(base_url=echo_url) as router:
        assert _ask(router, "parent", 1) == 1

        def _child() -> bool:
            answered = _ask(router, "child", 2) == 2
            router.close()
            gc.collect()
            return answered and _in_child(lambda: _ask(router, "grandchild", 2) == 2) == 0

        assert _in_child(_child) == 0
        assert _ask(router, "parent", 2) == 2


def test_a_child_writes_to_the_ledger_as_a_session_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.record(LedgerEntry(kind="chat", model="a/parent"))

    def _child() -> bool:
        ledger.record(LedgerEntry(kind="chat", model="a/child"))
        gc.collect()
        mine = [entry.model for entry in ledger.entries()]
        every = sorted(entry.model for entry in ledger.entries(all_sessions=True))
        return mine == ["a/child"] and every == ["a/child", "a/parent"]

    assert _in_child(_child) == 0
    ledger.record(LedgerEntry(kind="chat", model="a/after"))
    assert [entry.model for entry in ledger.entries()] == ["a/parent", "a/after"]
    assert len(ledger.entries(all_sessions=True)) == 3
    ledger.close()
    assert len(Ledger(path).entries(all_sessions=True)) == 3
    assert ledger.problem == ""


def test_locks_held_during_a_fork_do_not_hold_the_child() -> None:
    costs, models, ledger = CostTracker(), ModelList(lambda **_: Router()), Ledger(enabled=False)
    models._idle.clear()  # as while a thread fetches
    with costs._lock, models._lock, ledger._lock:

        def _child() -> bool:
            models.wait()
            costs.balance_fall(None)
            with ledger._lock:
                return models._lock.acquire(timeout=0)

        assert _in_child(_child) == 0


def test_a_child_uses_the_sandbox_and_does_not_stop_it(sandbox: Sandbox) -> None:
    with Router(sandbox.token, sandbox.base_url) as router:
        router.balance()

        def _child() -> bool:
            asked = "hello" in router.chat("hello", model="sandbox/echo").text
            sandbox.stop()
            return asked

        assert _in_child(_child) == 0
        assert sandbox.running
        assert "hello" in router.chat("hello", model="sandbox/echo").text
