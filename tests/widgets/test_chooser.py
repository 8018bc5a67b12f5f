"""The model chooser as the kernel has it: what is sent to the front end, what a choice does, what is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ipywidgets
import pytest

from puq_magics.api.types import Model, read_models
from puq_magics.widgets.chooser import ModelChooser, fallback

MODELS = (
    Model("openai/gpt-4o", "GPT-4o", "openai", "Reads and writes.", True, 2.5, 10),
    Model("openai/tts-1", "TTS", "openai", "", True, None, 15),
    Model("meta/llama", "Llama", "meta", "", True, 0, None),
)
LINE = "%config PuqMagics.{kind}_model = {code!r}"


@pytest.fixture(autouse=True)
def _close_widgets() -> Iterator[None]:
    yield
    ipywidgets.Widget.close_all()


def model(code: str = "a/b", name: str = "B", **rest: Any) -> Model:
    return Model(code, name, **rest)


def rows(chooser: ModelChooser) -> list[list[str]]:
    """What the front end gets."""
    sent: list[list[str]] = json.loads(json.dumps(chooser.get_state("_rows")["_rows"]))
    return sent


def choose(chooser: ModelChooser, code: str) -> None:
    """Do what the front end's message does."""
    chooser.set_state({"value": code})


def test_the_front_end_gets_a_row_of_text_for_each_model() -> None:
    chooser = ModelChooser(MODELS, price_unit="credits per 1M tokens")
    assert rows(chooser) == [
        ["openai/gpt-4o", "GPT-4o", "openai", "chat", "2.5", "10", "Reads and writes."],
        ["openai/tts-1", "TTS", "openai", "speech", "–", "15", ""],
        ["meta/llama", "Llama", "meta", "chat", "0", "–", ""],
    ]
    state = chooser.get_state()
    assert (state["value"], state["kind"], state["_unit"]) == ("", "chat", "credits per 1M tokens")
    assert "export default" in state["_esm"]
    assert ".puq-chooser" in state["_css"]


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        (0.15, "0.15"),
        (0.000123456, "0.00012346"),
        (1234.5, "1,234.5"),
        (12_345_678.9, "12,345,679"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (True, "–"),
        ("3", "–"),
    ],
)
def test_prices(price: Any, shown: str) -> None:
    assert rows(ModelChooser([model(input_price=price)]))[0][4] == shown


def test_the_kind_is_the_callers_word() -> None:
    chooser = ModelChooser(MODELS, kind_of=lambda model: f"for {model.provider}", kind="for meta", line=LINE)
    assert [row[3] for row in rows(chooser)] == ["for openai", "for openai", "for meta"]
    assert chooser.kind == "for meta"


def test_a_choice_is_seen_by_observers_with_its_line() -> None:
    chooser = ModelChooser(MODELS, line=LINE)
    seen: list[tuple[str, str]] = []
    chooser.observe(lambda change: seen.append((change["new"], chooser.line)), "value")
    choose(chooser, "openai/tts-1")
    assert seen == [("openai/tts-1", "%config PuqMagics.speech_model = 'openai/tts-1'")]
    assert chooser.chosen is MODELS[1]
    assert chooser.get_state("_line")["_line"] == ["openai/tts-1", chooser.line]


def test_the_line_may_be_made_by_a_function() -> None:
    chooser = ModelChooser(MODELS, value="meta/llama", line=lambda model: f"use {model.name}\x1b[2J now")
    assert chooser.line == "use Llama [2J now"
    assert chooser.get_state("_line")["_line"] == ["meta/llama", chooser.line]


def test_without_a_choice_or_without_words_for_it_there_is_no_line() -> None:
    assert ModelChooser(MODELS, line=LINE).line == ""
    assert ModelChooser(MODELS, value="meta/llama").line == ""
    assert ModelChooser(MODELS).chosen is None


def test_a_value_that_is_not_in_the_list_is_kept_and_said() -> None:
    chooser = ModelChooser(MODELS, value="mine/own", line=LINE)
    assert (chooser.value, chooser.chosen, chooser.line) == ("mine/own", None, "")
    assert chooser.text == "Chosen model (not in the list): mine/own"


def test_duplicates_and_codes_that_nobody_can_send_are_left_out() -> None:
    codes = ["a/b", "a/b", "", "a b", "a/\u202eb", "a/\x1b[31m", "a/\ud800", "a/\u00e9"]
    chooser = ModelChooser([model(code, name=f"{i}") for i, code in enumerate(codes)])
    assert [row[:2] for row in rows(chooser)] == [["a/b", "0"], ["a/\u00e9", "7"]]
    assert [found.name for found in chooser.models] == ["0", "7"]


def test_names_are_one_line_of_printable_text_and_nothing_is_markup() -> None:
    name = "<b>bold</b>\n\u202eevil\u2066 \x1b]8;;http://x\x07link \ud83d half"
    chooser = ModelChooser([model("<script>/x", name, provider=name, description=name)])
    ((code, *texts),) = [row[:3] + row[6:] for row in rows(chooser)]
    assert code == "<script>/x"
    assert texts == ["<b>bold</b> evil ]8;;http://x link half"] * 3
    choose(chooser, code)
    assert chooser._static_bundle()["text/html"] == (
        '<pre class="puq-chooser-saved">Chosen chat model: &lt;script&gt;/x</pre>'
    )


def test_a_template_is_filled_once() -> None:
    chooser = ModelChooser([model("a/'{kind}", "{code}")], value="a/'{kind}", line="{name} {code!r} {kind}")
    assert chooser.line == """{code} "a/'{kind}" chat"""


def test_ten_thousand_long_descriptions_are_cut() -> None:
    many = [model(f"a/{i}", description="words " * 300) for i in range(10_000)]
    found = rows(ModelChooser(many))
    assert len(found) == 10_000
    assert found[0][6] == "words words words words words words wor…"
    assert len(json.dumps(found)) < 2_000_000


def test_the_models_of_the_router_are_shown_as_read() -> None:
    answer = {"models": [{"code": "x/y", "name": "Y\x00", "input_price": None, "provider": None}] * 2}
    assert rows(ModelChooser(read_models(answer))) == [["x/y", "Y", "", "chat", "–", "–", ""]]


def test_anything_with_these_attributes_is_a_model() -> None:
    @dataclass
    class Mine:
        code: str = "my/model"
        name: str = "Mine"
        provider: str = "me"
        description: str = ""
        input_price: float | None = None
        output_price: float | None = None

    mine = Mine()
    assert ModelChooser([mine], value="my/model").chosen is mine


def test_no_models() -> None:
    chooser = ModelChooser([])
    assert rows(chooser) == []
    assert chooser.text == "No model chosen."
    assert fallback([]).options == ()


def test_it_goes_into_other_widgets() -> None:
    chooser = ModelChooser(MODELS, layout=ipywidgets.Layout(width="50%"))
    box = ipywidgets.VBox([ipywidgets.Label("Which?"), chooser])
    assert box.children[1].layout.width == "50%"
    assert repr(chooser) == "<ModelChooser of 3 models, value=''>"


def test_the_fallback_has_the_codes_of_the_kind() -> None:
    field = fallback((*MODELS, MODELS[0]), value="meta/llama", description="Which?")
    assert field.options == ("openai/gpt-4o", "meta/llama")
    assert (field.value, field.description, field.ensure_option) == ("meta/llama", "Which?", True)
    assert fallback(MODELS, kind="").options == ("openai/gpt-4o", "openai/tts-1", "meta/llama")
    assert fallback(MODELS, kind_of=lambda m: m.provider, kind="meta").options == ("meta/llama",)
    assert fallback(MODELS).value == ""


def test_chooser_and_fallback_have_one_value() -> None:
    chooser = ModelChooser(MODELS, value="meta/llama")
    _, note, field = chooser.with_fallback().children
    assert field.value == "meta/llama"
    field.set_state({"value": "openai/gpt-4o"})
    assert chooser.value == "openai/gpt-4o"
    choose(chooser, "meta/llama")
    assert field.value == "meta/llama"
    assert "anywidget" in note.value


def test_displayed_by_itself_it_leaves_a_text_that_follows_the_choice(fresh_kernel: Any) -> None:
    setup = (
        "from puq_magics.api.types import Model\n"
        "from puq_magics.widgets.chooser import ModelChooser\n"
        f"ModelChooser([Model('a/<b>', 'B')], line={LINE!r})"
    )
    box, script, text = fresh_kernel.run(setup).screen
    assert box["text/plain"] == "", "a converter that knows no widgets shows the text below alone"
    assert set(script) == {"application/javascript"}
    assert "application/vnd.jupyter.widget-view+json" in box
    assert text["text/plain"] == "No model chosen."
    (update,) = fresh_kernel.run("_.value = 'a/<b>'").screen
    assert update["text/plain"] == "Chosen chat model: a/<b>\n%config PuqMagics.chat_model = 'a/<b>'"
    assert "a/&lt;b&gt;" in update["text/html"]
