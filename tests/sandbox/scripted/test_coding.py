import pytest
from markdown_it import MarkdownIt

from puq_magics.sandbox.scripted.scripts import code_section


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


@pytest.mark.parametrize("question", ["Python code for a fox", "a function class", "code \"'\\ {x} ```"])
def test_without_variables_it_counts_words(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = run(question)["words"]
    assert capsys.readouterr().out.split()[0] == max(words, key=len)


def test_a_function_that_is_named_counts_words() -> None:
    names = run("Python code: a function called foxes")
    assert names["foxes"](["fox", "it"]) == {"fox": 3, "it": 2}


def test_a_cell_that_failed_comes_back() -> None:
    cell = "x = '''\n```\n'''\n1 / 0"
    assert block(f"Fix this error:\n\n````python\n{cell}\n````\n").endswith(f"\n{cell}\n")
