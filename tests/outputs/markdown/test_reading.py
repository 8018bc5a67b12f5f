"""What a model meant is what one reads: benign text renders as it would have without the sanitiser."""

import oracles
import pytest
from corpus import BOUNDED_FORMULAS, UNBOUNDED_FORMULAS

from puq_magics.outputs.markdown.feed import sanitize_markdown

BENIGN = {
    "headings": "# One\n\n## Two ##\n\nThree\n=====\n\nFour\n----\n\n---\n\n***\n",
    "emphasis": "*a* **b** ***c*** ~~d~~ _e_ __f__ snake_case_name 2 * 3 * 4\n",
    "soft and hard breaks": "one\ntwo  \nthree\\\nfour\n",
    "list": "- a\n- b\n  - c\n    - d\n\n1. x\n2. y\n\n   more of y\n\n10) z\n",
    "list with code": "1. do\n   ```python\n   x = 1\n   if x > 0:\n       y[0] = 2\n   ```\n2. then\n",
    "list with shell": "- run\n  ```bash\n  echo $HOME | tee <<EOF\n  EOF\n  ```\n- done\n",
    "list with html": '* write\n\n  ```html\n  <p class="a">&amp;</p>\n\n  <br>\n  ```\n* done\n',
    "quote": "> a\n> b\n>\n> > c\n\nd\n",
    "quote with code": "> ```js\n> let a = `x`;\n> ```\n> after\n",
    "code": "```python\nif a < b and c[0](d): print('$', \"`\", '<b>')\n```\n",
    "code, no language": "```\n![x](y) @@0@@\n```\n",
    "code, regular expression": '```python\nre.compile("\\\\(x\\\\)")\n```\n',
    "code in LaTeX": "```latex\n\\begin{align}\n  a &= $b$\n\\end{align}\n```\n",
    "code with a fence": "````\n```python\nx\n```\n````\n",
    "code in tildes": "~~~rust\nfn f<'a>() {}\n~~~\n",
    "code in a column": "text\n\n    indented <b>\n\n    more\n\ntext\n",
    "code in a column, in a list": "- a\n\n      indented <b> $1\n\n- b\n",
    "code, C++": "```c++\nstd::vector<int> v;\n```\n",
    "inline code": "`a` `<b>` `` a`b `` `$HOME` `a|b` `\\n` `x[0](1)` ` ` `![a](b)` `&lt;` `\\end{a}` ```` ``` ````",
    "inline code over lines": "see `a\nb` there\n",
    "table": "| a | b |\n|:--|--:|\n| `x` | **y** |\n| 1 | a \\| b |\n\nafter\n",
    "table without outer bars": "a | b\n--|--\n1 | `<2>`\n",
    "links": 'See [a](https://x.org/a_(b)?c=d&e=f#g "title") [mail](mailto:a@b.c), [here](#x), [r][1] [s].\n\n'
    "[1]: https://x.org/1\n[s]: https://x.org/s 'T'\n",
    "entities": "&amp; &lt; &copy; &nbsp;&#8364; AT&T a & b a&b &nosuch;\n",
    "signs": "a < b > c, x<y, 100% @home a@b.c C# !important [x] {y} ~z ^w | v\n",
    "escapes": "\\* \\# \\_ \\` \\[ab\\](b) \\! \\\\ 1\\. \\|\n",
    "unicode": "Grüße — 日本語 🙂 👩‍👩‍👧 “q” …\n",
    "paths": "C:\\Users\\new and \\\\server\\share\n",
    "definition-like": "Note [1]: see below. {[x]: y}\n",
}


@pytest.mark.parametrize("name", BENIGN)
def test_benign_text_renders_as_it_is(name: str) -> None:
    text = BENIGN[name]
    assert oracles.rendered_structure(sanitize_markdown(text)) == oracles.rendered_structure(text)


@pytest.mark.parametrize("name", BENIGN)
def test_making_benign_text_safe_is_itself_safe(name: str) -> None:
    assert oracles.faults(sanitize_markdown(BENIGN[name])) == []


@pytest.mark.parametrize(
    ("text", "formulas"),
    [
        (r"so \(a < b\) and \(c\)", ["$a < b$", "$c$"]),
        (r"so $x^2$, the $n$th, $5x = 10$.", ["$x^2$", "$n$", "$5x = 10$"]),
        ("\\[\nE = mc^2\n\\]", ["$$E = mc^2$$"]),
        ("\\[\na\n\n- b\n= c\n\\]", ["$$a - b = c$$"]),
        ("$$\n\\begin{aligned}\na &= b \\\\[2pt]\nc &= d % why\n\\end{aligned}\n$$", None),
        ("\\begin{align}\na &= b\n\\end{align}", ["$$\\begin{align} a &= b \\end{align}$$"]),
        ("1. so\n   \\[\n   x\n   \\]\n2. and $$y$$", ["$$x$$", "$$y$$"]),
        ("> $$\n> x\n> $$", ["$$x$$"]),
        ("| a |\n|---|\n| $|x|$ |", [r"$\vert x\vert $"]),
        (r"$a$$b$ \(c\)\(d\)", ["$a$", "$b$", "$c$", "$d$"]),
        (r"$\text{``x''} <a>$", [r"$\text{‘‘x''} < a>$"]),
        (r"$[0, 1)$ and $\sqrt[3]{x}$", [r"$\lbrack 0, 1)$", r"$\sqrt[3]{x}$"]),
        (r"$x \label{eq:1}$", ["$x$"]),
        (r"$50% = \frac{1}{2}$ or $7\%$", [r"$50\% = \frac{1}{2}$", r"$7\%$"]),
        (r"$\{a\}\$$", [r"$\{a\}\$$"]),
        (r"\[a \text{ if $b$}\]", [r"$$a \text{ if \(b\)}$$"]),
        ("$5 to $6, US$5/$6, ($7) or $ 8, $1,000, $9", []),
        ("set $HOME/$USER and $PATH", []),
        ("from $0.15 to $10.\nIn code it is neither: `$HOME`, `$x^2$`.", []),
        ("$5 per kilo ($6 more)$, a $n and `$HOME`", []),
        (r"\$5 and \$6, &#36;7 and &dollar;8", []),
        (r"\[1\] and \[see here\]", []),
        ("`$x$` and ```$y$```", []),
        ("```\n$x$\n\\(y\\)\n```", []),
        ("- ```\n  $x$\n  ```", []),
        (r"\\(x\\) and \begin{itemize}\item \end{itemize}", []),
        ("http://x.org/$a$ $b$", ["$b$"]),
        ("cut off $$x", ["$$x$$"]),
        ("cut off \\[ \\frac{a}{", []),
    ],
)
def test_formulas_are_those_meant(text: str, formulas: list[str] | None) -> None:
    safe = sanitize_markdown(text)
    found = oracles.formulas(safe)
    if formulas is None:
        assert len(found) == 1
        assert "why" not in found[0]
    else:
        assert found == formulas
    assert oracles.faults(safe) == []


@pytest.mark.parametrize(
    "formula",
    [
        r"\href{javascript:1}{x}",
        r"\def\a{\a\a}\a",
        r"\require{html}x",
        r"\style{color:red}{x}",
        r"\rule{99999em}{1em}",
    ],
)
def test_a_formula_with_a_forbidden_command_shows_as_code(formula: str) -> None:
    safe = sanitize_markdown(f"a ${formula}$ b")
    assert oracles.formulas(safe) == []
    assert oracles.rendered_text(safe) == f"a ${formula}$ b\n"


@pytest.mark.parametrize("formula", BOUNDED_FORMULAS)
def test_a_formula_with_small_lengths_is_typeset(formula: str) -> None:
    safe = sanitize_markdown(f"$${formula}$$")
    assert len(oracles.formulas(safe)) == 1
    assert oracles.faults(safe) == []


@pytest.mark.parametrize("formula", UNBOUNDED_FORMULAS)
def test_a_formula_that_could_cover_the_page_shows_as_code(formula: str) -> None:
    for text in (f"a ${formula}$ b", f"$${formula}$$", f"\\[{formula}\\]"):
        assert oracles.formulas(sanitize_markdown(text)) == []


def test_prices_read_as_prices() -> None:
    assert oracles.rendered_text(sanitize_markdown("from $5 to $6")) == "from $5 to $6\n"
    # The dollar is alone in its element: MathJax, which reads the page again, does not pair it.
    assert oracles.check_safety(sanitize_markdown("$5 to $6")).text[:2] == ["$", "5 to "]


def test_a_fence_inside_a_markdown_fence_of_the_same_length_does_not_end_it() -> None:
    safe = sanitize_markdown("```markdown\n# T\n```python\nx\n```\nmore\n```\nafter\n")
    assert safe == "````markdown\n# T\n```python\nx\n```\nmore\n````\n\nafter"


@pytest.mark.parametrize("info", ["mermaid", "Mermaid", "mermaid x", "{mermaid}", "{.mermaid}", "mermaid-js"])
def test_diagrams_are_text(info: str) -> None:
    assert sanitize_markdown(f"```{info}\ngraph\n```") == "```text\ngraph\n```"


def test_line_breaks_in_a_table_and_small_tags_stay() -> None:
    safe = sanitize_markdown("| a<br>b<br/>c | H<sub>2</sub>O<sup> </p> |\n|---|---|\n")
    assert safe.startswith("| a<br>b<br>c | H<sub>2</sub>O&lt;sup> &lt;/p> |")


def test_a_line_break_at_a_line_s_start_does_not_stop_markdown() -> None:
    assert "<strong>b</strong>" in oracles.html_of(sanitize_markdown("<br>\n**b**"))


def test_entities_of_controls_show_as_they_are_spelt() -> None:
    assert oracles.rendered_text(sanitize_markdown("&#x202e; &#27; &#8203;")) == "&#x202e; &#27; \u200b\n"
