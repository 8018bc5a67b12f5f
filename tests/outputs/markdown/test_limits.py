"""The limits of the sanitiser, each at its last value inside and its first one outside."""

import oracles
import pytest

from puq_magics.outputs.markdown.feed import (
    MarkdownFeed,
    escape_inline,
    list_links,
    sanitize_markdown,
    sanitize_table_cell,
)
from puq_magics.outputs.markdown.tex_commands import is_bounded


def frame(text: str) -> str:
    feed = MarkdownFeed(segment_size=None)
    feed.feed(text)
    return feed.frame()


def padded(start: str, length: int) -> str:
    return start + "a" * (length - len(start))


@pytest.mark.parametrize(
    ("start", "limit"),
    [
        *(("x $$", 1_002), ("$$", 4_000), ("- $$", 4_002), ("words\n$$", 4_006)),
        *(("\\(", 1_000), ("x \\(", 1_002), ("$x_", 602)),
    ],
)
def test_an_open_formula_is_held_back_up_to_a_length(start: str, limit: int) -> None:
    assert "aaa" not in frame(padded(start, limit - 1))
    assert "aaa" in frame(padded(start, limit))


def test_open_code_is_shown_as_code_up_to_a_length() -> None:
    assert frame(padded("`", 299)) == padded("`", 299) + "`"
    assert frame(padded("`", 300)) == padded("&#96;", 304)


def test_a_formula_in_a_sentence_has_a_length() -> None:
    assert len(oracles.formulas(sanitize_markdown(padded("$x_", 2_001) + "$"))) == 1
    assert oracles.formulas(sanitize_markdown(padded("$x_", 2_002) + "$")) == []


def test_a_formula_over_several_paragraphs_has_a_length() -> None:
    assert len(oracles.formulas(sanitize_markdown(padded("$$\n", 3_998) + "\n\n- b\n$$"))) == 1
    assert oracles.formulas(sanitize_markdown(padded("$$\n", 3_999) + "\n\n- b\n$$")) == []


@pytest.mark.parametrize(
    "limit", ["30em", "60ex", "540mu", "480px", "300pt", "25pc", "120mm", "12cm", "5in", "29.9em", "0,5in"]
)
def test_lengths_of_a_formula_add_up_to_thirty_ems(limit: str) -> None:
    assert is_bounded(rf"\hspace{{{limit}}}x")
    assert is_bounded(rf"\hspace{{-{limit}}}x")
    number, unit = limit[:-2].replace(",", "."), limit[-2:]
    assert not is_bounded(rf"\hspace{{{limit}}}\hspace{{{max(1.0, float(number) / 4)}{unit}}}\hspace{{28em}}")


@pytest.mark.parametrize(
    "over", ["30.1em", "61ex", "541mu", "481px", "301pt", "26pc", "121mm", "13cm", "6in"]
)
def test_a_length_of_more_than_thirty_ems_is_too_much(over: str) -> None:
    assert not is_bounded(rf"\hspace{{{over}}}")
    assert not is_bounded(rf"\hspace{{-{over}}}")


def test_a_name_has_a_length() -> None:
    assert escape_inline("a" * 200) == "a" * 200
    assert escape_inline("a" * 201) == "a" * 199 + "…"


def test_a_cell_of_a_table_is_one_line_whose_emphasis_is_closed() -> None:
    assert sanitize_table_cell("**a|b**\n\n`c|d`", 20) == "**a&#124;b** <code>c&#124;d</code>"
    assert sanitize_table_cell("**Yes, of course.** Then", 8) == "**Yes, o**…"


@pytest.mark.parametrize(
    ("title", "url", "line"),
    [
        ("*T*", "https://x.org/a b", "1. [&#42;T&#42;](https://x.org/a%20b)"),
        ("", "HTTP://x.org ", "1. [HTTP&#58;&#47;&#47;x.org](HTTP://x.org)"),
        ("T", "mailto:a@b.c", "1. T (mailto&#58;a&#64;b.c)"),
        ("", "javascript:1", "1. javascript&#58;1"),
        ("T", "", "1. T"),
        ("T", padded("https://x.org/", 1_999), f"1. [T]({padded('https://x.org/', 1_999)})"),
        ("T", padded("https://x.org/", 2_000), f"1. T (https&#58;&#47;&#47;x.org/{'a' * 185}…)"),
    ],
)
def test_links_in_a_list(title: str, url: str, line: str) -> None:
    assert list_links([(title, url)]) == [line]


def test_nothing_is_left_when_a_text_is_finished() -> None:
    feed = MarkdownFeed(segment_size=20)
    feed.feed("# a\n\nwords *and")
    feed.finish()
    assert (feed.text, feed.frame(), feed.finish()) == ("", "", ("", ""))
