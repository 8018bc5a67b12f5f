from __future__ import annotations

import copy
import doctest
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import puq_magics
from puq_magics.api.client import Router
from puq_magics.api.types import Usage
from puq_magics.core.errors import InputError, NotFoundError
from puq_magics.prompts.conversation.conversation import Conversation
from puq_magics.prompts.conversation.turns import Branch, Turn
from puq_magics.prompts.token_estimate import IMAGE_TOKENS
from puq_magics.sandbox import Sandbox

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def run_cell(chat: Conversation, cell: str, *answers: str) -> list[str]:
    """An execution of a cell that asks once for each answer; what the footers say."""
    chat.begin_execution(cell)
    notes: list[str] = []
    for ordinal, answer in enumerate(answers):
        notes += chat.commit(f"{cell}?", answer, key=(cell, ordinal))
    return notes


def answers(chat: Conversation) -> list[str]:
    return [turn.answer for turn in chat.turns]


def kept(chat: Conversation) -> dict[str, list[str]]:
    return {branch.name: [turn.answer for turn in branch.turns] for branch in chat.branches}


@pytest.fixture
def chat() -> Conversation:
    """Three cells, of which the second asked twice."""
    chat = Conversation("main")
    run_cell(chat, "a", "a0")
    run_cell(chat, "b", "b0", "b1")
    run_cell(chat, "c", "c0")
    return chat


# --- asking ------------------------------------------------------------------------------------------------------


def test_turns_follow_each_other(chat: Conversation) -> None:
    assert answers(chat) == ["a0", "b0", "b1", "c0"]
    assert chat.branches == ()
    messages, notes = chat.preview("and?")
    assert messages == [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "a0"},
        {"role": "user", "content": "b?"},
        {"role": "assistant", "content": "b0"},
        {"role": "user", "content": "b?"},
        {"role": "assistant", "content": "b1"},
        {"role": "user", "content": "c?"},
        {"role": "assistant", "content": "c0"},
        {"role": "user", "content": "and?"},
    ]
    assert notes == ()


def test_a_preview_stores_nothing(chat: Conversation) -> None:
    before = chat.turns
    chat.begin_execution("b")
    chat.preview("again", key=("b", 0))
    chat.preview("new", key=("d", 0))
    assert chat.turns is before
    assert chat.branches == ()


def test_a_cell_that_runs_again_is_told_only_what_came_before_it(chat: Conversation) -> None:
    chat.begin_execution("b")
    messages, _ = chat.preview("again", key=("b", 0))
    assert [message["content"] for message in messages] == ["a?", "a0", "again"]


def test_running_a_cell_again_replaces_its_turns_and_keeps_what_followed(chat: Conversation) -> None:
    assert run_cell(chat, "b", "B0", "B1") == ["turn 2 replaced; 2 later turns kept as branch main~1"]
    assert answers(chat) == ["a0", "B0", "B1"]
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"]}
    assert chat.branches[0].reason == "turn 2 replaced"


def test_the_last_turn_s_earlier_answer_is_kept_too(chat: Conversation) -> None:
    assert run_cell(chat, "c", "C0") == ["turn 4 replaced; its earlier answer kept as branch main~1"]
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"]}


def test_running_all_again_does_not_double_anything(chat: Conversation) -> None:
    run_cell(chat, "a", "A0")
    run_cell(chat, "b", "B0", "B1")
    run_cell(chat, "c", "C0")
    assert answers(chat) == ["A0", "B0", "B1", "C0"]
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"]}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_loop_of_any_length_takes_the_place_of_the_old_one(chat: Conversation, number: int) -> None:
    run_cell(chat, "b", *(f"B{n}" for n in range(number)))
    assert answers(chat) == ["a0", *(f"B{n}" for n in range(number))]


def test_when_the_first_question_fails_the_old_answers_are_not_taken_for_its_own(chat: Conversation) -> None:
    chat.begin_execution("b")
    chat.preview("fails", key=("b", 0))
    messages, _ = chat.preview("then this", key=("b", 1))
    assert [message["content"] for message in messages] == ["a?", "a0", "then this"]
    chat.commit("then this", "B1", key=("b", 1))
    assert answers(chat) == ["a0", "B1"]
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"]}


def test_a_failed_turn_changes_nothing(chat: Conversation) -> None:
    chat.begin_execution("b")
    chat.preview("fails", key=("b", 0))
    run_cell(chat, "d", "d0")
    assert answers(chat) == ["a0", "b0", "b1", "c0", "d0"]
    assert chat.branches == ()


def test_without_executions_a_key_takes_the_place_of_its_own_turn(chat: Conversation) -> None:
    chat = Conversation("x")
    for key, answer in ((("a", 0), "a0"), (("a", 1), "a1"), (("b", 0), "b0"), (("a", 1), "A1")):
        chat.commit("?", answer, key=key)
    assert answers(chat) == ["a0", "A1"]


def test_without_keys_every_question_goes_to_the_end() -> None:
    chat = Conversation()
    chat.commit("?", "1")
    chat.commit("?", "2")
    assert answers(chat) == ["1", "2"]
    assert chat.undo() == ("turn 2 undone; it is kept in branch ~1",)
    assert repr(chat) == "<Conversation without a name: 1 turn, 1 branch, about 2 tokens>"


def test_an_answer_without_words_is_not_stored(chat: Conversation) -> None:
    chat.begin_execution("b")
    notes = chat.commit("again", "", interrupted=True, key=("b", 0))
    assert notes == ("the answer is empty, so nothing is added to the conversation main",)
    assert answers(chat) == ["a0", "b0", "b1", "c0"]


def test_an_interrupted_answer_is_marked_and_told_as_far_as_it_came(chat: Conversation) -> None:
    chat.commit("count", "one, two,", interrupted=True, key=("d", 0))
    assert chat.turns[-1].interrupted
    messages, _ = chat.preview("go on")
    assert messages[-2:] == [
        {"role": "assistant", "content": "one, two,"},
        {"role": "user", "content": "go on"},
    ]


def test_each_turn_keeps_the_system_prompt_that_it_was_asked_with() -> None:
    chat = Conversation("main", "Be brief.")
    chat.commit("1", "a")
    chat.commit("2", "b", system="Be a pirate.")
    chat.commit("3", "c", system="")
    chat.system = "Be kind."
    assert [turn.system for turn in chat.turns] == ["Be brief.", "Be a pirate.", ""]
    assert [turn.system for turn in chat.fork("other").turns] == ["Be brief.", "Be a pirate.", ""]
    chat.extend_answer("cd", interrupted=True)
    assert chat.turns[-1].system == ""


def test_a_cut_answer_is_whole_when_it_has_gone_on_to_its_end() -> None:
    chat = Conversation("main")
    chat.commit("1", "One,", truncated=True)
    assert not chat.turns[-1].is_complete
    chat.extend_answer("One, two,", truncated=True)
    assert not chat.turns[-1].is_complete
    chat.extend_answer("One, two, three.")
    assert chat.turns[-1].is_complete
    chat.replace_answer("Uno,", truncated=True)
    assert (chat.turns[-1].truncated, chat.turns[-1].is_complete) == (True, False)


def test_an_answer_goes_on() -> None:
    chat = Conversation("x")
    chat.commit("count", "one,", "m", Usage(3, 2, 5), interrupted=True, key=("a", 0))
    assert chat.messages()[0][-1] == {"role": "assistant", "content": "one,"}
    chat.extend_answer("one, two", usage=Usage(5, 1, 6))
    turn = chat.turns[0]
    assert (turn.answer, turn.model, turn.usage) == ("one, two", "m", Usage(8, 3, 11))
    assert not turn.interrupted
    assert chat.branches == ()
    with pytest.raises(InputError, match="does not start with"):
        chat.extend_answer("two")
    with pytest.raises(InputError, match="no answer to continue"):
        Conversation("y").extend_answer("one")


def test_parts_are_copies() -> None:
    chat, parts = Conversation("x"), [{"type": "text", "text": "see"}, copy.deepcopy(IMAGE)]
    chat.commit(parts, "a cat")
    parts[1]["image_url"] = {"url": "other"}
    chat.messages()[0][0]["content"][1]["image_url"]["url"] = "other"
    assert chat.messages()[0][0]["content"] == [{"type": "text", "text": "see"}, IMAGE]
    assert chat.turns[0].question == "see"


# --- what is told of it ------------------------------------------------------------------------------------------


def test_the_system_prompt_comes_first_and_an_option_takes_its_place() -> None:
    chat = Conversation("x", "Be brief.")
    chat.commit("a", "b")
    assert chat.preview("q")[0][0] == {"role": "system", "content": "Be brief."}
    assert chat.preview("q", system="Be long.")[0][0] == {"role": "system", "content": "Be long."}
    assert chat.preview("q", system="")[0][0]["role"] == "user"
    chat.system = None
    assert chat.messages()[0][0]["role"] == "user"


def filled(turns: int) -> Conversation:
    """Turns of ten tokens each, after a system prompt of two."""
    chat = Conversation("x", "12345678")
    for n in range(turns):
        chat.commit(f"{n}" * 20, f"{n}" * 20)
    return chat


@pytest.mark.parametrize(
    ("limit", "first"), [(1_000, 0), (33, 0), (32, 1), (23, 1), (22, 2), (13, 2), (12, 3), (1, 3)]
)
def test_a_limit_of_tokens_drops_whole_turns_from_the_oldest(limit: int, first: int) -> None:
    messages, notes = filled(3).preview("abcd", limit_tokens=limit)
    assert [message["content"][0] for message in messages[1:-1:2]] == [str(n) for n in range(first, 3)]
    assert [message["role"] for message in messages] == [
        "system",
        *["user", "assistant"] * (3 - first),
        "user",
    ]
    assert messages[0]["content"] == "12345678"
    assert messages[-1]["content"] == "abcd"
    assert bool(notes) is (first > 0)


def test_what_is_left_out_is_said() -> None:
    chat = filled(3)
    assert chat.preview("abcd", limit_tokens=23)[1] == (
        "the oldest turn of 3 left out: the context's limit is about 23 tokens",
    )
    assert chat.preview("abcd", limit_turns=1)[1] == (
        "the 2 oldest turns of 3 left out: the context's limit is 1 earlier turn",
    )
    assert chat.preview("abcd", limit_tokens=2)[1] == (
        "the 3 oldest turns of 3 left out: the context's limit is about 2 tokens",
        "about 3 tokens without any earlier turn, over the limit of 2",
    )


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 9])
def test_a_limit_of_turns(limit: int) -> None:
    messages, notes = filled(3).preview("abcd", limit_turns=limit)
    assert len(messages) == 2 + 2 * min(limit, 3)
    assert bool(notes) is (limit < 3)


def test_both_limits_hold() -> None:
    chat = filled(3)
    for limits, earlier in (((23, 1), 1), ((13, 2), 1), ((33, 3), 3)):
        messages, _ = chat.preview("abcd", limit_tokens=limits[0], limit_turns=limits[1])
        assert len(messages) == 2 + 2 * earlier


def test_the_last_turn_is_never_left_out_when_nothing_follows_it() -> None:
    messages, notes = filled(3).messages(limit_tokens=1)
    assert [message["content"][0] for message in messages] == ["1", "2", "2"]
    assert len(notes) == 2
    assert Conversation("x").messages(limit_tokens=1) == ([], ())


def test_an_image_counts_a_flat_number() -> None:
    chat = Conversation("x")
    chat.commit([{"type": "text", "text": "1234"}, IMAGE], "1234")
    assert chat.tokens == IMAGE_TOKENS + 2


# --- branches ----------------------------------------------------------------------------------------------------


def test_restoring_brings_a_branch_back_and_keeps_what_is_there(chat: Conversation) -> None:
    run_cell(chat, "b", "B0")
    assert chat.restore_branch("main~1") == (
        "branch main~1 restored: 4 turns",
        "the previous turns are kept as branch main~2",
    )
    assert answers(chat) == ["a0", "b0", "b1", "c0"]
    assert chat.restore_branch("2") == (
        "branch main~2 restored: 2 turns",
        "the previous turns are kept as branch main~1",
    )
    assert chat.restore_branch("2") == ("branch main~2 restored: 2 turns",)
    assert answers(chat) == ["a0", "B0"]
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"], "main~2": ["a0", "B0"]}


def test_a_cell_of_a_restored_line_runs_again(chat: Conversation) -> None:
    run_cell(chat, "a", "A0")
    chat.restore_branch("main~1")
    run_cell(chat, "b", "B0")
    assert answers(chat) == ["a0", "B0"]


def test_restoring_brings_the_system_prompt_back(chat: Conversation) -> None:
    chat.system = "Be brief."
    chat.undo()
    chat.system = None
    run_cell(chat, "d", "d0")
    notes = chat.restore_branch("main~1")
    assert chat.system == "Be brief."
    assert notes[-1] == "the system prompt is as it was in main~1"
    assert chat.restore_branch("main~2")[-1] == "there is no system prompt, as it was in main~2"
    assert chat.system is None


def test_undo_and_reset_keep_what_they_take(chat: Conversation) -> None:
    assert chat.undo() == ("turn 4 undone; it is kept in branch main~1",)
    assert chat.undo() == ("turn 3 undone; it is kept in branch main~1",)
    assert answers(chat) == ["a0", "b0"]
    run_cell(chat, "d", "d0")
    chat.system = "Be brief."
    assert chat.reset() == ("3 turns kept as branch main~2",)
    assert chat.turns == ()
    assert chat.system == "Be brief."
    assert kept(chat) == {"main~1": ["a0", "b0", "b1", "c0"], "main~2": ["a0", "b0", "d0"]}
    assert chat.reset() == ()
    with pytest.raises(InputError, match="has no turn to undo"):
        chat.undo()


def test_a_branch_is_forgotten_only_on_demand(chat: Conversation) -> None:
    run_cell(chat, "b", "B0")
    run_cell(chat, "a", "A0")
    chat.delete_branch("main~1")
    assert list(kept(chat)) == ["main~2"]
    run_cell(chat, "a", "AA0")
    assert list(kept(chat)) == ["main~2", "main~3"]
    with pytest.raises(InputError, match=r"has no branch 'main~1'. There are: main~2, main~3\."):
        chat.restore_branch("main~1")
    with pytest.raises(InputError, match="It has none yet"):
        Conversation("x").restore_branch("1")


def test_a_number_is_not_used_twice(chat: Conversation) -> None:
    run_cell(chat, "a", "A0")
    chat.delete_branch("1")
    run_cell(chat, "a", "AA0")
    assert list(kept(chat)) == ["main~2"]


def test_a_fork_goes_its_own_way(chat: Conversation) -> None:
    fork = chat.fork("other")
    run_cell(fork, "b", "B0")
    assert answers(fork) == ["a0", "B0"]
    assert list(kept(fork)) == ["other~1"]
    assert answers(chat) == ["a0", "b0", "b1", "c0"]
    assert chat.branches == ()


def test_a_fork_in_the_middle_of_a_cell_keeps_the_cell_s_turns(chat: Conversation) -> None:
    chat.begin_execution("d")
    chat.commit("?", "d0", key=("d", 0))
    fork = chat.fork("other")
    fork.commit("?", "d1", key=("d", 1))
    assert answers(fork) == ["a0", "b0", "b1", "c0", "d0", "d1"]


class ConversationMachine(RuleBasedStateMachine):
    """Whatever is done, every answer that was committed can be brought back, with all that stood before it."""

    def __init__(self) -> None:
        super().__init__()
        self.chat = Conversation("main")
        self.said: list[list[str]] = []  # each answer, behind those that its model was told
        self.named: dict[str, tuple[Turn, ...]] = {}
        self.number = 0

    def answer(self) -> str:
        self.number += 1
        return f"answer {self.number};"

    @rule(cell=st.sampled_from("abc"), asks=st.lists(st.sampled_from(["fine", "fails", "stops"]), max_size=3))
    def run(self, cell: str, asks: list[str]) -> None:
        self.chat.begin_execution(cell)
        own: list[str] = []
        for ordinal, outcome in enumerate(asks):
            messages, _ = self.chat.preview("?", key=(cell, ordinal))
            told = [message["content"] for message in messages if message["role"] == "assistant"]
            if outcome == "fails":
                continue
            answer = self.answer()
            self.chat.commit("?", answer, interrupted=outcome == "stops", key=(cell, ordinal))
            own.append(answer)
            self.said.append([*told, answer])
            assert answers(self.chat) == self.said[-1]
        if own:  # of this cell, the line has what this execution asked, and no more
            mine = [turn.answer for turn in self.chat.turns if turn.key and turn.key[0] == cell]
            assert mine == own

    @rule()
    def ask_without_cell_key(self) -> None:
        self.chat.commit("?", self.answer())
        self.said.append(answers(self.chat))

    @precondition(lambda self: self.chat.turns)
    @rule()
    def undo(self) -> None:
        self.chat.undo()

    @precondition(lambda self: self.chat.turns)
    @rule()
    def go_on(self) -> None:
        longer = self.chat.turns[-1].answer + self.answer()
        self.chat.extend_answer(longer)
        self.said.append(answers(self.chat))

    @rule()
    def reset(self) -> None:
        self.chat.reset()

    @precondition(lambda self: self.chat.branches)
    @rule(data=st.data())
    def restore_branch(self, data: st.DataObject) -> None:
        branch = data.draw(st.sampled_from(self.chat.branches))
        self.chat.restore_branch(branch.name)
        assert self.chat.turns == branch.turns

    @invariant()
    def nothing_is_lost(self) -> None:
        lines = [self.chat.turns, *(branch.turns for branch in self.chat.branches)]
        found = [[turn.answer for turn in line] for line in lines]
        for said in self.said:
            assert any(
                line[: len(said) - 1] == said[:-1] and line[len(said) - 1 :][0].startswith(said[-1])
                for line in found
                if len(line) >= len(said)
            ), said

    @invariant()
    def branches_stay_as_they_are(self) -> None:
        now = {branch.name: branch.turns for branch in self.chat.branches}
        assert {name: now.get(name) for name in self.named} == self.named
        assert len(now) == len(self.chat.branches)
        self.named = now


TestNothingIsLost = ConversationMachine.TestCase
TestNothingIsLost.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None
)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["main", "essay-2", "a.b_c", "über", "u\u0308ber", "数学", "_x", "7"])
def test_names(name: str) -> None:
    assert Conversation(name).fork(name).name in (name, "über")


@pytest.mark.parametrize(
    "name", ["my chat", "a/b", "a\\b", "-x", ".hidden", "..", "a~1", "a\n", "x" * 65, "a\0b", None, 5, b"a"]
)
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(InputError, match="is not a name for a conversation") as caught:
        Conversation(name)
    assert len(caught.value.message) < 140
    with pytest.raises(InputError):
        Conversation("x").fork(name)


def test_a_fork_needs_a_name() -> None:
    with pytest.raises(InputError, match="'' is not a name"):
        Conversation("x").fork("")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ([], "must be text or a list"),
        (None, "must be text or a list"),
        (b"bytes", "must be text or a list"),
        (["text"], "must be text or a list"),
        ([{"type": "text"}], "must be text or a list"),
        ([{"text": "no type"}], "must be text or a list"),
        ([{"type": "image_url", "image_url": object()}], "not plain data"),
        ([{"type": "x", "x": {1: 2}}], "not plain data"),
        ([{"type": "x", "x": float("nan")}], "not plain data"),
    ],
)
def test_what_is_no_question(content: Any, words: str) -> None:
    chat = Conversation("x")
    for ask in (lambda: chat.preview(content), lambda: chat.commit(content, "a")):
        with pytest.raises(InputError, match=words):
            ask()
    assert chat.turns == ()


def test_a_part_within_itself() -> None:
    part: dict[str, Any] = {"type": "x"}
    part["x"] = part
    with pytest.raises(InputError, match="not plain data"):
        Conversation("x").commit([part], "a")


@pytest.mark.parametrize("key", ["a", ("a",), ("a", -1), ("", 0), (1, 0), ("a", "0"), ("a", True)])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InputError, match="is not a turn's key"):
        Conversation("x").preview("?", key=key)


@pytest.mark.parametrize(
    "limits", [{"limit_tokens": 0}, {"limit_turns": -1}, {"limit_tokens": 1.5}, {"limit_turns": True}]
)
def test_what_is_no_limit(limits: Any) -> None:
    with pytest.raises(InputError, match="is not a number of"):
        Conversation("x").preview("?", **limits)


def test_other_things_that_are_not_what_they_should_be() -> None:
    with pytest.raises(InputError, match="system prompt"):
        Conversation("x", system=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="system prompt"):
        Conversation("x").commit("?", "!", system=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="system prompt"):
        Conversation("x").preview("?", system=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="answer is not a string"):
        Conversation("x").commit("?", None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="turns must be Turn objects"):
        Conversation("x", turns=["?"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="branches must be Branch objects"):
        Conversation("x", branches=[Branch("no number", ())])


# --- as plain Python ---------------------------------------------------------------------------------------------


def test_with_a_router_alone() -> None:
    with Sandbox() as sandbox, Router(sandbox.token, sandbox.base_url) as router:
        chat = puq_magics.Conversation("main", system="Be brief.")
        for question in ("What is a monad?", "And a functor?"):
            messages, notes = chat.preview(question)
            answer = router.chat(messages, model=sandbox.default_models["chat"])
            chat.commit(question, answer.text, model=answer.model, usage=answer.usage)
            assert notes == ()
    assert [turn.question for turn in chat.turns] == ["What is a monad?", "And a functor?"]
    assert all(turn.answer and turn.model and turn.usage for turn in chat.turns)
    first, second = (turn.usage.prompt_tokens for turn in chat.turns if turn.usage)
    assert second > first


def test_ask() -> None:
    with Sandbox() as sandbox, Router(sandbox.token, sandbox.base_url) as router:
        model = sandbox.default_models["chat"]
        finder = doctest.DocTestFinder()
        for example in finder.find(Conversation.ask, "ask", globs={}):
            example.globs.update(Conversation=Conversation, router=router, model=model)
            assert doctest.DocTestRunner().run(example) == (0, 3)
        chat = Conversation("main")
        first = chat.ask(router, "One?", model=model, key=("a", 0))
        chat.ask(router, "Two?", model=model, key=("b", 0), system="Be brief.")
        answer = chat.ask(router, "Three?", model=model, key=("a", 0), max_completion_tokens=3)
        with pytest.raises(NotFoundError):
            chat.ask(router, "Four?", model="no/such-model")
    assert (answer.finish_reason, chat.turns[0].truncated) == ("length", True)
    assert [turn.question for turn in chat.turns] == ["Three?"]
    assert [turn.question for turn in chat.branches[0].turns] == ["One?", "Two?"]
    assert [turn.system for turn in chat.branches[0].turns] == ["", "Be brief."]
    assert chat.branches[0].turns[0].answer == first.text


def test_it_needs_no_ipython_and_no_requests() -> None:
    code = """
import sys
sys.modules["IPython"] = sys.modules["requests"] = None
from puq_magics import Conversation
chat = Conversation("main")
chat.commit("?", "!")
assert chat.messages()[0][1]["content"] == "!"
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_turns_know_when() -> None:
    chat, at = Conversation("x"), datetime(2026, 1, 2, tzinfo=UTC)
    chat.commit("?", "!", at=at)
    chat.commit("?", "!")
    assert chat.turns[0].at == at
    assert chat.turns[1].at.tzinfo is UTC


def test_another_answer_takes_the_place_of_the_last() -> None:
    chat = Conversation("main")
    chat.commit("one", "1")
    chat.commit("two", "2", "a/b", interrupted=True)
    assert chat.replace_answer("II") == ("turn 2 replaced; its earlier answer kept as branch main~1",)
    assert [(turn.question, turn.answer) for turn in chat.turns] == [("one", "1"), ("two", "II")]
    assert (chat.turns[1].model, chat.turns[1].interrupted) == ("a/b", False)
    assert [turn.answer for turn in chat.get_branch("main~1").turns] == ["1", "2"]
    with pytest.raises(InputError, match="not a string, or empty"):
        chat.replace_answer("")
    with pytest.raises(InputError, match="no answer to replace"):
        Conversation("main").replace_answer("II")
