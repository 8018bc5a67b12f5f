"""Images, players and the recorder as the magics show them, in a real front end, now and after reopening."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from lab import Frontend, LabNotebook

from puq_magics.sandbox import Sandbox

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
        "() => { window.begun = new Set(); const play = HTMLMediaElement.prototype.play;"
        " HTMLMediaElement.prototype.play = function() {"
        "   if (!this.currentTime) window.begun.add(this); return play.call(this); }; }"
    )
    notebook.run_cell(1)
    # The player of arriving audio hands over to the ordinary one; what is left of the first is silent.
    notebook.page.wait_for_function(
        "() => [...window.begun].some(each => each.isConnected && each.currentTime > 0)"
    )
    assert (
        notebook.page.evaluate("[...window.begun].filter(each => !each.isConnected && !each.paused).length")
        == 0
    )
    assert notebook.page.evaluate("document.querySelectorAll('audio').length") == 1
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
    # Or later: the clock goes on while nobody looks.
    notebook.page.wait_for_function("document.querySelector('.puq-recorder-time').textContent >= '0:01'")
    recorder.get_by_role("button", name="Stop", exact=True).click()
    notebook.page.locator(".puq-recorder[data-state=done]").wait_for()
    assert "_puq.text and heard.text" in recorder.get_by_role("status").inner_text()
    notebook.run_cell(2)
    said = notebook.text(2)
    assert said.startswith("True a recording ")
    assert "recogniser" in said  # the sandbox has none for what it has not spoken itself
    assert said.removeprefix("True a recording ").strip()[:20] in notebook.text(1)


#: Starts the player that is there, as a click does: that more is loaded ends the promise of a start, not the start.
START_PLAYER = "player => { player.muted = true; player.play().catch(() => 0); }"
#: Waits until a player plays beyond what it had loaded when it was started.
PLAYS_ON = "([player, from]) => player.isConnected && player.currentTime > from"


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
@pytest.mark.parametrize("option", ["", "--autoplay "])
def test_speech_plays_while_it_arrives_and_goes_on_in_the_player_that_is_kept(
    lab: Lab, sandbox: Sandbox, frontend: Frontend, option: str
) -> None:
    text = "The cat sat on the mat and looked at the sea. " * 6
    router = {"PUQ_BASE_URL": sandbox.base_url, "PUQ_API_KEY": sandbox.token}
    connect = f"%load_ext puq_magics\nimport os\nos.environ.update({router})"
    notebook = lab(connect, f"%puq_speak -m sandbox/tts {option}{text}", frontend=frontend)
    sandbox.configure(pace=4)  # until the player has played what came later
    notebook.run_cell(0)
    notebook.page.evaluate(
        "() => { window.played = []; const play = HTMLMediaElement.prototype.play;"
        " HTMLMediaElement.prototype.play = function() {"
        "   played.push([this.className, this.currentTime]); return play.call(this); }; }"
    )
    notebook.run_cell(1, wait=False)
    live = notebook.page.wait_for_selector(".puq-live-player")
    if not option:
        live.evaluate(START_PLAYER)
    loaded = live.evaluate_handle("player => player.duration || 0.5").json_value()
    notebook.page.wait_for_function(PLAYS_ON, arg=[live, loaded])
    assert notebook.page.locator("audio").count() == 1
    sandbox.configure(pace=0)
    notebook.wait_idle()
    whole = notebook.page.wait_for_selector("audio:not(.puq-live-player)")
    notebook.page.wait_for_function("player => !player.paused && player.currentTime > 1", arg=whole)
    assert notebook.page.locator("audio").count() == 1
    starts = [at for _, at in notebook.page.evaluate("played")]
    assert starts == sorted(starts)  # nothing plays twice
    saved = json.loads(notebook.save().read_text(encoding="utf-8"))
    (output,) = saved["cells"][1]["outputs"]
    assert set(output["data"]) == {"text/html", "text/plain"}
    assert output["data"]["text/html"][0].count("<audio ") == 1
    assert output["metadata"]["puq"][0]["kind"] == "speech"
