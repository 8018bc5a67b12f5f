from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from puq_magics.session.conversations import Conversations
from puq_magics.session.ledger import Ledger
from puq_magics.session.session import LAST_RESULT, NextCell


def test_the_connection_is_used_again_until_something_changes(sandbox_shell: Any) -> None:
    router = sandbox_shell.session.router()
    sandbox_shell.run("%puq_chat -q hi")
    assert sandbox_shell.session.router() is router
    sandbox_shell.run("%config PuqMagics.footer = 'none'")
    assert sandbox_shell.session.router() is router
    sandbox_shell.run("%config PuqMagics.timeout = 5")
    assert sandbox_shell.session.router() is not router


def test_the_last_result_is_no_clutter(sandbox_shell: Any) -> None:
    sandbox_shell.run("%puq_chat -q -o mine hi")
    assert LAST_RESULT in sandbox_shell.names
    assert LAST_RESULT in sandbox_shell.ip.user_ns_hidden
    listed = sandbox_shell.run("%who").out
    assert "mine" in listed
    assert LAST_RESULT not in listed.split()


def test_calls_at_once_share_one_ledger(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    session, barrier = shell.session, threading.Barrier(8)
    made: list[Any] = []
    original = Ledger.__init__

    def init_and_yield(self: Ledger, *args: Any, **kwargs: Any) -> None:
        os.sched_yield()  # another thread gets its turn before this one is done
        original(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(Ledger, "__init__", init_and_yield)
    session._close_ledger()

    def look() -> None:
        barrier.wait(60)
        assert session.ledger is not None

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1


def test_painted_marks_end_with_the_cell(sandbox_shell: Any) -> None:
    sandbox_shell.run("%puq_chat hi\ninside = _puq.already_displayed")
    assert sandbox_shell.names["inside"] is True
    assert sandbox_shell.names[LAST_RESULT].already_displayed is False
    ran = sandbox_shell.attempt("%puq_chat hi\nr = _puq\n1/0")
    assert isinstance(ran.error, ZeroDivisionError)
    assert sandbox_shell.names["r"].already_displayed is False


def test_outputs_go_where_the_shell_is(sandbox_shell: Any, sandbox_kernel: Any) -> None:
    assert sandbox_shell.session.in_notebook is False
    session = "get_ipython().magics_manager.registry['PuqCommands'].session"
    assert sandbox_kernel.value(f"{session}.in_notebook") is True


def test_the_sandbox_is_kept_while_another_router_is_in_use(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0")
    sandbox = shell.session.sandbox
    shell.run("%config PuqMagics.base_url = 'https://router.example'")
    assert "no API key for router.example" in str(shell.error("%puq_chat -m a/b hi"))
    shell.run("%puq_sandbox")
    assert shell.session.sandbox is sandbox
    shell.run("%puq_chat -q hi")


def test_its_own_model_is_asked_in_the_sandbox(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0")
    assert shell.run("%puq_chat hi").value.model == shell.session.sandbox.default_chat_model


@pytest.fixture
def ip(make_shell: Any) -> Any:
    """A shell in which `add` puts code below."""
    ip = make_shell().ip
    ip.user_ns["add"] = NextCell(ip, Conversations.for_shell(ip).cell_tracker).add
    return ip


def below(ip: Any, cell: str) -> str | None:
    ip.rl_next_input = None
    ip.run_cell(cell, store_history=True).raise_error()
    text: str | None = ip.rl_next_input
    return text


def test_what_one_execution_puts_there_stands_in_order(ip: Any) -> None:
    text = below(ip, "added = [add('x = 1'), add('y = 2\\nz = 3'), add('x + y')]")
    assert text == "x = 1\n\n# --- answer 2 ---\ny = 2\nz = 3\n\n# --- answer 3 ---\nx + y"
    assert ip.user_ns["added"] == [
        "in the cell below, not run",
        "added to the cell below, not run",
        "added to the cell below, not run",
    ]
    compile(str(text), "below", "exec")


def test_the_next_execution_begins_anew(ip: Any) -> None:
    assert below(ip, "add('x = 1')") == "x = 1"
    assert below(ip, "add('y = 2')") == "y = 2"
    assert below(ip, "1") is None


def test_cells_within_a_cell_are_part_of_it(ip: Any) -> None:
    inner = "get_ipython().run_cell(\"add('y = 2')\")"
    assert below(ip, f"add('x = 1')\n{inner}\nadd('z = 3')") == (
        "x = 1\n\n# --- answer 2 ---\ny = 2\n\n# --- answer 3 ---\nz = 3"
    )
