"""A long answer goes on in another output: each segment stands by itself."""

import oracles
import pytest

from puq_magics.outputs.markdown.feed import MarkdownFeed, sanitize_markdown


def segments_of(text: str, size: int) -> list[str]:
    feed = MarkdownFeed(segment_size=size)
    segments = [*feed.feed(text), feed.finish()]
    assert "".join(segment.text for segment in segments) == text
    return [segment.markdown for segment in segments]


def test_a_short_answer_is_one_segment() -> None:
    assert segments_of("a\n\nb\n", 8_000) == ["a\n\nb"]


def test_paragraphs_are_cut_between_them() -> None:
    text = "\n\n".join(f"paragraph {number} " + "x" * 30 for number in range(40))
    segments = segments_of(text, 200)
    assert "\n\n".join(segments) == text
    assert all(200 <= len(segment) <= 260 for segment in segments[:-1])


def test_nothing_is_lost_and_no_segment_is_too_long() -> None:
    line = "word " * 9 + "end"
    for joint in ("\n", "\n- ", "\n> ", "\n    ", "  \n", "\n1. a\n   "):
        text = joint.join([line] * 60)
        segments = segments_of(text, 300)
        assert sum(oracles.rendered_text(segment).count("word") for segment in segments) == 540
        assert max(map(len, segments)) <= 700


def test_a_long_fence_is_closed_and_opened_again() -> None:
    code = [f"line = {number}  # <b>" for number in range(100)]
    segments = segments_of("```python\n" + "\n".join(code) + "\n```\nafter", 300)
    assert all(segment.startswith("```python\n") and segment.endswith("\n```") for segment in segments[:-1])
    assert segments[-1].endswith("\n```\n\nafter")
    assert [line for segment in segments for line in segment.split("\n") if line.startswith("line")] == code


def test_a_long_table_repeats_its_header() -> None:
    rows = [f"| {number} | x |" for number in range(100)]
    segments = segments_of("\n".join(["| n | v |", "|---|---|", *rows]), 200)
    assert len(segments) == 3
    assert all(segment.startswith("| n | v |\n|---|---|\n| ") for segment in segments)
    assert [line for segment in segments for line in segment.split("\n")[2:]] == rows


def test_a_long_line_is_cut_at_a_space() -> None:
    text = "word " * 400
    segments = segments_of(text, 200)
    assert " ".join(segments).split() == text.split()
    assert max(map(len, segments)) <= 400


def test_a_long_line_without_spaces_is_cut_anyway() -> None:
    segments = segments_of("x" * 5_000, 200)
    assert "".join(segments) == "x" * 5_000
    assert max(map(len, segments)) <= 400


def test_a_nested_list_that_is_cut_does_not_become_code() -> None:
    text = "- top\n" + "".join(f"  - in\n    - deeper {number}\n\n      more <b>\n" for number in range(30))
    for segment in segments_of(text, 100):
        assert "<pre>" not in oracles.html_of(segment)
        assert "&amp;lt;" not in oracles.html_of(segment)


@pytest.mark.parametrize("size", [20, 100, 1_000])
def test_segments_are_final(size: int) -> None:
    text = "# T\n\ntext **b** `c` $x$\n\n```py\nx\n```\n\n" * 20
    feed, found = MarkdownFeed(segment_size=size), []
    for character in text:
        found += feed.feed(character)
    assert [segment.markdown for segment in [*found, feed.finish()]] == segments_of(text, size)


def test_without_a_size_there_are_no_segments() -> None:
    feed = MarkdownFeed(segment_size=None)
    assert feed.feed("a\n\n" * 10_000) == []


def test_finish_ends_what_is_open() -> None:
    assert sanitize_markdown("```py\nx") == "```py\nx\n```"
    assert sanitize_markdown("a $$x^2") == "a $$x^2$$"
    assert sanitize_markdown("") == ""
