"""Which cell runs, and which turn of a conversation its next call is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.events import EventManager, available_events

from puq_magics.api.errors import InputError
from puq_magics.session.conversations import Cells, Conversations


class Notebook:
    """A shell as far as cells are concerned."""

    def __init__(self) -> None:
        self.events = EventManager(self, available_events)
        self.execution_count = 1

    def begin(self, cell_id: str | None = None) -> Any:
        info = SimpleNamespace(cell_id=cell_id)
        self.events.trigger("pre_run_cell", info)
        return info

    def end(self, info: Any) -> None:
        self.execution_count += 1
        self.events.trigger("post_run_cell", SimpleNamespace(info=info))


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def test_calls_of_a_cell_are_counted(notebook: Notebook) -> None:
    cells = Cells(notebook)  # type: ignore[arg-type]
    notebook.end(notebook.begin("a"))
    notebook.begin("b")
    assert [cells.next_key(take=False), cells.next_key(), cells.next_key()] == [("b", 0), ("b", 0), ("b", 1)]


def test_cells_without_ids_are_never_mistaken_for_each_other(notebook: Notebook) -> None:
    one, other = Cells(notebook), Cells(notebook)  # type: ignore[arg-type]
    names = set()
    for _ in range(2):
        info = notebook.begin()
        names |= {one.next_key()[0], other.next_key()[0]}
        notebook.end(info)
    assert len(names) == 4


def test_executions_that_are_not_counted_are_cells_of_their_own(notebook: Notebook) -> None:
    cells = Cells(notebook)  # type: ignore[arg-type]
    names = set()
    for _ in range(2):
        info = SimpleNamespace(cell_id=None, store_history=False)
        notebook.events.trigger("pre_run_cell", info)
        names.add(cells.next_key()[0])
        notebook.events.trigger("post_run_cell", SimpleNamespace(info=info))
    assert len(names) == 2


def test_a_cell_within_a_cell_is_part_of_it(notebook: Notebook) -> None:
    cells = Cells(notebook)  # type: ignore[arg-type]
    outer = notebook.begin("a")
    assert cells.next_key() == ("a", 0)
    inner = notebook.begin()
    assert cells.next_key() == ("a", 1)
    notebook.events.trigger("post_run_cell", SimpleNamespace(info=inner))
    assert cells.next_key() == ("a", 2)
    notebook.end(outer)
    notebook.begin("b")
    assert cells.next_key() == ("b", 0)


def test_a_cell_whose_end_nobody_told_is_over_when_the_next_begins(notebook: Notebook) -> None:
    cells = Cells(notebook)  # type: ignore[arg-type]
    notebook.begin("a")
    notebook.execution_count += 1
    notebook.begin("b")
    assert cells.next_key() == ("b", 0)


def test_closing_leaves_nothing_registered(notebook: Notebook) -> None:
    conversations = Conversations(notebook)  # type: ignore[arg-type]
    assert any(notebook.events.callbacks.values())
    conversations.close()
    assert not any(notebook.events.callbacks.values())


def test_a_conversation_is_kept_with_its_first_turn(notebook: Notebook) -> None:
    conversations = Conversations(notebook)  # type: ignore[arg-type]
    notebook.begin("a")
    seat = conversations.seat("main")
    assert (len(conversations), "main" in conversations) == (0, False)
    seat.conversation.commit(seat.key, "one", "1")
    conversations.keep(seat.conversation)
    assert conversations.find("main") is seat.conversation
    assert conversations.seat("main").conversation is seat.conversation
    assert conversations.names == ("main",)


def test_a_new_execution_takes_the_place_of_all_turns_of_the_last(notebook: Notebook) -> None:
    conversations = Conversations(notebook)  # type: ignore[arg-type]
    for questions in (["one", "two"], ["three"]):
        info = notebook.begin("a")
        for question in questions:
            seat = conversations.seat("main")
            seat.conversation.commit(seat.key, question, "…")
            conversations.keep(seat.conversation)
        notebook.end(info)
    assert [turn.question for turn in conversations.find("main").turns] == ["three"]


def test_a_name_that_is_not_there(notebook: Notebook) -> None:
    conversations = Conversations(notebook)  # type: ignore[arg-type]
    notebook.begin("a")
    with pytest.raises(InputError, match="no conversation 'main'"):
        conversations.find("main")
    conversations.keep(conversations.seat("main").conversation)
    with pytest.raises(InputError, match="Did you mean 'main'"):
        conversations.find("mian")
    with pytest.raises(InputError, match="not a name"):
        conversations.seat("a b")


def test_changes_are_of_what_is_kept_by_now(notebook: Notebook) -> None:
    conversations = Conversations(notebook)  # type: ignore[arg-type]
    notebook.begin("a")
    one, other = conversations.seat("main").conversation, conversations.seat("main").conversation
    assert one is not other
    with conversations.changing(one) as kept:
        assert kept is one
    with conversations.changing(other) as kept:
        assert kept is one
    assert conversations.find("main") is one
