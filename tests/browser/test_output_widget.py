"""Answers in an ipywidgets.Output, which shows first displays and no updates of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from lab import LabNotebook

SETUP = """
%load_ext puq_magics
%puq_sandbox --pace 50
%config PuqMagics.chat_model = "sandbox/echo"
%config PuqMagics.image_model = "sandbox/image"
%config PuqMagics.speech_model = "sandbox/tts"
%config PuqMagics.transcribe_model = "sandbox/whisper"
import ipywidgets
ask = get_ipython().run_line_magic
%puq_speak -q -o talk A recording of END
"""
CONTEXT = """
context = ipywidgets.Output()
display(context)
with context:
    print("first")
    ask("puq_chat", "the question of the context END")
"""
CALLBACK = """
button, clicked = ipywidgets.Button(description="Ask"), ipywidgets.Output()

@clicked.capture()
def answer(_):
    ask("puq_chat", "--no-stream the question of the button END")
    ask("puq_image", "a lighthouse")
    ask("puq_transcribe", "talk")

button.on_click(answer)
ipywidgets.VBox([button, clicked])
"""
INTERACT = """
@ipywidgets.interact(topic=["birds"])
def about(topic):
    ask("puq_chat", f"the question about {topic} END")
"""


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_an_answer_is_whole_in_an_output_widget(lab: Callable[..., LabNotebook], frontend: str) -> None:
    notebook = lab(SETUP, CONTEXT, CALLBACK, INTERACT, "%puq_chat -o after one more END", frontend=frontend)
    notebook.run_all()
    page = notebook.page
    page.get_by_role("button", name="Ask", exact=True).click()
    areas = page.locator(".jp-OutputArea-output .jp-OutputArea")
    clicked = areas.filter(has=page.locator("img"))
    clicked.get_by_text("A recording of END").first.wait_for(state="attached")
    clicked.get_by_text("the question of the button").first.wait_for(state="attached")
    for text in ("the question of the context", "the question about birds"):
        shown = areas.filter(has_text=text).first
        shown.wait_for(state="attached")
        expect(shown.get_by_text("sandbox/echo ·")).to_have_count(1)  # the footer, so it is whole
    expect(page.get_by_text("Waiting …")).to_have_count(0)
