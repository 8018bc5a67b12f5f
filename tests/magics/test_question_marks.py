from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("%puq_chat What is a cell?", "What is a cell?"),
        ("  %puq_chat What?", "What?"),
        ("%puq_chat -m a/b What is it??", "-m a/b What is it??"),
        ("%puq_chat Who's there?", "Who's there?"),
        ('%puq_chat an "open quote?', 'an "open quote?'),
        ("%puq_chat {x} $y {{z}}?", "{x} $y {{z}}?"),
        ("%puq_chat is 5 % 2 == 1?", "is 5 % 2 == 1?"),
        ("%puq_chat why ? ", "why ?"),
        (r"%puq_chat a\b?", r"a\b?"),
        ("%puq_chat f(x?", "f(x?"),
    ],
)
def test_a_question_is_a_prompt(shell: Any, line: str, prompt: str) -> None:
    call = f"get_ipython().run_line_magic('puq_chat', {prompt!r})\n"
    assert shell.ip.transform_cell(line).lstrip() == call
    assert shell.ip.transform_cell(f"answer = {line.strip()}") == f"answer = {call}"
    assert shell.ip.transform_cell(f"x = 1\n{line.strip()}\ny = 2") == f"x = 1\n{call}y = 2\n"
    assert shell.ip.transform_cell(f"if x:\n    {line.strip()}\n") == f"if x:\n    {call}"


@pytest.mark.parametrize("name", ["puq_image", "puq_speak", "puq_fix", "puq_compare"])
def test_other_magics_with_prompts_take_questions_too(shell: Any, name: str) -> None:
    call = f"get_ipython().run_line_magic({name!r}, 'What is a kite?')\n"
    assert shell.ip.transform_cell(f"r = %{name} What is a kite?") == f"r = {call}"
    assert shell.ip.transform_cell(f"%{name}?") == f"get_ipython().run_line_magic('pinfo', '%{name}')\n"


@pytest.mark.parametrize(
    "cell",
    [
        "%puq_chat?",
        "%puq_chat??",
        "%puq_chat ?",
        "%%puq_chat?",
        "puq_chat?",
        "?puq_chat",
        "len?",
        "%timeit len?",
        "%puq_chat no question",
        "x = '''\n%puq_chat What?\n'''",
        "%%puq_chat\n%puq_chat What?",
        "%%puq_chat a/b\nWhat?",
        "# %puq_chat What?",
        "s = 'a = %puq_chat What?'",
        "!echo %puq_chat What?",
    ],
)
def test_other_lines_are_parsed_as_without_the_extension(shell: Any, make_shell: Any, cell: str) -> None:
    with_it = shell.ip.transform_cell(cell)
    assert with_it == make_shell().ip.transform_cell(cell)


def test_help_is_still_help(shell: Any) -> None:
    assert "--max-tokens" in shell.run("%puq_chat?").out
