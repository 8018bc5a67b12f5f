"""Code that waits in the cell below."""

from __future__ import annotations

from typing import Any

import pytest

from puq_magics.session.conversations import Conversations
from puq_magics.session.session import NextCell


@pytest.fixture
def ip(make_shell: Any) -> Any:
    """A shell in which `add` puts code below."""
    ip = make_shell().ip
    ip.user_ns["add"] = NextCell(ip, Conversations.for_shell(ip)).add
    return ip


def below(ip: Any, cell: str) -> str | None:
    ip.rl_next_input = None
    ip.run_cell(cell, store_history=True).raise_error()
    text: str | None = ip.rl_next_input
    return text


def test_what_one_execution_puts_there_stands_in_order(ip: Any) -> None:
    text = below(ip, "added = [add('x = 1'), add('y = 2\\nz = 3'), add('x + y')]")
    assert text == "x = 1\n\n# --- answer 2 ---\ny = 2\nz = 3\n\n# --- answer 3 ---\nx + y"
    assert ip.user_ns["added"] == [False, True, True]
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
