"""Chat cells that join a conversation: what is sent, what is kept, and what a second run of a cell does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.views.view import QuietView
from puq_magics.prompts.token_estimate import estimate_message_tokens
from puq_magics.session.budget import usage_or_estimate
from puq_magics.session.chat_call import ChatSpec, chat
from puq_magics.session.chat_turn import TurnContext


def turns(shell: Any, name: str = "main") -> list[str]:
    """The questions of a conversation."""
    return [turn.question for turn in shell.session.conversations.find(name).turns]


def run_as(shell: Any, cell: str, code: str) -> Any:
    """Run a cell as a front end does that sends ids."""
    result = shell.ip.run_cell(code, store_history=True, cell_id=cell)
    result.raise_error()
    return shell.names["_puq"]


def said(request: dict[str, Any]) -> list[str]:
    """What the messages of a request say, the scripted answers left out."""
    return [m["content"] if m["role"] != "assistant" else "…" for m in request["messages"]]


def scripted(*answers: Callable[[Any], None] | str) -> Callable[[Any], None]:
    """A server's answers, one after the other."""
    left = list(answers)

    def _answer(connection: Any) -> None:
        answer = left.pop(0)
        if callable(answer):
            answer(connection)
            return
        connection.head()
        connection.say(answer)
        connection.done()

    return _answer


def refuse(connection: Any) -> None:
    connection.head("400 Bad Request", "application/json")
    connection.send(b'{"error": "no"}')


def cut(connection: Any) -> None:
    """An answer that ends at the token limit."""
    connection.head()
    connection.say("One, two,")
    connection.done("length")


def break_off(connection: Any) -> None:
    connection.head()
    connection.say("One, two,")


@pytest.fixture
def against(shell: Any, serve: Any, environ: Any) -> Callable[..., Any]:
    """Makes the shell ask a server that gives these answers."""

    def _against(*answers: Callable[[Any], None] | str) -> Any:
        server = serve(scripted(*answers))
        environ.setenv("PUQ_BASE_URL", server.url)
        environ.setenv("PUQ_CHAT_MODEL", "a/b")
        return server

    return _against


# --- turns ------------------------------------------------------------


def test_a_cell_stands_alone_unless_it_joins(asking: Any) -> None:
    assert said(asking.sent("%puq_chat one")) == ["one"]
    assert said(asking.sent("%puq_chat two")) == ["two"]
    assert len(asking.session.conversations) == 0


def test_turns_add_up(asking: Any) -> None:
    assert said(asking.sent("%puq_chat -c main one")) == ["one"]
    assert said(asking.sent("%%puq_chat --chat main\ntwo")) == ["one", "…", "two"]
    assert said(asking.sent("%puq_chat -c other three")) == ["three"]
    assert said(asking.sent("%puq_chat -c main four")) == ["one", "…", "two", "…", "four"]
    assert turns(asking) == ["one", "two", "four"]


def test_the_answers_are_sent_as_they_came(asking: Any) -> None:
    first = asking.run("r = %puq_chat -q -m sandbox/short -c main one")
    assert first.error is None
    request = asking.sent("%puq_chat -c main two")
    assert request["messages"][1] == {"role": "assistant", "content": asking.names["r"].text}
    assert asking.names["r"].chat == "main"


def test_the_footer_names_the_conversation(asking: Any) -> None:
    assert "[sandbox/short · in main · " in asking.run("%puq_chat -m sandbox/short -c main one").out


def test_a_cell_that_runs_again_takes_its_own_place(asking: Any) -> None:
    run_as(asking, "a", "%puq_chat -q -c main one")
    run_as(asking, "b", "%puq_chat -q -c main two")
    run_as(asking, "c", "%puq_chat -q -c main three")
    result = run_as(asking, "b", "%puq_chat -q -c main two, again")
    assert said({"messages": result.messages}) == ["one", "…", "two, again"]
    assert turns(asking) == ["one", "two, again"]
    assert list(result.notes) == ["turn 2 replaced; 1 later turn kept as branch main~1"]
    run_as(asking, "c", "%puq_chat -q -c main three")
    assert turns(asking) == ["one", "two, again", "three"]
    asking.run("%puq_chats main --restore main~1")
    assert turns(asking) == ["one", "two", "three"]


def test_the_branch_is_in_the_footer(asking: Any, capsys: Any) -> None:
    run_as(asking, "a", "%puq_chat -q -c main one")
    run_as(asking, "b", "%puq_chat -q -c main two")
    capsys.readouterr()
    run_as(asking, "a", "%puq_chat -c main one")
    assert "[turn 1 replaced; 1 later turn kept as branch main~1 · sandbox/echo" in capsys.readouterr().out


def test_without_an_id_each_execution_is_a_turn(asking: Any) -> None:
    for _ in range(2):
        asking.run("%puq_chat -q -c main one")
    assert turns(asking) == ["one", "one"]


LOOP = "for word in words:\n    r = %puq_chat -q -c main {{word}}\n"


def test_a_loop_keeps_its_turns_and_takes_their_place_again(asking: Any) -> None:
    asking.names["words"] = ["one", "two", "three"]
    run_as(asking, "a", LOOP)
    assert turns(asking) == ["one", "two", "three"]
    run_as(asking, "a", LOOP)
    assert turns(asking) == ["one", "two", "three"]
    asking.names["words"] = ["four"]
    run_as(asking, "a", LOOP)
    assert turns(asking) == ["four"]


def test_cells_within_a_cell_are_part_of_it(asking: Any) -> None:
    inner = "get_ipython().run_cell('%puq_chat -q -c main {}')\n"
    code = "".join(inner.format(word) for word in ("one", "two")) + "r = %puq_chat -q -c main three"
    for _ in range(2):
        run_as(asking, "a", code)
        assert turns(asking) == ["one", "two", "three"]


def test_the_cell_that_loads_the_extension_can_join(make_shell: Any, sandbox: Any, environ: Any) -> None:
    shell = make_shell()
    for name, value in (
        ("BASE_URL", sandbox.base_url),
        ("API_KEY", sandbox.token),
        ("CHAT_MODEL", "sandbox/echo"),
    ):
        environ.setenv(f"PUQ_{name}", value)
    shell.run("%load_ext puq_magics\nr = %puq_chat -q -c main one\ns = %puq_chat -q -c main two")
    shell.run("%puq_chat -q -c main three")
    assert turns(shell) == ["one", "two", "three"]


@pytest.mark.parametrize("how", ["%reload_ext puq_magics", "%unload_ext puq_magics\n%load_ext puq_magics"])
def test_conversations_outlive_the_extension(asking: Any, how: str) -> None:
    run_as(asking, "a", "%puq_chat -q -c main one")
    run_as(asking, "b", "%puq_chat -q -c main two")
    asking.run(how)
    assert turns(asking) == ["one", "two"]
    run_as(asking, "b", "%puq_chat -q -c main TWO")
    assert turns(asking) == ["one", "TWO"]
    run_as(asking, "c", f"%puq_chat -q -c main three\n{how}\n%puq_chat -q -c main four")
    assert turns(asking) == ["one", "TWO", "three", "four"]
    run_as(asking, "c", "%puq_chat -q -c main five")
    assert turns(asking) == ["one", "TWO", "five"]


def test_a_fork_in_the_same_cell_goes_on(asking: Any) -> None:
    run_as(
        asking, "a", "r = %puq_chat -q -c main one\n%puq_chats main --fork side\ns = %puq_chat -q -c side two"
    )
    assert (turns(asking), turns(asking, "side")) == (["one"], ["one", "two"])


def test_a_setting_makes_every_cell_join(asking: Any) -> None:
    asking.run("%config PuqMagics.chat = 'main'")
    asking.sent("%puq_chat one")
    assert said(asking.sent("%puq_chat two")) == ["one", "…", "two"]
    assert said(asking.sent("%puq_chat -c '' three")) == ["three"]
    assert said(asking.sent("%puq_chat -c other four")) == ["four"]
    assert turns(asking) == ["one", "two"]


def test_a_dry_run_shows_the_messages_and_keeps_nothing(asking: Any, sandbox: Any) -> None:
    run_as(asking, "a", "%puq_chat -q -c main -m sandbox/short one")
    before = len(sandbox.requests)
    ran = asking.run("%puq_chat --dry-run -c main two")
    assert "user: one\n\nassistant: *Scripted by the sandbox" in ran.out
    assert ran.out.count("user: ") == 2
    assert '"role": "assistant"' in ran.out
    assert len(sandbox.requests) == before
    assert turns(asking) == ["one"]
    asking.run("%puq_chat --dry-run -c fresh two")
    assert "fresh" not in asking.session.conversations


@pytest.mark.parametrize("name", ["two words", "a/b", "../x", ".x", "", "x" * 65, "a\nb"])
def test_what_is_no_name_is_refused_before_anything_is_sent(asking: Any, sandbox: Any, name: str) -> None:
    if not name:
        asking.run("%config PuqMagics.chat = 'main'")
        asking.run("%puq_chat -q -c '' hi")
        assert len(asking.session.conversations) == 0
        return
    error = asking.error(f"get_ipython().run_line_magic('puq_chat', {f'-c {json.dumps(name)} hi'!r})")
    assert isinstance(error, InputError)
    assert "not a name for a conversation" in str(error)
    assert sandbox.requests == ()


# --- system prompts and limits ------------------------------------------------------------


def system(request: dict[str, Any]) -> str:
    first = request["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def test_the_system_prompt_of_the_first_turn_is_the_conversations(asking: Any) -> None:
    asking.run("%config PuqMagics.system = 'set'")
    assert system(asking.sent("%puq_chat -c main -s first one")) == "first"
    assert system(asking.sent("%puq_chat -c main two")) == "first"
    assert system(asking.sent("%puq_chat -c main -s once three")) == "once"
    assert system(asking.sent("%puq_chat -c main -s '' four")) == ""
    assert system(asking.sent("%puq_chat -c main five")) == "first"
    assert system(asking.sent("%puq_chat -c other one")) == "set"
    asking.run("%puq_chats main --system 'new words'")
    assert system(asking.sent("%puq_chat -c main six")) == "new words"


def systems(shell: Any) -> list[str]:
    """The system prompts that the turns say they were asked with."""
    return [turn.system for turn in shell.session.conversations.find("main").turns]


def test_a_turn_keeps_the_system_prompt_that_it_was_asked_with(asking: Any, tmp_path: Path) -> None:
    asking.run("%config PuqMagics.system = 'Be kind.'")
    sent = [system(asking.sent("%puq_chat -q -c main one"))]
    for line in ("-s 'Be a pirate.' two", "-s '' three", "four"):
        if line == "four":
            asking.run("%puq_chats main --system 'Be brief.'")
        sent.append(system(asking.sent(f"%puq_chat -q -c main {line}")))
    assert sent == systems(asking) == ["Be kind.", "Be a pirate.", "", "Be brief."]
    asking.run(f"%puq_chats main --save {tmp_path}/main.json\n%puq_chats main --system ''")
    assert systems(asking) == sent
    asking.run(f"%puq_chats --load {tmp_path}/main.json --force\n%puq_chats main --export {tmp_path}/main.md")
    assert systems(asking) == sent
    exported = (tmp_path / "main.md").read_text()
    places = [exported.index(f"> {words}") for words in ("Be kind", "one", "Be a pirate", "two")]
    assert places == sorted(places)


def test_a_cell_that_runs_again_tells_how_it_was_asked_this_time(asking: Any) -> None:
    run_as(asking, "a", "%puq_chat -q -c main -s 'Be brief.' one")
    run_as(asking, "a", "%puq_chat -q -c main -s 'Be kind.' one")
    assert systems(asking) == ["Be kind."]
    main = asking.session.conversations.find("main")
    assert [turn.system for turn in main.get_branch("main~1").turns] == ["Be brief."]
    assert "the system prompt is as it was in main~1" in asking.run("%puq_chats main --restore 1").out
    assert system(asking.sent("%puq_chat -q -c main two")) == "Be brief."


@pytest.mark.parametrize("broken", [cut, break_off])
def test_an_answer_goes_on_with_its_own_system_prompt(against: Any, shell: Any, broken: Any) -> None:
    server = against("First.", broken, " three.", "Last.")
    shell.run("%puq_chat -q -c main -s 'Be brief.' one")
    (shell.run if broken is cut else shell.error)("%puq_chat -q -c main -s Count. two")
    shell.run("%puq_chat -q -c main --continue")
    assert system(server.heard[2].json) == "Count."
    assert systems(shell) == ["Be brief.", "Count."]
    shell.run("%puq_chat -q -c main three")
    assert system(server.heard[3].json) == "Be brief."


def test_a_first_answer_that_broke_off_leaves_its_system_prompt_when_it_has_gone_on(
    against: Any, shell: Any
) -> None:
    against(break_off, " three.")
    shell.error("%puq_chat -q -c main -s Count. one")
    shell.run("%puq_chat -q -c main --continue")
    assert systems(shell) == ["Count."]
    assert shell.session.conversations.find("main").system == "Count."


def test_the_oldest_turns_are_left_out_and_the_system_prompt_never(asking: Any) -> None:
    for word in ("one", "two", "three"):
        asking.run(f"%puq_chat -q -m sandbox/short -s Be -c main {word}")
    asking.run("%puq_chats main --system 'Be kind.'")
    asking.run("%config PuqMagics.context_turns = 1")
    request = asking.sent("%puq_chat -c main four")
    assert (system(request), said(request)[1:]) == ("Be kind.", ["three", "…", "four"])
    assert list(asking.names["_puq"].notes) == [
        "the 2 oldest turns of 3 left out: the context's limit is 1 earlier turn"
    ]
    asking.run("%config PuqMagics.context_turns = None\n%config PuqMagics.context_limit = 10")
    assert said(asking.sent("%puq_chat -c main five")) == ["Be kind.", "five"]
    assert "about 10 tokens" in asking.names["_puq"].notes[0]
    assert turns(asking) == ["one", "two", "three", "four", "five"]


# --- what goes wrong ------------------------------------------------------------


def test_a_failed_turn_leaves_nothing(against: Any, shell: Any) -> None:
    against("First.", refuse, break_off, "Third.")
    run_as(shell, "a", "%puq_chat -q -c main one")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main {{nowhere}}")
    assert turns(shell) == ["one"]
    shell.run("%puq_chat -q -c main three")
    assert turns(shell) == ["one", "three"]


def test_a_failed_second_run_leaves_what_was_there(against: Any, shell: Any) -> None:
    against("First.", "Second.", refuse)
    run_as(shell, "a", "%puq_chat -q -c main one")
    run_as(shell, "b", "%puq_chat -q -c main two")
    with pytest.raises(Exception, match="no"):
        run_as(shell, "a", "%puq_chat -q -c main one, again")
    assert turns(shell) == ["one", "two"]
    assert shell.session.conversations.find("main").branches == ()


def test_a_first_turn_that_fails_leaves_no_conversation(against: Any, shell: Any) -> None:
    against(refuse)
    shell.error("%puq_chat -q -c main one")
    assert len(shell.session.conversations) == 0


def test_an_answer_without_words_is_no_turn(against: Any, shell: Any) -> None:
    against("First.", "")
    shell.run("%puq_chat -q -c main one\n")
    shell.run("%puq_chat -q -c main two")
    assert turns(shell) == ["one"]


def test_an_interrupted_answer_is_kept_and_marked(notebook: Any, serve: Any) -> None:
    def _stall(connection: Any) -> None:
        connection.head()
        connection.say("The first words")
        connection.wait_until_gone()

    def _rest(connection: Any) -> None:
        connection.head()
        connection.say(" and the rest")
        connection.done()

    server = serve(scripted(_stall, _rest))
    notebook.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.chat_model = 'a/b'")
    stopped: list[bool] = []

    def _watch(message: dict[str, Any]) -> None:
        if not stopped and "The first words" in str(message["content"].get("data", "")):
            stopped.append(True)
            notebook.interrupt()

    assert notebook.run("%puq_chat -c main hi", _watch).reply["status"] == "error"
    notebook.run("%puq_chats main -q -o t\nturn = t.conversation.turns[0]")
    assert notebook.value("[turn.answer, turn.interrupted]") == ["The first words", True]
    assert "interrupted" in notebook.run("%puq_chats main").screen[0]["text/markdown"]
    cell = notebook.run("%puq_chat -c main --continue")
    assert cell.screen[0]["text/plain"].startswith("The first words and the rest\n\n[a/b · in main")
    notebook.run("turn = t.conversation.turns[0]")
    whole = ["The first words and the rest", False, 1]
    assert notebook.value("[turn.answer, turn.interrupted, len(t.conversation.turns)]") == whole


# --- --continue ------------------------------------------------------------


def test_to_go_on_with_a_cut_off_answer(against: Any, shell: Any) -> None:
    server = against(cut, " three.")
    shell.run("%puq_chat -t 0 -s Count. one to three")
    assert shell.names["_puq"].is_cut
    ran = shell.run("r = %puq_chat --continue")
    assert ran.out.startswith("One, two, three.\n")
    assert shell.names["r"].text == "One, two, three."
    assert not shell.names["r"].is_cut
    messages = server.heard[1].json["messages"]
    assert messages[:-1] == [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": "one to three"},
        {"role": "assistant", "content": "One, two,"},
    ]
    assert "Go on" in messages[-1]["content"]


def test_to_go_on_again_and_in_ones_own_words(against: Any, shell: Any) -> None:
    server = against(cut, cut, "three.")
    shell.run("%puq_chat -q one to three")
    shell.run("%puq_chat -q --continue")
    shell.run("n = 3")
    shell.run("%%puq_chat -q --continue\nUp to {{n}}, please.")
    assert shell.names["_puq"].text == "One, two,One, two,three."
    assert server.heard[2].json["messages"] == [
        {"role": "user", "content": "one to three"},
        {"role": "assistant", "content": "One, two,One, two,"},
        {"role": "user", "content": "Up to 3, please."},
    ]


def test_to_go_on_in_a_conversation_makes_one_turn_of_it(against: Any, shell: Any) -> None:
    server = against("First.", cut, "Alone.", " three.", "Last.")
    shell.run("%puq_chat -q -c main one")
    shell.run("%puq_chat -q -c main two")
    shell.run("%puq_chat -q alone")
    shell.run("%puq_chat -q -c main --continue")
    turn = shell.session.conversations.find("main").turns[1]
    assert (turn.question, turn.answer) == ("two", "One, two, three.")
    shell.run("%puq_chat -q -c main three")
    contents = [message["content"] for message in server.heard[4].json["messages"]]
    assert contents == ["one", "First.", "two", "One, two, three.", "three"]
    assert "is whole" in str(shell.error("%puq_chat -c main --continue"))


def test_to_go_on_without_a_name_where_the_last_answer_was_in_a_conversation(
    against: Any, shell: Any
) -> None:
    against(cut, " three.")
    shell.run("%puq_chat -q -c main one")
    shell.run("%puq_chat -q --continue")
    assert shell.session.conversations.find("main").turns[0].answer == "One, two, three."


def test_to_go_on_with_an_answer_that_broke_off(against: Any, shell: Any) -> None:
    against("First.", break_off, refuse, " three.")
    shell.run("%puq_chat -q -c main one")
    shell.error("%puq_chat -q -c main two")
    shell.error("%puq_chat -q -c main --continue")
    assert shell.names["_puq"].text == "One, two,"
    shell.run("%puq_chat -q -c main --continue")
    assert turns(shell) == ["one", "two"]
    assert shell.session.conversations.find("main").turns[1].answer == "One, two, three."


def test_the_words_at_which_an_answer_goes_on_stand_in_the_transcript(against: Any, shell: Any) -> None:
    against(cut, " three.", break_off, " three.")
    for question in ("one", "two"):
        (shell.run if question == "one" else shell.error)(f"%puq_chat -q -c main {question}")
        shell.run("n = 3")
        shell.run("%%puq_chat -q -c main --continue\nUp to {{n}}, please.")
    main = shell.session.conversations.find("main")
    assert [turn.continue_prompts for turn in main.turns] == [("Up to 3, please.",)] * 2
    shown = shell.run("%puq_chats main").out
    assert shown.count("> > Up to 3, please") == 2


def test_the_tokens_of_all_parts_of_an_answer_add_up(against: Any, shell: Any) -> None:
    against("First.", break_off, break_off, " three.")
    shell.run("%puq_chat -q -c main one")
    used = []
    for code in ("two", "--continue", "--continue"):
        (shell.error if len(used) < 2 else shell.run)(f"%puq_chat -q -c main {code}")
        result = shell.names["_puq"]
        said = ["One, two,", "One, two,", " three."][len(used)]
        used.append(
            usage_or_estimate(result.usage, estimate_message_tokens(result.messages), said).total_tokens
        )
    turn = shell.session.conversations.find("main").turns[1]
    assert turn.answer == "One, two,One, two, three."
    assert turn.usage.total_tokens == sum(used)


def test_first_turns_at_the_same_time_are_turns_of_one_conversation(asking: Any) -> None:
    conversations = asking.session.conversations
    asked = [
        (TurnContext(asking.session, conversations.slot("main"), word), ChatResult(text=word, model="a/b"))
        for word in ("one", "two")
    ]
    for joining, result in asked:
        joining.commit_turn(result)
    assert turns(asking) == ["one", "two"]


def test_an_answer_that_cannot_be_kept_is_shown_to_its_end(asking: Any) -> None:
    ended: list[ChatResult] = []

    class _Ending(QuietView):
        def end(self, result: ChatResult) -> None:
            ended.append(result)

    def _fail(result: ChatResult) -> None:
        raise InputError("it cannot be kept.", hint="")

    call = ChatSpec("sandbox/echo", [{"role": "user", "content": "hi"}], finalize=_fail)
    with pytest.raises(InputError, match="cannot be kept"):
        chat(asking.session, call, _Ending())
    assert ended == [asking.session.namespace["_puq"]]


def test_where_there_is_nothing_to_go_on_with(against: Any, shell: Any) -> None:
    server = against("Whole.")
    assert "no answer to go on with" in str(shell.error("%puq_chat --continue"))
    shell.run("%puq_chat -q hi")
    assert "no answer to go on with" in str(shell.error("%puq_chat --continue"))
    assert "no conversation 'main'" in str(shell.error("%puq_chat -c main --continue"))
    assert "takes no -a" in str(shell.error("%puq_chat --continue -a x"))
    assert "takes no -s" in str(shell.error("%puq_chat --continue -s x"))
    assert len(server.heard) == 1


def test_the_model_goes_on_that_began(against: Any, shell: Any) -> None:
    server = against(cut, " three.")
    shell.run("%puq_chat -q -m c/d one")
    shell.run("%puq_chat -q --continue")
    assert server.heard[1].json["model"] == "c/d"


# --- in a kernel ------------------------------------------------------------


def test_a_kernel_keeps_them_when_it_reloads(pupil: Any) -> None:
    pupil.run("%puq_chat -q -c main one")
    pupil.run("%reload_ext puq_magics\n%puq_sandbox --pace 0")
    pupil.run("%puq_chat -q -c main two")
    pupil.run("%unload_ext puq_magics")
    pupil.run("%load_ext puq_magics\n%puq_chats main -q -o t")
    assert pupil.value("[turn.question for turn in t.conversation.turns]") == ["one", "two"]


def test_the_kernel_gets_the_cells_ids_from_the_front_end(pupil: Any) -> None:
    client = pupil._client
    for code in ("%puq_chat -q -c main one", "%puq_chat -q -c main two"):
        message = client.session.msg(
            "execute_request", {"code": code, "silent": False, "store_history": True}
        )
        message["metadata"]["cellId"] = "3f2a9c1e"
        client.shell_channel.send(message)
    pupil.run("%puq_chats main -q -o t")
    assert pupil.value("[[turn.question, turn.key] for turn in t.conversation.turns]") == [
        ["two", ["3f2a9c1e", 0]]
    ]
