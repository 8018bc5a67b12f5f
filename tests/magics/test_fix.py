from __future__ import annotations

import gc
import re
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from puq_magics.core.errors import InputError, StreamError


@pytest.fixture(autouse=True)
def _no_last_exception() -> None:
    """Of tests before this one."""
    for name in ("last_exc", "last_value", "last_type", "last_traceback"):
        vars(sys).pop(name, None)


def user(request: dict[str, Any]) -> str:
    (message,) = [message for message in request["messages"] if message["role"] == "user"]
    return str(message["content"])


def asked(shell: Any, options: str = "") -> str:
    """What %puq_fix sends."""
    return user(shell.sent(f"%puq_fix {options}"))


def answering(text: str, finish: str = "stop") -> Callable[[Any], None]:
    def _answer(connection: Any) -> None:
        connection.head()
        connection.say(text)
        connection.done(finish)

    return _answer


@pytest.fixture
def told(asking: Any, serve: Any, environ: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A shell whose router always gives the same answer."""

    def _told(text: str, finish: str = "stop") -> Any:
        server = serve(answering(text, finish))
        environ.setenv("PUQ_BASE_URL", server.url)
        asking.ip.rl_next_input = None
        asking.server = server
        return asking

    return _told


MENDED = "The name was mistyped.\n\n```python\nx = 1\nprint(x)\n```\n\nThat is all."


# --- which exception


def test_without_an_exception(asking: Any) -> None:
    error = asking.error("%puq_fix")
    assert isinstance(error, InputError)
    assert "no exception to explain" in str(error)


def test_the_last_exception_is_sent_with_its_cell(asking: Any) -> None:
    asking.attempt("row = {'name': 1}")
    asking.attempt("%precision 3\nrow['nmae']  # here")
    prompt = asked(asking)
    assert "KeyError: 'nmae'" in prompt
    assert re.search(
        r"Cell In\[\d+\], which was run\n\n```python\n%precision 3\nrow\['nmae'\]  # here\n```", prompt
    )
    assert "row: dict of 1: {'name': 1}" in prompt
    assert "IPython" not in prompt.split("## ")[1]


def test_our_own_errors_do_not_hide_it(asking: Any) -> None:
    asking.attempt("1 / 0")
    asking.error("%puq_chat -m nobody/nothing hi")
    asking.error("%puq_chat {{no_such_name}}")
    asking.error("%puq_fix --no-such-option")
    assert "ZeroDivisionError" in asked(asking)
    assert "ZeroDivisionError" in asked(asking)


@pytest.mark.parametrize("aside", ["raise KeyboardInterrupt", "%puq_chat {{no_such_name}}", "1 + 1"])
def test_nor_do_interrupts_and_cells_that_work(asking: Any, aside: str) -> None:
    asking.attempt("1 / 0")
    asking.attempt(aside)
    assert "ZeroDivisionError" in asked(asking)


def test_the_latest_one_counts(asking: Any) -> None:
    asking.attempt("1 / 0")
    asking.attempt("{}['a']")
    assert "KeyError" in asked(asking)


def test_one_of_before_the_extension_was_loaded(make_shell: Any, sandbox: Any, environ: Any) -> None:
    shell = make_shell()
    shell.attempt("x = 0\n1 / x")
    environ.setenv("PUQ_BASE_URL", sandbox.base_url)
    environ.setenv("PUQ_API_KEY", sandbox.token)
    shell.run("%load_ext puq_magics")
    prompt = asked(shell, "-m sandbox/echo")
    assert "1 / x\n" in prompt
    assert "x: int: 0" in prompt


def test_one_that_a_script_raised(asking: Any, tmp_path: Any) -> None:
    (tmp_path / "theirs.py").write_text("def f(x):\n    return 1 / x\n\nf(0)\n")
    asking.attempt(f"%run {tmp_path / 'theirs.py'}")
    asking.error("%puq_chat {{no_such_name}}")
    prompt = asked(asking)
    assert "theirs.py, line 2, in f" in prompt
    assert "  --> 2 |     return 1 / x" in prompt


def test_a_syntax_error(asking: Any) -> None:
    asking.attempt("x = 1\nif x = 1:\n    pass")
    asking.error("%puq_chat {{no_such_name}}")
    prompt = asked(asking)
    assert ", line 2\n  --> if x = 1:\n" in prompt
    assert "```python\nx = 1\nif x = 1:\n    pass\n```" in prompt


def test_a_magic_that_does_not_exist(asking: Any) -> None:
    asking.attempt("%no_such_magic 3")
    prompt = asked(asking)
    assert "%no_such_magic` not found" in prompt
    assert "```python\n%no_such_magic 3\n```" in prompt


def test_a_function_of_another_cell(asking: Any) -> None:
    asking.run("def ratio(a, b):\n    return a / b")
    asking.attempt("ratio(1, 0)")
    prompt = asked(asking)
    assert "```python\nratio(1, 0)\n```" in prompt
    assert "which takes part\n\n```python\ndef ratio(a, b):\n    return a / b\n```" in prompt
    assert "  b: int: 0" in prompt


def test_a_cell_that_is_timed(asking: Any) -> None:
    asking.attempt("%%time\nx = 0\n1 / x")
    prompt = asked(asking)
    assert "```python\n%%time\nx = 0\n1 / x\n```" in prompt
    assert "  --> 2 | 1 / x" in prompt


def test_a_library_is_one_line(asking: Any) -> None:
    asking.attempt("import json\njson.loads('{')")
    assert "[3 frames inside json, the last at json/decoder.py" in asked(asking)


def test_unload_lets_go_of_the_exception(make_shell: Any) -> None:
    shell = make_shell()
    shell.run("%load_ext puq_magics")
    shell.run("class Theirs(Exception):\n    pass")
    error = weakref.ref(shell.attempt("raise Theirs").error)
    shell.attempt("{}['a']")
    shell.run("%unload_ext puq_magics")
    gc.collect()
    assert error() is None


# --- secrets


def test_keys_are_masked(asking: Any, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("THEIR_TOKEN", "of the environment")
    asking.run(f"note = {asking.session.router().address.host!r}")
    key = asking.session.credential(asking.session.address()).key.reveal()
    asking.attempt(
        f"password = 'hunter2x'\nnote = ['of the environment', {key!r}, 'sk-0123456789abcdef']\nnote.a"
    )
    prompt = asked(asking)
    for secret in (key, "of the environment", "sk-0123456789abcdef", "hunter2x"):
        assert secret not in prompt
    assert "4 secrets masked" in asking.names["_puq"].notes


# --- options


def test_a_dry_run_shows_all_and_sends_nothing(told: Any) -> None:
    shell = told(MENDED)
    shell.attempt("password = 'hunter2x'\n1 / 0")
    ran = shell.run("%puq_fix --dry-run")
    assert ran.value is None
    assert "curl" in ran.out
    assert "\n\n## The error, with its traceback\n\n```\nCell In[" in ran.out
    assert "nothing was sent" in ran.out
    assert "hunter2x" not in ran.out
    assert shell.server.heard == []


def test_options_are_sent(asking: Any) -> None:
    asking.attempt("1 / 0")
    request = asking.sent("%puq_fix -t 0.5 --max-tokens 9000 --param seed=7 -s 'Answer in German.' -o r")
    assert request["temperature"] == 0.5
    assert request["max_completion_tokens"] == 9000
    assert request["seed"] == 7
    assert request["messages"][0]["content"].startswith("Answer in German.\n\nSomebody")
    assert asking.names["r"] is asking.names["_puq"]


def test_the_system_prompt_of_the_settings_comes_along(asking: Any) -> None:
    asking.run("%config PuqMagics.system = 'You teach.'")
    asking.attempt("1 / 0")
    assert asking.sent("%puq_fix")["messages"][0]["content"].startswith("You teach.\n\nSomebody")
    assert asking.sent("%puq_fix -s ''")["messages"][0]["content"].startswith("Somebody")


def test_a_hint_asks_for_no_solution(asking: Any) -> None:
    asking.attempt("1 / 0")
    assert "do not give the solution" in asked(asking, "--hint")
    assert "do not give the solution" not in asked(asking)


def test_quiet_shows_nothing(asking: Any) -> None:
    asking.attempt("1 / 0")
    assert asking.run("r = %puq_fix -q").out == ""
    assert "ZeroDivisionError" in asking.names["_puq"].text


@pytest.mark.parametrize(
    "line", ["--hint -f code", "-f html", "why is that", "--hin", "--param model=x", "-t x"]
)
def test_what_does_not_fit_is_an_error_before_anything_is_sent(told: Any, line: str) -> None:
    shell = told(MENDED)
    shell.attempt("1 / 0")
    assert isinstance(shell.error(f"%puq_fix {line}"), InputError)
    assert shell.server.heard == []


def test_text_is_shown_as_text(told: Any) -> None:
    shell = told("The **name**.")
    shell.attempt("1 / 0")
    assert "The **name**." in shell.run("%puq_fix -f text").out


# --- the mended cell


def test_the_mended_cell_is_put_below_and_not_run(told: Any) -> None:
    shell = told(MENDED)
    shell.attempt("x = 7\nprint(y)")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input == "x = 1\nprint(x)"
    assert shell.names["x"] == 7
    assert "the mended cell is below, not run" in shell.names["_puq"].remarks
    assert "whole of the mended cell" in user(shell.server.heard[0].json)


def test_secrets_of_the_cell_are_put_back_into_it(told: Any) -> None:
    shell = told("```python\nlogin('<secret 1>')\n```")
    shell.attempt("login(password='hunter2x')")
    shell.run("%puq_fix -f code")
    assert "hunter2x" not in str(shell.server.heard[0].json)
    assert shell.ip.rl_next_input == "login('hunter2x')"


def test_of_several_blocks_the_longest_of_python(told: Any) -> None:
    shell = told(f"```python\nx\n```\n\n```bash\n{'echo ' * 50}\n```\n\n{MENDED}")
    shell.attempt("1 / 0")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input == "x = 1\nprint(x)"


@pytest.mark.parametrize(
    ("text", "finish"),
    [("I do not know.", "stop"), ("```python\nx = 1\ny =", "length"), ("```bash\nls\n```", "stop")],
)
def test_without_a_whole_cell_nothing_is_put_below(told: Any, text: str, finish: str) -> None:
    shell = told(text, finish)
    shell.attempt("1 / 0")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input is None
    assert "the answer has no whole cell: nothing was put below" in shell.names["_puq"].notes


def test_an_answer_that_breaks_off_puts_nothing_below(asking: Any, serve: Any, environ: Any) -> None:
    def answer(connection: Any) -> None:
        connection.head()
        connection.say("```python\nx = 1\n```\n")

    environ.setenv("PUQ_BASE_URL", serve(answer).url)
    asking.ip.rl_next_input = None
    asking.attempt("1 / 0")
    assert isinstance(asking.error("%puq_fix -f code"), StreamError)
    assert asking.ip.rl_next_input is None


def test_without_f_code_nothing_is_put_below(told: Any) -> None:
    shell = told(MENDED)
    shell.attempt("1 / 0")
    shell.run("%puq_fix")
    assert shell.ip.rl_next_input is None


# --- a real kernel


def test_in_a_kernel(pupil: Any) -> None:
    assert pupil.run("row = {'name': 1}\nrow['nmae']").reply["status"] == "error"
    assert pupil.run("%puq_chat {{no_such_name}}").error["ename"] == "MissingVariableError"
    cell = pupil.run("%puq_fix")
    (shown,) = cell.screen
    assert "KeyError: 'nmae'" in shown["text/plain"]
    sent = pupil.value("_puq.messages[1]['content']")
    assert "row: dict of 1: {'name': 1}" in sent
    assert re.search(
        r"Cell In\[\d+\], which was run\n\n```python\nrow = \{'name': 1\}\nrow\['nmae'\]\n```", sent
    )
    assert "ipykernel" not in sent


def test_the_mended_cell_in_a_kernel(notebook: Any, serve: Any) -> None:
    server = serve(answering(MENDED))
    notebook.run(f"%config PuqMagics.base_url = {server.url!r}\n%config PuqMagics.chat_model = 'a/b'")
    notebook.run("x = 7\nprint(y)")
    cell = notebook.run("%puq_fix -f code")
    assert cell.reply["status"] == "ok"
    (payload,) = [each for each in cell.reply["payload"] if each["source"] == "set_next_input"]
    assert payload["text"] == "x = 1\nprint(x)"
    assert payload["replace"] is False
    assert notebook.value("x") == 7


def test_no_exception_in_a_fresh_kernel(make_kernel: Any) -> None:
    kernel = make_kernel()
    kernel.run("%load_ext puq_magics")
    cell = kernel.run("%puq_fix")
    assert cell.error["ename"] == "InputError"
    assert cell.error["traceback"][0] == "InputError: there is no exception to explain."


def test_an_interrupted_answer_is_kept_and_the_exception_too(pupil: Any) -> None:
    pupil.run("1 / 0")
    stopped: list[bool] = []

    def stop(message: dict[str, Any]) -> None:
        if "the rest is a long time coming" in str(message["content"]) and not stopped:
            stopped.append(True)
            pupil.interrupt()

    cell = pupil.run("%puq_fix -f code -m sandbox/stall", watch=stop)
    assert cell.error["ename"] == "Interrupted"
    assert [each for each in cell.reply.get("payload", []) if each["source"] == "set_next_input"] == []
    assert "ZeroDivisionError" in pupil.value("_puq.messages[1]['content']")
    pupil.run("%puq_fix -q")
    assert "ZeroDivisionError" in pupil.value("_puq.messages[1]['content']")
