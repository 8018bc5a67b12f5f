"""Fences: opening and closing lines, nesting, containers."""

from __future__ import annotations

import pytest

from puq_magics.core.fences import OpenFence, make_fence


@pytest.mark.parametrize(
    ("line", "marker", "language", "prefix"),
    [
        ("```python", "```", "python", ""),
        ("~~~~ {.JSON}", "~~~~", "json", ""),
        ("  ```", "```", "", "  "),
        ("> - ```sh title=x", "```", "sh", "> - "),
        ("12. ~~~", "~~~", "", "12. "),
    ],
)
def test_opening_lines(line: str, marker: str, language: str, prefix: str) -> None:
    fence = OpenFence.from_line(line)
    assert fence is not None
    assert (fence.marker, fence.language, fence.prefix) == (marker, language, prefix)


@pytest.mark.parametrize("line", ["``x", "a ```", "```code``` in a line", "", "- text"])
def test_other_lines(line: str) -> None:
    assert OpenFence.from_line(line) is None


def test_a_fence_is_closed_by_its_own_kind_of_at_least_its_length() -> None:
    fence = OpenFence("````")
    assert [fence.closed_by(line) for line in ("```", "~~~~", "```` x", "   `````  ")] == [False] * 3 + [True]


def test_fences_inside_markdown_are_counted() -> None:
    fence = OpenFence("```", "markdown")
    assert [fence.closed_by(line) for line in ("```python", "x", "```", "```")] == [False] * 3 + [True]


def test_a_container_is_stripped() -> None:
    fence = OpenFence.from_line("> > - ```")
    assert fence is not None
    assert [fence.strip_prefix(line) for line in ("> >   x", ">>     y", "z")] == ["x", "  y", "z"]


@pytest.mark.parametrize(("text", "fence"), [("x", "```"), ("`` ", "```"), ("a ```\n`````", "``````")])
def test_a_fence_that_the_text_cannot_close(text: str, fence: str) -> None:
    assert make_fence(text) == fence
    assert not OpenFence(fence).closed_by(text.split("\n")[-1])
