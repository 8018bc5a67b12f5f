"""Which turn of a conversation the next call of a cell is."""

from __future__ import annotations

from typing import Any

import pytest
from fake_shell import FakeShell

from puq_magics.core.errors import InputError
from puq_magics.session.conversations import Conversations, PartialAnswer


def asked(conversations: Conversations, question: str) -> None:
    """Ask and answer, as a call does."""
    slot = conversations.slot("main")
    slot.conversation.commit(question, "…", key=slot.key)
    conversations.add(slot.conversation)


@pytest.fixture
def notebook() -> FakeShell:
    return FakeShell()


def conversations_of(notebook: FakeShell) -> Conversations:
    return Conversations.for_shell(notebook)  # type: ignore[arg-type]


def test_closing_leaves_nothing_registered(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    assert any(notebook.events.callbacks.values())
    conversations.close()
    assert not any(notebook.events.callbacks.values())


def test_they_are_kept_with_the_shell(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    info = notebook.begin("a")
    asked(conversations, "one")
    conversations.close()
    notebook.end(info)
    again = conversations_of(notebook)
    assert again.names == ("main",)
    notebook.begin("a")
    asked(again, "two")
    assert [turn.question for turn in again.find("main").turns] == ["two"]
    assert conversations_of(FakeShell()).names == ()


def test_a_cell_that_closes_and_opens_them_goes_on_with_its_turns(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    info = notebook.begin("a")
    asked(conversations, "one")
    conversations.close()
    asked(conversations_of(notebook), "two")
    assert [turn.key for turn in conversations.find("main").turns] == [("a", 0), ("a", 1)]
    notebook.end(info)


def test_a_cell_that_opens_them_is_not_the_one_that_closed_them(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    info = notebook.begin("a")
    asked(conversations, "one")
    conversations.close()
    notebook.end(info)
    execution_number = conversations.cell_tracker.execution_number
    notebook.begin("b")  # which nobody hears of
    asked(conversations_of(notebook), "two")
    assert conversations.cell_tracker.execution_number == execution_number + 1
    first, second = conversations.find("main").turns
    assert first.key == ("a", 0)
    assert second.key is not None
    assert second.key[0].startswith("In[2]")


def test_what_is_known_of_an_answer_that_broke_off(notebook: FakeShell) -> None:
    conversations, result = conversations_of(notebook), object()
    conversations.record_partial(PartialAnswer(result, system_prompt="Be brief."))
    known = conversations.partial_answer(result)
    assert known is not None
    assert known.system_prompt == "Be brief."
    assert conversations.partial_answer(object()) is None
    conversations.close()  # the last result goes with the extension
    assert conversations.partial_answer(result) is None


def test_a_conversation_is_kept_with_its_first_turn(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    notebook.begin("a")
    slot = conversations.slot("main")
    assert (len(conversations), "main" in conversations) == (0, False)
    slot.conversation.commit("one", "1", key=slot.key)
    conversations.add(slot.conversation)
    assert conversations.find("main") is slot.conversation
    assert conversations.slot("main").conversation is slot.conversation
    assert conversations.names == ("main",)


def test_a_new_execution_takes_the_place_of_all_turns_of_the_last(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    for questions in (["one", "two"], ["three"]):
        info = notebook.begin("a")
        for question in questions:
            asked(conversations, question)
        notebook.end(info)
    assert [turn.question for turn in conversations.find("main").turns] == ["three"]


def test_a_name_that_is_not_there(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    notebook.begin("a")
    with pytest.raises(InputError, match="no conversation 'main'"):
        conversations.find("main")
    conversations.add(conversations.slot("main").conversation)
    with pytest.raises(InputError, match="Did you mean 'main'"):
        conversations.find("mian")
    with pytest.raises(InputError, match="not a name"):
        conversations.slot("a b")


def test_changes_are_of_what_is_kept_by_now(notebook: FakeShell) -> None:
    conversations = conversations_of(notebook)
    notebook.begin("a")
    one, other = conversations.slot("main").conversation, conversations.slot("main").conversation
    assert one is not other
    with conversations.locked(one) as kept:
        assert kept is one
    with conversations.locked(other) as kept:
        assert kept is one
    assert conversations.find("main") is one


SESSION = "get_ipython().magics_manager.registry['PuqCommands'].session"


def test_a_cell_without_an_id_is_named_by_its_number(sandbox_kernel: Any) -> None:
    numbers = [sandbox_kernel.run("%puq_chat -q -c main hi").reply["execution_count"] for _ in range(2)]
    keys = sandbox_kernel.value(f"[turn.key[0] for turn in {SESSION}.conversations.find('main').turns]")
    assert [key.split(" ")[0] for key in keys] == [f"In[{number}]" for number in numbers]


def test_a_stored_cell_within_a_cell_is_part_of_it_in_a_kernel(sandbox_kernel: Any) -> None:
    inner = "get_ipython().run_cell('%puq_chat -q -c nested hi', store_history=True)"
    sandbox_kernel.run(f"{inner}\n%puq_chat -q -c nested hi")
    keys = sandbox_kernel.value(f"[turn.key for turn in {SESSION}.conversations.find('nested').turns]")
    assert [ordinal for _, ordinal in keys] == [0, 1]
    assert len({name for name, _ in keys}) == 1
