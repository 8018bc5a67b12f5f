from __future__ import annotations

import pytest

from puq_magics.api.types import Usage
from puq_magics.outputs.results.footer import Footer, format_credits

FULL = Footer.from_call(model="a/b", usage=Usage(1000, 234, 1234), cost=0.000123, seconds=2.345)


def test_the_facts_in_order() -> None:
    assert FULL.to_text() == "a/b · 1,234 tokens · about 0.00012 credits · 2.3 s"
    assert FULL.append_to_text("Words.") == f"Words.\n\n[{FULL.to_text()}]"


def test_what_is_not_known_is_left_out() -> None:
    assert Footer.from_call(model="a/b").to_text() == "a/b"
    assert Footer.from_call(model="a/b", seconds=0.0).to_text() == "a/b · 0.0 s"


@pytest.mark.parametrize(("style", "words"), [("full", FULL.to_text()), ("short", "a/b"), ("none", "")])
def test_the_styles(style: str, words: str) -> None:
    assert FULL.with_style(style).to_text() == words


@pytest.mark.parametrize("style", ["full", "short", "none"])
def test_warnings_stay_and_come_first(style: str) -> None:
    footer = Footer.from_call(
        model="a/b", finish_reason="length", status="interrupted", notes=("df was cut",)
    )
    expected = ["cut off at the token limit", "interrupted", "df was cut"]
    assert footer.with_style(style).to_text().split(" · ")[:3] == expected
    for words in expected:
        assert f"**⚠ {words}**" in footer.with_style(style).append_to_markdown("")


@pytest.mark.parametrize("finish", [None, "stop", "tool_calls", "STOP", ""])
def test_an_end_that_nobody_need_know_of(finish: str | None) -> None:
    assert Footer.from_call(model="a/b", finish_reason=finish).to_text() == "a/b"


def test_nothing_to_say_adds_nothing() -> None:
    assert Footer().append_to_markdown("Words.") == "Words."
    assert Footer().append_to_text("Words.") == "Words."
    assert Footer().append_to_markdown("") == ""


def test_a_hostile_name_stands_there_literally() -> None:
    footer = Footer.from_call(model="<img src=x>\n\n# ![a](http://c.example) `b` $x$", notes=("<script>",))
    markdown = footer.append_to_markdown("Words.")
    assert "<img" not in markdown
    assert "<script" not in markdown
    assert "![" not in markdown
    assert markdown.startswith("Words.\n\n<sub>")
    assert len(markdown.splitlines()) == 3
    assert len(footer.to_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (1234.5, "1,234.50 credits"),
        (12.0, "12 credits"),
        (0.5, "0.5 credits"),
        (9.99, "10 credits"),
        (0.000065, "0.000065 credits"),
        (0.0000127, "0.000013 credits"),
        (1e-30, "0 credits"),
        (0.0, "0 credits"),
        (-0.25, "-0.25 credits"),
    ],
)
def test_amounts(amount: float, words: str) -> None:
    assert format_credits(amount) == words
