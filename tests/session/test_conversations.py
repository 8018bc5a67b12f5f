"""Which cell runs, and which turn of a conversation its next call is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.events import EventManager, available_events
from IPython.utils.ipstruct import Struct

from puq_magics.core.errors import InputError
from puq_magics.session.conversations import CellTracker, Conversations, PartialAnswer


def asked(conversations: Conversations, question: str) -> None:
    """Ask and answer, as a call does."""
    slot = conversations.slot("main")
    slot.conversation.commit(question, "…", key=slot.key)
    conversations.add(slot.conversation)


class FakeShell:
    """A shell as far as cells are concerned."""

    def __init__(self) -> None:
        self.events = EventManager(self, available_events)
        self.displayhook = SimpleNamespace(prompt_count=1)
        self.meta = Struct()

    def begin(self, cell_id: str | None = None) -> Any:
        info = SimpleNamespace(cell_id=cell_id)
        self.events.trigger("pre_run_cell", info)
        return info

    def end(self, info: Any) -> None:
        self.displayhook.prompt_count += 1
        self.events.trigger("post_run_cell", SimpleNamespace(info=info))


@pytest.fixture
def notebook() -> FakeShell:
    return FakeShell()


def cells_of(notebook: FakeShell) -> CellTracker:
    cells = CellTracker(notebook)  # type: ignore[arg-type]
    cells.open()
    return cells


def conversations_of(notebook: FakeShell) -> Conversations:
    return Conversations.for_shell(notebook)  # type: ignore[arg-type]


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
    execution_number = conversations.execution_number
    notebook.begin("b")  # which nobody hears of
    asked(conversations_of(notebook), "two")
    assert conversations.execution_number == execution_number + 1
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
CELLS_OF_CALLS = f"[entry.cell for entry in {SESSION}.ledger.entries()]"


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


def test_a_cell_without_an_id_is_named_by_its_number(sandbox_kernel: Any) -> None:
    numbers = [sandbox_kernel.run("%puq_chat -q -c main hi").reply["execution_count"] for _ in range(2)]
    keys = sandbox_kernel.value(f"[turn.key[0] for turn in {SESSION}.conversations.find('main').turns]")
    assert [key.split(" ")[0] for key in keys] == [f"In[{number}]" for number in numbers]


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


def test_a_stored_cell_within_a_cell_is_part_of_it_in_a_kernel(sandbox_kernel: Any) -> None:
    inner = "get_ipython().run_cell('%puq_chat -q -c nested hi', store_history=True)"
    sandbox_kernel.run(f"{inner}\n%puq_chat -q -c nested hi")
    keys = sandbox_kernel.value(f"[turn.key for turn in {SESSION}.conversations.find('nested').turns]")
    assert [ordinal for _, ordinal in keys] == [0, 1]
    assert len({name for name, _ in keys}) == 1
