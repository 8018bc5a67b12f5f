"""The model chooser in a real JupyterLab, with two thousand models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab import Frontend, JupyterServer, LabNotebook
from playwright.sync_api import Locator, expect

Lab = Callable[..., LabNotebook]

#: 1,600 for chat, 200 each for images and speech.
MODELS = """
from puq_magics.api.types import Model
from puq_magics.widgets import ModelChooser
providers = ["openai", "anthropic", "google", "meta"]
suffixes = {0: "-image", 1: "-tts"}
models = [
    Model(f"{providers[i % 4]}/model-{i}{suffixes.get(i % 10, '')}", f"Number {i}", providers[i % 4],
          f"The model {i}.", True, i / 100, None)
    for i in range(2_000)
]
"""
SHOW = """
chooser = ModelChooser(models, price_unit="credits per 1M tokens",
                       line="%config PuqMagics.{kind}_model = {code!r}")
chooser
"""
VALUE = "print(chooser.value or None, chooser.kind or None)"
CHOSEN = "Chosen chat model: openai/model-172\n%config PuqMagics.chat_model = 'openai/model-172'"
BESIDE = "import ipywidgets; ipywidgets.HBox([chooser, ipywidgets.Label('beside')])"
HOSTILE = """
bad = "<img src=x onerror='window.hit = 1'><script>window.hit = 2</script>"
models = [
    Model("evil/" + bad.replace(" ", "/"), bad + "\\u202egnp.exe", bad, bad),
    Model("evil/{code}", "javascript:window.hit=3", "__proto__"),
    Model("constructor", "constructor", "constructor"),
]
chooser = ModelChooser(models, price_unit=bad, kind="", line="use {code} {name}", kind_of=lambda model: model.name)
chooser
"""
#: Counts the messages to widgets that the page sends from here on.
COUNT_MESSAGES = """() => {
  window.widgetMessages = 0;
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    const text = typeof data === "string" ? data : new TextDecoder().decode(data);
    if (text.includes("comm_msg")) window.widgetMessages += 1;
    return send.call(this, data);
  };
}"""


def opened(lab: Lab, show: str = SHOW, *more: str, frontend: Frontend = "lab") -> tuple[LabNotebook, Locator]:
    notebook = lab(MODELS + show, VALUE, *more, frontend=frontend)
    notebook.run_cell(0)
    return notebook, notebook.page.locator(".puq-chooser")


def press(chooser: Locator, *keys: str) -> None:
    """Click into the search field and press keys; lower-case words are typed."""
    chooser.locator("input").click()
    for key in keys:
        if key.islower():
            chooser.page.keyboard.type(key)
        else:
            chooser.page.keyboard.press(key)


def value(notebook: LabNotebook) -> str:
    """What the kernel says of the value and the kind."""
    notebook.run_cell(1)
    return notebook.text(1).strip()


def rows(chooser: Locator, **which: Any) -> Locator:
    """The rows that are drawn."""
    return chooser.get_by_role("listbox", name="Models").get_by_role("option", **which)


def active(chooser: Locator) -> Locator:
    """The row that `aria-activedescendant` names."""
    named = chooser.locator("input").get_attribute("aria-activedescendant")
    assert named is not None
    return chooser.locator(f'[role=option][id="{named}"]')


def cells(notebook: LabNotebook) -> int:
    return int(notebook.page.evaluate("path => window.puqHarness.count(path)", notebook.path))


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_search_choose_save_and_reopen(lab: Lab, frontend: Frontend) -> None:
    notebook, chooser = opened(lab, frontend=frontend)
    count = chooser.get_by_role("status")
    expect(count).to_have_text("1,600 of 2,000 models")
    expect(chooser).to_contain_text("Prices in credits per 1M tokens")
    assert value(notebook) == "None chat"

    notebook.page.evaluate(COUNT_MESSAGES)
    press(chooser, "meta number 17", "Escape", "model-17")
    expect(count).to_have_text("89 of 2,000 models")
    expect(active(chooser)).to_contain_text("anthropic/model-17")
    press(chooser, "ArrowDown")
    assert notebook.page.evaluate("window.widgetMessages") == 0, "searching asks the kernel"

    press(chooser, "Enter")
    chosen = rows(chooser, selected=True)
    expect(chosen).to_have_text("✓openai/model-172Number 172openaichat1.72–")
    expect(chosen).to_have_accessible_name(
        "openai/model-172, Number 172, openai, chat, input 1.72, output – credits per 1M tokens"
    )
    expect(chooser.locator("code")).to_have_text(CHOSEN.split("\n")[1])
    assert value(notebook) == "openai/model-172 chat"

    saved = json.loads(notebook.save().read_text(encoding="utf-8"))
    widget, _, text = (output["data"] for output in saved["cells"][0]["outputs"])
    assert "".join(text["text/plain"]) == CHOSEN
    assert "".join(widget["text/plain"]) == ""
    for trusted in (True, False):
        notebook.reopen(trusted=trusted)
        assert notebook.page.locator(".puq-chooser-saved").text_content() == CHOSEN
        expect(notebook.page.get_by_text("Chosen chat model: openai/model-172")).to_be_visible()
        expect(notebook.page.get_by_text("Error displaying widget").locator("visible=true")).to_have_count(0)


def test_one_place_at_a_time_shows_the_choice(lab: Lab) -> None:
    notebook, _ = opened(lab)
    expect(notebook.page.locator(".puq-chooser-saved")).to_have_count(1)
    expect(notebook.page.locator(".puq-chooser-saved")).to_be_hidden()
    stand_in = notebook.page.locator(".puq-chooser-fallback")
    expect(stand_in).to_have_count(2)
    for part in stand_in.all():
        expect(part).to_be_hidden()


def test_filters(lab: Lab) -> None:
    notebook, chooser = opened(lab)
    count, provider = chooser.get_by_role("status"), chooser.get_by_label("Provider", exact=True)
    provider.focus()
    notebook.page.keyboard.type("meta")
    expect(provider).to_have_value("meta")
    expect(count).to_have_text("400 of 2,000 models")
    chooser.get_by_role("button", name="image").click()  # meta has none: the filter goes
    expect(provider).to_have_value("")
    expect(count).to_have_text("200 of 2,000 models")
    expect(chooser.get_by_role("button", pressed=True)).to_have_text("image")
    expect(provider.locator("option")).to_have_text(["all providers", "google (100)", "openai (100)"])
    press(chooser, "nothing has this")
    expect(count).to_have_text("No model of 2,000 matches")
    press(chooser, "Enter")
    assert value(notebook) == "None image"
    chooser.get_by_role("button", name="all").press("Enter")
    press(chooser, "Escape")
    expect(count).to_have_text("2,000 of 2,000 models")
    assert value(notebook) == "None None"


def test_words_that_are_searched_at_first(lab: Lab) -> None:
    _, chooser = opened(lab, "ModelChooser(models, search='number 17 meta', value='openai/model-4')")
    expect(chooser.locator("input")).to_have_value("number 17 meta")
    expect(chooser.get_by_role("status")).to_have_text("24 of 2,000 models")
    expect(chooser).to_contain_text("✓ openai/model-4")
    expect(chooser).not_to_contain_text("not in the list")
    chooser.locator("input").press("Escape")
    expect(chooser.get_by_role("status")).to_have_text("1,600 of 2,000 models")


def test_a_click_on_a_head_sorts(lab: Lab) -> None:
    notebook, chooser = opened(lab)
    chooser.get_by_role("button", name="all").click()

    def first() -> str:
        return rows(chooser).first.locator("span").nth(1).inner_text()

    for name, codes in {
        "Sort by code": ["anthropic/model-1-tts", "openai/model-1996", "openai/model-0-image"],
        "Sort by input": ["openai/model-0-image", "meta/model-1999", "openai/model-0-image"],
    }.items():
        for code in codes:
            chooser.get_by_role("button", name=name).click()
            assert first() == code
    notebook.page.set_viewport_size({"width": 700, "height": 900})
    chooser.get_by_role("button", name="Sort by output").click()  # none is known
    assert first() == "openai/model-0-image"
    notebook.page.set_viewport_size({"width": 1280, "height": 900})


def test_the_keyboard_goes_through_all_rows_of_which_few_are_drawn(lab: Lab) -> None:
    notebook, chooser = opened(lab)
    press(chooser, "Enter")
    assert value(notebook) == "None chat", "Enter chose what nobody asked for"
    for key, row, place in (
        ("ArrowDown", "google/model-2", 1),
        ("End", "meta/model-1999", 1_600),
        ("ArrowDown", "meta/model-1999", 1_600),
        ("ArrowUp", "google/model-1998", 1_599),
        ("PageUp", "meta/model-1987", 1_590),
        ("Home", "google/model-2", 1),
        ("ArrowUp", "google/model-2", 1),
        ("PageDown", "anthropic/model-13", 10),
    ):
        press(chooser, key)
        expect(active(chooser)).to_have_attribute("aria-posinset", str(place))
        expect(active(chooser)).to_have_attribute("aria-setsize", "1600")
        expect(active(chooser).locator("span").nth(1)).to_have_text(row)
        expect(active(chooser)).to_be_in_viewport(ratio=1)
        assert rows(chooser).count() < 40
    rows(chooser, name="google/model-6,").click()
    expect(chooser.locator("input")).to_be_focused()
    assert value(notebook) == "google/model-6 chat"


def test_no_key_reaches_the_cell(lab: Lab) -> None:
    notebook, chooser = opened(lab, SHOW, "'a cell'", "'another'")
    press(chooser, "model-17", "Enter")
    expect(chooser.locator(".puq-chooser-copy")).to_be_visible()
    places = chooser.locator(":is(input, select, button, .puq-chooser-scroller):visible").all()
    assert len(places) >= 12
    for place in places:
        place.focus()
        for key in "dxab":
            notebook.page.keyboard.press(key)
            notebook.page.keyboard.press(key)
        expect(place).to_be_focused()
        assert cells(notebook) == 4
    for words in ("Prices in", "of 2,000"):  # no control: the click gives the focus to the whole
        chooser.get_by_text(words).first.click()
        notebook.page.keyboard.type("dd")
        assert cells(notebook) == 4
    notebook.page.locator(".jp-InputPrompt").nth(2).click()
    notebook.page.keyboard.type("dd")  # or else the keys of this test delete no cell anywhere
    notebook.page.wait_for_function("path => window.puqHarness.count(path) === 3", arg=notebook.path)


def test_the_line_is_copied(lab: Lab) -> None:
    _, chooser = opened(lab)
    press(chooser, "model-172", "Enter")
    chooser.locator(".puq-chooser-copy").click()
    expect(chooser.locator(".puq-chooser-copy")).to_have_text("Copied")
    press(chooser, "Escape", "Control+V")
    expect(chooser.locator("input")).to_have_value("%config PuqMagics.chat_model = 'openai/model-172'")


def test_a_value_set_in_the_kernel_is_shown(lab: Lab) -> None:
    notebook, chooser = opened(
        lab, SHOW, "chooser.kind, chooser.value = '', 'openai/model-1900-image'", BESIDE
    )
    notebook.run_cell(2)
    expect(chooser.locator("code")).to_have_text("%config PuqMagics.image_model = 'openai/model-1900-image'")
    expect(chooser.get_by_role("status")).to_have_text("2,000 of 2,000 models")
    notebook.run_cell(3)  # a second view of it begins at the chosen row
    chooser.nth(1).scroll_into_view_if_needed()
    box = chooser.nth(1).bounding_box()
    assert box is not None
    assert 400 < box["width"] < 900
    expect(rows(chooser.nth(1), selected=True)).to_be_in_viewport(ratio=1)
    notebook.set_source(2, "chooser.value = 'mine/own'")
    notebook.run_cell(2)
    for view in chooser.all():
        expect(view).to_contain_text("✓ mine/own(not in the list)")


def test_hostile_names_are_text(lab: Lab) -> None:
    notebook, chooser = opened(lab, HOSTILE)
    expect(rows(chooser)).to_have_count(3)
    for row in range(3):
        rows(chooser).nth(row).click()
        expect(rows(chooser, selected=True)).to_have_attribute("aria-posinset", str(row + 1))
        notebook.wait_until_stable()
    rows(chooser).first.click()
    expect(chooser.locator("code")).to_contain_text("<img src=x onerror='window.hit = 1'><script>window.hit")
    assert chooser.locator("img, script, a").count() == 0
    assert "\u202e" not in chooser.inner_html()
    chooser.get_by_label("Provider", exact=True).select_option("__proto__")
    expect(chooser.get_by_role("status")).to_have_text("1 of 3 models")
    notebook.save()
    for trusted in (True, False):
        assert notebook.page.evaluate("window.hit") is None
        notebook.reopen(trusted=trusted)
        assert "<script>" in notebook.outputs(0)[2].text
    assert notebook.page.evaluate("window.hit") is None


@pytest.fixture
def without_anywidget(jupyter_server: JupyterServer) -> Iterator[None]:
    """The front end as it is where anywidget is installed beside the kernel only."""
    file = jupyter_server.root.parent / "config" / "labconfig" / "page_config.json"
    before = file.read_text(encoding="utf-8")
    page = json.loads(before)
    page["disabledExtensions"]["anywidget"] = True
    file.write_text(json.dumps(page), encoding="utf-8")
    yield
    file.write_text(before, encoding="utf-8")


def test_without_anywidget_a_combobox_takes_its_place(lab: Lab, without_anywidget: None) -> None:
    notebook, chooser = opened(lab)
    field = notebook.page.get_by_placeholder("Type the code of one of 1,600 models")
    expect(field).to_be_visible()
    expect(chooser).to_have_count(0)
    expect(notebook.page.get_by_text("This front end has no anywidget")).to_be_visible()
    expect(notebook.page.locator(".jupyter-widgets-error-widget")).to_be_hidden()
    field.fill("openai/model-172")
    field.press("Enter")
    notebook.wait_text(0, "Chosen chat model: openai/model-172")
    assert value(notebook) == "openai/model-172 chat"
    expect(notebook.page.get_by_text(CHOSEN.split("\n")[1])).to_be_visible()
    notebook.save()
    notebook.reopen()
    assert notebook.page.locator(".puq-chooser-saved").text_content() == CHOSEN
