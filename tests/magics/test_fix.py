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


def fix_prompt(shell: Any, options: str = "") -> str:
    """What %puq_fix sends."""
    return user(shell.echoed_request(f"%puq_fix {options}"))


def respond_with(text: str, finish: str = "stop") -> Callable[[Any], None]:
    def _answer(connection: Any) -> None:
        connection.send_head()
        connection.send_event(text)
        connection.send_done(finish)

    return _answer


@pytest.fixture
def shell_with_answer(sandbox_shell: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A shell whose router always gives the same answer."""

    def _shell_with_answer(text: str, finish: str = "stop") -> Any:
        server = serve(respond_with(text, finish))
        monkeypatch.setenv("PUQ_BASE_URL", server.url)
        sandbox_shell.ip.rl_next_input = None
        sandbox_shell.server = server
        return sandbox_shell

    return _shell_with_answer


MENDED = "The name was mistyped.\n\n```python\nx = 1\nprint(x)\n```\n\nThat is all."


# --- which exception


def test_without_an_exception(sandbox_shell: Any) -> None:
    error = sandbox_shell.error("%puq_fix")
    assert isinstance(error, InputError)
    assert "no exception to explain" in str(error)


def test_a_question_without_an_exception(sandbox_shell: Any) -> None:
    sandbox_shell.run("x = 1")
    error = sandbox_shell.error("%puq_fix why is x 1?")
    assert "no exception to explain" in str(error)
    assert "%puq_chat -a cell:5 QUESTION" in error.hint


@pytest.mark.parametrize(
    ("line", "question", "request_words"),
    [
        ("why is row None?", "why is row None?", "Answer my question"),
        ("why is {{name}} None?", "why is row None?", "Answer my question"),
        ("-f code use .get?", "use .get?", "a single ```python block"),
        ("--raw and {{name}}?", "and {{name}}?", "Answer my question"),
        (
            "is 'hunter2-42x' the password='hunter2-42x'?",
            "is '<secret 1>' the password='<secret 1>'?",
            "Answer",
        ),
    ],
)
def test_a_question_about_the_exception(
    sandbox_shell: Any, line: str, question: str, request_words: str
) -> None:
    sandbox_shell.run("row, name = None, 'row'")
    sandbox_shell.attempt("row['name']")
    prompt = fix_prompt(sandbox_shell, line)
    assert "'NoneType' object is not subscriptable" in prompt
    assert prompt.endswith(f"\n\nMy question: {question}")
    assert request_words in prompt
    assert "Explain in a few plain sentences" not in prompt
    assert sandbox_shell.echoed_request(f"r = %puq_fix {line}")["messages"][1]["content"].endswith(question)


def test_a_question_for_a_hint_is_in_the_last_message(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    for step in ("first hint", "second hint"):
        ran = sandbox_shell.run("%puq_fix --dry-run --hint is it 1?")
        sandbox_shell.run("%puq_fix --hint")
        request = ran.out.split("\n\ncurl", 1)[0].rsplit("user: ", 1)[1]
        assert step in request
        assert "My question: is it 1?" in request


def test_a_question_that_names_nothing(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    assert "there is no variable named 'nothing'" in str(sandbox_shell.error("%puq_fix why {{nothing}}?"))


def test_the_last_exception_is_sent_with_its_cell(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("row = {'name': 1}")
    sandbox_shell.attempt("%precision 3\nrow['nmae']  # here")
    prompt = fix_prompt(sandbox_shell)
    assert "KeyError: 'nmae'" in prompt
    assert re.search(
        r"Cell In\[\d+\], which was run\n\n```python\n%precision 3\nrow\['nmae'\]  # here\n```", prompt
    )
    assert "row: dict of 1: {'name': 1}" in prompt
    assert "IPython" not in prompt.split("## ")[1]


def test_our_own_errors_do_not_hide_it(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    sandbox_shell.error("%puq_chat -m nobody/nothing hi")
    sandbox_shell.error("%puq_chat {{no_such_name}}")
    sandbox_shell.error("%puq_fix --no-such-option")
    assert "ZeroDivisionError" in fix_prompt(sandbox_shell)
    assert "ZeroDivisionError" in fix_prompt(sandbox_shell)


@pytest.mark.parametrize("aside", ["raise KeyboardInterrupt", "%puq_chat {{no_such_name}}", "1 + 1"])
def test_nor_do_interrupts_and_cells_that_work(sandbox_shell: Any, aside: str) -> None:
    sandbox_shell.attempt("1 / 0")
    sandbox_shell.attempt(aside)
    assert "ZeroDivisionError" in fix_prompt(sandbox_shell)


def test_the_latest_one_counts(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    sandbox_shell.attempt("{}['a']")
    assert "KeyError" in fix_prompt(sandbox_shell)


def test_one_of_before_the_extension_was_loaded(make_shell: Any, sandbox: Any, monkeypatch: Any) -> None:
    shell = make_shell()
    shell.attempt("x = 0\n1 / x")
    monkeypatch.setenv("PUQ_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("PUQ_API_KEY", sandbox.token)
    shell.run("%load_ext puq_magics")
    prompt = fix_prompt(shell, "-m sandbox/echo")
    assert "1 / x\n" in prompt
    assert "x: int: 0" in prompt


def test_one_that_a_script_raised(sandbox_shell: Any, tmp_path: Any) -> None:
    (tmp_path / "theirs.py").write_text("def f(x):\n    return 1 / x\n\nf(0)\n")
    sandbox_shell.attempt(f"%run {tmp_path / 'theirs.py'}")
    sandbox_shell.error("%puq_chat {{no_such_name}}")
    prompt = fix_prompt(sandbox_shell)
    assert "theirs.py, line 2, in f" in prompt
    assert "  --> 2 |     return 1 / x" in prompt


def test_a_syntax_error(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("x = 1\nif x = 1:\n    pass")
    sandbox_shell.error("%puq_chat {{no_such_name}}")
    prompt = fix_prompt(sandbox_shell)
    assert ", line 2\n  --> if x = 1:\n" in prompt
    assert "```python\nx = 1\nif x = 1:\n    pass\n```" in prompt


def test_a_magic_that_does_not_exist(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("%no_such_magic 3")
    prompt = fix_prompt(sandbox_shell)
    assert "%no_such_magic` not found" in prompt
    assert "```python\n%no_such_magic 3\n```" in prompt


def test_a_function_of_another_cell(sandbox_shell: Any) -> None:
    sandbox_shell.run("def ratio(a, b):\n    return a / b")
    sandbox_shell.attempt("ratio(1, 0)")
    prompt = fix_prompt(sandbox_shell)
    assert "```python\nratio(1, 0)\n```" in prompt
    assert "which is involved\n\n```python\ndef ratio(a, b):\n    return a / b\n```" in prompt
    assert "  b: int: 0" in prompt


def test_a_cell_that_is_timed(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("%%time\nx = 0\n1 / x")
    prompt = fix_prompt(sandbox_shell)
    assert "```python\n%%time\nx = 0\n1 / x\n```" in prompt
    assert "  --> 2 | 1 / x" in prompt


def test_a_library_is_one_line(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("import json\njson.loads('{')")
    assert "[3 frames inside json, the last at json/decoder.py" in fix_prompt(sandbox_shell)


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


def test_keys_are_masked(sandbox_shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_TOKEN", "of the environment")
    sandbox_shell.run(f"note = {sandbox_shell.session.router().address.host!r}")
    key = sandbox_shell.session.credential(sandbox_shell.session.address()).key.reveal()
    sandbox_shell.attempt(
        f"password = 'hunter2x'\nnote = ['of the environment', {key!r}, 'sk-0123456789abcdef']\nnote.a"
    )
    prompt = fix_prompt(sandbox_shell)
    for secret in (key, "of the environment", "sk-0123456789abcdef", "hunter2x"):
        assert secret not in prompt
    assert "4 secrets masked" in sandbox_shell.names["_puq"].notes


# --- options


def test_a_dry_run_shows_all_and_sends_nothing(shell_with_answer: Any) -> None:
    shell = shell_with_answer(MENDED)
    shell.attempt("password = 'hunter2x'\n1 / 0")
    ran = shell.run("%puq_fix --dry-run")
    assert ran.value is None
    assert "curl" in ran.out
    assert "\n\n## The error, with its traceback\n\n```\nCell In[" in ran.out
    assert "nothing was sent" in ran.out
    assert "hunter2x" not in ran.out
    assert shell.server.requests == []


def test_options_are_sent(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    request = sandbox_shell.echoed_request(
        "%puq_fix -t 0.5 --max-tokens 9000 --param seed=7 -s 'Answer in German.' -o r"
    )
    assert request["temperature"] == 0.5
    assert request["max_completion_tokens"] == 9000
    assert request["seed"] == 7
    assert request["messages"][0]["content"].startswith("Answer in German.\n\nThe user got")
    assert sandbox_shell.names["r"] is sandbox_shell.names["_puq"]


def test_the_system_prompt_of_the_settings_comes_along(sandbox_shell: Any) -> None:
    sandbox_shell.run("%config PuqMagics.system = 'You teach.'")
    sandbox_shell.attempt("1 / 0")
    assert sandbox_shell.echoed_request("%puq_fix")["messages"][0]["content"].startswith(
        "You teach.\n\nThe user got"
    )
    assert sandbox_shell.echoed_request("%puq_fix -s ''")["messages"][0]["content"].startswith("The user got")


def test_hints_go_three_steps_and_hold_no_code(shell_with_answer: Any) -> None:
    shell = shell_with_answer("Look at b.\n\n```python\nprint(1 / b)\n```\n")
    shell.attempt("b = 0\n1 / b")
    for number, word in enumerate(["first", "second", "last", "last"], 1):
        out = shell.run("%puq_fix --hint").out
        hint, request = shell.names["_puq"], shell.server.requests[-1].json
        assert "print(1 / b)" not in out + hint.text + str(hint.raw)
        assert "Look at b." in out
        assert "code was removed: a hint has none" in hint.notes
        assert any(f"hint {min(number, 3)} of 3" in note for note in hint.notes)
        assert f"a {word} hint" in request["messages"][-1]["content"]
        assert "write no code" in request["messages"][0]["content"]
        assert len(request["messages"]) == 2 * min(number, 3)
    shell.run("%puq_fix")
    assert "hint" not in str(shell.server.requests[-1].json["messages"])
    shell.attempt("undefined")
    shell.run("%puq_fix --hint")
    assert len(shell.server.requests[-1].json["messages"]) == 2


def test_quiet_shows_nothing(sandbox_shell: Any) -> None:
    sandbox_shell.attempt("1 / 0")
    assert sandbox_shell.run("r = %puq_fix -q").out == ""
    assert "ZeroDivisionError" in sandbox_shell.names["_puq"].text


@pytest.mark.parametrize("line", ["--hint -f code", "-f html", "--hin", "--param model=x", "-t x"])
def test_what_does_not_fit_is_an_error_before_anything_is_sent(shell_with_answer: Any, line: str) -> None:
    shell = shell_with_answer(MENDED)
    shell.attempt("1 / 0")
    assert isinstance(shell.error(f"%puq_fix {line}"), InputError)
    assert shell.server.requests == []


def test_text_is_shown_as_text(shell_with_answer: Any) -> None:
    shell = shell_with_answer("The **name**.")
    shell.attempt("1 / 0")
    assert "The **name**." in shell.run("%puq_fix -f text").out


# --- the mended cell


def test_the_mended_cell_is_put_below_and_not_run(shell_with_answer: Any) -> None:
    shell = shell_with_answer(MENDED)
    shell.attempt("x = 7\nprint(y)")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input == "x = 1\nprint(x)"
    assert shell.names["x"] == 7
    assert "the fixed code is in the cell below, not run" in shell.names["_puq"].notes
    assert "whole of the fixed cell" in user(shell.server.requests[0].json)


def test_secrets_of_the_cell_are_put_back_into_it(shell_with_answer: Any) -> None:
    shell = shell_with_answer("```python\nlogin('<secret 1>')\n```")
    shell.attempt("login(password='hunter2x')")
    shell.run("%puq_fix -f code")
    assert "hunter2x" not in str(shell.server.requests[0].json)
    assert shell.ip.rl_next_input == "login('hunter2x')"


def test_of_several_blocks_the_longest_of_python(shell_with_answer: Any) -> None:
    shell = shell_with_answer(f"```python\nx\n```\n\n```bash\n{'echo ' * 50}\n```\n\n{MENDED}")
    shell.attempt("1 / 0")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input == "x = 1\nprint(x)"


@pytest.mark.parametrize(
    ("text", "finish"),
    [("I do not know.", "stop"), ("```python\nx = 1\ny =", "length"), ("```bash\nls\n```", "stop")],
)
def test_without_a_whole_cell_nothing_is_put_below(shell_with_answer: Any, text: str, finish: str) -> None:
    shell = shell_with_answer(text, finish)
    shell.attempt("1 / 0")
    shell.run("%puq_fix -f code")
    assert shell.ip.rl_next_input is None
    assert "no complete code block in the answer; no cell was created" in shell.names["_puq"].notes


def test_an_answer_that_breaks_off_puts_nothing_below(
    sandbox_shell: Any, serve: Any, monkeypatch: Any
) -> None:
    def answer(connection: Any) -> None:
        connection.send_head()
        connection.send_event("```python\nx = 1\n```\n")

    monkeypatch.setenv("PUQ_BASE_URL", serve(answer).url)
    sandbox_shell.ip.rl_next_input = None
    sandbox_shell.attempt("1 / 0")
    assert isinstance(sandbox_shell.error("%puq_fix -f code"), StreamError)
    assert sandbox_shell.ip.rl_next_input is None


def test_without_f_code_nothing_is_put_below(shell_with_answer: Any) -> None:
    shell = shell_with_answer(MENDED)
    shell.attempt("1 / 0")
    shell.run("%puq_fix")
    assert shell.ip.rl_next_input is None


# --- a real kernel


def test_in_a_kernel(sandbox_kernel: Any) -> None:
    assert sandbox_kernel.run("row = {'name': 1}\nrow['nmae']").reply["status"] == "error"
    assert sandbox_kernel.run("%puq_chat {{no_such_name}}").error["ename"] == "MissingVariableError"
    cell = sandbox_kernel.run("%puq_fix")
    (shown,) = cell.screen
    assert "KeyError: 'nmae'" in shown["text/plain"]
    sent = sandbox_kernel.value("_puq.messages[1]['content']")
    assert "row: dict of 1: {'name': 1}" in sent
    assert re.search(
        r"Cell In\[\d+\], which was run\n\n```python\nrow = \{'name': 1\}\nrow\['nmae'\]\n```", sent
    )
    assert "ipykernel" not in sent


def test_the_mended_cell_in_a_kernel(fresh_kernel: Any, serve: Any) -> None:
    server = serve(respond_with(MENDED))
    fresh_kernel.run(f"%config PuqMagics.base_url = {server.url!r}\n%config PuqMagics.chat_model = 'a/b'")
    fresh_kernel.run("x = 7\nprint(y)")
    cell = fresh_kernel.run("%puq_fix -f code")
    assert cell.reply["status"] == "ok"
    (payload,) = [each for each in cell.reply["payload"] if each["source"] == "set_next_input"]
    assert payload["text"] == "x = 1\nprint(x)"
    assert payload["replace"] is False
    assert fresh_kernel.value("x") == 7


def test_no_exception_in_a_fresh_kernel(make_kernel: Any) -> None:
    kernel = make_kernel()
    kernel.run("%load_ext puq_magics")
    cell = kernel.run("%puq_fix")
    assert cell.error["ename"] == "InputError"
    assert cell.error["traceback"][0] == "InputError: there is no exception to explain."


def test_an_interrupted_answer_is_kept_and_the_exception_too(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("1 / 0")
    stopped: list[bool] = []

    def stop(message: dict[str, Any]) -> None:
        if "the rest is a long time coming" in str(message["content"]) and not stopped:
            stopped.append(True)
            sandbox_kernel.interrupt()

    cell = sandbox_kernel.run("%puq_fix -f code -m sandbox/stall", watch=stop)
    assert cell.error["ename"] == "Interrupted"
    assert [each for each in cell.reply.get("payload", []) if each["source"] == "set_next_input"] == []
    assert "ZeroDivisionError" in sandbox_kernel.value("_puq.messages[1]['content']")
    sandbox_kernel.run("%puq_fix -q")
    assert "ZeroDivisionError" in sandbox_kernel.value("_puq.messages[1]['content']")
