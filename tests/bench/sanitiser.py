"""What making model text safe costs: milliseconds a kB, and how the cost of hostile texts grows with their size.

Run it by hand: ``python tests/bench/sanitiser.py``. A ratio near 10 between 1 MB and 100 kB is linear.
"""

import gc
import time

from puq_magics.outputs.markdown.feed import MarkdownFeed, sanitize_markdown

ANSWER = r"""## Solving it

The **quadratic formula** gives \(x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}\), so with `a = 1` it costs $5 to $6 less.

\[
\Delta = b^2 - 4ac
\]

1. First item with a [link](https://example.org/page_(1)) and *words* that go on for a while.
2. Second item:
   ```python
   for i in range(10):
       print(f"{i} < {i + 1}")
   ```

| name | price |
|------|------:|
| `x`  | $1.50 |

```html
<div class="a">literal</div>
```

> A quote with $e^{i\pi} = -1$ & more. It goes on over
> two lines, as answers do, with nothing special in most of it at all.

"""

HOSTILE = {
    "[": "[",
    "`": "`",
    "` a": "` a",
    "growing ticks": "",
    "$": "$",
    "$a ": "$a ",
    "$$ ": "$$ ",
    "<": "<",
    "<a": "<a",
    "<https://": "<https://",
    "*": "*",
    "*a ": "*a ",
    "_a": "_a",
    ">": ">",
    "> ": "> ",
    "- ": "- ",
    "\\": "\\",
    "\\(": "\\(",
    "\\[": "\\[",
    "\\begin{a}": "\\begin{a}",
    "\\begin{align}": "\\begin{align}",
    "![": "![",
    "[a](": "[a](",
    "[a](http://a": "[a](http://a",
    "](http://((": "](http://((",
    "&": "&",
    "&#": "&#",
    "www.": "www.",
    "http://": "http://",
    "@@": "@@",
    "~~~": "~~~",
    "nested lists": "- \n  ",
    "nested quotes": "> \n> ",
    "fences": "```\n",
    "rows": "|\n",
    "esc": "\x1b",
    "esc ]": "\x1b]",
    "esc ] a": "\x1b]aaaaaaaaaaaaaaaaaaaaa",
    "csi": "\x1b[1",
    "c1": "\x9d",
    "surrogates": "\ud83d",
    "newlines": "\n",
    "cr": "\r",
    "spaces": " ",
    "tabs": "\t",
    "lines of ticks": "`\n",
    "lines of $$": "$$\n",
    "digits": "1",
    "definitions": "[b]: x\n",
    "true definitions": "[b]: http://x\n",
    "$ and \\$": "$a \\$ \\$ ",
    "\\( … \\)": "\\(a",
    "\\[ … \\]": "\\[a",
    "$$ … $$": "$$a{",
    "begin … end": "\\begin{align}",
    "links … )": "[a](http://x ",
}
#: What comes once, at the very end.
ENDED = {"\\( … \\)": "\\)", "\\[ … \\]": "\\]", "begin … end": "\\end{align}", "links … )": ")"}


def text_of(name: str, size: int) -> str:
    """Return ``size`` characters of one kind of hostile text."""
    if name in ENDED:
        return HOSTILE[name] * (size // len(HOSTILE[name])) + ENDED[name]
    if name == "growing ticks":
        text, run = [], 1
        length = 0
        while length < size:
            text.append("`" * run + " ")
            length += run + 1
            run += 1
        return "".join(text)[:size]
    fragment = HOSTILE[name]
    return (fragment * (size // len(fragment) + 1))[:size]


def seconds(text: str) -> float:
    """Return how long the text takes as a whole."""
    start = time.process_time()
    sanitize_markdown(text)
    return time.process_time() - start


def streamed(text: str, piece: int, every: int) -> tuple[float, int]:
    """Return seconds and frames of a stream in pieces, with a frame after ``every`` of them."""
    feed, frames = MarkdownFeed(), 0
    start = time.process_time()
    for number, position in enumerate(range(0, len(text), piece)):
        feed.feed(text[position : position + piece])
        if number % every == 0:
            feed.frame()
            frames += 1
    feed.finish()
    return time.process_time() - start, frames


def main() -> None:
    """Print the table."""
    gc.disable()
    text = ANSWER * 20
    best = min(seconds(text) for _ in range(5))
    print(f"an answer, at once: {best * 1e3 / (len(text) / 1e3):.3f} ms a kB ({len(text)} characters)")
    spent, frames = streamed(text, 4, 10)
    print(f"the same in chunks of 4 with {frames} frames: {spent * 1e3 / (len(text) / 1e3):.3f} ms a kB")
    for name in HOSTILE:
        small, large = seconds(text_of(name, 100_000)), seconds(text_of(name, 1_000_000))
        mark = "" if large / small < 20 else "  <-- not linear"
        print(f"{name:>18}: {large:7.3f} s a MB, ratio {large / small:5.1f}{mark}")


if __name__ == "__main__":
    main()
