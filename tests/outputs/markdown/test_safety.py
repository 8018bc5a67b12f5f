"""What comes out is harmless to a CommonMark parser, to a front end's search for formulas, and to sloppy readers."""

import random

import oracles
import pytest
from corpus import PAYLOADS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puq_magics.outputs.markdown.feed import (
    MarkdownFeed,
    escape_inline,
    sanitize_markdown,
    sanitize_table_cell,
)

_SIGNS = "< > & ! [ ] ( ) ` `` ``` ~~~ $ $$ { } \\ \\\\ \\( \\) \\[ \\] @ @@ 0 * ** _ ~ | # : \" ' % ]( ]: !["
_WORDS = "&#36; &lt [a [a]: http://x.com/ www.x. <http://x.com> <br> \\href{javascript:x}{y}"
_BLOCKS = "\n|\n\n|\n> |\n- |\n1. |\n  |\n    |\t| |\r|\u2028|\n```\n|\n~~~\n|\n  ```\n|\n> ```\n|- ```\n"
FRAGMENTS = [
    *PAYLOADS.values(),
    *_SIGNS.split(),
    *_WORDS.split(),
    *_BLOCKS.split("|"),
    *("```mermaid\n", "\n```python\n", "\x1b[", "\x1b]8;;", "a", "5", "x^2"),
    *("\n|", "\n|-|-|\n", "\n]: javascript:x\n", "\n[a", "<sub>a</sub>", "[a]: http://x.com"),
    *("\\begin{align}", "\\end{align}", "\\begin{a}", "\\end{a}"),
]

WORDS = [
    "alpha",
    "beta",
    "<b>",
    "</i>",
    "<!--x-->",
    "&amp;",
    "5",
    "$5",
    "!x",
    "\n",
    "\n\n",
    "-",
    "#",
    "|",
    "`",
    "@@",
]
WORDS += ["\n```\n", "\\", "*", "**", "\n>"]

hostile = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=20).map("".join)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_harmless(name: str) -> None:
    assert oracles.faults(sanitize_markdown(PAYLOADS[name])) == []


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_harmless_inside_other_blocks(name: str) -> None:
    payload = PAYLOADS[name]
    for first, rest in [
        ("- ", "  "),
        ("> ", "> "),
        ("1. a\n\n   ", "   "),
        ("| ", "| "),
        ("a $", ""),
        ("[a `", ""),
    ]:
        text = first + payload.replace("\n", "\n" + rest)
        assert oracles.faults(sanitize_markdown(text)) == []


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_frame_of_a_payload_is_harmless(name: str) -> None:
    feed = MarkdownFeed()
    for character in PAYLOADS[name]:
        feed.feed(character)
        assert oracles.faults(feed.frame()) == []


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_words_inline(name: str) -> None:
    walker = oracles.check_safety(escape_inline(PAYLOADS[name]))
    assert walker.faults == []
    assert "\n" not in escape_inline(PAYLOADS[name])


def test_the_oracles_see_the_payloads_unsanitised() -> None:
    unseen = {name for name, text in PAYLOADS.items() if not oracles.faults(text)}
    # What makes these dangerous lies in a front end's own reading, which tests/browser has.
    assert unseen == {
        "bare ftp",
        "bidi",
        "image, control between",
        "link, title breaks out",
        "math by entities",
        "math by escaped dollars",
        "math by unbalanced braces",
        "math in a target",
        "math in a title",
        "pre closes early",
    }


@settings(max_examples=300, deadline=None)
@given(hostile)
@example("[a\n\n```\n]: javascript:1\n<img src=x onerror=alert(1)>\n```")
def test_any_mixture_is_harmless(text: str) -> None:
    assert oracles.faults(sanitize_markdown(text)) == []
    for limit in (len(text), 12):
        cell = sanitize_table_cell(text, limit)
        assert "|" not in cell
        assert oracles.faults(f"| a | b |\n| --- | --- |\n| {cell} | {cell} |") == []


@settings(max_examples=200, deadline=None)
@given(hostile, st.integers(10, 60), st.integers(1, 9))
def test_any_frame_and_segment_is_harmless(text: str, size: int, step: int) -> None:
    feed = MarkdownFeed(segment_size=size)
    shown: list[str] = []
    for start in range(0, len(text), step):
        shown += [segment.markdown for segment in feed.feed(text[start : start + step])]
        shown.append(feed.frame())
    for markdown in [*shown, feed.finish().markdown]:
        assert oracles.faults(markdown) == []


@settings(max_examples=300, deadline=None)
@given(hostile, st.integers(10, 60) | st.none(), st.randoms(use_true_random=False))
@example("- ```\n", None, random.Random(1))  # a frame after the last line's end
def test_the_way_a_text_is_split_does_not_matter(text: str, size: int | None, chance: random.Random) -> None:
    whole = MarkdownFeed(segment_size=size)
    expected = [*whole.feed(text), whole.finish()]
    feed = MarkdownFeed(segment_size=size)
    found: list[str] = []
    while text:
        cut = chance.randint(1, len(text))
        found += feed.feed(text[:cut])
        if chance.random() < 0.3:
            feed.frame()
        text = text[cut:]
    assert [*found, feed.finish()] == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_words_stay(parts: list[str]) -> None:
    text = " ".join(parts)
    shown = "".join(oracles.rendered_text(sanitize_markdown(text)))
    for word in ("alpha", "beta", "<b>", "</i>", "<!--x-->"):
        assert shown.count(word) == text.count(word)
