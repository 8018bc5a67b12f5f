"""Images are seen and players play in a real front end: live, and in the notebook that was saved and opened again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import Frontend, LabNotebook

Lab = Callable[..., LabNotebook]

SETUP = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
from media_samples import CALL_FIELDS, png, wav
from puq_magics.outputs.views.media import NotebookMediaView
from puq_magics.outputs.results import ImageResult, SpeechResult, TranscriptResult
def images(*data, prompt="a red kite"): return ImageResult(images=data, prompt=prompt, **CALL_FIELDS)
def speech(text="Good morning."): return SpeechResult(audio=wav(20), text=text, **CALL_FIELDS)
"""

_IMAGES = """images => images.map(image => {
    const box = image.getBoundingClientRect();
    const area = image.closest('.jp-OutputArea-output').getBoundingClientRect();
    return {
        loaded: image.complete && image.naturalWidth > 0, natural: [image.naturalWidth, image.naturalHeight],
        shown: [Math.round(box.width), Math.round(box.height)], alt: image.alt,
        row: Math.round(box.top - area.top), inside: box.right <= area.right + 1,
    };
})"""
_LOADED = "() => [...document.querySelectorAll('.jp-OutputArea-output img')].every(image => image.complete)"
#: Starts a player, as a click does, and says how far it came.
_PLAY = """async player => {
    player.muted = true;
    await player.play();
    for (const end = Date.now() + 20000; player.currentTime === 0 && Date.now() < end;)
        await new Promise(done => setTimeout(done, 20));
    return [player.currentTime > 0, player.error === null, Math.round(player.duration)];
}"""
_STATE = "player => [player.currentTime, player.paused, player.autoplay]"


def pictures(notebook: LabNotebook) -> list[dict[str, Any]]:
    """All images of the notebook, once they are there."""
    notebook.page.wait_for_function(_LOADED)
    found: list[dict[str, Any]] = notebook.page.eval_on_selector_all(".jp-OutputArea-output img", _IMAGES)
    return found


def played(notebook: LabNotebook) -> list[list[Any]]:
    """Of all players: whether they came on, without an error, and how long they are."""
    return [player.evaluate(_PLAY) for player in notebook.page.locator(".jp-OutputArea-output audio").all()]


def again(notebook: LabNotebook, check: Callable[[], None]) -> None:
    """The same live, saved and opened again, and opened by somebody who does not trust it."""
    check()
    notebook.save()
    for trusted in (True, False):
        notebook.reopen(trusted=trusted)
        assert notebook.trusted(1) is trusted
        check()


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_an_image_is_shown_at_its_size(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(SETUP, "images(png(300, 200), prompt='A \"red\" kite <b>for $5</b>')", frontend=frontend)
    notebook.run_all()

    def _check() -> None:
        (image,) = pictures(notebook)
        assert image["loaded"]
        assert image["natural"] == image["shown"] == [300, 200]
        assert image["alt"] == 'A "red" kite <b>for $5</b>'
        assert "a/b · 300 × 200 PNG" in notebook.text(1)

    again(notebook, _check)


def test_several_images_stand_in_rows_and_no_wider_than_the_screen(lab: Lab) -> None:
    notebook = lab(SETUP, "images(png(1024, 1024), png(1536, 1024), png(1024, 1536), png(100, 50))")
    notebook.run_all()

    def _check() -> None:
        for width, rows in ((1280, (2,)), (460, (2, 4))):  # a sidebar leaves less than two need
            notebook.page.set_viewport_size({"width": width, "height": 900})
            notebook.wait_until_stable()
            found = pictures(notebook)
            assert len({image["row"] for image in found}) in rows, width
            for image in found:
                (across, down), (shown_across, shown_down) = image["natural"], image["shown"]
                assert image["loaded"]
                assert image["inside"], width
                assert abs(shown_down - shown_across * down / across) <= 1  # of a pixel
        notebook.page.set_viewport_size({"width": 1280, "height": 900})

    notebook.page.keyboard.press("Control+b")  # the sidebar
    again(notebook, _check)


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_a_player_plays(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(SETUP, "speech('It is $5 to $6, <b>really</b>.')", frontend=frontend)
    notebook.run_all()

    def _check() -> None:
        assert played(notebook) == [[True, True, 20]]
        assert "It is $5 to $6, <b>really</b>." in notebook.text(1)
        assert "mjx-container" not in notebook.outputs(1)[0].html

    again(notebook, _check)


def test_it_plays_by_itself_now_and_never_when_the_notebook_is_opened(lab: Lab) -> None:
    notebook = lab(SETUP, "NotebookMediaView(autoplay=True).show_result(speech())")
    notebook.page.mouse.click(600, 500)  # a browser lets a page sound once somebody has touched it
    notebook.run_all()
    notebook.page.wait_for_function("() => document.querySelector('audio').currentTime > 0")
    notebook.save()
    for trusted in (True, False):
        notebook.reopen(trusted=trusted)
        notebook.page.mouse.click(600, 500)
        assert notebook.page.eval_on_selector("audio", _STATE) == [0, True, False]
        assert "<script" not in notebook.outputs(1)[0].html


def test_what_is_too_large_plays_and_is_seen_from_its_file(lab: Lab) -> None:
    notebook = lab(
        SETUP,
        "view = NotebookMediaView(max_embed_mb=0.001)\n"
        "view.show_result(images(png(300, 200, 2_000), prompt='a: kite #1?'))",
        "view = NotebookMediaView(max_embed_mb=0.001)\nview.show_result(speech())",
    )
    notebook.run_all()
    assert {path.name for path in notebook.file.parent.glob("*-1.*")} == {
        "a-kite-1-1.png",
        "good-morning-1.wav",
    }

    def _check() -> None:
        assert [image["shown"] for image in pictures(notebook)] == [[300, 200]]
        assert played(notebook) == [[True, True, 20]]
        for index, name in ((1, "a-kite-1-1.png"), (2, "good-morning-1.wav")):
            assert f"{name} is " in notebook.text(index)
            assert f"/{name}" in notebook.outputs(index)[0].html
        links = notebook.page.locator(".jp-OutputArea-output a").all()
        answers = [notebook.page.request.get(link.get_attribute("href") or "") for link in links]
        assert [answer.status for answer in answers] == [200, 200]

    again(notebook, _check)
    assert notebook.file.stat().st_size < 10_000


def test_the_largest_that_is_embedded_arrives(lab: Lab) -> None:
    """Ten megabytes in one message; the server drops what a stream sends faster than it may, but no display."""
    notebook = lab(SETUP, "NotebookMediaView().show_result(images(png(64, 64, 9_900_000)))")
    notebook.run_all()

    def _check() -> None:
        assert [image["shown"] for image in pictures(notebook)] == [[64, 64]]

    again(notebook, _check)
    assert notebook.file.read_text(encoding="utf-8").count("data:image/png") == 1


def test_waiting_and_progress_give_way_to_the_result(lab: Lab) -> None:
    notebook = lab(
        SETUP,
        "now = 0.0\nview = NotebookMediaView(activity='transcribing with a/b', clock=lambda: now)\n"
        "view.show_progress(0, 4_000_000, 'sending my_talk.mp3'); now = 2.0\n"
        "view.show_progress(1_000_000, 4_000_000, 'sending my_talk.mp3')",
        "view.show_progress(4_000_000, 4_000_000, 'sending my_talk.mp3'); view.show_waiting(12.0)",
        "text = 'Good morning.\\n\\nIt is $5 to $6.'\n"
        "view.show_result(TranscriptResult(text=text, source='my_talk.mp3', **CALL_FIELDS))",
    )
    notebook.run_cell(0)
    notebook.run_cell(1)
    assert notebook.page.eval_on_selector("progress", "bar => bar.position") == 0.25
    assert notebook.text(1).strip() == "sending my_talk.mp3 · 1.0 of 4.0 MB · 2 s"
    notebook.run_cell(2)
    assert notebook.text(1).strip() == "transcribing with a/b · 12 s"
    notebook.run_cell(3)
    assert "Good morning." in notebook.text(1)
    assert "It is $5 to $6." in notebook.text(1)
    assert "transcribing" not in notebook.text(1)
    assert [notebook.outputs(index) for index in (2, 3)] == [[], []]


def test_nbconverts_page_keeps_both(lab: Lab) -> None:
    notebook = lab(SETUP, "images(png(300, 200))", "NotebookMediaView(autoplay=True).show_result(speech())")
    notebook.run_all()
    file = notebook.save()
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", str(file)], check=True, capture_output=True
    )
    page = notebook.chromium.context.new_page()
    page.goto(file.with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    page.wait_for_function(_LOADED)
    (image,) = page.eval_on_selector_all(".jp-OutputArea-output img", _IMAGES)
    assert image["natural"] == image["shown"] == [300, 200]
    assert image["alt"] == "a red kite"
    player = page.locator(".jp-OutputArea-output audio")
    assert player.evaluate(_STATE) == [0, True, False]
    assert player.evaluate(_PLAY) == [True, True, 20]
    page.close()
    assert {url.split("/")[0] for url in notebook.traffic.accept_external_requests()} <= {
        "file:",
        "https:",
    }  # MathJax's
    notebook.traffic.accept_page_errors()  # without it
