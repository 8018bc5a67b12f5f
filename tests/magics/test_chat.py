from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from puq_magics.core.errors import ConfigurationError, InputError, MissingKeyError, MissingVariableError


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
def test_a_line_is_sent_as_it_was_typed(asking: Any, prompt: str) -> None:
    asking.run("x = 'never filled'")
    line = f"%puq_chat -- {prompt}" if prompt.startswith("-") else f"%puq_chat {prompt}"
    assert user(asking.sent(line)) == prompt


@pytest.mark.parametrize("prompt", RAW)
def test_a_cell_is_sent_as_it_was_typed(asking: Any, prompt: str) -> None:
    asking.run("x = 'never filled'")
    assert (
        user(asking.sent(f"%%puq_chat\n{prompt}\n\n    indented {prompt}\n"))
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
def test_a_question_is_no_call_for_help(asking: Any, line: str) -> None:
    assert user(asking.sent(line)) == "What is a cell?"


def test_a_question_with_an_apostrophe(asking: Any) -> None:
    assert user(asking.sent("%puq_chat Who's there?")) == "Who's there?"


def test_only_what_was_set_is_sent(asking: Any) -> None:
    assert asking.sent("%puq_chat hello") == {
        "model": "sandbox/echo",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert asking.sent("%puq_chat --no-stream hello") == {
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
        ("--param extra=null", "extra", None),
        ("--param extra=", "extra", ""),
        ("--param extra=a=b", "extra", "a=b"),
        ('--param extra=\'{"a": {"b": 1}}\'', "extra", {"a": {"b": 1}}),
        ("--param stream_options={}", "stream_options", {}),
    ],
)
def test_fields_arrive_with_their_types(asking: Any, options: str, field: str, value: object) -> None:
    line, cell = asking.sent(f"%puq_chat {options} hi"), asking.sent(f"%%puq_chat {options}\nhi")
    assert line == cell
    if value is None:  # what is None is not sent
        assert field not in line
    else:
        assert line[field] == value
        assert type(line[field]) is type(value)
    assert user(line) == "hi"


def test_a_negative_number_is_a_value(asking: Any) -> None:
    error = asking.error("%puq_chat -t -1 hi")
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
def test_a_cells_line_may_name_the_model(asking: Any, environ: Any, line: str) -> None:
    environ.setenv("PUQ_CHAT_MODEL", "sandbox/short")
    request = asking.sent(f"%%puq_chat {line}\nhi")
    assert (request["model"], request["temperature"]) == ("sandbox/echo", 0.0)


def test_options_on_both_sides_of_the_model_add_up(asking: Any) -> None:
    request = asking.sent(
        "%%puq_chat --param a=1 -s 'Be brief.' sandbox/echo --param b=2 --max-tokens 900\nhi"
    )
    assert (request["a"], request["b"], request["max_completion_tokens"]) == (1, 2, 900)
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}


def test_the_system_prompt_comes_first_and_is_filled(asking: Any) -> None:
    asking.run("who = 'a cat'")
    messages = asking.sent('%puq_chat -s "You\'re {{who}}. $x {x}" What are you')["messages"]
    assert messages == [
        {"role": "system", "content": "You're a cat. $x {x}"},
        {"role": "user", "content": "What are you"},
    ]
    assert asking.sent("%puq_chat --raw -s {{who}} hi")["messages"][0]["content"] == "{{who}}"


def test_an_empty_system_prompt_takes_the_set_one_away(asking: Any) -> None:
    asking.run("%config PuqMagics.system = 'Be kind.'")
    assert asking.sent("%puq_chat hi")["messages"][0] == {"role": "system", "content": "Be kind."}
    for empty in ("-s ''", '-s ""', "--system=", "--system ''"):
        assert [m["role"] for m in asking.sent(f"%puq_chat {empty} hi")["messages"]] == ["user"]


def test_filling_and_raw(asking: Any) -> None:
    asking.run("topic = 'cells'; row = {'a': 'it\\'s {{topic}}'}")
    assert user(asking.sent("%puq_chat on {{topic}}: {{row.a}}")) == "on cells: it's {{topic}}"
    assert user(asking.sent("%%puq_chat --raw\non {{topic}}: {{nowhere}}")) == "on {{topic}}: {{nowhere}}"


def test_two_dashes_end_the_options(asking: Any) -> None:
    assert user(asking.sent("%puq_chat -- -t 5 is what I typed")) == "-t 5 is what I typed"
    assert user(asking.sent("%puq_chat -q -- --")) == "--"
    assert user(asking.sent("%puq_chat - a list item")) == "- a list item"


def test_out_names_the_variable(asking: Any) -> None:
    asking.run("%puq_chat -o first one")
    asking.run("%%puq_chat --out second\ntwo")
    names = asking.names
    assert names["second"] is names["_puq"]
    assert user(json.loads(names["first"].text.split("```json\n")[1].rsplit("```", 1)[0])) == "one"


def test_quiet_shows_nothing_and_keeps_the_result(asking: Any) -> None:
    ran = asking.run("r = %puq_chat -q hi")
    assert ran.out == ""
    assert asking.names["r"].text == asking.names["_puq"].text
    assert asking.names["r"].text in asking.run("print(r)").out


def test_a_dry_run_shows_the_very_request_and_sends_nothing(asking: Any, sandbox: Any) -> None:
    sent = asking.sent("%puq_chat -t 0 --param seed=1 -s it\\'s say \"it's\" {x}")
    before = sandbox.requests
    ran = asking.run("%puq_chat --dry-run -t 0 --param seed=1 -s it\\'s say \"it's\" {x}")
    assert sandbox.requests == before
    assert ran.value is None
    assert sandbox.token not in ran.out
    command, _, note = ran.out.strip().partition("\n\n")
    assert note.endswith("nothing was sent")
    words = shlex.split(command)
    assert f"{sandbox.base_url}/v1/chat/completions" in words
    assert "Authorization: Token $PUQ_API_KEY" in words
    assert json.loads(words[words.index("--data-raw") + 1]) == sent


def test_an_earlier_cell_is_filled_in_as_it_was_typed(asking: Any) -> None:
    number = asking.ip.execution_count
    asking.run("%puq_chat -q first")
    asking.run(f"%puq_chat -q -o r See {{{{In[{number}]}}}}")
    assert asking.names["r"].messages[-1]["content"] == "See %puq_chat -q first"


def test_a_dry_run_needs_no_key(shell: Any, environ: Any) -> None:
    ran = shell.run("%puq_chat --dry-run -m openai/gpt-4o hi")
    assert ran.out.startswith("curl -N https://api.puq.ai/v1/chat/completions -H ")
    assert isinstance(shell.error("%puq_chat -m openai/gpt-4o hi"), MissingKeyError)


def test_help_documents_every_option(asking: Any) -> None:
    from puq_magics.magics.commands import CHAT_COMMAND

    text = asking.run("%puq_chat?").out
    flags = [flag for option in CHAT_COMMAND._options for flag in option.flags]
    assert [flag for flag in flags if flag not in text] == []
    assert len(flags) == 26
    assert "the value of the magic" in text


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
    ("%puq_chat --param self=1 hi", "cannot send a field named self"),
    ("%puq_chat --param on_retry=1 hi", "cannot send a field named on_retry"),
    ("%puq_chat -s it's hi", "a quote that is not closed"),
    ('%puq_chat -s "You are a hi', "a quote that is not closed"),
    ("%puq_chat", "the prompt is empty"),
    ("%puq_chat -t 1", "the prompt is empty"),
    ("%puq_chat -- ", "the prompt is empty"),
    ("%%puq_chat\n  \n\t\n", "the prompt is empty"),
    ("%%puq_chat sandbox/echo two\nhi", "'two' is one too many"),
    ("%%puq_chat -m a b\nhi", "-m names the model"),
    ("%%puq_chat b -m a\nhi", "-m names the model"),
]


@pytest.mark.parametrize(("code", "words"), REFUSED_BEFORE)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    asking: Any, sandbox: Any, code: str, words: str
) -> None:
    error = asking.error(code)
    assert isinstance(error, InputError)
    assert words in str(error)
    assert [request for request in sandbox.requests if request.method == "POST"] == []
    asking.run("%puq_chat and the next cell works")


def test_a_missing_variable_is_named_with_the_nearest(asking: Any, sandbox: Any) -> None:
    asking.run("topic = 1")
    error = asking.error("%puq_chat on {{topik}}")
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


def test_the_vendors_models_have_a_provider(shell: Any, environ: Any) -> None:
    environ.setenv("PUQ_API_KEY", "abcdefghijklmnop")
    error = shell.error("%puq_chat -m gpt-4o hi")
    assert isinstance(error, InputError)
    assert "provider/model" in str(error)


def test_without_a_model_the_list_is_shown(asking: Any, environ: Any, sandbox: Any) -> None:
    environ.delenv("PUQ_CHAT_MODEL")
    error = asking.error("%puq_chat hi")
    assert isinstance(error, ConfigurationError)
    assert "sandbox/short" in str(error)
    assert "-m" in error.hint
    assert [asked.path for asked in sandbox.requests] == ["/v1/models"]


def test_loops_and_values(asking: Any) -> None:
    asking.run(
        "texts = []\nfor word in ('one', 'two', 'three'):\n    r = %puq_chat -q {{word}}\n    texts.append(r.text)"
    )
    words = [
        user(json.loads(text.split("```json\n")[1].rsplit("```", 1)[0])) for text in asking.names["texts"]
    ]
    assert words == ["one", "two", "three"]


def test_an_answer_fills_the_next_prompt(asking: Any) -> None:
    asking.run("r = %puq_chat -m sandbox/short -q first")
    assert user(asking.sent("%puq_chat Sum up: {{r}}")) == f"Sum up: {asking.names['r'].text}"
    asking.run("r = %puq_chat -m sandbox/short -q first")
    assert user(asking.sent("%puq_chat Sum up: {{_puq.text}}")) == f"Sum up: {asking.names['r'].text}"


def test_a_function_fills_in_its_own_variables(asking: Any) -> None:
    asking.run("z = 'global'")
    asking.run("def f():\n    z = 'local'\n    r = %puq_chat -q tell {{z}}\n    return r")
    asking.run("answer = f()")
    assert "tell local" in asking.run("print(answer.text)").out
