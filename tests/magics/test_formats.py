"""What an answer is asked to be: JSON that is checked, code in a new cell, text, HTML; and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import ConfigurationError, InputError, InvalidResponseError, PaymentRequiredError
from puq_magics.prompts.token_estimate import tokens_in

SCHEMA = "name, age int"
ANN = '{"name": "Ann", "age": 41}'


@pytest.fixture
def against(shell: Any, serve: Any, environ: Any) -> Callable[..., Any]:
    """Makes the shell ask a server that gives these answers; an int is a status."""

    def _against(*answers: str | tuple[int, str]) -> Any:
        left = list(answers)

        def _answer(connection: Any) -> None:
            answer = left.pop(0)
            if isinstance(answer, tuple):
                connection.head(f"{answer[0]} No", "application/json")
                connection.send(json.dumps({"error": answer[1]}).encode())
                return
            connection.head()
            connection.say(answer)
            connection.done()

        server = serve(_answer)
        environ.setenv("PUQ_BASE_URL", server.url)
        environ.setenv("PUQ_CHAT_MODEL", "a/b")
        return server

    return _against


def say(connection: Any, text: str) -> None:
    """A whole answer."""
    connection.head()
    connection.say(text)
    connection.done()


def cells_below(shell: Any, code: str) -> list[str]:
    """What a cell puts below."""
    shell.ip.rl_next_input = None
    shell.run(code)
    return [shell.ip.rl_next_input] if shell.ip.rl_next_input is not None else []


# --- --schema ------------------------------------------------------------


def test_a_schema_is_sent_checked_and_gives_data(against: Any, shell: Any) -> None:
    server = against(ANN)
    shell.run(f"r = %puq_chat --schema '{SCHEMA}' Somebody")
    result = shell.names["r"]
    assert result.data == {"name": "Ann", "age": 41}
    assert result.text == ANN
    assert result.to_frame().to_dict("records") == [{"name": "Ann", "age": 41}]
    sent = server.heard[0].json
    assert sent["response_format"]["type"] == "json_schema"
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]
    assert sent["messages"] == [{"role": "user", "content": "Somebody"}]


def test_the_sandbox_answers_by_the_schema(asking: Any) -> None:
    asking.run(f"r = %puq_chat -m sandbox/chat --schema '[{SCHEMA}]' Some people")
    rows = asking.names["r"].to_frame()
    assert list(rows.columns) == ["name", "age"]
    assert all(isinstance(age, int) for age in rows["age"].tolist())


def test_every_spelling_of_a_schema(against: Any, shell: Any, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    (tmp_path / "person.json").write_text(json.dumps(schema))
    shell.names["asked"] = schema
    shell.run("from dataclasses import dataclass\n@dataclass\nclass Person:\n    name: str")
    against(*[ANN.replace(', "age": 41', "")] * 3)
    for spec in ("asked", f"{tmp_path}/person.json", "Person"):
        shell.run(f"r = %puq_chat -q --schema {spec} Somebody")
        assert shell.names["r"].data == {"name": "Ann"}


def test_what_is_no_schema_is_told_before_anything_is_sent(against: Any, shell: Any) -> None:
    server = against()
    shell.run("number = 5")
    for spec in ("number", "nowhere.json", "nobody", "'name, age potato'"):
        assert isinstance(shell.error(f"%puq_chat --schema {spec} hi"), InputError)
    assert "is for JSON" in str(shell.error(f"%puq_chat -f code --schema '{SCHEMA}' hi"))
    assert server.heard == []


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "Unknown parameter: 'response_format'"),
        (422, "response_format of type json_schema is not supported with this model"),
    ],
)
def test_a_server_that_takes_no_response_format_is_told_in_words(
    against: Any, shell: Any, refusal: tuple[int, str]
) -> None:
    server = against(refusal, ANN)
    shell.run(f"r = %puq_chat -s Hello. --schema '{SCHEMA}' Somebody")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    sent = server.heard[1].json
    assert "response_format" not in sent
    assert sent["messages"][0]["content"].startswith("Hello.\n\nAnswer with one JSON document")
    assert '"required": ["name", "age"]' in sent["messages"][0]["content"]
    assert any("no response_format" in note for note in shell.names["r"].notes)


def test_another_refusal_is_an_error(against: Any, shell: Any) -> None:
    server = against((400, "The model is asleep"))
    assert "asleep" in str(shell.error(f"%puq_chat --schema '{SCHEMA}' Somebody"))
    assert len(server.heard) == 1


def test_an_answer_that_does_not_fit_is_repaired_once(against: Any, shell: Any) -> None:
    server = against('{"name": "Ann"}', ANN)
    shell.run(f"r = %puq_chat -c main --schema '{SCHEMA}' Somebody")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    question, answer, repair = server.heard[1].json["messages"]
    assert (question["content"], answer["content"]) == ("Somebody", '{"name": "Ann"}')
    assert "'age' is a required property" in repair["content"]
    assert server.heard[1].json["response_format"] == server.heard[0].json["response_format"]
    (turn,) = shell.session.conversations.find("main").turns
    assert (turn.question, turn.answer) == ("Somebody", ANN)
    assert shell.names["r"].notes == ()
    assert shell.names["r"].attempts == ('{"name": "Ann"}', ANN)
    assert turn.usage.completion_tokens == sum(map(tokens_in, shell.names["r"].attempts))


def test_a_repair_that_fails_is_an_error_and_nothing_is_lost(against: Any, shell: Any) -> None:
    server = against('{"name": "Ann"}', "I would rather not.")
    error = shell.error(f"%puq_chat -o r --schema '{SCHEMA}' Somebody")
    assert isinstance(error, InvalidResponseError)
    assert "not JSON" in str(error)
    assert error.partial == "I would rather not."
    assert len(server.heard) == 2
    assert error.hint == "The words of both tries are kept: _puq.attempts"
    result = shell.names["r"]
    assert result.attempts == ('{"name": "Ann"}', "I would rather not.")
    assert (result.text, result.data) == ("I would rather not.", None)
    assert result.messages[1]["content"] == '{"name": "Ann"}'
    assert "holds no data" in str(shell.error("r.to_frame()"))


def test_the_repair_keeps_to_the_budget_and_is_in_the_ledger(asking: Any) -> None:
    asking.run("%puq_usage -q -o before")
    error = asking.error(f"%puq_chat -m sandbox/tour --max-tokens 4000 --schema '{SCHEMA}' Somebody")
    assert isinstance(error, InvalidResponseError)
    assert len(asking.session.ledger.entries(all_sessions=False)) == 2


def test_a_repair_after_a_refused_format_goes_without_it_too(against: Any, shell: Any) -> None:
    server = against((400, "response_format?"), '{"name": "Ann"}', ANN)
    shell.run(f"r = %puq_chat --schema '{SCHEMA}' Somebody")
    assert ["response_format" in heard.json for heard in server.heard] == [True, False, False]


def test_a_cut_off_answer_is_not_repaired_but_gone_on_with(shell: Any, serve: Any, environ: Any) -> None:
    parts = [('{"name": "Ann",', "length"), (' "age": 41}', "stop")]

    def _answer(connection: Any) -> None:
        text, finish = parts.pop(0)
        connection.head()
        connection.say(text)
        connection.done(finish)

    server = serve(_answer)
    environ.setenv("PUQ_BASE_URL", server.url)
    environ.setenv("PUQ_CHAT_MODEL", "a/b")
    assert "--continue" in str(shell.error(f"%puq_chat --schema '{SCHEMA}' Somebody"))
    shell.run(f"r = %puq_chat --continue --schema '{SCHEMA}'")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    assert "response_format" not in server.heard[1].json


def cut_json(connection: Any) -> None:
    """An answer that ends at the token limit."""
    connection.head()
    connection.say('{"nom": "Ann",')
    connection.done("length")


def test_a_repair_of_what_was_gone_on_with_becomes_the_turn(shell: Any, serve: Any, environ: Any) -> None:
    answers = [cut_json, *(lambda connection, text=text: say(connection, text) for text in ("No.", ANN))]
    server = serve(lambda connection: answers.pop(0)(connection))
    environ.setenv("PUQ_BASE_URL", server.url)
    environ.setenv("PUQ_CHAT_MODEL", "a/b")
    assert "--continue" in str(shell.error(f"%puq_chat -c main --schema '{SCHEMA}' Somebody"))
    shell.run(f"%puq_chat -c main --continue --schema '{SCHEMA}' -o r")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    assert "turn 1 replaced; its earlier answer kept as branch main~1" in shell.names["r"].remarks
    main = shell.session.conversations.find("main")
    assert [(turn.question, turn.answer) for turn in main.turns] == [("Somebody", ANN)]
    assert [turn.answer for turn in main.branch("main~1").turns] == ['{"nom": "Ann",']


@pytest.mark.parametrize("kept", [True, False])
def test_where_no_repair_can_be_asked_for_the_first_answer_is_kept(
    against: Any, shell: Any, tmp_path: Path, kept: bool
) -> None:
    server = against('{"name": "Ann"}', (402, "No credit"))
    options = f"-c main --save {tmp_path}/ann.json" if kept else ""
    error = shell.error(f"%puq_chat {options} -o r --schema '{SCHEMA}' Somebody")
    assert isinstance(error, PaymentRequiredError)
    assert error.hint.startswith("This was to repair the first answer, which is in _puq.text.")
    assert len(server.heard) == 2
    assert shell.names["_puq"].text == shell.names["r"].text == '{"name": "Ann"}'
    if kept:
        (turn,) = shell.session.conversations.find("main").turns
        assert turn.answer == (tmp_path / "ann.json").read_text() == '{"name": "Ann"}'


def test_a_repair_that_breaks_off_leaves_the_first_answer(shell: Any, serve: Any, environ: Any) -> None:
    def _break_off(connection: Any) -> None:
        connection.head()
        connection.say('{"na')

    answers = [lambda connection: say(connection, '{"name": "Ann"}'), _break_off]
    server = serve(lambda connection: answers.pop(0)(connection))
    environ.setenv("PUQ_BASE_URL", server.url)
    environ.setenv("PUQ_CHAT_MODEL", "a/b")
    error = shell.error(f"%puq_chat -c main --schema '{SCHEMA}' Somebody")
    assert "_puq.attempts[0]" in error.hint
    assert shell.names["_puq"].attempts == ('{"name": "Ann"}', '{"na')
    assert [turn.answer for turn in shell.session.conversations.find("main").turns] == ['{"name": "Ann"}']


# --- -f json ------------------------------------------------------------


def test_json(against: Any, shell: Any) -> None:
    server = against("Here it is:\n\n```json\n[1, 2]\n```\n")
    ran = shell.run("r = %puq_chat -f json Two numbers")
    assert shell.names["r"].data == [1, 2]
    assert "Here it is" in shell.names["r"].text
    assert "Answer with one JSON document" in server.heard[0].json["messages"][0]["content"]
    assert "a/b" in ran.out


def test_what_does_not_fit_is_shown_to_the_letter(pupil: Any) -> None:
    wrong, right = pupil.run(f"%puq_chat -m sandbox/clumsy --schema '{SCHEMA}' Somebody").screen
    assert wrong["text/markdown"].startswith(
        "````\nCertainly! Here is the JSON that you asked for:\n\n```json\n"
    )
    assert "asking once more** · sandbox/clumsy · " in wrong["text/markdown"]
    assert right["text/markdown"].startswith("```json\n")


def test_json_is_shown_in_a_notebook_as_json(pupil: Any) -> None:
    (bundle,) = pupil.run(f"%puq_chat -m sandbox/chat --schema '{SCHEMA}' Somebody").screen
    assert bundle["text/markdown"].startswith("```json\n{\n")
    assert json.loads(bundle["text/plain"].split("\n\n[")[0]).keys() == {"name", "age"}


# --- -f code ------------------------------------------------------------

TWO = "First:\n\n```python\nx = 1\n```\n\nThen:\n\n```python\ny = 2\n```\n\nAnd:\n\n```bash\nls\n```\n"


def test_code_goes_into_the_cell_below_and_is_not_run(against: Any, shell: Any) -> None:
    against("So:\n\n```python\nx = 1\n```\nDone.")
    assert cells_below(shell, "%puq_chat -f code -o r a number") == ["x = 1"]
    assert "x" not in shell.names
    assert "the code is in the cell below, not run" in shell.names["r"].footer.plain()


def test_the_first_of_several_blocks_or_all(against: Any, shell: Any) -> None:
    against(TWO, TWO)
    assert cells_below(shell, "r = %puq_chat -f code numbers") == ["x = 1"]
    assert "2 blocks are not in the cell below (--all-blocks" in shell.names["r"].notes[0]
    assert cells_below(shell, "r = %puq_chat -f code --all-blocks numbers") == ["x = 1\n\ny = 2"]
    assert "1 block is not in the cell below" in shell.names["r"].notes[0]


def test_several_answers_of_one_cell_go_into_one_cell_below(against: Any, shell: Any) -> None:
    against("```python\nx = 1\n```", "None.", "```python\ny = 2\n```", "```python\nz = 3\n```")
    asks = "for n in (1, 2, 3):\n    %puq_chat -f code -o r number {{n}}"
    assert cells_below(shell, asks) == ["x = 1\n\n# --- answer 2 ---\ny = 2"]
    assert "the code is added to the cell below, not run" in shell.names["r"].footer.plain()
    assert cells_below(shell, "%puq_chat -f code number 4") == ["z = 3"]


def test_an_answer_without_code(against: Any, shell: Any) -> None:
    against("I would rather not.")
    assert cells_below(shell, "r = %puq_chat -f code numbers") == []
    assert shell.names["r"].notes == ("there is no code in the answer",)
    assert shell.names["r"].attempts == ("I would rather not.",)
    assert "--all-blocks is for -f code" in str(shell.error("%puq_chat --all-blocks hi"))


def test_a_notebook_gets_a_new_cell(pupil: Any) -> None:
    cell = pupil.run("%puq_chat -m sandbox/chat -f code Show me code")
    (payload,) = cell.reply["payload"]
    assert payload["source"] == "set_next_input"
    assert payload["replace"] is False
    first = payload["text"]
    assert first
    twice = "for _ in range(2):\n    %puq_chat -m sandbox/chat -f code Show me code"
    (payload,) = pupil.run(twice).reply["payload"]
    assert payload["text"] == f"{first}\n\n# --- answer 2 ---\n{first}"
    (payload,) = pupil.run("%puq_chat -m sandbox/chat -f code Show me code").reply["payload"]
    assert payload["text"] == first


# --- -f text and html ------------------------------------------------------------


def test_text_is_shown_as_it_stands(pupil: Any) -> None:
    cell = pupil.run("%puq_chat -m sandbox/short -f text hi")
    assert cell.screen == []
    assert cell.out.startswith("*Scripted by the sandbox")
    assert set(pupil.run("_puq").screen[0]) == {"text/plain"}


HOSTILE = (
    '<h1 onclick="x()">Hi</h1><script>x()</script><style>p{}</style><iframe src="//a"></iframe>'
    '<img src="http://a.example/x.png"><a href="javascript:x()">a</a><form action="//a"><input></form>'
)


def test_nothing_active_remains_of_html(notebook: Any, serve: Any) -> None:
    def _answer(connection: Any) -> None:
        connection.head()
        connection.say(HOSTILE)
        connection.done()

    server = serve(_answer)
    notebook.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.chat_model = 'a/b'")
    (bundle,) = notebook.run("%puq_chat -f html a page").screen
    shown = bundle["text/html"]
    assert "<h1>Hi</h1>" in shown
    for active in ("script", "style", "iframe", "onclick", "http:", "form", "input", "javascript"):
        assert active not in shown
    assert "<script>" in notebook.value("_puq.text")
    assert server.heard[0].json["messages"][0]["content"].startswith("Answer with one piece of HTML")


def test_html_needs_its_sanitiser_before_anything_is_paid_for(
    against: Any, shell: Any, monkeypatch: Any
) -> None:
    server = against()
    monkeypatch.setitem(__import__("sys").modules, "nh3", None)
    error = shell.error("%puq_chat -f html hi")
    assert isinstance(error, ConfigurationError)
    assert "nh3" in str(error)
    assert server.heard == []


# --- --save ------------------------------------------------------------


def test_what_is_saved_is_what_was_asked_for(against: Any, shell: Any, tmp_path: Path) -> None:
    against("Words.", ANN, TWO)
    shell.run(f"r = %puq_chat --save {tmp_path}/words.md hi")
    shell.run(f"%puq_chat -q --schema '{SCHEMA}' --save {tmp_path}/ann.json hi")
    shell.run(f"%puq_chat -q -f code --all-blocks --save {tmp_path}/code.py hi")
    assert (tmp_path / "words.md").read_text() == "Words."
    assert json.loads((tmp_path / "ann.json").read_text()) == json.loads(ANN)
    assert (tmp_path / "code.py").read_text() == "x = 1\n\ny = 2"
    assert f"saved as {tmp_path}/words.md" in shell.names["r"].footer.plain()


def test_nothing_is_overwritten_unasked(against: Any, shell: Any, tmp_path: Path) -> None:
    server = against("New.")
    (tmp_path / "old.md").write_text("Old.")
    assert "exists" in str(shell.error(f"%puq_chat --save {tmp_path}/old.md hi"))
    assert "no folder" in str(shell.error(f"%puq_chat --save {tmp_path}/nowhere/x.md hi"))
    assert server.heard == []
    shell.run(f"%puq_chat -q --save {tmp_path}/old.md --force hi")
    assert (tmp_path / "old.md").read_text() == "New."
