"""Chat cells that join a conversation: what is sent, what is kept, and what a second run of a cell does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.views.view import QuietChatView
from puq_magics.prompts.token_estimate import estimate_message_tokens
from puq_magics.session.budget import usage_or_estimate
from puq_magics.session.calls import run_call
from puq_magics.session.chat_call import ChatCall, ChatSpec
from puq_magics.session.chat_turn import TurnContext
from puq_magics.session.notebook_file import saved_cell_order


def turns(shell: Any, name: str = "main") -> list[str]:
    """The questions of a conversation."""
    return [turn.question for turn in shell.session.conversations.find(name).turns]


def run_as(shell: Any, cell: str, code: str) -> Any:
    """Run a cell as a front end does that sends ids."""
    result = shell.ip.run_cell(code, store_history=True, cell_id=cell)
    result.raise_error()
    return shell.names["_puq"]


def message_texts(request: dict[str, Any]) -> list[str]:
    """What the messages of a request say, the scripted answers left out."""
    return [m["content"] if m["role"] != "assistant" else "…" for m in request["messages"]]


def respond_in_turn(*answers: Callable[[Any], None] | str) -> Callable[[Any], None]:
    """A server's answers, one after the other."""
    left = list(answers)

    def _answer(connection: Any) -> None:
        answer = left.pop(0)
        if callable(answer):
            answer(connection)
            return
        connection.send_head()
        connection.send_event(answer)
        connection.send_done()

    return _answer


def refuse(connection: Any) -> None:
    connection.send_head("400 Bad Request", "application/json")
    connection.send(b'{"error": "no"}')


def respond_truncated(connection: Any) -> None:
    """An answer that ends at the token limit."""
    connection.send_head()
    connection.send_event("One, two,")
    connection.send_done("length")


def drop_connection(connection: Any) -> None:
    connection.send_head()
    connection.send_event("One, two,")


@pytest.fixture
def use_responses(shell: Any, serve: Any, monkeypatch: Any) -> Callable[..., Any]:
    """Makes the shell ask a server that gives these answers."""

    def _use_responses(*answers: Callable[[Any], None] | str) -> Any:
        server = serve(respond_in_turn(*answers))
        monkeypatch.setenv("PUQ_BASE_URL", server.url)
        monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
        return server

    return _use_responses


# --- turns ------------------------------------------------------------


def test_a_cell_stands_alone_unless_it_joins(sandbox_shell: Any) -> None:
    assert message_texts(sandbox_shell.echoed_request("%puq_chat one")) == ["one"]
    assert message_texts(sandbox_shell.echoed_request("%puq_chat two")) == ["two"]
    assert len(sandbox_shell.session.conversations) == 0


def test_turns_add_up(sandbox_shell: Any) -> None:
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c main one")) == ["one"]
    assert message_texts(sandbox_shell.echoed_request("%%puq_chat --chat main\ntwo")) == ["one", "…", "two"]
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c other three")) == ["three"]
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c main four")) == [
        "one",
        "…",
        "two",
        "…",
        "four",
    ]
    assert turns(sandbox_shell) == ["one", "two", "four"]


def test_the_answers_are_sent_as_they_came(sandbox_shell: Any) -> None:
    first = sandbox_shell.run("r = %puq_chat -q -m sandbox/short -c main one")
    assert first.error is None
    request = sandbox_shell.echoed_request("%puq_chat -c main two")
    assert request["messages"][1] == {"role": "assistant", "content": sandbox_shell.names["r"].text}
    assert sandbox_shell.names["r"].chat == "main"


def test_the_footer_names_the_conversation(sandbox_shell: Any) -> None:
    run = sandbox_shell.run
    assert "[sandbox/short · main · new · " in run("%puq_chat -m sandbox/short -c main one").out
    assert "[sandbox/short · main · turn 2 · " in run("%puq_chat -m sandbox/short -c main two").out
    run("%puq_chats main --reset")
    assert "[sandbox/short · main · turn 1 · " in run("%puq_chat -m sandbox/short -c main one").out


def test_a_cell_between_others_takes_its_place_by_the_saved_notebook(
    sandbox_shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "talk.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    for cell in "acd":
        run_as(sandbox_shell, cell, f"%puq_chat -q -c main {cell}")
    file.write_text(json.dumps({"cells": [{"id": cell} for cell in "abcdf"]}))
    run_as(sandbox_shell, "e", "%puq_chat -q -c main e")  # not saved yet
    assert turns(sandbox_shell) == ["a", "c", "d", "e"]
    run_as(sandbox_shell, "f", "%puq_chat -q -c main f")
    assert turns(sandbox_shell) == ["a", "c", "d", "e", "f"]
    run_as(sandbox_shell, "b", "%puq_chat -q -c main b")  # where e stands is not known
    assert turns(sandbox_shell) == ["a", "c", "d", "e", "b"]
    run_as(sandbox_shell, "e", "%puq_chats main --undo\n%puq_chats main --undo")
    run_as(sandbox_shell, "b", "%puq_chat -q -o b -c main b\n%puq_chat -q -c main bb")
    footer = sandbox_shell.names["b"].footer.to_text()
    assert "turn 2 by the order of the cells; 2 later turns kept as branch" in footer
    assert "main · turn 2" in footer
    assert turns(sandbox_shell) == ["a", "b", "bb"]
    run_as(sandbox_shell, "c", "%puq_chat -q -c main c")
    assert turns(sandbox_shell) == ["a", "b", "bb", "c"]


@pytest.mark.parametrize("content", ["", "[]", '{"cells": 5}', '{"cells": [{}]}', None])
def test_a_notebook_file_that_tells_no_order(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "talk.ipynb"
    if content is not None:
        file.write_text(content)
    assert saved_cell_order({"JPY_SESSION_NAME": str(file)}) == ()
    assert saved_cell_order({}) == ()


def test_a_cell_that_runs_again_takes_its_own_place(sandbox_shell: Any) -> None:
    run_as(sandbox_shell, "a", "%puq_chat -q -c main one")
    run_as(sandbox_shell, "b", "%puq_chat -q -c main two")
    run_as(sandbox_shell, "c", "%puq_chat -q -c main three")
    result = run_as(sandbox_shell, "b", "%puq_chat -q -c main two, again")
    assert message_texts({"messages": result.messages}) == ["one", "…", "two, again"]
    assert turns(sandbox_shell) == ["one", "two, again"]
    assert list(result.notes) == ["turn 2 replaced; 1 later turn kept as branch main~1"]
    run_as(sandbox_shell, "c", "%puq_chat -q -c main three")
    assert turns(sandbox_shell) == ["one", "two, again", "three"]
    sandbox_shell.run("%puq_chats main --restore main~1")
    assert turns(sandbox_shell) == ["one", "two", "three"]


def test_the_branch_is_in_the_footer(sandbox_shell: Any, capsys: Any) -> None:
    run_as(sandbox_shell, "a", "%puq_chat -q -c main one")
    run_as(sandbox_shell, "b", "%puq_chat -q -c main two")
    capsys.readouterr()
    run_as(sandbox_shell, "a", "%puq_chat -c main one")
    assert "[turn 1 replaced; 1 later turn kept as branch main~1 · sandbox/echo" in capsys.readouterr().out


def test_without_an_id_each_execution_is_a_turn(sandbox_shell: Any) -> None:
    for _ in range(2):
        sandbox_shell.run("%puq_chat -q -c main one")
    assert turns(sandbox_shell) == ["one", "one"]


LOOP = "for word in words:\n    r = %puq_chat -q -c main {{word}}\n"


def test_a_loop_keeps_its_turns_and_takes_their_place_again(sandbox_shell: Any) -> None:
    sandbox_shell.names["words"] = ["one", "two", "three"]
    run_as(sandbox_shell, "a", LOOP)
    assert turns(sandbox_shell) == ["one", "two", "three"]
    run_as(sandbox_shell, "a", LOOP)
    assert turns(sandbox_shell) == ["one", "two", "three"]
    sandbox_shell.names["words"] = ["four"]
    run_as(sandbox_shell, "a", LOOP)
    assert turns(sandbox_shell) == ["four"]


def test_cells_within_a_cell_are_part_of_it(sandbox_shell: Any) -> None:
    inner = "get_ipython().run_cell('%puq_chat -q -c main {}')\n"
    code = "".join(inner.format(word) for word in ("one", "two")) + "r = %puq_chat -q -c main three"
    for _ in range(2):
        run_as(sandbox_shell, "a", code)
        assert turns(sandbox_shell) == ["one", "two", "three"]


def test_the_cell_that_loads_the_extension_can_join(make_shell: Any, sandbox: Any, monkeypatch: Any) -> None:
    shell = make_shell()
    for name, value in (
        ("BASE_URL", sandbox.base_url),
        ("API_KEY", sandbox.token),
        ("CHAT_MODEL", "sandbox/echo"),
    ):
        monkeypatch.setenv(f"PUQ_{name}", value)
    shell.run("%load_ext puq_magics\nr = %puq_chat -q -c main one\ns = %puq_chat -q -c main two")
    shell.run("%puq_chat -q -c main three")
    assert turns(shell) == ["one", "two", "three"]


@pytest.mark.parametrize("how", ["%reload_ext puq_magics", "%unload_ext puq_magics\n%load_ext puq_magics"])
def test_conversations_outlive_the_extension(sandbox_shell: Any, how: str) -> None:
    run_as(sandbox_shell, "a", "%puq_chat -q -c main one")
    run_as(sandbox_shell, "b", "%puq_chat -q -c main two")
    sandbox_shell.run(how)
    assert turns(sandbox_shell) == ["one", "two"]
    run_as(sandbox_shell, "b", "%puq_chat -q -c main TWO")
    assert turns(sandbox_shell) == ["one", "TWO"]
    run_as(sandbox_shell, "c", f"%puq_chat -q -c main three\n{how}\n%puq_chat -q -c main four")
    assert turns(sandbox_shell) == ["one", "TWO", "three", "four"]
    run_as(sandbox_shell, "c", "%puq_chat -q -c main five")
    assert turns(sandbox_shell) == ["one", "TWO", "five"]


def test_a_fork_in_the_same_cell_goes_on(sandbox_shell: Any) -> None:
    run_as(
        sandbox_shell,
        "a",
        "r = %puq_chat -q -c main one\n%puq_chats main --fork side\ns = %puq_chat -q -c side two",
    )
    assert (turns(sandbox_shell), turns(sandbox_shell, "side")) == (["one"], ["one", "two"])


def test_a_setting_makes_every_cell_join(sandbox_shell: Any) -> None:
    sandbox_shell.run("%config PuqMagics.chat = 'main'")
    sandbox_shell.echoed_request("%puq_chat one")
    assert message_texts(sandbox_shell.echoed_request("%puq_chat two")) == ["one", "…", "two"]
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c '' three")) == ["three"]
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c other four")) == ["four"]
    assert turns(sandbox_shell) == ["one", "two"]


def test_a_dry_run_shows_the_messages_and_keeps_nothing(sandbox_shell: Any, sandbox: Any) -> None:
    run_as(sandbox_shell, "a", "%puq_chat -q -c main -m sandbox/short one")
    before = len(sandbox.requests)
    ran = sandbox_shell.run("%puq_chat --dry-run -c main two")
    assert "user: one\n\nassistant: *Scripted by the sandbox" in ran.out
    assert ran.out.count("user: ") == 2
    assert '"role": "assistant"' in ran.out
    assert len(sandbox.requests) == before
    assert turns(sandbox_shell) == ["one"]
    sandbox_shell.run("%puq_chat --dry-run -c fresh two")
    assert "fresh" not in sandbox_shell.session.conversations


@pytest.mark.parametrize("name", ["two words", "a/b", "../x", ".x", "", "x" * 65, "a\nb"])
def test_what_is_no_name_is_refused_before_anything_is_sent(
    sandbox_shell: Any, sandbox: Any, name: str
) -> None:
    if not name:
        sandbox_shell.run("%config PuqMagics.chat = 'main'")
        sandbox_shell.run("%puq_chat -q -c '' hi")
        assert len(sandbox_shell.session.conversations) == 0
        return
    error = sandbox_shell.error(f"get_ipython().run_line_magic('puq_chat', {f'-c {json.dumps(name)} hi'!r})")
    assert isinstance(error, InputError)
    assert "not a name for a conversation" in str(error)
    assert sandbox.requests == ()


# --- system prompts and limits ------------------------------------------------------------


def system(request: dict[str, Any]) -> str:
    first = request["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def test_the_system_prompt_of_the_first_turn_is_the_conversations(sandbox_shell: Any) -> None:
    sandbox_shell.run("%config PuqMagics.system = 'set'")
    assert system(sandbox_shell.echoed_request("%puq_chat -c main -s first one")) == "first"
    assert system(sandbox_shell.echoed_request("%puq_chat -c main two")) == "first"
    assert system(sandbox_shell.echoed_request("%puq_chat -c main -s once three")) == "once"
    assert system(sandbox_shell.echoed_request("%puq_chat -c main -s '' four")) == ""
    assert system(sandbox_shell.echoed_request("%puq_chat -c main five")) == "first"
    assert system(sandbox_shell.echoed_request("%puq_chat -c other one")) == "set"
    sandbox_shell.run("%puq_chats main --system 'new words'")
    assert system(sandbox_shell.echoed_request("%puq_chat -c main six")) == "new words"


def systems(shell: Any) -> list[str]:
    """The system prompts that the turns say they were asked with."""
    return [turn.system for turn in shell.session.conversations.find("main").turns]


def test_a_turn_keeps_the_system_prompt_that_it_was_asked_with(sandbox_shell: Any, tmp_path: Path) -> None:
    sandbox_shell.run("%config PuqMagics.system = 'Be kind.'")
    sent = [system(sandbox_shell.echoed_request("%puq_chat -q -c main one"))]
    for line in ("-s 'Be a pirate.' two", "-s '' three", "four"):
        if line == "four":
            sandbox_shell.run("%puq_chats main --system 'Be brief.'")
        sent.append(system(sandbox_shell.echoed_request(f"%puq_chat -q -c main {line}")))
    assert sent == systems(sandbox_shell) == ["Be kind.", "Be a pirate.", "", "Be brief."]
    sandbox_shell.run(f"%puq_chats main --save {tmp_path}/main.json\n%puq_chats main --system ''")
    assert systems(sandbox_shell) == sent
    sandbox_shell.run(
        f"%puq_chats --load {tmp_path}/main.json --force\n%puq_chats main --export {tmp_path}/main.md"
    )
    assert systems(sandbox_shell) == sent
    exported = (tmp_path / "main.md").read_text()
    places = [exported.index(f"> {words}") for words in ("Be kind", "one", "Be a pirate", "two")]
    assert places == sorted(places)


def test_a_cell_that_runs_again_tells_how_it_was_asked_this_time(sandbox_shell: Any) -> None:
    run_as(sandbox_shell, "a", "%puq_chat -q -c main -s 'Be brief.' one")
    run_as(sandbox_shell, "a", "%puq_chat -q -c main -s 'Be kind.' one")
    assert systems(sandbox_shell) == ["Be kind."]
    main = sandbox_shell.session.conversations.find("main")
    assert [turn.system for turn in main.get_branch("main~1").turns] == ["Be brief."]
    assert "the system prompt is as it was in main~1" in sandbox_shell.run("%puq_chats main --restore 1").out
    assert system(sandbox_shell.echoed_request("%puq_chat -q -c main two")) == "Be brief."


@pytest.mark.parametrize("broken", [respond_truncated, drop_connection])
def test_an_answer_goes_on_with_its_own_system_prompt(use_responses: Any, shell: Any, broken: Any) -> None:
    server = use_responses("First.", broken, " three.", "Last.")
    shell.run("%puq_chat -q -c main -s 'Be brief.' one")
    (shell.run if broken is respond_truncated else shell.error)("%puq_chat -q -c main -s Count. two")
    shell.run("%puq_chat -q -c main --continue")
    assert system(server.requests[2].json) == "Count."
    assert systems(shell) == ["Be brief.", "Count."]
    shell.run("%puq_chat -q -c main three")
    assert system(server.requests[3].json) == "Be brief."


def test_a_first_answer_that_broke_off_leaves_its_system_prompt_when_it_has_gone_on(
    use_responses: Any, shell: Any
) -> None:
    use_responses(drop_connection, " three.")
    shell.error("%puq_chat -q -c main -s Count. one")
    shell.run("%puq_chat -q -c main --continue")
    assert systems(shell) == ["Count."]
    assert shell.session.conversations.find("main").system == "Count."


def test_the_oldest_turns_are_left_out_and_the_system_prompt_never(sandbox_shell: Any) -> None:
    for word in ("one", "two", "three"):
        sandbox_shell.run(f"%puq_chat -q -m sandbox/short -s Be -c main {word}")
    sandbox_shell.run("%puq_chats main --system 'Be kind.'")
    sandbox_shell.run("%config PuqMagics.context_turns = 1")
    request = sandbox_shell.echoed_request("%puq_chat -c main four")
    assert (system(request), message_texts(request)[1:]) == ("Be kind.", ["three", "…", "four"])
    assert list(sandbox_shell.names["_puq"].notes) == [
        "the 2 oldest turns of 3 left out: the context's limit is 1 earlier turn"
    ]
    sandbox_shell.run("%config PuqMagics.context_turns = None\n%config PuqMagics.context_limit = 10")
    assert message_texts(sandbox_shell.echoed_request("%puq_chat -c main five")) == ["Be kind.", "five"]
    assert "about 10 tokens" in sandbox_shell.names["_puq"].notes[0]
    assert turns(sandbox_shell) == ["one", "two", "three", "four", "five"]


# --- what goes wrong ------------------------------------------------------------


def test_a_failed_turn_leaves_nothing(use_responses: Any, shell: Any) -> None:
    use_responses("First.", refuse, drop_connection, "Third.")
    run_as(shell, "a", "%puq_chat -q -c main one")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main {{nowhere}}")
    assert turns(shell) == ["one"]
    shell.run("%puq_chat -q -c main three")
    assert turns(shell) == ["one", "three"]


def test_a_failed_second_run_leaves_what_was_there(use_responses: Any, shell: Any) -> None:
    use_responses("First.", "Second.", refuse)
    run_as(shell, "a", "%puq_chat -q -c main one")
    run_as(shell, "b", "%puq_chat -q -c main two")
    with pytest.raises(Exception, match="no"):
        run_as(shell, "a", "%puq_chat -q -c main one, again")
    assert turns(shell) == ["one", "two"]
    assert shell.session.conversations.find("main").branches == ()


def test_a_first_turn_that_fails_leaves_no_conversation(use_responses: Any, shell: Any) -> None:
    use_responses(refuse)
    shell.error("%puq_chat -q -c main one")
    assert len(shell.session.conversations) == 0


def test_an_answer_without_words_is_no_turn(use_responses: Any, shell: Any) -> None:
    use_responses("First.", "")
    shell.run("%puq_chat -q -c main one\n")
    shell.run("%puq_chat -q -c main two")
    assert turns(shell) == ["one"]


def test_an_interrupted_answer_is_kept_and_marked(fresh_kernel: Any, serve: Any) -> None:
    def _stall(connection: Any) -> None:
        connection.send_head()
        connection.send_event("The first words")
        connection.wait_for_disconnect()

    def _rest(connection: Any) -> None:
        connection.send_head()
        connection.send_event(" and the rest")
        connection.send_done()

    server = serve(respond_in_turn(_stall, _rest))
    fresh_kernel.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.chat_model = 'a/b'")
    stopped: list[bool] = []

    def _watch(message: dict[str, Any]) -> None:
        if not stopped and "The first words" in str(message["content"].get("data", "")):
            stopped.append(True)
            fresh_kernel.interrupt()

    assert fresh_kernel.run("%puq_chat -c main hi", _watch).reply["status"] == "error"
    fresh_kernel.run("%puq_chats main -q -o t\nturn = t.conversation.turns[0]")
    assert fresh_kernel.value("[turn.answer, turn.interrupted]") == ["The first words", True]
    assert "interrupted" in fresh_kernel.run("%puq_chats main").screen[0]["text/markdown"]
    cell = fresh_kernel.run("%puq_chat -c main --continue")
    assert cell.screen[0]["text/plain"].startswith("The first words and the rest\n\n[a/b · main · new")
    fresh_kernel.run("turn = t.conversation.turns[0]")
    whole = ["The first words and the rest", False, 1]
    assert fresh_kernel.value("[turn.answer, turn.interrupted, len(t.conversation.turns)]") == whole


# --- --continue ------------------------------------------------------------


def test_to_go_on_with_a_cut_off_answer(use_responses: Any, shell: Any) -> None:
    server = use_responses(respond_truncated, " three.")
    shell.run("%puq_chat -t 0 -s Count. one to three")
    assert shell.names["_puq"].is_truncated
    ran = shell.run("r = %puq_chat --continue")
    assert ran.out.startswith("One, two, three.\n")
    assert shell.names["r"].text == "One, two, three."
    assert not shell.names["r"].is_truncated
    messages = server.requests[1].json["messages"]
    assert messages[:-1] == [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "one to three"},
        {"role": "assistant", "content": "One, two,"},
    ]
    assert "Go on" in messages[-1]["content"]


def test_to_go_on_again_and_in_ones_own_words(use_responses: Any, shell: Any) -> None:
    server = use_responses(respond_truncated, respond_truncated, "three.")
    shell.run("%puq_chat -q one to three")
    shell.run("%puq_chat -q --continue")
    shell.run("n = 3")
    shell.run("%%puq_chat -q --continue\nUp to {{n}}, please.")
    assert shell.names["_puq"].text == "One, two,One, two,three."
    assert server.requests[2].json["messages"] == [
        {"role": "user", "content": "one to three"},
        {"role": "assistant", "content": "One, two,One, two,"},
        {"role": "user", "content": "Up to 3, please."},
    ]


def test_to_go_on_in_a_conversation_makes_one_turn_of_it(use_responses: Any, shell: Any) -> None:
    server = use_responses("First.", respond_truncated, "Alone.", " three.", "Last.")
    shell.run("%puq_chat -q -c main one")
    shell.run("%puq_chat -q -c main two")
    shell.run("%puq_chat -q alone")
    shell.run("%puq_chat -q -c main --continue")
    turn = shell.session.conversations.find("main").turns[1]
    assert (turn.question, turn.answer) == ("two", "One, two, three.")
    shell.run("%puq_chat -q -c main three")
    contents = [message["content"] for message in server.requests[4].json["messages"]]
    assert contents == ["one", "First.", "two", "One, two, three.", "three"]
    assert "is already complete" in str(shell.error("%puq_chat -c main --continue"))


def test_to_go_on_without_a_name_where_the_last_answer_was_in_a_conversation(
    use_responses: Any, shell: Any
) -> None:
    use_responses(respond_truncated, " three.")
    shell.run("%puq_chat -q -c main one")
    shell.run("%puq_chat -q --continue")
    assert shell.session.conversations.find("main").turns[0].answer == "One, two, three."


def test_to_go_on_with_an_answer_that_broke_off(use_responses: Any, shell: Any) -> None:
    use_responses("First.", drop_connection, refuse, " three.")
    shell.run("%puq_chat -q -c main one")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main --continue")
    assert shell.names["_puq"].text == "One, two,"
    shell.run("%puq_chat -q -c main --continue")
    assert turns(shell) == ["one", "two"]
    assert shell.session.conversations.find("main").turns[1].answer == "One, two, three."


def test_the_words_at_which_an_answer_goes_on_stand_in_the_transcript(use_responses: Any, shell: Any) -> None:
    use_responses(respond_truncated, " three.", drop_connection, " three.")
    for question in ("one", "two"):
        (shell.run if question == "one" else shell.error)(f"%puq_chat -q -c main {question}")
        shell.run("n = 3")
        shell.run("%%puq_chat -q -c main --continue\nUp to {{n}}, please.")
    main = shell.session.conversations.find("main")
    assert [turn.continue_prompts for turn in main.turns] == [("Up to 3, please.",)] * 2
    shown = shell.run("%puq_chats main").out
    assert shown.count("> > Up to 3, please") == 2


def test_the_tokens_of_all_parts_of_an_answer_add_up(use_responses: Any, shell: Any) -> None:
    use_responses("First.", drop_connection, drop_connection, " three.")
    shell.run("%puq_chat -q -c main one")
    used = []
    for code in ("two", "--continue", "--continue"):
        (shell.error if len(used) < 2 else shell.run)(f"%puq_chat -q -c main {code}")
        result = shell.names["_puq"]
        message_texts = ["One, two,", "One, two,", " three."][len(used)]
        used.append(
            usage_or_estimate(
                result.usage, estimate_message_tokens(result.messages), message_texts
            ).total_tokens
        )
    turn = shell.session.conversations.find("main").turns[1]
    assert turn.answer == "One, two,One, two, three."
    assert turn.usage.total_tokens == sum(used)


def test_first_turns_at_the_same_time_are_turns_of_one_conversation(sandbox_shell: Any) -> None:
    conversations = sandbox_shell.session.conversations
    asked = [
        (
            TurnContext(sandbox_shell.session, conversations.slot("main"), word),
            ChatResult(text=word, model="a/b"),
        )
        for word in ("one", "two")
    ]
    for context, result in asked:
        context.commit(result)
    assert turns(sandbox_shell) == ["one", "two"]


def test_an_answer_that_cannot_be_kept_is_shown_to_its_end(sandbox_shell: Any) -> None:
    ended: list[ChatResult] = []

    class _Ending(QuietChatView):
        def show_result(self, result: ChatResult) -> None:
            ended.append(result)

    class _FailingCall(ChatCall):
        def finalize(self, result: ChatResult) -> None:  # noqa: ARG002
            raise InputError("it cannot be kept.", hint="")

    call = _FailingCall(ChatSpec("sandbox/echo", [{"role": "user", "content": "hi"}]))
    with pytest.raises(InputError, match="cannot be kept"):
        run_call(sandbox_shell.session, call, _Ending())
    assert ended == [sandbox_shell.session.namespace["_puq"]]


def test_where_there_is_nothing_to_go_on_with(use_responses: Any, shell: Any) -> None:
    server = use_responses("Whole.")
    assert "no unfinished answer to continue" in str(shell.error("%puq_chat --continue"))
    shell.run("%puq_chat -q hi")
    assert "no unfinished answer to continue" in str(shell.error("%puq_chat --continue"))
    assert "no conversation 'main'" in str(shell.error("%puq_chat -c main --continue"))
    assert "-a cannot be combined with --continue" in str(shell.error("%puq_chat --continue -a x"))
    assert "-s cannot be combined with --continue" in str(shell.error("%puq_chat --continue -s x"))
    assert len(server.requests) == 1


def test_the_model_goes_on_that_began(use_responses: Any, shell: Any) -> None:
    server = use_responses(respond_truncated, " three.")
    shell.run("%puq_chat -q -m c/d one")
    shell.run("%puq_chat -q --continue")
    assert server.requests[1].json["model"] == "c/d"


# --- in a kernel ------------------------------------------------------------


def test_a_kernel_keeps_them_when_it_reloads(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%puq_chat -q -c main one")
    sandbox_kernel.run("%reload_ext puq_magics\n%puq_sandbox --pace 0")
    sandbox_kernel.run("%puq_chat -q -c main two")
    sandbox_kernel.run("%unload_ext puq_magics")
    sandbox_kernel.run("%load_ext puq_magics\n%puq_chats main -q -o t")
    assert sandbox_kernel.value("[turn.question for turn in t.conversation.turns]") == ["one", "two"]


def test_the_kernel_gets_the_cells_ids_from_the_front_end(sandbox_kernel: Any) -> None:
    client = sandbox_kernel._client
    for code in ("%puq_chat -q -c main one", "%puq_chat -q -c main two"):
        message = client.session.msg(
            "execute_request", {"code": code, "silent": False, "store_history": True}
        )
        message["metadata"]["cellId"] = "3f2a9c1e"
        client.shell_channel.send(message)
    sandbox_kernel.run("%puq_chats main -q -o t")
    assert sandbox_kernel.value("[[turn.question, turn.key] for turn in t.conversation.turns]") == [
        ["two", ["3f2a9c1e", 0]]
    ]
