"""No frame of a growing text shows half of anything: every prefix of a rich document, one character at a time."""

import re

import oracles
import pytest

from puq_magics.outputs.markdown.feed import MarkdownFeed, sanitize_markdown

RICH = r"""# A **rich** title with `code`

Some *emphasis*, **strong words**, ***both***, ~~gone~~ and `inline code`, then \(a^2 + b^2 = c^2\) inline.

Prices: $5 to $6, or $1,000. Math: $x_1 + x_2$ and $$y = \sqrt{x}$$ done.

\[
\frac{a}{b} = \left\{ c \right\}
\]

- item with **bold** and [a link](https://example.org/a_(b) "title") more
  - nested *item* with `x < y`

1. One
   ```python
   print("$HOME")
   ```
2. Two &copy; three &euro; four

| head **a** | head `b` |
|:-----------|---------:|
| \(x\) | **bold** |
| `a|b` | ~~x~~ |

> quoted **text** with $e^{i\pi}$
> and more

Setext
------

```markdown
# inside
```python
x = 1
```
```

Auto <https://example.org> and **[bold link](https://example.org)** with ![image](https://example.org/i.png) end.

$$
a

- b
$$

\begin{align}
a &= b
\end{align}

[ref]: https://example.org

The end is **here**: `done`.
"""

#: What no reader is to see outside code and formulas.
_RAW = re.compile(r"\$|\*|\]\(|\[|`|~~|\\|\||--|==|&|<")
_FORMULA = re.compile(r"\$\$[^$]+\$\$|\$[^$]+\$")
_PRICE = re.compile(r"\$[\d,]+")


@pytest.fixture(scope="module")
def frames() -> list[str]:
    feed, found = MarkdownFeed(), []
    for character in RICH:
        assert feed.feed(character) == []
        found.append(feed.frame())
    assert feed.finish() == (sanitize_markdown(RICH), RICH)
    return found


def test_no_frame_shows_raw_signs(frames: list[str]) -> None:
    for frame in frames:
        words = _FORMULA.sub("", _PRICE.sub("", "".join(oracles.check_safety(frame).text)))
        assert not _RAW.search(words), frame[-200:]


def test_every_frame_is_harmless(frames: list[str]) -> None:
    for frame in frames:
        assert oracles.faults(frame) == []


def test_formulas_are_whole_or_not_there(frames: list[str]) -> None:
    whole = set(oracles.formulas(sanitize_markdown(RICH)))
    for frame in frames:
        assert set(oracles.formulas(frame)) <= whole


def test_a_paragraph_does_not_become_a_heading_or_a_table_for_a_frame(frames: list[str]) -> None:
    headings = [re.findall(r"<h\d>(.*?)</h\d>", oracles.html_of(frame)) for frame in frames]
    assert {heading for found in headings for heading in found if "Setext" in heading} == {"Setext"}
    assert all(len(found) <= 2 for found in headings)
    tables = [oracles.html_of(frame).count("<th") for frame in frames]
    assert set(tables) == {0, 3}  # thead and two th


def test_text_only_grows_but_for_what_is_held_back(frames: list[str]) -> None:
    """What was shown stays shown: all that may go again is a few characters at the end."""
    longest = ""
    for frame in frames:
        words = oracles.rendered_text(frame).rstrip()
        common = len(longest) if words.startswith(longest) else None
        if common is None:
            same = next(
                i for i in range(len(longest) + 1) if i == len(longest) or longest[i] != words[i : i + 1]
            )
            assert len(longest) - same <= 12, (longest[same - 20 :], words[same - 20 :])
        longest = words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("so $", "so"),
        ("so $$x", "so"),
        ("so \\", "so"),
        ("so \\(x", "so"),
        ("so \\[", "so"),
        ("so \\begin{align} a", "so"),
        ("so `co", "so `co`"),
        ("so ``co`", "so `co`"),
        ("so **bo", "so **bo**"),
        ("so **bo*", "so **bo**"),
        ("so **", "so"),
        ("so ***b", "so ***b***"),
        ("so **a *b", "so **a *b***"),
        ("so ~~b", "so ~~b~~"),
        ("so _b", "so _b_"),
        ("snake_case", "snake_case"),
        ("2 * 3", "2 * 3"),
        ("so [li", "so li"),
        ("so [li]", "so li"),
        ("so [li](http", "so li"),
        ("so **[li](http", "so **li**"),
        ("so ![al](http", "so al"),
        ("so &am", "so"),
        ("so <div", "so"),
        ("so a < b", "so a &lt; b"),
        ("para\n-", "para"),
        ("para\n==", "para"),
        ("para\n- ", "para"),
        ("para\n2.", "para"),
        ("para\n\n#", "para"),
        ("para\n\n| a | b |", "para"),
        ("para\n\n| a | b |\n|--", "para"),
        ("| a |\n|---|\n| **b", "| a |\n|---|\n| **b**"),
        ("para\n``", "para"),
        ("para\n\n```py", "para"),
        ("```py\nx", "```py\nx\n```"),
        ("```py\nx\n``", "```py\nx\n```"),
        ("[a]: http://x.o", ""),
        ("half \ud83d", "half"),
        ("half \x1b[3", "half"),
        ("costs $5 ", "costs <span>&#36;</span>5"),
    ],
)
def test_an_end_that_is_half_there(text: str, shown: str) -> None:
    feed = MarkdownFeed()
    feed.feed(text)
    assert feed.frame() == shown


def test_nothing_is_held_back_for_long() -> None:
    for opener in ("so $x", "so `x", "so [x", "so \\(x", "so $$x", "\\[", "\\begin{align}", "$$"):
        feed = MarkdownFeed()
        feed.feed(opener + " word" * 1_000)
        assert feed.frame().count("word") == 1_000


def test_a_frame_changes_nothing() -> None:
    feed, other = MarkdownFeed(segment_size=50), MarkdownFeed(segment_size=50)
    for character in RICH:
        feed.frame()
        assert feed.feed(character) == other.feed(character)
        assert feed.frame() is feed.frame()
    assert feed.finish() == other.finish()
