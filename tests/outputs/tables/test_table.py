from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from puq_magics.api.types import Model, read_models
from puq_magics.outputs.tables.table import Column, ModelTable, Table, format_number

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e'\"&$x$\n</table><script>"


class HTMLTableReader(HTMLParser):
    """The elements of some HTML, and the words of its cells, rows and notes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.rows: list[list[str]] = []
        self.rest = ""
        self._in_cell = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data
        else:
            self.rest += data


NAMES_AND_SIZES = Table(
    [Column("name"), Column("size", format_number, "right")],
    [["one", 1], ["two", 2_000], ["none", None]],
    "Sizes",
)


def test_aligned_columns() -> None:
    assert NAMES_AND_SIZES.text() == "\n".join(
        ["Sizes", "name   size", "────  ─────", "one       1", "two   2,000", "none"]
    )


def test_as_html() -> None:
    read = HTMLTableReader(NAMES_AND_SIZES.html())
    assert read.rows[:4] == [["name", "size"], ["one", "1"], ["two", "2,000"], ["none", ""]]
    assert {"table", "caption", "thead", "tbody"} <= read.tags
    assert "script" not in read.tags
    assert NAMES_AND_SIZES.bundle() == {
        "text/html": NAMES_AND_SIZES.html(),
        "text/plain": NAMES_AND_SIZES.text(),
    }


def test_a_foot_stays_below() -> None:
    table = Table([Column("a"), Column("b", format_number, "right")], [["x", 1], ["y", 2]], foot=["total", 3])
    assert table.text().splitlines()[-2:] == ["─────  ─", "total  3"]
    assert "<tfoot><tr>" in table.html()
    assert HTMLTableReader(table.html()).rows[-1] == ["total", "3"]


@pytest.mark.parametrize("width", [20, 40, 60])
def test_words_are_cut_to_the_width_and_numbers_are_not(width: int) -> None:
    table = Table(
        [Column("code"), Column("name"), Column("n", format_number, "right")],
        [["provider/a-model-with-a-long-name", "模型" * 20, 1_234.5], ["b", "e\u0301" * 3, 1.0]],
    )
    lines = table.text(width).splitlines()
    assert all(line.rstrip().endswith(end) for line, end in zip(lines[2:], ["1,234.5", "1"], strict=True))
    name, least = len("provider/a-model-with-a-long-name"), 8
    assert max(len(line) for line in lines[:2]) <= max(width, name + least + len("1,234.5") + 4)
    assert lines[2].startswith(
        "provider/a-model-with-a-long-name"
    )  # it names the row, and cannot be typed when cut
    assert "…" in lines[2]
    assert re.search(r"(e\u0301){3}", lines[3])


def test_wide_and_combining_characters_keep_the_columns() -> None:
    table = Table([Column("a"), Column("b")], [["模型", "x"], ["e\u0301", "x"], ["abcd", "x"]])
    assert table.text().splitlines()[2:] == ["模型  x", "e\u0301     x", "abcd  x"]


def test_what_others_wrote_is_text() -> None:
    table = Table([Column("a")], [[HOSTILE]], HOSTILE, notes=[HOSTILE], foot=[HOSTILE])
    read = HTMLTableReader(table.html())
    assert read.tags == {"div", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}
    assert read.attributes == {"class", "style", "scope"}
    assert "<script>" not in table.html()
    assert read.rows[1] == ["<img src=x onerror=alert(1)>'\"&$x$ </table><script>"]
    assert "onerror=alert(1)>'" in read.rest
    for text in (table.text(), table.html()):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text.replace("\t", ""))
    assert len(table.text().splitlines()) == 7


@pytest.mark.parametrize(("width", "shown"), [(40, "abc"), (25, "ab"), (12, "a")])
def test_where_there_is_no_room_columns_are_left_out_and_named(width: int, shown: str) -> None:
    table = Table(
        [Column("a name"), *(Column(f"long {c}", format_number, "right", i) for i, c in enumerate("bc", 1))],
        [["provider/one", 1_000_000, 2_000_000]],
    )
    text = table.text(width)
    assert all(len(line) <= max(width, 20) for line in text.splitlines())
    assert ("1,000,000" in text, "2,000,000" in text) == ("b" in shown, "c" in shown)
    hidden = ", ".join(f"long {c}" for c in "bc" if c not in shown)
    assert (f"No room for: {hidden}" in " ".join(text.split())) == bool(hidden)


def test_a_spare_column_is_left_out_before_another_is_cut() -> None:
    columns = [Column("cell"), Column("model"), Column("at", spare_rank=1, breaks_words=False)]
    text = Table(columns, [["1", "openai/gpt-4o-mini", "2026-11-29"]]).text(30)
    assert "openai/gpt-4o-mini" in text
    assert "No room for: at" in text


def test_a_long_cell_is_cut() -> None:
    table = Table([Column("a")], [["x" * 5_000]])
    assert HTMLTableReader(table.html()).rows[1] == ["x" * 79 + "…"]


def test_many_rows_are_counted_and_it_is_said_how_to_see_them() -> None:
    table = Table(
        [Column("n", format_number)], [[i] for i in range(2_160)], more="ask for more.", notes=["And this."]
    )
    last = ["… and 1,960 more: ask for more.", "And this."]
    assert table.text().splitlines()[-2:] == last
    read = HTMLTableReader(table.html())
    assert len(read.rows) == 1 + 200
    assert all(line in read.rest for line in last)
    exact = Table([Column("n", format_number)], [[i] for i in range(200)])
    assert "more" not in exact.text()


def test_no_rows() -> None:
    table = Table([Column("a")], [], "Models", empty="no <b>models</b>")
    assert table.text() == "Models\n(no <b>models</b>)"
    assert HTMLTableReader(table.html()).tags == {"div"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (0.0, "0"),
        (12_345, "12,345"),
        (0.00005, "0.00005"),
        (2.5, "2.5"),
        (1e-9, "1e-09"),
        (1e300, "1e+300"),
        (1_234.5, "1,234.5"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert format_number(value) == text


# --- models --------------------------------------------------------------------------------------------------------

MODELS = (
    Model("openai/gpt-4o", "GPT-4o", "OpenAI", input_price=2.5, output_price=10.0),
    Model("openai/tts-1", "TTS", "OpenAI", enabled=False),
    Model("a/b", HOSTILE, HOSTILE, input_price=0.00005),
)


def shown(table: ModelTable) -> list[list[str]]:
    return HTMLTableReader(table._repr_mimebundle_()["text/html"]).rows


def test_the_models_are_a_sequence() -> None:
    table = ModelTable(MODELS)
    assert isinstance(table, Sequence)
    assert list(table) == list(MODELS)
    assert table[1] is MODELS[1]
    assert MODELS[1] in table
    assert list(table[1:]) == list(MODELS[1:])
    assert isinstance(table[1:], ModelTable)
    assert repr(table) == "<ModelTable 3 models: openai/gpt-4o, openai/tts-1, a/b>"
    assert repr(ModelTable([])) == "<ModelTable 0 models>"


def test_the_models_as_a_table() -> None:
    rows = shown(ModelTable(MODELS, price_unit="credits per 1,000 tokens"))
    assert rows[0] == ["code", "name", "provider", "kind", "input price", "output price", "enabled"]
    assert rows[1] == ["openai/gpt-4o", "GPT-4o", "OpenAI", "chat", "2.5", "10", "yes"]
    assert rows[2] == ["openai/tts-1", "TTS", "OpenAI", "speech", "", "", "no"]
    assert rows[3][4] == "0.00005"
    text = ModelTable(MODELS, price_unit="credits per 1,000 tokens")._repr_mimebundle_()["text/plain"]
    assert text.startswith("3 models; prices in credits per 1,000 tokens\n")
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(
    "kinds", [{"a/b": "image"}, lambda model: "image" if model.code == "a/b" else "chat"]
)
def test_kinds_are_told(kinds: Any) -> None:
    table = ModelTable(MODELS, kind_of=kinds)
    assert [row[3] for row in shown(table)[1:4]][::2] == ["chat", "image"]
    assert table[2:].kind(MODELS[2]) == "image"


def test_a_list_with_nulls_duplicates_and_html() -> None:
    line = {
        "code": "a/b",
        "name": "<b>x</b>",
        "provider": None,
        "input_price": None,
        "description": "<script>",
    }
    listed = [line, line, {"code": None}, None, {"code": "a/c", "input_price": "0.5", "output_price": "nan"}]
    rows = shown(ModelTable(read_models({"models": listed})))
    assert [row[:2] for row in rows[1:3]] == [["a/b", "<b>x</b>"], ["a/c", "a/c"]]
    assert rows[2][4:6] == ["0.5", ""]


def test_ten_thousand_models() -> None:
    table = ModelTable([Model(f"a/{i}", str(i)) for i in range(10_000)])
    bundle = table._repr_mimebundle_()
    assert "… and 9,800 more: name words" in bundle["text/plain"]
    assert len(bundle["text/html"]) < 100_000
    assert table.to_frame().shape == (10_000, 7)


def test_the_models_as_a_frame() -> None:
    frame = ModelTable(MODELS).to_frame()
    assert list(frame.columns) == [
        "code",
        "name",
        "provider",
        "kind",
        "input_price",
        "output_price",
        "enabled",
    ]
    assert frame.sort_values("input_price").code.tolist() == ["a/b", "openai/gpt-4o", "openai/tts-1"]
    assert ModelTable([]).to_frame().shape == (0, 7)


@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("pandas", "ModelTable([]).to_frame()"),
        ("pandas", "UsageReport([]).to_frame()"),
        ("matplotlib", "UsageReport([]).plot()"),
    ],
)
def test_without_the_packages_of_the_extra(package: str, code: str) -> None:
    script = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from puq_magics.core.errors import ConfigurationError\n"
        "from puq_magics.outputs.tables.table import ModelTable\n"
        "from puq_magics.outputs.tables.usage_report import UsageReport\n"
        f"try: {code}\nexcept ConfigurationError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"needs {package}" in ran.stdout
    assert "puq_magics[data]" in ran.stdout


def test_words_that_a_narrow_page_does_not_break() -> None:
    table = Table([Column("name"), Column("at", breaks_words=False)], [["a", "2026-11-29 16:20"], ["b", "<"]])
    assert HTMLTableReader(table.html()).rows[1:] == [["a", "2026-11-29 16:20"], ["b", "<"]]
    assert "<span style='white-space: nowrap'>2026-11-29</span> <span" in table.html()
