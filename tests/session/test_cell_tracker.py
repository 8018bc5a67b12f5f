"""Which cell runs, and the number of its calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_shell import FakeShell

from puq_magics.session.cell_tracker import CellTracker

SESSION = "get_ipython().magics_manager.registry['PuqCommands'].session"
CELLS_OF_CALLS = f"[entry.cell for entry in {SESSION}.ledger.entries()]"


@pytest.fixture
def notebook() -> FakeShell:
    return FakeShell()


def cells_of(notebook: FakeShell) -> CellTracker:
    cells = CellTracker(notebook)  # type: ignore[arg-type]
    cells.open()
    return cells


def test_calls_of_a_cell_are_counted(notebook: FakeShell) -> None:
    cells = cells_of(notebook)
    notebook.end(notebook.begin("a"))
    notebook.begin("b")
    assert [cells.next_key(advance=False), cells.next_key(), cells.next_key()] == [
        ("b", 0),
        ("b", 0),
        ("b", 1),
    ]


def test_cells_without_ids_are_never_mistaken_for_each_other(notebook: FakeShell) -> None:
    one, other = cells_of(notebook), cells_of(notebook)
    names = set()
    for _ in range(2):
        info = notebook.begin()
        names |= {one.next_key()[0], other.next_key()[0]}
        notebook.end(info)
    assert len(names) == 4


def test_executions_that_are_not_counted_are_cells_of_their_own(notebook: FakeShell) -> None:
    cells = cells_of(notebook)
    names = set()
    for _ in range(2):
        info = SimpleNamespace(cell_id=None, store_history=False)
        notebook.events.trigger("pre_run_cell", info)
        names.add(cells.next_key()[0])
        notebook.events.trigger("post_run_cell", SimpleNamespace(info=info))
    assert len(names) == 2


def test_a_cell_within_a_cell_is_part_of_it(notebook: FakeShell) -> None:
    cells = cells_of(notebook)
    outer = notebook.begin("a")
    assert cells.next_key() == ("a", 0)
    inner = notebook.begin()
    assert cells.next_key() == ("a", 1)
    notebook.events.trigger("post_run_cell", SimpleNamespace(info=inner))
    assert cells.next_key() == ("a", 2)
    notebook.end(outer)
    notebook.begin("b")
    assert cells.next_key() == ("b", 0)


def test_a_cell_whose_end_nobody_told_is_over_when_the_next_begins(notebook: FakeShell) -> None:
    cells = cells_of(notebook)
    notebook.begin("a")
    notebook.displayhook.prompt_count += 1
    notebook.begin("b")
    assert cells.next_key() == ("b", 0)


@pytest.mark.parametrize(
    "code",
    [
        "%puq_chat -q hi",
        "%puq_chat -q one\n%puq_chat -q two",
        "%%puq_chat -q\nhi",
        "x = 1\n%puq_chat hi",
        "%puq_chat -q hi\n1 / 0",
        "%puq_chat -q -c main hi",
        "%reload_ext puq_magics\n%puq_sandbox --pace 0\n%puq_chat -q -m sandbox/echo hi",
        "get_ipython().run_cell('%puq_chat -q hi')",
        "get_ipython().run_cell('%puq_chat -q hi')\n%puq_chat -q hi",
        "import threading; call = lambda: get_ipython().run_line_magic('puq_chat', '-q hi')\n"
        "thread = threading.Thread(target=call); thread.start(); thread.join()",
        "async def ask():\n    %puq_chat -q hi\nawait ask()",
        "%time %puq_chat -q hi",
    ],
)
def test_a_call_is_recorded_with_the_number_of_its_cell(sandbox_kernel: Any, code: str) -> None:
    sandbox_kernel.run("%reload_ext puq_magics\n%puq_sandbox --pace 0")
    number = sandbox_kernel.run(code).reply["execution_count"]
    cells = sandbox_kernel.value(CELLS_OF_CALLS)
    assert cells
    assert set(cells) == {str(number)}
    assert f"In [{number}]" in str(sandbox_kernel.run("%puq_usage -q -o u\nprint(u.to_frame('cell'))").out)


def test_the_number_of_a_cell_in_a_terminal(sandbox_shell: Any) -> None:
    for code in (
        "%puq_chat -q hi",
        "1 / 0",
        "%%puq_chat -q\nhi",
        "ip.run_cell('%puq_chat -q hi')\n%puq_chat -q hi",
    ):
        sandbox_shell.names["ip"] = sandbox_shell.ip
        number = sandbox_shell.ip.execution_count
        before = len(sandbox_shell.session.ledger.entries())
        sandbox_shell.attempt(code)
        assert {entry.cell for entry in sandbox_shell.session.ledger.entries()[before:]} <= {str(number)}
    assert len(sandbox_shell.session.ledger.entries()) >= 4


def test_a_cell_that_is_not_counted_has_no_number(sandbox_shell: Any) -> None:
    sandbox_shell.ip.run_cell("%puq_chat -q hi", store_history=False)
    assert sandbox_shell.session.ledger.entries()[-1].cell == ""
