"""``%puq_chats``: conversations listed, shown, changed, and written to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puq_magics import Conversation
from puq_magics.core.errors import InputError


@pytest.fixture
def conversation_shell(sandbox_shell: Any) -> Any:
    """A shell with a conversation of two turns."""
    sandbox_shell.run("%config PuqMagics.chat_model = 'sandbox/short'")
    sandbox_shell.run("%puq_chat -q -c main one")
    sandbox_shell.run("%puq_chat -q -c main two")
    return sandbox_shell


def questions(shell: Any, name: str = "main") -> list[str]:
    return [turn.question for turn in shell.session.conversations.find(name).turns]


def test_the_list(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chat -q -c other three")
    conversation_shell.session.account().model_list.fetch()
    ran = conversation_shell.run("%puq_chats -o table")
    assert ran.out.splitlines()[0] == "2 conversations; costs in credits"
    main, other = conversation_shell.names["table"]
    assert (main.name, main.turns, main.branches, main.last_question) == ("main", 2, 0, "two")
    assert main.tokens == conversation_shell.session.conversations.find("main").tokens
    assert main.estimated_cost > other.estimated_cost > 0
    assert list(conversation_shell.names["table"].to_frame()["name"]) == ["main", "other"]


def test_the_cost_is_that_of_the_answers_in_branches_too(conversation_shell: Any) -> None:
    conversation_shell.session.account().model_list.fetch()
    before = conversation_shell.run("t = %puq_chats -q").error
    assert before is None
    cost = conversation_shell.names["t"][0].estimated_cost
    conversation_shell.run("%puq_chats --undo")
    conversation_shell.run("t = %puq_chats -q")
    assert conversation_shell.names["t"][0].estimated_cost == pytest.approx(cost)
    assert conversation_shell.names["t"][0].turns == 1


def test_an_empty_list_says_how_one_begins(shell: Any) -> None:
    assert "%%puq_chat -c main" in shell.run("%puq_chats").out


def test_the_list_leaves_the_last_answer_alone(conversation_shell: Any) -> None:
    last = conversation_shell.names["_puq"]
    conversation_shell.run("%puq_chats\n%puq_chats main")
    assert conversation_shell.names["_puq"] is last


def test_a_transcript(conversation_shell: Any) -> None:
    ran = conversation_shell.run("%puq_chats main -o seen")
    assert "> one" in ran.out
    assert "You asked, in **1 word**" in ran.out
    assert "2 turns · about " in ran.out
    assert isinstance(conversation_shell.names["seen"].conversation, Conversation)


def test_a_transcript_ends_with_the_branches(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chat -q -c fresh one\n%puq_chats fresh --reset")
    assert "· branch fresh~1: 1 turn, reset]" in conversation_shell.run("%puq_chats fresh").out


def test_a_transcript_is_safe(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%config PuqMagics.chat_model = 'sandbox/chat'")
    sandbox_kernel.run("%%puq_chat -q -c main\n<img src=x onerror=alert(1)> ![x](http://a.example/x.png)")
    (bundle,) = sandbox_kernel.run("%puq_chats main").screen
    markdown = bundle["text/markdown"]
    assert "onerror" in markdown
    assert "<img" not in markdown
    assert "![" not in markdown
    assert markdown.startswith("**Conversation `main`**\n\n**Question 1**\n\n")


def test_a_branch_name_has_its_conversation(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chat -q -c other three")
    conversation_shell.run("%puq_chats main --undo")
    conversation_shell.run("%puq_chats --restore main~1")
    assert questions(conversation_shell) == ["one", "two"]
    assert "not named" in str(conversation_shell.error("%puq_chats --restore 1"))


def test_reset_undo_and_restore(conversation_shell: Any) -> None:
    assert "main~1" in conversation_shell.run("%puq_chats main --undo").out
    assert questions(conversation_shell) == ["one"]
    conversation_shell.run("%puq_chats main --restore main~1")
    assert questions(conversation_shell) == ["one", "two"]
    conversation_shell.run("%puq_chats --reset")
    assert questions(conversation_shell) == []
    conversation_shell.run("%puq_chats --restore 1 main")
    assert questions(conversation_shell) == ["one", "two"]
    assert "no branch" in str(conversation_shell.error("%puq_chats --restore main~9"))


def test_a_fork_is_independent(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chats main --fork side")
    conversation_shell.run("%puq_chat -q -c side three")
    assert (questions(conversation_shell), questions(conversation_shell, "side")) == (
        ["one", "two"],
        ["one", "two", "three"],
    )
    error = conversation_shell.error("%puq_chats main --fork side")
    assert "there is a conversation side" in str(error)
    conversation_shell.run("%puq_chats main --fork side --force")
    assert questions(conversation_shell, "side") == ["one", "two"]
    assert "not a name" in str(conversation_shell.error("%puq_chats main --fork a/b"))


def test_a_system_prompt(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chats main --system 'Be brief.'")
    assert (
        conversation_shell.echoed_request("%puq_chat -m sandbox/echo -c main x")["messages"][0]["content"]
        == "Be brief."
    )
    conversation_shell.run("%puq_chats main --system ''")
    assert conversation_shell.session.conversations.find("main").system is None


def test_save_and_load(conversation_shell: Any, tmp_path: Path) -> None:
    conversation_shell.run(f"%puq_chats main --save {tmp_path}/main.json")
    assert json.loads((tmp_path / "main.json").read_text())["name"] == "main"
    assert "exists" in str(conversation_shell.error(f"%puq_chats main --save {tmp_path}/main.json"))
    conversation_shell.run(f"%puq_chats main --save {tmp_path}/main.json --force")
    assert "there is a conversation main" in str(
        conversation_shell.error(f"%puq_chats --load {tmp_path}/main.json")
    )
    conversation_shell.run(f"%puq_chats again --load {tmp_path}/main.json")
    assert questions(conversation_shell, "again") == ["one", "two"]
    conversation_shell.run("%puq_chats main --reset")
    conversation_shell.run(f"%puq_chats --load {tmp_path}/main.json --force")
    assert questions(conversation_shell) == ["one", "two"]


def test_turns_without_ids_are_not_replaced_in_another_session(
    conversation_shell: Any, tmp_path: Path
) -> None:
    conversation_shell.run(f"%puq_chats main --save {tmp_path}/main.json")
    conversation_shell.ip.meta.clear()
    conversation_shell.run("%unload_ext puq_magics\n%load_ext puq_magics")
    conversation_shell.run(f"%puq_chats --load {tmp_path}/main.json")
    conversation_shell.ip.execution_count = 2  # where the turn `one` was asked
    conversation_shell.run("%puq_chat -q -c main three")
    assert questions(conversation_shell) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "content", ["", "no JSON", '{"format": "puq_magics conversation", "version": 99}', '{"a"']
)
def test_a_file_that_is_no_conversation(conversation_shell: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert isinstance(conversation_shell.error(f"%puq_chats x --load {tmp_path}/x.json"), InputError)
    assert conversation_shell.session.conversations.names == ("main",)


def test_an_answer_that_was_cut_can_be_continued_in_another_session(
    shell: Any, serve: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    answers = [("One, two,", "length"), (" three.", "stop")]

    def _answer(connection: Any) -> None:
        text, finish = answers.pop(0)
        connection.send_head()
        connection.send_event(text)
        connection.send_done(finish)

    monkeypatch.setenv("PUQ_BASE_URL", serve(_answer).url)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
    shell.run(f"%puq_chat -q -c main one to three\n%puq_chats --save {tmp_path}/main.json")
    shell.ip.meta.clear()
    shell.run("%unload_ext puq_magics\n%load_ext puq_magics")
    shell.run(f"%puq_chats --load {tmp_path}/main.json")
    assert "cut off at the token limit" in shell.run("%puq_chats main").out
    shell.run("%puq_chat -q -c main --continue")
    (turn,) = shell.session.conversations.find("main").turns
    assert (turn.answer, turn.is_complete) == ("One, two, three.", True)
    assert "cut off" not in shell.run("%puq_chats main").out


@pytest.mark.parametrize("ending", ["md", "ipynb"])
def test_an_export_to_hand_in(conversation_shell: Any, tmp_path: Path, ending: str) -> None:
    conversation_shell.run(f"%puq_chats main --export {tmp_path}/main.{ending}")
    assert "You asked" in (tmp_path / f"main.{ending}").read_text()
    assert "exists" in str(conversation_shell.error(f"%puq_chats main --export {tmp_path}/main.{ending}"))


def test_invalid_lines(conversation_shell: Any) -> None:
    assert "cannot be combined" in str(conversation_shell.error("%puq_chats main --reset --undo"))
    assert "no conversation 'mian'" in str(conversation_shell.error("%puq_chats mian"))
    assert "'main'" in str(conversation_shell.error("%puq_chats mian"))
    assert "unexpected argument" in str(conversation_shell.error("%puq_chats main other"))
    for name in ("'a b'", '"a b"', "a/b"):
        error = conversation_shell.error(f"%puq_chats {name}")
        assert "is not a name for a conversation" in error.message
        assert "letters, digits and . _ -" in error.hint
    assert "a name has no spaces" in conversation_shell.error("%puq_chats a b").hint
    for flag, line in (
        ("--system", "%puq_chats main --system You are terse."),
        ("-s", "%%puq_grid -s You are terse.\nhi"),
        ("-s", "%%puq_chat -s=You are terse.\nhi"),
    ):
        hint = f"If it is part of the text of {flag}, put all of that in quotes."
        assert hint in conversation_shell.error(line).hint
    assert "in quotes" not in conversation_shell.error("%puq_chats --system 'You are terse.' a b").hint
    conversation_shell.run("%puq_chats main --fork other")
    assert "Name one of main, other" in str(conversation_shell.error("%puq_chats --undo"))
    conversation_shell.run("%config PuqMagics.chat = 'other'")
    conversation_shell.run("%puq_chats --undo")
    assert questions(conversation_shell, "other") == ["one"]


def completions(shell: Any, text: str) -> list[str]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return [each.text for each in shell.ip.Completer.completions(text, len(text))]


def test_tab_offers_conversations_and_branches(conversation_shell: Any) -> None:
    conversation_shell.run("%puq_chats main --undo")
    assert completions(conversation_shell, "%puq_chat -c ") == ["main"]
    assert completions(conversation_shell, "%puq_chat --chat=m") == ["main"]
    assert "main" in completions(conversation_shell, "%puq_chats ")
    assert completions(conversation_shell, "%puq_chats main --restore ") == ["main~1"]
    assert completions(conversation_shell, "%config PuqMagics.chat = '") == ["'main'"]
    assert completions(conversation_shell, "%puq_chat -f ") == ["markdown", "text", "code", "json", "html"]


def test_tab_offers_what_can_be_a_schema_or_be_attached(
    conversation_shell: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "notes.md").write_text("…")
    monkeypatch.chdir(tmp_path)
    conversation_shell.run(
        "from dataclasses import dataclass\n@dataclass\nclass Person:\n    name: str\nfields = {}; number = 5"
    )
    assert completions(conversation_shell, "%puq_chat --schema ") == ["fields", "Person", "notes.md"]
    assert completions(conversation_shell, "%puq_chat -a n") == ["notes.md", "number"]
