import builtins
import json
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from puq_magics.core.errors import ConfigurationError, InputError
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.formats import (
    check_format_support,
    clean_cell_source,
    code_bundle,
    html_bundle,
    json_bundle,
    json_to_dataframe,
    sanitize_html,
    text_bundle,
)

FOOTER = Footer(("some/model",))
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' java\tscript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='//evil.example.org'>x</a>",
    "<iframe src=https://example.org></iframe>",
    "<form action=https://example.org><input name=a><button>go</button></form>",
    "<style>p { background: url(https://example.org) }</style>",
    "<div style='position:fixed;inset:0' class=jp-Dialog id=x data-commandlinker-command=x>over all</div>",
    "<img src=https://example.org/beacon.png srcset='https://example.org/b.png 2x'>",
    "<img src='data:image/svg+xml;base64,AAAA'>",
    "<base href=https://example.org><meta http-equiv=refresh content='0;url=https://example.org'>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<video src=https://example.org/v autoplay></video><audio src=x></audio><object data=x></object>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>alert(1)</script></template>",
    "<table background=https://example.org><td background=x>1",
    "<!-- <script>alert(1)</script> --><![CDATA[<script>alert(1)</script>]]>",
    "<p onclick=alert(1) tabindex=0 contenteditable accesskey=x>hi",
]
SAFE = {
    "a": {"href", "rel"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start", "reversed"},
    "td": {"colspan", "rowspan", "align"},
    "th": {"colspan", "rowspan", "align", "scope"},
    "details": {"open"},
}
ACTIVE = (
    "script style iframe object embed form input button svg math link meta base video audio template noscript"
)


class HTMLFaultFinder(HTMLParser):
    """What is left that could act, as another parser than the sanitiser's sees it; and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.runs: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ACTIVE.split():
            self.found.append(tag)
        for name, value in attrs:
            if name not in SAFE.get(tag, set()) | {"title", "lang", "dir"}:
                self.found.append(f"{tag} {name}")
            if name == "href" and not str(value).lower().startswith(("https://", "http://", "mailto:")):
                self.found.append(f"href {value}")
            if name == "src" and not str(value).startswith("data:image/png;base64,"):
                self.found.append(f"src {value}")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data}")

    def handle_data(self, data: str) -> None:
        self.runs.append(data)


@pytest.mark.parametrize("html", HOSTILE)
def test_nothing_active_remains(html: str) -> None:
    assert HTMLFaultFinder(sanitize_html(f"<p>before</p>{html}<p>after</p>")).found == []


@given(
    st.lists(
        st.sampled_from([*HOSTILE, "<", ">", '"', "'", "</p>", "<b>", "<!--", "-->", "&lt;", "$x$"])
    ).map("".join)
)
def test_nothing_active_remains_of_any_mixture(html: str) -> None:
    assert HTMLFaultFinder(sanitize_html(html)).found == []


def test_the_faults_are_seen() -> None:
    seen = [HTMLFaultFinder(html).found for html in HOSTILE]
    assert [html for html, found in zip(HOSTILE, seen, strict=True) if not found] == []


def test_what_is_harmless_stays() -> None:
    html = (
        '<h2 title="a b">T</h2><table><tbody><tr><td colspan="2">1</td></tr></tbody></table>'
        '<details open=""><summary>more</summary><p lang="de">ja</p></details>'
        '<img src="data:image/png;base64,AAAA" alt="x" width="3">'
    )
    assert sanitize_html(html) == html
    assert sanitize_html('<p>A picture: <img src="https://example.org/x.png">.</p>') == "<p>A picture: .</p>"
    assert sanitize_html('<img src="x" alt="a tree">') == '<img alt="a tree">'
    link = sanitize_html("<a href='https://example.org/?a=1&b=$2'>x</a>")
    assert 'href="https://example.org/?a=1&amp;b=$2"' in link
    assert 'rel="noopener noreferrer nofollow"' in link


@pytest.mark.parametrize(
    "tex", [r"$\href{javascript:alert(1)}{x}$", r"\(\href{x}{y}\)", r"\begin{a}", "&#36;x&#36;"]
)
def test_no_formula_can_be_found(tex: str) -> None:
    runs = HTMLFaultFinder(sanitize_html(f"<p>{tex}</p>")).runs
    assert [run for run in runs if ("$" in run or "\\" in run) and len(run) > 1] == []
    assert "".join(runs) == tex.replace("&#36;", "$")


def test_html_cannot_leave_its_place() -> None:
    bundle = html_bundle("</div></div></td><p>x", FOOTER)
    assert bundle["text/html"].startswith("<div><p>x</p></div>")
    assert bundle["text/html"].endswith("<p><small>some/model</small></p>")
    assert bundle["text/plain"] == "</div></div></td><p>x\n\n[some/model]"


def test_html_in_a_fence() -> None:
    assert sanitize_html("```html\n<b>x</b>\n```\n") == "<b>x</b>"


def test_without_a_sanitiser_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "nh3":
            raise ImportError(name)
        return real(name, *args)

    check_format_support("html")
    monkeypatch.setattr(builtins, "__import__", without)
    check_format_support("json")
    for call in (lambda: check_format_support("html"), lambda: html_bundle("<b>", FOOTER)):
        with pytest.raises(ConfigurationError, match=r"puq_magics\[html\]"):
            call()


def test_text_is_as_it_stands() -> None:
    bundle = text_bundle("**a** $x$\n  <b>\x1b[31m", FOOTER)
    assert bundle["text/plain"] == "**a** $x$\n  <b>\n\n[some/model]"
    assert ">**a** $x$\n  &lt;b&gt;\n\n[some/model]</pre>" in bundle["text/html"]


def fences(bundle: dict[str, str]) -> list[tuple[str, str]]:
    tokens = MarkdownIt().parse(bundle["text/markdown"])
    return [(token.info, token.content.rstrip("\n")) for token in tokens if token.type == "fence"]


def test_code_is_code() -> None:
    bundle = code_bundle([("python", "x = 1\n```\n<script>"), ("", "ls")], FOOTER)
    assert fences(bundle) == [("python", "x = 1\n```\n<script>"), ("", "ls")]
    assert bundle["text/plain"] == "x = 1\n```\n<script>\n\nls\n\n[some/model]"


def test_json_is_pretty_and_cannot_leave_its_block() -> None:
    data = {"é": [1, "``` </script> **x**\n```"], "half": "\ud800"}
    ((language, text),) = fences(json_bundle(data, FOOTER))
    assert language == "json"
    assert json.loads(text) == {**data, "half": "?"}
    assert '\n  "é": [\n    1,' in text


def test_a_cell_reads_as_it_runs() -> None:
    assert clean_cell_source("\nx = 'a\u202eb\u2066'  # \x1b[0m\n\n") == "x = 'ab'  # "


@pytest.mark.parametrize(
    ("data", "columns", "rows"),
    [
        ([{"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 4}}], ["a", "b.c"], [[1, 2], [3, 4]]),
        ({"people": [{"a": 1}, {"a": 2}]}, ["a"], [[1], [2]]),
        ({"a": [1, 2], "b": [3, 4]}, ["a", "b"], [[1, 3], [2, 4]]),
        ({"a": 1, "b": "x"}, ["a", "b"], [[1, "x"]]),
        ({"a": 1, "b": ["x", "y"]}, ["a", "b"], [[1, ["x", "y"]]]),
        ({"a": [1], "b": [1, 2]}, ["a", "b"], [[[1], [1, 2]]]),
        ([1, 2], ["value"], [[1], [2]]),
        ([[1, 2], [3, 4]], [0, 1], [[1, 2], [3, 4]]),
        ([], ["value"], []),
    ],
)
def test_data_as_a_table(data: object, columns: list[object], rows: list[list[object]]) -> None:
    table = json_to_dataframe(data)
    assert list(table.columns) == columns
    assert table.to_numpy().tolist() == rows


@pytest.mark.parametrize("data", [5, "words", None, True])
def test_what_is_no_table(data: object) -> None:
    with pytest.raises(InputError, match="is no table"):
        json_to_dataframe(data)
