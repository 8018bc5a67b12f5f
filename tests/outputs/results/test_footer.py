from __future__ import annotations

import pytest

from puq_magics.api.types import Usage
from puq_magics.outputs.results.footer import Footer, in_credits

FULL = Footer.of(model="a/b", usage=Usage(1000, 234, 1234), cost=0.000123, seconds=2.345)


def test_the_facts_in_order() -> None:
    assert FULL.plain() == "a/b · 1,234 tokens · about 0.00012 credits · 2.3 s"
    assert FULL.below_plain("Words.") == f"Words.\n\n[{FULL.plain()}]"


def test_what_is_not_known_is_left_out() -> None:
    assert Footer.of(model="a/b").plain() == "a/b"
    assert Footer.of(model="a/b", seconds=0.0).plain() == "a/b · 0.0 s"


@pytest.mark.parametrize(("style", "words"), [("full", FULL.plain()), ("short", "a/b"), ("none", "")])
def test_the_styles(style: str, words: str) -> None:
    assert FULL.shortened(style).plain() == words


@pytest.mark.parametrize("style", ["full", "short", "none"])
def test_warnings_stay_and_come_first(style: str) -> None:
    footer = Footer.of(model="a/b", finish_reason="length", broken_off="interrupted", notes=("df was cut",))
    expected = ["cut off at the token limit", "interrupted", "df was cut"]
    assert footer.shortened(style).plain().split(" · ")[:3] == expected
    for words in expected:
        assert f"**⚠ {words}**" in footer.shortened(style).below_markdown("")


@pytest.mark.parametrize("finish", [None, "stop", "tool_calls", "STOP", ""])
def test_an_end_that_nobody_need_know_of(finish: str | None) -> None:
    assert Footer.of(model="a/b", finish_reason=finish).plain() == "a/b"


def test_nothing_to_say_adds_nothing() -> None:
    assert Footer().below_markdown("Words.") == "Words."
    assert Footer().below_plain("Words.") == "Words."
    assert Footer().below_markdown("") == ""


def test_a_hostile_name_stands_there_literally() -> None:
    footer = Footer.of(model="<img src=x>\n\n# ![a](http://c.example) `b` $x$", notes=("<script>",))
    markdown = footer.below_markdown("Words.")
    assert "<img" not in markdown
    assert "<script" not in markdown
    assert "![" not in markdown
    assert markdown.startswith("Words.\n\n<sub>")
    assert len(markdown.splitlines()) == 3
    assert len(footer.plain().splitlines()) == 1


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
    assert in_credits(amount) == words
