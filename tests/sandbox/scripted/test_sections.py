from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from puq_magics.sandbox.scripted.sections import code_section, html_answer, requested_sections


def sections(question: str) -> str:
    return "".join(requested_sections(question))


def cells(question: str) -> list[str]:
    """The cells of the tables in an answer."""
    inline = [
        token for token in MarkdownIt().enable("table").parse(sections(question)) if token.type == "inline"
    ]
    return [token.content for token in inline]


@pytest.mark.parametrize(
    ("question", "table"),
    [
        ('List ["wren", "a|b"] in a table', ["#", "Item", "1", "wren", "2", "a|b"]),
        (
            "A table: [{'name': 'wren', 'grams': 9}, {'name': 'kite'}]",
            ["name", "grams", "wren", "9", "kite", ""],
        ),
        ("A table of this:\n\n| a | b |\n| -- | -- |\n| 1 | 2 |\n", ["a", "b", "1", "2"]),
        ("A table of two birds", ["#", "Item", "1", "bird 1", "2", "bird 2"]),
        ("Look. Show a table.", ["#", "Item", "1", "Look.", "2", "Show a table."]),
        ("A table of x[0] and [broken", ["#", "Item", "1", "A table of x[0] and [broken"]),
    ],
)
def test_a_table_of_what_the_question_holds(question: str, table: list[str]) -> None:
    assert cells(question) == table


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ("List three small birds.", ["bird 1", "bird 2", "bird 3"]),
        ("Bullet points of ['a', 'b\\nc']", ["a", "b c"]),
        ("List it in three sentences. Please.", ["List it in three sentences.", "Please."]),
    ],
)
def test_a_list_where_one_is_asked_for(question: str, items: list[str]) -> None:
    assert sections(question) == "".join(f"- {item}\n" for item in items) + "\n"


@pytest.mark.parametrize(
    ("question", "formula"), [("A formula for entropy", "\\ln p_i"), ("Some equation", "e^{i \\pi}")]
)
def test_a_formula_of_the_subject(question: str, formula: str) -> None:
    assert formula in sections(question)


def test_an_error_is_named_and_nothing_asked_for_is_said() -> None:
    assert "The error is `ZeroDivisionError: by zero`." in sections(
        "Fix this:\nTraceback …\nZeroDivisionError: by zero"
    )
    assert sections("Why is the sky blue?").startswith("A script knows no answer.")


def test_html_is_escaped() -> None:
    assert "<script" not in html_answer("A table: [{'<script>': '<script>'}]", "<script>")


def block(question: str) -> str:
    (fence,) = [token for token in MarkdownIt().parse(code_section(question)) if token.type == "fence"]
    assert fence.info == "python"
    return fence.content


def run(question: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(block(question), names)  # noqa: S102 - the sandbox's own words
    return names


@pytest.mark.parametrize(
    ("question", "function", "parameters"),
    [
        ("A function called spread on `prices` and `weights`", "spread", ["prices", "weights"]),
        ("Write code: mean(values)", "mean", ["values"]),
        ("Write the function `mean` for `values`", "mean", ["values"]),
        ("Some code on `prices`, not on `class` or `a b`", "describe", ["prices"]),
    ],
)
def test_a_function_on_what_is_named(question: str, function: str, parameters: list[str]) -> None:
    made = run(question)[function]
    assert list(made.__code__.co_varnames[: made.__code__.co_argcount]) == parameters
    assert made(*([1, 2],) * len(parameters)) == dict.fromkeys(parameters, ("list", 2))


@pytest.mark.parametrize(
    "question", ["Count, in Python, a fox", "count a function class", "letters \"'\\ {x} ```"]
)
def test_code_counts_words_where_it_shall(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = run(question)["words"]
    assert capsys.readouterr().out.split()[0] == max(words, key=len)


@pytest.mark.parametrize("question", ["Python code for a fox", "a function class", "code \"'\\ {x} ```"])
def test_without_variables_code_prints_the_items(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(question)["items"] == [question]
    assert capsys.readouterr().out == f"1. {question}\n"


def test_a_function_that_is_named_counts_words() -> None:
    names = run("Python code: a function called foxes")
    assert names["foxes"](["fox", "it"]) == {"fox": 3, "it": 2}


def test_a_cell_that_failed_comes_back() -> None:
    cell = "x = '''\n```\n'''\n1 / 0"
    assert block(f"Fix this error:\n\n````python\n{cell}\n````\n").endswith(f"\n{cell}\n")
