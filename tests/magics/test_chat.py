from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from puq_magics.core.errors import (
    ConfigurationError,
    InputError,
    InvalidResponseError,
    MissingKeyError,
    MissingVariableError,
    PaymentRequiredError,
)
from puq_magics.prompts.token_estimate import estimate_tokens


def user(request: dict[str, Any]) -> str:
    (message,) = [message for message in request["messages"] if message["role"] == "user"]
    return str(message["content"])


RAW = [
    "it's",
    'an "open quote',
    "a ' and a \" both",
    r"back\slash \n \frac{a}{b} C:\temp" + "\\",
    "$x and ${x} and $HOME",
    "{x} and {x!r} and {{}} and { {x} }",
    "100% of %s and %puq",
    "!ls and !!",
    "spaces   in   between",
    "ends with a semicolon;",
    "# a comment?",
    "Grüße, 你好, 🎈",
    "(unbalanced [brackets {",
    "-- is no option here",
    "What is a cell",
]


@pytest.mark.parametrize("prompt", RAW)
def test_a_line_is_sent_as_it_was_typed(sandbox_shell: Any, prompt: str) -> None:
    sandbox_shell.run("x = 'never filled'")
    line = f"%puq_chat -- {prompt}" if prompt.startswith("-") else f"%puq_chat {prompt}"
    assert user(sandbox_shell.echoed_request(line)) == prompt


@pytest.mark.parametrize("prompt", RAW)
def test_a_cell_is_sent_as_it_was_typed(sandbox_shell: Any, prompt: str) -> None:
    sandbox_shell.run("x = 'never filled'")
    assert (
        user(sandbox_shell.echoed_request(f"%%puq_chat\n{prompt}\n\n    indented {prompt}\n"))
        == f"{prompt}\n\n    indented {prompt}"
    )


@pytest.mark.parametrize(
    "line",
    [
        "%puq_chat What is a cell?",
        "r = %puq_chat What is a cell?",
        "if True:\n    %puq_chat What is a cell?",
        "if True:\n    r = %puq_chat What is a cell?",
    ],
)
def test_a_question_is_no_call_for_help(sandbox_shell: Any, line: str) -> None:
    assert user(sandbox_shell.echoed_request(line)) == "What is a cell?"


def test_a_question_with_an_apostrophe(sandbox_shell: Any) -> None:
    assert user(sandbox_shell.echoed_request("%puq_chat Who's there?")) == "Who's there?"


def test_only_what_was_set_is_sent(sandbox_shell: Any) -> None:
    assert sandbox_shell.echoed_request("%puq_chat hello") == {
        "model": "sandbox/echo",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sandbox_shell.echoed_request("%puq_chat --no-stream hello") == {
        "model": "sandbox/echo",
        "messages": [{"role": "user", "content": "hello"}],
    }


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("-t 0", "temperature", 0.0),
        ("-t 0.7", "temperature", 0.7),
        ("--temperature=1e-1", "temperature", 0.1),
        ("-t2", "temperature", 2.0),
        ("--max-tokens 400", "max_completion_tokens", 400),
        ("--max-tokens=1000", "max_completion_tokens", 1000),
        ("--param seed=7", "seed", 7),
        ("--param seed=-7", "seed", -7),
        ("--param=seed=7", "seed", 7),
        ("--param stop=END", "stop", "END"),
        ("--param 'stop=two words'", "stop", "two words"),
        ('--param stop=\'["a b", "c"]\'', "stop", ["a b", "c"]),
        ("--param extra=true", "extra", True),
        ("--param on_retry=1", "on_retry", 1),
        ("--param extra=null", "extra", None),
        ("--param extra=", "extra", ""),
        ("--param extra=a=b", "extra", "a=b"),
        ('--param extra=\'{"a": {"b": 1}}\'', "extra", {"a": {"b": 1}}),
        ("--param stream_options={}", "stream_options", {}),
    ],
)
def test_fields_arrive_with_their_types(sandbox_shell: Any, options: str, field: str, value: object) -> None:
    line, cell = (
        sandbox_shell.echoed_request(f"%puq_chat {options} hi"),
        sandbox_shell.echoed_request(f"%%puq_chat {options}\nhi"),
    )
    assert line == cell
    if value is None:  # what is None is not sent
        assert field not in line
    else:
        assert line[field] == value
        assert type(line[field]) is type(value)
    assert user(line) == "hi"


def test_a_negative_number_is_a_value(sandbox_shell: Any) -> None:
    error = sandbox_shell.error("%puq_chat -t -1 hi")
    assert error.status == 400  # it was sent; the router says what it takes
    assert "temperature" in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "-t 0 sandbox/echo",
        "sandbox/echo -t 0",
        "-t 0 -m sandbox/echo",
        "-m=sandbox/echo --temperature 0",
        "-msandbox/echo -t0",
        "sandbox/echo\t-t\t0",
        "  sandbox/echo   -t 0  ",
    ],
)
def test_a_cells_line_may_name_the_model(sandbox_shell: Any, monkeypatch: Any, line: str) -> None:
    monkeypatch.setenv("PUQ_CHAT_MODEL", "sandbox/short")
    request = sandbox_shell.echoed_request(f"%%puq_chat {line}\nhi")
    assert (request["model"], request["temperature"]) == ("sandbox/echo", 0.0)


def test_options_on_both_sides_of_the_model_add_up(sandbox_shell: Any) -> None:
    request = sandbox_shell.echoed_request(
        "%%puq_chat --param a=1 -s 'Be brief.' sandbox/echo --param b=2 --max-tokens 900\nhi"
    )
    assert (request["a"], request["b"], request["max_completion_tokens"]) == (1, 2, 900)
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}


def test_the_system_prompt_comes_first_and_is_filled(sandbox_shell: Any) -> None:
    sandbox_shell.run("who = 'a cat'")
    messages = sandbox_shell.echoed_request('%puq_chat -s "You\'re {{who}}. $x {x}" What are you')["messages"]
    assert messages == [
        {"role": "system", "content": "You're a cat. $x {x}"},
        {"role": "user", "content": "What are you"},
    ]
    assert (
        sandbox_shell.echoed_request("%puq_chat --raw -s {{who}} hi")["messages"][0]["content"] == "{{who}}"
    )


def test_an_empty_system_prompt_takes_the_set_one_away(sandbox_shell: Any) -> None:
    sandbox_shell.run("%config PuqMagics.system = 'Be kind.'")
    assert sandbox_shell.echoed_request("%puq_chat hi")["messages"][0] == {
        "role": "system",
        "content": "Be kind.",
    }
    for empty in ("-s ''", '-s ""', "--system=", "--system ''"):
        assert [m["role"] for m in sandbox_shell.echoed_request(f"%puq_chat {empty} hi")["messages"]] == [
            "user"
        ]


def test_filling_and_raw(sandbox_shell: Any) -> None:
    sandbox_shell.run("topic = 'cells'; row = {'a': 'it\\'s {{topic}}'}")
    assert (
        user(sandbox_shell.echoed_request("%puq_chat on {{topic}}: {{row.a}}")) == "on cells: it's {{topic}}"
    )
    assert (
        user(sandbox_shell.echoed_request("%%puq_chat --raw\non {{topic}}: {{nowhere}}"))
        == "on {{topic}}: {{nowhere}}"
    )


def test_two_dashes_end_the_options(sandbox_shell: Any) -> None:
    assert user(sandbox_shell.echoed_request("%puq_chat -- -t 5 is what I typed")) == "-t 5 is what I typed"
    assert user(sandbox_shell.echoed_request("%puq_chat -q -- --")) == "--"
    assert user(sandbox_shell.echoed_request("%puq_chat - a list item")) == "- a list item"


def test_out_names_the_variable(sandbox_shell: Any) -> None:
    sandbox_shell.run("%puq_chat -o first one")
    sandbox_shell.run("%%puq_chat --out second\ntwo")
    names = sandbox_shell.names
    assert names["second"] is names["_puq"]
    assert user(json.loads(names["first"].text.split("```json\n")[1].rsplit("```", 1)[0])) == "one"


def test_quiet_shows_nothing_and_keeps_the_result(sandbox_shell: Any) -> None:
    ran = sandbox_shell.run("r = %puq_chat -q hi")
    assert ran.out == ""
    assert sandbox_shell.names["r"].text == sandbox_shell.names["_puq"].text
    assert sandbox_shell.names["r"].text in sandbox_shell.run("print(r)").out


def test_a_dry_run_shows_the_very_request_and_sends_nothing(sandbox_shell: Any, sandbox: Any) -> None:
    sent = sandbox_shell.echoed_request("%puq_chat -t 0 --param seed=1 -s it\\'s say \"it's\" {x}")
    before = sandbox.requests
    ran = sandbox_shell.run("%puq_chat --dry-run -t 0 --param seed=1 -s it\\'s say \"it's\" {x}")
    assert sandbox.requests == before
    assert ran.value is None
    assert sandbox.token not in ran.out
    note, messages, command = ran.out.strip().split("\n\n", 2)
    assert note.endswith("nothing was sent")
    messages, _, command = f"{messages}\n\n{command}".rpartition("\n\n")
    assert messages == "system: it's\n\nuser: say \"it's\" {x}"
    words = shlex.split(command)
    assert f"{sandbox.base_url}/v1/chat/completions" in words
    assert "Authorization: Token $PUQ_API_KEY" in words
    assert json.loads(words[words.index("--data-raw") + 1]) == sent


def test_an_earlier_cell_is_filled_in_as_it_was_typed(sandbox_shell: Any) -> None:
    number = sandbox_shell.ip.execution_count
    sandbox_shell.run("%puq_chat -q first")
    sandbox_shell.run(f"%puq_chat -q -o r See {{{{In[{number}]}}}}")
    assert sandbox_shell.names["r"].messages[-1]["content"] == "See %puq_chat -q first"
    for cells in ("In[5:3]", "In[99999:]"):
        assert f"{{{{{cells}}}}}: there are no such cells." in str(
            sandbox_shell.error(f"%puq_chat {{{{{cells}}}}}")
        )


def test_a_dry_run_shortens_a_long_curl_line(sandbox_shell: Any) -> None:
    sandbox_shell.run("words = 'wren ' * 1_000")
    short = sandbox_shell.run("%puq_chat --dry-run {{words}}").out.rpartition("\n\n")[2]
    whole = sandbox_shell.run("%puq_chat --dry-run --full {{words}}").out.rpartition("\n\n")[2]
    assert len(short) < 1_000 < 5_000 < len(whole)
    left_out = re.search(r" …\(([\d,]+) more characters; --full shows them\)… ", short)
    assert left_out is not None
    assert len(short) - len(left_out[0]) + int(left_out[1].replace(",", "")) == len(whole)
    assert whole.startswith(short[: left_out.start()])
    assert whole.endswith(short[left_out.end() :])
    assert "--full is for --dry-run" in str(sandbox_shell.error("%puq_chat --full hi"))


def test_a_dry_run_needs_no_key(shell: Any, monkeypatch: Any) -> None:
    ran = shell.run("%puq_chat --dry-run -m openai/gpt-4o hi")
    assert "\n\nuser: hi\n\ncurl -N https://api.puq.ai/v1/chat/completions -H " in ran.out
    assert isinstance(shell.error("%puq_chat -m openai/gpt-4o hi"), MissingKeyError)


def test_help_documents_every_option(sandbox_shell: Any) -> None:
    from puq_magics.magics.commands import CHAT_COMMAND

    text = sandbox_shell.run("%puq_chat?").out
    flags = [flag for option in CHAT_COMMAND.options for flag in option.flags]
    assert [flag for flag in flags if flag not in text] == []
    assert len(flags) == 31
    assert "the value of the magic" in " ".join(text.split())


REFUSED_BEFORE = [
    ("%puq_chat -t warm hi", "'warm' is not a number"),
    ("%puq_chat -t nan hi", "'nan' is not a number"),
    ("%puq_chat -t", "expected one argument"),
    ("%puq_chat --max-tokens 0 hi", "not a whole number above 0"),
    ("%puq_chat --max-tokens 1.5 hi", "not a whole number above 0"),
    ("%puq_chat --max-tokens -5 hi", "not a whole number above 0"),
    ("%puq_chat --modle x hi", "Did you mean --model?"),
    ("%puq_chat --temp 0 hi", "Did you mean --temperature?"),
    ("%puq_chat --nostream hi", "Did you mean --no-stream?"),
    ("%puq_chat -x hi", "there is no option -x"),
    ("%puq_chat -t warm hi", "-t: sampling temperature; 0 is the most deterministic. %puq_chat? shows"),
    ("%puq_chat -5 is a number", "-- ends them"),
    ("%puq_chat -o 1x hi", "'1x' is not a name"),
    ("%puq_chat -o class hi", "'class' is not a name"),
    ("%puq_chat -o a.b hi", "'a.b' is not a name"),
    ("%puq_chat -o '' hi", "'' is not a name"),
    ("%puq_chat -o In hi", "IPython's own"),
    ("%puq_chat -o _ hi", "IPython's own"),
    ("%puq_chat --param seed hi", "--param seed has no value"),
    ("%puq_chat --param =7 hi", "has no value"),
    ("%puq_chat --param model=x hi", "not for --param"),
    ("%puq_chat --param messages=[] hi", "not for --param"),
    ("%puq_chat --param temperature=1 hi", "not for --param"),
    ("%puq_chat --param x=NaN hi", "cannot be written as JSON"),
    ("%puq_chat -s it's hi", "a quote that is not closed"),
    ('%puq_chat -s "You are a hi', "a quote that is not closed"),
    ("%puq_chat", "the prompt is empty"),
    ("%puq_chat -t 1", "the prompt is empty"),
    ("%puq_chat -- ", "the prompt is empty"),
    ("%%puq_chat\n  \n\t\n", "the prompt is empty"),
    ("%%puq_chat sandbox/echo two\nhi", "unexpected argument 'two'"),
    ("%%puq_chat -m a b\nhi", "-m names the model"),
    ("%%puq_chat b -m a\nhi", "-m names the model"),
]


@pytest.mark.parametrize(("code", "words"), REFUSED_BEFORE)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    sandbox_shell: Any, sandbox: Any, code: str, words: str
) -> None:
    error = sandbox_shell.error(code)
    assert isinstance(error, InputError)
    assert words in str(error)
    assert [request for request in sandbox.requests if request.method == "POST"] == []
    sandbox_shell.run("%puq_chat and the next cell works")


def test_a_missing_variable_is_named_with_the_nearest(sandbox_shell: Any, sandbox: Any) -> None:
    sandbox_shell.run("topic = 1")
    error = sandbox_shell.error("%puq_chat on {{topik}}")
    assert isinstance(error, MissingVariableError)
    assert "topik" in str(error)
    assert "'topic'" in str(error)
    assert sandbox.requests == ()


def test_without_a_key_the_ways_to_one_are_named(shell: Any) -> None:
    error = shell.error("%puq_chat -m openai/gpt-4o hi")
    assert isinstance(error, MissingKeyError)
    assert "%puq_login" in str(error)
    assert "%puq_sandbox" in str(error)
    assert "_puq" not in shell.names


def test_the_vendors_models_have_a_provider(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_API_KEY", "abcdefghijklmnop")
    error = shell.error("%puq_chat -m gpt-4o hi")
    assert isinstance(error, InputError)
    assert "provider/model" in str(error)


def test_without_a_model_the_list_is_shown(sandbox_shell: Any, monkeypatch: Any, sandbox: Any) -> None:
    monkeypatch.delenv("PUQ_CHAT_MODEL")
    error = sandbox_shell.error("%puq_chat hi")
    assert isinstance(error, ConfigurationError)
    assert "sandbox/short" in str(error)
    assert "-m" in error.hint
    assert [asked.path for asked in sandbox.requests] == ["/v1/models"]


def test_loops_and_values(sandbox_shell: Any) -> None:
    sandbox_shell.run(
        "texts = []\nfor word in ('one', 'two', 'three'):\n    r = %puq_chat -q {{word}}\n    texts.append(r.text)"
    )
    words = [
        user(json.loads(text.split("```json\n")[1].rsplit("```", 1)[0]))
        for text in sandbox_shell.names["texts"]
    ]
    assert words == ["one", "two", "three"]


def test_an_answer_fills_the_next_prompt(sandbox_shell: Any) -> None:
    sandbox_shell.run("r = %puq_chat -m sandbox/short -q first")
    assert (
        user(sandbox_shell.echoed_request("%puq_chat Sum up: {{r}}"))
        == f"Sum up: {sandbox_shell.names['r'].text}"
    )
    sandbox_shell.run("r = %puq_chat -m sandbox/short -q first")
    assert (
        user(sandbox_shell.echoed_request("%puq_chat Sum up: {{_puq.text}}"))
        == f"Sum up: {sandbox_shell.names['r'].text}"
    )


@pytest.mark.usefixtures("work_folder")  # the terminal saves media
@pytest.mark.parametrize("magic", ["puq_chat", "puq_image --size 64x64", "puq_speak", "puq_chat --dry-run"])
@pytest.mark.parametrize("literal", ["{{1+1}}", "{{{topic}}}", "{{ }}"])
def test_double_braces_that_are_sent_as_they_are_are_told(
    sandbox_shell: Any, monkeypatch: Any, magic: str, literal: str
) -> None:
    for kind, model in {"IMAGE": "sandbox/image", "SPEECH": "sandbox/tts"}.items():
        monkeypatch.setenv(f"PUQ_{kind}_MODEL", model)
    ran = sandbox_shell.run(f"topic = 'cats'\n%{magic} On {{{{topic}}}}: {literal}")
    assert f"{literal}: not an expression, sent unchanged" in ran.out


def test_a_function_fills_in_its_own_variables(sandbox_shell: Any) -> None:
    sandbox_shell.run("z = 'global'")
    sandbox_shell.run("def f():\n    z = 'local'\n    r = %puq_chat -q tell {{z}}\n    return r")
    sandbox_shell.run("answer = f()")
    assert "tell local" in sandbox_shell.run("print(answer.text)").out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, notes and a table."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "chart.png")
    (tmp_path / "notes.md").write_text("Some notes.\n")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "blob.bin").write_bytes(bytes(range(256)))
    return tmp_path


def parts(request: dict[str, Any]) -> list[dict[str, Any]]:
    content = request["messages"][-1]["content"]
    assert isinstance(content, list)
    return content


def test_an_image_goes_along(sandbox_shell: Any, folder: Path) -> None:
    words, image = parts(sandbox_shell.echoed_request("%puq_chat -a chart.png What is this"))
    assert words == {"type": "text", "text": "What is this"}
    assert image["type"] == "image_url"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


def test_several_at_once(sandbox_shell: Any, folder: Path) -> None:
    sandbox_shell.run("from PIL import Image\nimg = Image.new('RGB', (9, 9))")
    found = parts(sandbox_shell.echoed_request("%puq_chat -a notes.md -a data.csv --attach img Compare"))
    assert [part["type"] for part in found] == ["text", "text", "text", "image_url"]
    assert "Some notes." in found[1]["text"]
    assert "1,2" in found[2]["text"]


def test_a_figure_and_a_result(sandbox_shell: Any, folder: Path) -> None:
    sandbox_shell.run("from matplotlib.figure import Figure\nfig = Figure()\nfig.subplots().plot([1, 2])")
    assert parts(sandbox_shell.echoed_request("%puq_chat -a fig What is this"))[1]["type"] == "image_url"
    sandbox_shell.run("r = %puq_chat -q -m sandbox/short hi")
    assert (
        sandbox_shell.names["r"].text
        in parts(sandbox_shell.echoed_request("%puq_chat -a r Sum up"))[1]["text"]
    )


def test_an_image_in_the_prompt_comes_before_those_attached(sandbox_shell: Any, folder: Path) -> None:
    sandbox_shell.run("from PIL import Image\nimg = Image.new('RGB', (9, 9))")
    found = parts(sandbox_shell.echoed_request("%puq_chat -a notes.md See {{img | image}}"))
    assert [part["type"] for part in found] == ["text", "image_url", "text"]


@pytest.mark.parametrize("name", ["blob.bin", "nowhere.png", "nobody", "number", "empty"])
def test_what_cannot_be_sent_is_told_before_sending(
    sandbox_shell: Any, folder: Path, sandbox: Any, name: str
) -> None:
    sandbox_shell.run("number = 5")
    (folder / "empty").mkdir()
    assert isinstance(sandbox_shell.error(f"%puq_chat -a {name} hi"), InputError)
    assert sandbox.requests == ()


def test_a_file_wins_over_a_variable_and_the_footer_says_so(sandbox_shell: Any, folder: Path) -> None:
    (folder / "notes").write_text("From the file.")
    sandbox_shell.run("notes = 'From the variable.'")
    assert "From the file." in parts(sandbox_shell.echoed_request("%puq_chat -a notes hi"))[1]["text"]
    assert "the file notes was taken" in sandbox_shell.names["_puq"].notes[0]


def test_attachments_stay_in_the_conversation(sandbox_shell: Any, folder: Path) -> None:
    sandbox_shell.echoed_request("%puq_chat -c main -a chart.png What is this")
    (folder / "chart.png").unlink()
    first = sandbox_shell.echoed_request("%puq_chat -c main And now")["messages"][0]["content"]
    assert [part["type"] for part in first] == ["text", "image_url"]
    assert "Attached: an image (PNG" in sandbox_shell.run("%puq_chats main").out


def test_a_dry_run_says_what_goes_along_and_what_was_cut(sandbox_shell: Any, folder: Path) -> None:
    sandbox_shell.run("words = 'wren ' * 10_000")
    out = sandbox_shell.run("%puq_chat --dry-run -a chart.png See {{words}}").out
    assert "\n\nwith it: an image (PNG, 1 kB)\n\nwords: cut at 20,000 of 50,000 characters\n\n" in out


def test_a_dry_run_leaves_out_the_data_of_images(sandbox_shell: Any, folder: Path) -> None:
    Image.effect_noise((200, 200), 50).save(folder / "noise.png")
    ran = sandbox_shell.run("%puq_chat --dry-run --full -a noise.png -a notes.md hi")
    assert "more characters)" in ran.out
    assert len(ran.out) < 3_000
    assert re.search(r"user: hi\n\nwith it: an image \(PNG, \d\d kB\)\n\nFile notes.md", ran.out)
    words = shlex.split(ran.out[ran.out.index("\n\ncurl ") :])
    request = json.loads(words[words.index("--data-raw") + 1])
    assert [part["type"] for part in request["messages"][0]["content"]] == ["text", "image_url", "text"]


def test_an_image_counts_as_some_tokens_not_as_its_bytes(sandbox_shell: Any, folder: Path) -> None:
    Image.effect_noise((400, 400), 50).save(folder / "noise.png")
    sandbox_shell.run("%config PuqMagics.budget = 1")
    sandbox_shell.run("%puq_chat -q -a noise.png hi")
    assert "about 1,001 tokens of prompt" in sandbox_shell.run("%puq_chat --dry-run -a noise.png hi").out


SCHEMA = "name, age int"
ANN = '{"name": "Ann", "age": 41}'


@pytest.fixture
def use_responses(shell: Any, serve: Any, monkeypatch: Any) -> Callable[..., Any]:
    """Makes the shell ask a server that gives these answers; an int is a status."""

    def _use_responses(*answers: str | tuple[int, str]) -> Any:
        left = list(answers)

        def _answer(connection: Any) -> None:
            answer = left.pop(0)
            if isinstance(answer, tuple):
                connection.send_head(f"{answer[0]} No", "application/json")
                connection.send(json.dumps({"error": answer[1]}).encode())
                return
            connection.send_head()
            connection.send_event(answer)
            connection.send_done()

        server = serve(_answer)
        monkeypatch.setenv("PUQ_BASE_URL", server.url)
        monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
        return server

    return _use_responses


def say(connection: Any, text: str) -> None:
    """A whole answer."""
    connection.send_head()
    connection.send_event(text)
    connection.send_done()


def next_cells(shell: Any, code: str) -> list[str]:
    """What a cell puts below."""
    shell.ip.rl_next_input = None
    shell.run(code)
    return [shell.ip.rl_next_input] if shell.ip.rl_next_input is not None else []


# --- --schema ------------------------------------------------------------


def test_a_schema_is_sent_checked_and_gives_data(use_responses: Any, shell: Any) -> None:
    server = use_responses(ANN)
    shell.run(f"r = %puq_chat --schema '{SCHEMA}' Somebody")
    result = shell.names["r"]
    assert result.data == {"name": "Ann", "age": 41}
    assert result.text == ANN
    assert result.to_frame().to_dict("records") == [{"name": "Ann", "age": 41}]
    sent = server.requests[0].json
    assert sent["response_format"]["type"] == "json_schema"
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]
    assert sent["messages"] == [{"role": "user", "content": "Somebody"}]


def test_the_sandbox_answers_by_the_schema(sandbox_shell: Any) -> None:
    sandbox_shell.run(f"r = %puq_chat -m sandbox/chat --schema '[{SCHEMA}]' Some people")
    rows = sandbox_shell.names["r"].to_frame()
    assert list(rows.columns) == ["name", "age"]
    assert all(isinstance(age, int) for age in rows["age"].tolist())


def test_every_spelling_of_a_schema(use_responses: Any, shell: Any, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    (tmp_path / "person.json").write_text(json.dumps(schema))
    shell.names["asked"] = schema
    shell.run("from dataclasses import dataclass\n@dataclass\nclass Person:\n    name: str")
    use_responses(*[ANN.replace(', "age": 41', "")] * 3)
    for spec in ("asked", f"{tmp_path}/person.json", "Person"):
        shell.run(f"r = %puq_chat -q --schema {spec} Somebody")
        assert shell.names["r"].data == {"name": "Ann"}


def test_what_is_no_schema_is_told_before_anything_is_sent(use_responses: Any, shell: Any) -> None:
    server = use_responses()
    shell.run("number = 5")
    for spec in ("number", "nowhere.json", "nobody", "'name, age potato'"):
        assert isinstance(shell.error(f"%puq_chat --schema {spec} hi"), InputError)
    assert "is for JSON" in str(shell.error(f"%puq_chat -f code --schema '{SCHEMA}' hi"))
    assert server.requests == []


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "Unknown parameter: 'response_format'"),
        (422, "response_format of type json_schema is not supported with this model"),
    ],
)
def test_a_server_that_takes_no_response_format_is_told_in_words(
    use_responses: Any, shell: Any, refusal: tuple[int, str]
) -> None:
    server = use_responses(refusal, ANN)
    shell.run(f"r = %puq_chat -s Hello. --schema '{SCHEMA}' Somebody")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    sent = server.requests[1].json
    assert "response_format" not in sent
    assert sent["messages"][0]["content"].startswith("Hello.\n\nAnswer with one JSON document")
    assert '"required": ["name", "age"]' in sent["messages"][0]["content"]
    assert any("does not support response_format" in note for note in shell.names["r"].notes)


def test_another_refusal_is_an_error(use_responses: Any, shell: Any) -> None:
    server = use_responses((400, "The model is asleep"))
    assert "asleep" in str(shell.error(f"%puq_chat --schema '{SCHEMA}' Somebody"))
    assert len(server.requests) == 1


def test_an_answer_that_does_not_fit_is_repaired_once(use_responses: Any, shell: Any) -> None:
    server = use_responses('{"name": "Ann"}', ANN)
    shell.run(f"r = %puq_chat -c main --schema '{SCHEMA}' Somebody")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    question, answer, repair = server.requests[1].json["messages"]
    assert (question["content"], answer["content"]) == ("Somebody", '{"name": "Ann"}')
    assert "'age' is a required property" in repair["content"]
    assert server.requests[1].json["response_format"] == server.requests[0].json["response_format"]
    (turn,) = shell.session.conversations.find("main").turns
    assert (turn.question, turn.answer) == ("Somebody", ANN)
    assert shell.names["r"].notes == ()
    assert shell.names["r"].attempts == ('{"name": "Ann"}', ANN)
    assert turn.usage.completion_tokens == sum(map(estimate_tokens, shell.names["r"].attempts))


def test_a_repair_that_fails_is_an_error_and_nothing_is_lost(use_responses: Any, shell: Any) -> None:
    server = use_responses('{"name": "Ann"}', "I would rather not.")
    error = shell.error(f"%puq_chat -o r --schema '{SCHEMA}' Somebody")
    assert isinstance(error, InvalidResponseError)
    assert "not JSON" in str(error)
    assert error.partial == "I would rather not."
    assert len(server.requests) == 2
    assert error.hint == "The text of both attempts is in _puq.attempts."
    result = shell.names["r"]
    assert result.attempts == ('{"name": "Ann"}', "I would rather not.")
    assert (result.text, result.data) == ("I would rather not.", None)
    assert result.messages[1]["content"] == '{"name": "Ann"}'
    assert "holds no data" in str(shell.error("r.to_frame()"))


def test_the_repair_keeps_to_the_budget_and_is_in_the_ledger(sandbox_shell: Any) -> None:
    sandbox_shell.run("%puq_usage -q -o before")
    error = sandbox_shell.error(f"%puq_chat -m sandbox/tour --max-tokens 4000 --schema '{SCHEMA}' Somebody")
    assert isinstance(error, InvalidResponseError)
    assert len(sandbox_shell.session.ledger.entries(all_sessions=False)) == 2


def test_a_repair_after_a_refused_format_goes_without_it_too(use_responses: Any, shell: Any) -> None:
    server = use_responses((400, "response_format?"), '{"name": "Ann"}', ANN)
    shell.run(f"r = %puq_chat --schema '{SCHEMA}' Somebody")
    assert ["response_format" in heard.json for heard in server.requests] == [True, False, False]


def test_a_cut_off_answer_is_not_repaired_but_gone_on_with(shell: Any, serve: Any, monkeypatch: Any) -> None:
    parts = [('{"name": "Ann",', "length"), (' "age": 41}', "stop")]

    def _answer(connection: Any) -> None:
        text, finish = parts.pop(0)
        connection.send_head()
        connection.send_event(text)
        connection.send_done(finish)

    server = serve(_answer)
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
    assert "--continue" in str(shell.error(f"%puq_chat --schema '{SCHEMA}' Somebody"))
    shell.run(f"r = %puq_chat --continue --schema '{SCHEMA}'")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    assert "response_format" not in server.requests[1].json


def send_truncated_json(connection: Any) -> None:
    """An answer that ends at the token limit."""
    connection.send_head()
    connection.send_event('{"nom": "Ann",')
    connection.send_done("length")


def test_a_repair_of_what_was_gone_on_with_becomes_the_turn(shell: Any, serve: Any, monkeypatch: Any) -> None:
    answers = [
        send_truncated_json,
        *(lambda connection, text=text: say(connection, text) for text in ("No.", ANN)),
    ]
    server = serve(lambda connection: answers.pop(0)(connection))
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
    assert "--continue" in str(shell.error(f"%puq_chat -c main --schema '{SCHEMA}' Somebody"))
    shell.run(f"%puq_chat -c main --continue --schema '{SCHEMA}' -o r")
    assert shell.names["r"].data == {"name": "Ann", "age": 41}
    assert "turn 1 replaced; its earlier answer kept as branch main~1" in shell.names["r"].notes
    main = shell.session.conversations.find("main")
    assert [(turn.question, turn.answer) for turn in main.turns] == [("Somebody", ANN)]
    assert [turn.answer for turn in main.get_branch("main~1").turns] == ['{"nom": "Ann",']


@pytest.mark.parametrize("kept", [True, False])
def test_where_no_repair_can_be_asked_for_the_first_answer_is_kept(
    use_responses: Any, shell: Any, tmp_path: Path, kept: bool
) -> None:
    server = use_responses('{"name": "Ann"}', (402, "No credit"))
    options = f"-c main --save {tmp_path}/ann.json" if kept else ""
    error = shell.error(f"%puq_chat {options} -o r --schema '{SCHEMA}' Somebody")
    assert isinstance(error, PaymentRequiredError)
    assert error.hint.startswith("The repair request failed; the first answer is in _puq.text.")
    assert len(server.requests) == 2
    assert shell.names["_puq"].text == shell.names["r"].text == '{"name": "Ann"}'
    if kept:
        (turn,) = shell.session.conversations.find("main").turns
        assert turn.answer == (tmp_path / "ann.json").read_text() == '{"name": "Ann"}'


def test_a_repair_that_breaks_off_leaves_the_first_answer(shell: Any, serve: Any, monkeypatch: Any) -> None:
    def _break_off(connection: Any) -> None:
        connection.send_head()
        connection.send_event('{"na')

    answers = [lambda connection: say(connection, '{"name": "Ann"}'), _break_off]
    server = serve(lambda connection: answers.pop(0)(connection))
    monkeypatch.setenv("PUQ_BASE_URL", server.url)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
    error = shell.error(f"%puq_chat -c main --schema '{SCHEMA}' Somebody")
    assert "_puq.attempts[0]" in error.hint
    assert shell.names["_puq"].attempts == ('{"name": "Ann"}', '{"na')
    assert [turn.answer for turn in shell.session.conversations.find("main").turns] == ['{"name": "Ann"}']


# --- -f json ------------------------------------------------------------


def test_json(use_responses: Any, shell: Any) -> None:
    server = use_responses("Here it is:\n\n```json\n[1, 2]\n```\n")
    ran = shell.run("r = %puq_chat -f json Two numbers")
    assert shell.names["r"].data == [1, 2]
    assert "Here it is" in shell.names["r"].text
    assert "Answer with one JSON document" in server.requests[0].json["messages"][0]["content"]
    assert "a/b" in ran.out


@pytest.mark.parametrize("is_live", [True, False])
def test_after_a_repair_one_output_stands_with_the_failed_attempt_folded(
    sandbox_kernel: Any, is_live: bool
) -> None:
    sandbox_kernel.run(f"%config PuqMagics.live = {is_live}")
    cell = sandbox_kernel.run(f"%puq_chat -m sandbox/clumsy --schema '{SCHEMA}' Somebody")
    (shown,) = cell.screen
    answer, folded, footer = re.split("<details>|</details>", shown["text/markdown"])
    assert answer.startswith("```json\n")
    assert folded.startswith(
        "<summary>Attempt 1, which was not valid</summary>\n\n"
        "````\nCertainly! Here is the JSON that you asked for:\n\n```json\n"
    )
    assert "<sub>sandbox/clumsy · repaired once · " in footer
    assert is_live or cell.kinds == ["display_data"]


def test_what_is_not_repaired_is_shown_to_the_letter(fresh_kernel: Any, serve: Any) -> None:
    wrong = "Certainly:\n\n```json\n{}\n```"

    def _answer(connection: Any) -> None:
        if len(connection.request.json["messages"]) < 3:
            connection.send_head()
            connection.send_event(wrong)
            connection.send_done()
        else:
            connection.send_head("401 Unauthorized", "application/json")

    fresh_kernel.run(f"%config PuqMagics.base_url = '{serve(_answer).url}'")
    cell = fresh_kernel.run(f"%puq_chat -m a/b --schema '{SCHEMA}' Somebody")
    (shown,) = cell.screen
    assert shown["text/markdown"].startswith(f"````\n{wrong}\n````")
    assert "asking once more** · a/b" in shown["text/markdown"]
    assert "The repair request failed; the first answer is in _puq.text." in " ".join(cell.error["traceback"])


def test_json_is_shown_in_a_notebook_as_json(sandbox_kernel: Any) -> None:
    (bundle,) = sandbox_kernel.run(f"%puq_chat -m sandbox/chat --schema '{SCHEMA}' Somebody").screen
    assert bundle["text/markdown"].startswith("```json\n{\n")
    assert json.loads(bundle["text/plain"].split("\n\n[")[0]).keys() == {"name", "age"}


# --- -f code ------------------------------------------------------------

TWO = "First:\n\n```python\nx = 1\n```\n\nThen:\n\n```python\ny = 2\n```\n\nAnd:\n\n```bash\nls\n```\n"


def test_a_cell_that_runs_again_says_that_the_cell_made_before_is_there(
    use_responses: Any, shell: Any
) -> None:
    use_responses(*["```python\nx = 1\n```"] * 3)
    for cell, is_told in (("a", False), ("a", True), ("b", False)):
        shell.ip.run_cell("%puq_chat -f code a number", store_history=True, cell_id=cell).raise_error()
        footer = shell.names["_puq"].footer.to_text()
        assert "the code is in the cell below, not run" in footer
        assert ("; the earlier cell is below it" in footer) == is_told


def test_code_goes_into_the_cell_below_and_is_not_run(use_responses: Any, shell: Any) -> None:
    use_responses("So:\n\n```python\nx = 1\n```\nDone.")
    assert next_cells(shell, "%puq_chat -f code -o r a number") == ["x = 1"]
    assert "x" not in shell.names
    assert "the code is in the cell below, not run" in shell.names["r"].footer.to_text()


def test_the_first_of_several_blocks_or_all(use_responses: Any, shell: Any) -> None:
    use_responses(TWO, TWO)
    assert next_cells(shell, "r = %puq_chat -f code numbers") == ["x = 1"]
    assert "2 blocks are not in the cell below (--all-blocks" in shell.names["r"].notes[0]
    assert next_cells(shell, "r = %puq_chat -f code --all-blocks numbers") == ["x = 1\n\ny = 2"]
    assert "1 block is not in the cell below" in shell.names["r"].notes[0]


def test_several_answers_of_one_cell_go_into_one_cell_below(use_responses: Any, shell: Any) -> None:
    use_responses("```python\nx = 1\n```", "None.", "```python\ny = 2\n```", "```python\nz = 3\n```")
    asks = "for n in (1, 2, 3):\n    %puq_chat -f code -o r number {{n}}"
    assert next_cells(shell, asks) == ["x = 1\n\n# --- answer 2 ---\ny = 2"]
    assert "the code is added to the cell below, not run" in shell.names["r"].footer.to_text()
    assert next_cells(shell, "%puq_chat -f code number 4") == ["z = 3"]


def test_an_answer_without_code(use_responses: Any, shell: Any) -> None:
    use_responses("I would rather not.")
    assert next_cells(shell, "r = %puq_chat -f code numbers") == []
    assert shell.names["r"].notes == ("there is no code in the answer",)
    assert shell.names["r"].attempts == ("I would rather not.",)
    assert "--all-blocks is for -f code" in str(shell.error("%puq_chat --all-blocks hi"))


def test_a_notebook_gets_a_new_cell(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_chat -m sandbox/chat -f code Show me code")
    (payload,) = cell.reply["payload"]
    assert payload["source"] == "set_next_input"
    assert payload["replace"] is False
    first = payload["text"]
    assert first
    twice = "for _ in range(2):\n    %puq_chat -m sandbox/chat -f code Show me code"
    (payload,) = sandbox_kernel.run(twice).reply["payload"]
    assert payload["text"] == f"{first}\n\n# --- answer 2 ---\n{first}"
    (payload,) = sandbox_kernel.run("%puq_chat -m sandbox/chat -f code Show me code").reply["payload"]
    assert payload["text"] == first


# --- -f text and html ------------------------------------------------------------


def test_text_is_shown_as_it_stands_in_one_output(sandbox_kernel: Any) -> None:
    cell = sandbox_kernel.run("%puq_chat -m sandbox/short -f text hi")
    assert cell.out == ""
    for bundle in (cell.screen, sandbox_kernel.run("_puq").screen):
        (shown,) = bundle
        assert set(shown) == {"text/plain", "text/html"}
        assert shown["text/plain"].startswith("*Scripted by the sandbox")
        assert "&gt; hi" in shown["text/html"]


HOSTILE = (
    '<h1 onclick="x()">Hi</h1><script>x()</script><style>p{}</style><iframe src="//a"></iframe>'
    '<img src="http://a.example/x.png"><a href="javascript:x()">a</a><form action="//a"><input></form>'
)


def test_nothing_active_remains_of_html(fresh_kernel: Any, serve: Any) -> None:
    def _answer(connection: Any) -> None:
        connection.send_head()
        connection.send_event(HOSTILE)
        connection.send_done()

    server = serve(_answer)
    fresh_kernel.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.chat_model = 'a/b'")
    (bundle,) = fresh_kernel.run("%puq_chat -f html a page").screen
    shown = bundle["text/html"]
    assert "<h1>Hi</h1>" in shown
    for active in ("script", "style", "iframe", "onclick", "http:", "form", "input", "javascript"):
        assert active not in shown
    assert "<script>" in fresh_kernel.value("_puq.text")
    assert server.requests[0].json["messages"][0]["content"].startswith("Answer with one piece of HTML")


def test_html_needs_its_sanitiser_before_anything_is_paid_for(
    use_responses: Any, shell: Any, monkeypatch: Any
) -> None:
    server = use_responses()
    monkeypatch.setitem(__import__("sys").modules, "nh3", None)
    error = shell.error("%puq_chat -f html hi")
    assert isinstance(error, ConfigurationError)
    assert "nh3" in str(error)
    assert server.requests == []


# --- --save ------------------------------------------------------------


def test_what_is_saved_is_what_was_asked_for(use_responses: Any, shell: Any, tmp_path: Path) -> None:
    use_responses("Words.", ANN, TWO)
    shell.run(f"r = %puq_chat --save {tmp_path}/words.md hi")
    shell.run(f"%puq_chat -q --schema '{SCHEMA}' --save {tmp_path}/ann.json hi")
    shell.run(f"%puq_chat -q -f code --all-blocks --save {tmp_path}/code.py hi")
    assert (tmp_path / "words.md").read_text() == "Words."
    assert json.loads((tmp_path / "ann.json").read_text()) == json.loads(ANN)
    assert (tmp_path / "code.py").read_text() == "x = 1\n\ny = 2"
    assert f"saved as {tmp_path}/words.md" in shell.names["r"].footer.to_text()


def test_nothing_is_overwritten_unasked(use_responses: Any, shell: Any, tmp_path: Path) -> None:
    server = use_responses("New.")
    (tmp_path / "old.md").write_text("Old.")
    assert "exists" in str(shell.error(f"%puq_chat --save {tmp_path}/old.md hi"))
    assert "no folder" in str(shell.error(f"%puq_chat --save {tmp_path}/nowhere/x.md hi"))
    assert server.requests == []
    shell.run(f"%puq_chat -q --save {tmp_path}/old.md --force hi")
    assert (tmp_path / "old.md").read_text() == "New."
