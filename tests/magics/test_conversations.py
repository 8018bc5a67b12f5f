"""``%puq_chats``: conversations listed, shown, changed, and written to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puq_magics import Conversation
from puq_magics.core.errors import InputError


@pytest.fixture
def talking(asking: Any) -> Any:
    """A shell with a conversation of two turns."""
    asking.run("%config PuqMagics.chat_model = 'sandbox/short'")
    asking.run("%puq_chat -q -c main one")
    asking.run("%puq_chat -q -c main two")
    return asking


def questions(shell: Any, name: str = "main") -> list[str]:
    return [turn.question for turn in shell.session.conversations.find(name).turns]


def test_the_list(talking: Any) -> None:
    talking.run("%puq_chat -q -c other three")
    talking.session.account().model_list.fetch()
    ran = talking.run("%puq_chats -o table")
    assert ran.out.splitlines()[0] == "2 conversations; costs in credits"
    main, other = talking.names["table"]
    assert (main.name, main.turns, main.branches, main.last_question) == ("main", 2, 0, "two")
    assert main.tokens == talking.session.conversations.find("main").tokens
    assert main.estimated_cost > other.estimated_cost > 0
    assert list(talking.names["table"].to_frame()["name"]) == ["main", "other"]


def test_the_cost_is_that_of_the_answers_in_branches_too(talking: Any) -> None:
    talking.session.account().model_list.fetch()
    before = talking.run("t = %puq_chats -q").error
    assert before is None
    cost = talking.names["t"][0].estimated_cost
    talking.run("%puq_chats --undo")
    talking.run("t = %puq_chats -q")
    assert talking.names["t"][0].estimated_cost == pytest.approx(cost)
    assert talking.names["t"][0].turns == 1


def test_an_empty_list_says_how_one_begins(shell: Any) -> None:
    assert "%%puq_chat -c main" in shell.run("%puq_chats").out


def test_the_list_leaves_the_last_answer_alone(talking: Any) -> None:
    last = talking.names["_puq"]
    talking.run("%puq_chats\n%puq_chats main")
    assert talking.names["_puq"] is last


def test_a_transcript_is_there_to_read(talking: Any) -> None:
    ran = talking.run("%puq_chats main -o seen")
    assert "> one" in ran.out
    assert "You asked, in **1 word**" in ran.out
    assert "2 turns · about " in ran.out
    assert isinstance(talking.names["seen"].conversation, Conversation)


def test_a_transcript_ends_with_the_branches(talking: Any) -> None:
    talking.run("%puq_chat -q -c fresh one\n%puq_chats fresh --reset")
    assert "· branch fresh~1: 1 turn, reset]" in talking.run("%puq_chats fresh").out


def test_a_transcript_is_safe(pupil: Any) -> None:
    pupil.run("%config PuqMagics.chat_model = 'sandbox/chat'")
    pupil.run("%%puq_chat -q -c main\n<img src=x onerror=alert(1)> ![x](http://a.example/x.png)")
    (bundle,) = pupil.run("%puq_chats main").screen
    markdown = bundle["text/markdown"]
    assert "onerror" in markdown
    assert "<img" not in markdown
    assert "![" not in markdown
    assert markdown.startswith("**Conversation `main`**\n\n**Question 1**\n\n")


def test_a_branch_says_whose_it_is(talking: Any) -> None:
    talking.run("%puq_chat -q -c other three")
    talking.run("%puq_chats main --undo")
    talking.run("%puq_chats --restore main~1")
    assert questions(talking) == ["one", "two"]
    assert "not named" in str(talking.error("%puq_chats --restore 1"))


def test_reset_undo_and_restore(talking: Any) -> None:
    assert "main~1" in talking.run("%puq_chats main --undo").out
    assert questions(talking) == ["one"]
    talking.run("%puq_chats main --restore main~1")
    assert questions(talking) == ["one", "two"]
    talking.run("%puq_chats --reset")
    assert questions(talking) == []
    talking.run("%puq_chats --restore 1 main")
    assert questions(talking) == ["one", "two"]
    assert "no branch" in str(talking.error("%puq_chats --restore main~9"))


def test_a_fork_goes_its_own_way(talking: Any) -> None:
    talking.run("%puq_chats main --fork side")
    talking.run("%puq_chat -q -c side three")
    assert (questions(talking), questions(talking, "side")) == (["one", "two"], ["one", "two", "three"])
    error = talking.error("%puq_chats main --fork side")
    assert "there is a conversation side" in str(error)
    talking.run("%puq_chats main --fork side --force")
    assert questions(talking, "side") == ["one", "two"]
    assert "not a name" in str(talking.error("%puq_chats main --fork a/b"))


def test_a_system_prompt(talking: Any) -> None:
    talking.run("%puq_chats main --system 'Be brief.'")
    assert talking.sent("%puq_chat -m sandbox/echo -c main x")["messages"][0]["content"] == "Be brief."
    talking.run("%puq_chats main --system ''")
    assert talking.session.conversations.find("main").system is None


def test_save_and_load(talking: Any, tmp_path: Path) -> None:
    talking.run(f"%puq_chats main --save {tmp_path}/main.json")
    assert json.loads((tmp_path / "main.json").read_text())["name"] == "main"
    assert "exists" in str(talking.error(f"%puq_chats main --save {tmp_path}/main.json"))
    talking.run(f"%puq_chats main --save {tmp_path}/main.json --force")
    assert "there is a conversation main" in str(talking.error(f"%puq_chats --load {tmp_path}/main.json"))
    talking.run(f"%puq_chats again --load {tmp_path}/main.json")
    assert questions(talking, "again") == ["one", "two"]
    talking.run("%puq_chats main --reset")
    talking.run(f"%puq_chats --load {tmp_path}/main.json --force")
    assert questions(talking) == ["one", "two"]


def test_turns_without_ids_are_nobodys_to_replace_in_another_session(talking: Any, tmp_path: Path) -> None:
    talking.run(f"%puq_chats main --save {tmp_path}/main.json")
    talking.ip.meta.clear()
    talking.run("%reload_ext puq_magics")
    talking.run(f"%puq_chats --load {tmp_path}/main.json")
    talking.ip.execution_count = 2  # where the turn `one` was asked
    talking.run("%puq_chat -q -c main three")
    assert questions(talking) == ["one", "two", "three"]


@pytest.mark.parametrize(
    "content", ["", "no JSON", '{"format": "puq_magics conversation", "version": 99}', '{"a"']
)
def test_a_file_that_is_none(talking: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert isinstance(talking.error(f"%puq_chats x --load {tmp_path}/x.json"), InputError)
    assert talking.session.conversations.names == ("main",)


def test_an_answer_that_was_cut_can_be_gone_on_with_in_another_session(
    shell: Any, serve: Any, environ: Any, tmp_path: Path
) -> None:
    answers = [("One, two,", "length"), (" three.", "stop")]

    def _answer(connection: Any) -> None:
        text, finish = answers.pop(0)
        connection.head()
        connection.say(text)
        connection.done(finish)

    environ.setenv("PUQ_BASE_URL", serve(_answer).url)
    environ.setenv("PUQ_CHAT_MODEL", "a/b")
    shell.run(f"%puq_chat -q -c main one to three\n%puq_chats --save {tmp_path}/main.json")
    shell.ip.meta.clear()
    shell.run("%reload_ext puq_magics")
    shell.run(f"%puq_chats --load {tmp_path}/main.json")
    assert "cut off at the token limit" in shell.run("%puq_chats main").out
    shell.run("%puq_chat -q -c main --continue")
    (turn,) = shell.session.conversations.find("main").turns
    assert (turn.answer, turn.is_complete) == ("One, two, three.", True)
    assert "cut off" not in shell.run("%puq_chats main").out


@pytest.mark.parametrize("ending", ["md", "ipynb"])
def test_an_export_to_hand_in(talking: Any, tmp_path: Path, ending: str) -> None:
    talking.run(f"%puq_chats main --export {tmp_path}/main.{ending}")
    assert "You asked" in (tmp_path / f"main.{ending}").read_text()
    assert "exists" in str(talking.error(f"%puq_chats main --export {tmp_path}/main.{ending}"))


def test_what_cannot_be_told(talking: Any) -> None:
    assert "do not go together" in str(talking.error("%puq_chats main --reset --undo"))
    assert "no conversation 'mian'" in str(talking.error("%puq_chats mian"))
    assert "'main'" in str(talking.error("%puq_chats mian"))
    assert "one too many" in str(talking.error("%puq_chats main other"))
    for name in ("'a b'", '"a b"', "a/b"):
        error = talking.error(f"%puq_chats {name}")
        assert "is not a name for a conversation" in error.message
        assert "letters, digits and . _ -" in error.hint
    assert "a name has no spaces" in talking.error("%puq_chats a b").hint
    talking.run("%puq_chats main --fork other")
    assert "Name one of main, other" in str(talking.error("%puq_chats --undo"))
    talking.run("%config PuqMagics.chat = 'other'")
    talking.run("%puq_chats --undo")
    assert questions(talking, "other") == ["one"]


def completions(shell: Any, text: str) -> list[str]:
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        return [each.text for each in shell.ip.Completer.completions(text, len(text))]


def test_tab_offers_conversations_and_branches(talking: Any) -> None:
    talking.run("%puq_chats main --undo")
    assert completions(talking, "%puq_chat -c ") == ["main"]
    assert completions(talking, "%puq_chat --chat=m") == ["main"]
    assert "main" in completions(talking, "%puq_chats ")
    assert completions(talking, "%puq_chats main --restore ") == ["main~1"]
    assert completions(talking, "%config PuqMagics.chat = '") == ["'main'"]
    assert completions(talking, "%puq_chat -f ") == ["markdown", "text", "code", "json", "html"]


def test_tab_offers_what_can_be_a_schema_or_be_attached(
    talking: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "notes.md").write_text("…")
    monkeypatch.chdir(tmp_path)
    talking.run(
        "from dataclasses import dataclass\n@dataclass\nclass Person:\n    name: str\nfields = {}; number = 5"
    )
    assert completions(talking, "%puq_chat --schema ") == ["fields", "Person", "notes.md"]
    assert completions(talking, "%puq_chat -a n") == ["notes.md", "number"]
