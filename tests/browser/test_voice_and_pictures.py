"""Images, players and the recorder as the magics show them, in a real front end, now and after reopening."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from lab import Frontend, LabNotebook

Lab = Callable[..., LabNotebook]

START = "%load_ext puq_magics\n%puq_sandbox"
IMAGE = "%puq_image --size 512x256 A red kite over the “green” hills"
SPEAK = "%puq_speak -o talk Hello there, and welcome to the notebook."
HEAR = "%puq_transcribe -o heard talk"
ASK = "%%puq_chat sandbox/echo\nSum this up: {{heard.text}}"

LOOK = """async () => {
  const image = document.querySelector('.jp-OutputArea-output img[src^="data:image/"]');
  if (!image) return null;
  await image.decode();
  const box = image.getBoundingClientRect();
  const room = image.closest('.jp-OutputArea-output').getBoundingClientRect();
  return {natural: [image.naturalWidth, image.naturalHeight], alt: image.alt,
          ratio: box.width / box.height, width: box.width, fits: box.width <= room.width};
}"""
PLAY = """async () => {
  const player = document.querySelector('.jp-OutputArea-output audio');
  if (!player) return null;
  player.muted = true;
  await player.play();
  await new Promise((done, fail) => {
    player.addEventListener('timeupdate', () => { if (player.currentTime > 0.1) done(); });
    player.addEventListener('error', () => fail(new Error(player.error && player.error.message)));
  });
  player.pause();
  return {error: player.error, moved: player.currentTime > 0.1, length: player.duration};
}"""


def assert_seen_and_heard(notebook: LabNotebook) -> None:
    notebook.wait_text(2, "Hello there, and welcome")
    notebook.page.wait_for_selector(".jp-OutputArea-output img", state="attached")
    image: dict[str, Any] = notebook.page.evaluate(LOOK)
    assert image["natural"] == [512, 256]
    assert image["alt"].startswith("A red kite over the “green” hills")
    assert abs(image["ratio"] - 2) < 0.05
    assert image["width"] > 200
    assert image["fits"]
    player: dict[str, Any] = notebook.page.evaluate(PLAY)
    assert player["error"] is None
    assert player["moved"]
    assert 1 < player["length"] < 60
    assert "Hello there, and welcome to the notebook." in notebook.text(3)


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_they_are_there_now_and_in_the_notebook_that_is_opened_again(lab: Lab, frontend: Frontend) -> None:
    notebook = lab(START, IMAGE, SPEAK, HEAR, ASK, frontend=frontend)
    notebook.run_all()
    assert [cell for cell in range(5) if any(o.kind == "error" for o in notebook.outputs(cell))] == []
    assert_seen_and_heard(notebook)
    assert "Sum this up: Hello there" in notebook.text(4)

    saved = json.loads(notebook.save().read_text(encoding="utf-8"))
    for cell in (1, 2, 3):
        (output,) = saved["cells"][cell]["outputs"]
        assert json.dumps(output).count(";base64,") == (0 if cell == 3 else 1)

    notebook.reopen()
    assert_seen_and_heard(notebook)
    notebook.reopen(trusted=False)
    assert not notebook.trusted(1)
    assert_seen_and_heard(notebook)


def test_speech_plays_once_by_itself_and_nothing_of_that_is_saved(lab: Lab) -> None:
    notebook = lab(START, "%puq_speak --autoplay Hello there, and welcome to the notebook.")
    notebook.run_cell(0)
    notebook.page.evaluate(
        "() => { window.plays = 0; const play = HTMLMediaElement.prototype.play;"
        " HTMLMediaElement.prototype.play = function() { window.plays++; return play.call(this); }; }"
    )
    notebook.run_cell(1)
    notebook.page.wait_for_function("() => window.plays === 1")
    saved = notebook.save().read_text(encoding="utf-8")
    assert "autoplay" not in json.dumps(json.loads(saved)["cells"][1]["outputs"])
    assert "<script" not in saved


def test_what_is_recorded_is_sent_and_its_answer_is_kept(lab: Lab) -> None:
    notebook = lab(
        START, "%puq_transcribe --record -o heard", "print(heard is _puq, heard.source, heard.text)"
    )
    notebook.run_cell(0)
    notebook.run_cell(1)
    recorder = notebook.page.locator(".puq-recorder")
    recorder.get_by_role("button", name="Record", exact=True).click()
    recorder.locator(".puq-recorder-time", has_text="0:01").wait_for()
    recorder.get_by_role("button", name="Stop", exact=True).click()
    notebook.page.locator(".puq-recorder[data-state=done]").wait_for()
    assert "_puq.text and heard.text" in recorder.get_by_role("status").inner_text()
    notebook.run_cell(2)
    said = notebook.text(2)
    assert said.startswith("True a recording ")
    assert "recogniser" in said  # the sandbox has none for what it has not spoken itself
    assert said.removeprefix("True a recording ").strip()[:20] in notebook.text(1)
