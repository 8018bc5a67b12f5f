"""The recorder in a real front end, with Chromium's own microphone, which beeps once a second."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Chromium, Frontend, JupyterServer, LabNotebook, notebooks
from lab_browser import browse_without_microphone
from playwright.sync_api import expect

import puq_magics.widgets

Lab = Callable[..., LabNotebook]

SHOW = """
from puq_magics.core.errors import InputError
from puq_magics.widgets import Recorder

heard = []

def take(data, mime):
    heard.append((data[:4].hex(), len(data), mime))
    if len(heard) in failing:
        raise InputError("This went wrong.", hint="Send it again.")
    recorder.show_result({"text/markdown": f"**Heard {len(heard)}**", "text/plain": f"Heard {len(heard)}"})

failing = set()
recorder = Recorder(take)
recorder
"""
ASK = "import json; print(json.dumps([heard, recorder.state, recorder.message]))"
EBML = "1a45dfa3"  # what every WebM file begins with
MP3 = b"ID3\x04" + bytes(200)

# Every stream that pages are given is noted; it is the browser's own all the same.
NOTE_STREAMS = """() => {
  window.tracks = [];
  const devices = navigator.mediaDevices, real = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (...args) => {
    const stream = await real(...args);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
}"""
NO_TRACK_IS_LIVE = "window.tracks.length > 0 && window.tracks.every(track => track.readyState === 'ended')"
LEVEL = "parseFloat(document.querySelector('.puq-recorder-level > div').style.transform.slice(7))"


class RecorderPage:
    """A notebook whose first cell shows a recorder, as somebody at the screen uses it."""

    def __init__(self, notebook: LabNotebook) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.root = self.page.locator(".puq-recorder")
        self.button = self.root.locator("button").first
        self.upload = self.page.locator(".puq-recorder-stand-in button")
        self.page.evaluate(NOTE_STREAMS)
        notebook.run_cell(0)
        self.wait_for("idle")

    def wait_for(self, state: str) -> None:
        self.page.locator(f".puq-recorder[data-state={state}]").wait_for()

    def wait_until(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def wait_for_time(self, time: str) -> None:
        """Wait until the clock shows this time, or a later one: it goes on while nobody looks."""
        clock = "document.querySelector('.puq-recorder-time')"
        self.wait_until(f"!{clock}.hidden && {clock}.textContent >= '{time}'")

    @property
    def status_text(self) -> str:
        return self.root.get_by_role("status").inner_text()

    def press(self, label: str) -> None:
        self.root.get_by_role("button", name=label, exact=True).click()

    def record(self) -> None:
        """Record a beep, and stop."""
        self.press("Record")
        self.wait_until(f"{LEVEL} > 0.3")
        self.wait_for_time("0:01")
        self.press("Stop")

    def choose(self, file: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.upload.click()
        chooser.value.set_files(file)

    def ask(self) -> tuple[list[Any], str, str]:
        """What Python has heard, and its state and message."""
        self.notebook.run_cell(1)
        heard, state, message = json.loads(self.notebook.text(1))
        return heard, state, message

    def play(self) -> None:
        """Play the recording; return when it has moved on."""
        player = "document.querySelector('.puq-recorder audio')"
        self.wait_until(f"Number.isFinite({player}.duration) && {player}.duration > 0.9")
        self.page.evaluate(f"{player}.play()")
        self.wait_until(f"{player}.currentTime > 0.1 && {player}.error === null")


@pytest.fixture
def grant_microphone(chromium: Chromium) -> Iterator[Callable[[], None]]:
    """Pages have no permission to use the microphone until the test calls this."""

    def grant() -> None:
        chromium.context.grant_permissions(["microphone"])

    chromium.context.clear_permissions()
    yield grant
    grant()


@pytest.fixture
def audio_file(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "talk.mp3"
    path.write_bytes(MP3)
    return path


@pytest.mark.parametrize("frontend", ["lab", "notebook"])
def test_records_plays_and_hands_the_bytes_over(lab: Lab, frontend: Frontend) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK, frontend=frontend))
    assert recorder_page.status_text == "Ready to record."
    expect(recorder_page.upload).to_be_hidden()
    recorder_page.record()
    recorder_page.wait_for("done")
    recorder_page.wait_until(NO_TRACK_IS_LIVE)
    ((begin, size, mime),), state, message = recorder_page.ask()
    assert begin == EBML
    assert 1_000 < size < 100_000
    assert mime.startswith("audio/webm")
    assert (state, message) == ("done", "Transcribed.")
    assert recorder_page.status_text == message
    recorder_page.play()


def test_the_result_stays_in_the_saved_notebook(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    notebook = recorder_page.notebook
    expect(recorder_page.page.locator(".puq-recorder-saved")).to_be_hidden()
    recorder_page.record()
    notebook.wait_text(0, "Heard 1")
    recorder_page.wait_for("done")
    notebook.save()
    for trusted in (True, False):
        notebook.reopen(trusted=trusted)
        assert notebook.outputs(0)[2].html.count("<strong>Heard 1</strong>") == 1
        expect(notebook.page.get_by_text("Error displaying widget")).to_be_hidden()


@pytest.mark.parametrize("trusted", [True, False])
def test_a_notebook_that_is_opened_again_says_what_was_here(lab: Lab, trusted: bool) -> None:
    notebook = RecorderPage(lab(SHOW)).notebook
    notebook.save()
    notebook.reopen(trusted=trusted)
    expect(notebook.page.locator(".puq-recorder-saved")).to_be_visible()
    assert "%puq_transcribe" in notebook.outputs(0)[2].text
    expect(notebook.page.get_by_text("Error displaying widget")).to_be_hidden()


def test_what_fails_is_said_and_can_be_sent_again(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW.replace("failing = set()", "failing = {1}"), ASK))
    recorder_page.record()
    recorder_page.wait_for("failed")
    assert recorder_page.status_text == "This went wrong.\nSend it again."
    recorder_page.press("Send again")
    recorder_page.wait_for("done")
    assert recorder_page.button.evaluate("button => button === document.activeElement")
    first, second = recorder_page.ask()[0]
    assert first == second


def test_a_denied_microphone_leaves_a_message_and_the_upload(
    lab: Lab, grant_microphone: Callable[[], None], audio_file: Path
) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    recorder_page.press("Record")
    recorder_page.wait_for("no_microphone")
    assert recorder_page.status_text.startswith("The browser may not use the microphone.")
    for count in (1, 2):
        recorder_page.choose(audio_file)
        recorder_page.notebook.wait_text(0, f"Heard {count}")
    heard, state, message = recorder_page.ask()
    assert heard == [[MP3[:4].hex(), len(MP3), "audio/mpeg"]] * 2
    assert (state, message) == ("done", "Transcribed.")
    grant_microphone()
    recorder_page.record()
    recorder_page.notebook.wait_text(0, "Heard 3")
    expect(recorder_page.upload).to_be_hidden()


def test_a_machine_without_a_microphone(
    jupyter_server: JupyterServer, chromium: Chromium, tmp_path: Path, audio_file: Path
) -> None:
    with (
        browse_without_microphone(chromium, tmp_path / "browser") as other,
        notebooks(jupyter_server, other) as lab,
    ):
        recorder_page = RecorderPage(lab(SHOW, ASK))
        recorder_page.press("Record")
        recorder_page.wait_for("no_microphone")
        assert recorder_page.status_text.startswith("No microphone was found.")
        assert recorder_page.ask() == ([], "no_microphone", recorder_page.status_text)
        recorder_page.choose(audio_file)
        recorder_page.notebook.wait_text(0, "Heard 1")


def test_a_page_that_browsers_give_no_microphone(chromium: Chromium) -> None:
    """No front end here: what is served from elsewhere without https is enough."""
    module = (Path(puq_magics.widgets.__file__).parent / "recorder.js").read_text(encoding="utf-8")
    chromium.traffic.forget()
    page = chromium.context.new_page()
    page.route("http://plain.test/", lambda route: route.fulfill(body="<p>", content_type="text/html"))
    page.goto("http://plain.test/")
    sent = page.evaluate(
        """async (source) => {
          const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const { default: widget } = await import(url);
          const sent = [];
          const model = { get: () => ({}), on() {}, off() {}, send: (content) => sent.push(content) };
          widget.render({ model, el: document.body });
          return sent;
        }""",
        module,
    )
    ((kind, state, words),) = [(message["kind"], message["state"], message["words"]) for message in sent]
    assert (kind, state) == ("state", "no_microphone")
    assert "https" in words
    expect(page.get_by_role("status")).to_have_text(words)
    assert page.get_by_role("button").count() == 0
    page.close()
    assert chromium.traffic.accept_external_requests() == ["http://plain.test/"]


def test_a_front_end_without_anywidget_has_the_upload(lab: Lab, chromium: Chromium, audio_file: Path) -> None:
    chromium.context.route("**/extensions/anywidget/**", lambda route: route.abort())
    try:
        notebook = lab(SHOW, ASK)
        notebook.run_cell(0)
        stand_in = notebook.page.locator(".puq-recorder-stand-in")
        expect(stand_in).to_contain_text("anywidget", use_inner_text=True)
        with notebook.page.expect_file_chooser() as chooser:
            stand_in.get_by_role("button").click()
        chooser.value.set_files(audio_file)
        notebook.wait_text(0, "Heard 1")
        stand_in.get_by_text("Transcribed.").wait_for()
    finally:
        chromium.context.unroute("**/extensions/anywidget/**")


def test_the_keyboard_alone(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK, "'last'"))
    page, keys = recorder_page.page, recorder_page.page.keyboard
    cells = "document.querySelectorAll('.jp-Notebook .jp-Cell').length"
    assert page.evaluate(cells) == 3
    page.locator(".jp-Notebook .jp-Cell").first.press("Escape")
    for _ in range(40):
        if recorder_page.button.evaluate("button => button === document.activeElement"):
            break
        keys.press("Tab")
    keys.press("Enter")
    recorder_page.wait_for_time("0:01")
    keys.press("d")
    keys.press("d")
    keys.press("Space")
    recorder_page.wait_for("done")
    keys.press("d")
    keys.press("d")
    assert page.evaluate(cells) == 3
    keys.press("Tab")
    keys.press("Space")
    recorder_page.wait_until("document.querySelector('.puq-recorder audio').currentTime > 0.1")
    # The same keys do delete a cell when the focus is on one.
    page.locator(".jp-Notebook .jp-Cell .jp-InputPrompt").last.click()
    keys.press("d")
    keys.press("d")
    recorder_page.wait_until(f"{cells} === 2")


def test_keys_on_the_upload_leave_the_cell_alone(lab: Lab, grant_microphone: Callable[[], None]) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    recorder_page.press("Record")
    recorder_page.wait_for("no_microphone")
    recorder_page.upload.focus()
    for key in ("a", "d", "d"):
        recorder_page.page.keyboard.press(key)
    recorder_page.page.keyboard.press("Enter")  # the last that the page sees: the upload's own key
    assert recorder_page.page.locator(".jp-Notebook .jp-Cell").count() == 2


@pytest.mark.parametrize("limit", ["max_seconds=1.5", "max_bytes=24_000"])
def test_a_recording_ends_by_itself(lab: Lab, limit: str) -> None:
    recorder_page = RecorderPage(lab(SHOW.replace("Recorder(take)", f"Recorder(take, {limit})"), ASK))
    recorder_page.press("Record")
    recorder_page.wait_for("done")
    ((_, size, _),), _, _ = recorder_page.ask()
    assert 1_000 < size <= 24_000
    recorder_page.wait_until(NO_TRACK_IS_LIVE)


def test_a_busy_kernel_takes_it_when_it_is_free(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK, "import threading; threading.Event().wait()"))
    recorder_page.notebook.run_cell(2, wait=False)
    recorder_page.record()
    recorder_page.wait_for("recorded")
    said = r"Recorded 0:0[1-9]\. It is transcribed as soon as the kernel is free\."
    assert re.fullmatch(said, recorder_page.status_text)
    recorder_page.notebook.interrupt()
    recorder_page.wait_for("done")
    assert len(recorder_page.ask()[0]) == 1


def test_running_the_cell_again_lets_go_of_the_microphone(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    recorder_page.press("Record")
    recorder_page.wait_for("recording")
    recorder_page.notebook.run_cell(0)
    recorder_page.wait_until(NO_TRACK_IS_LIVE)
    recorder_page.wait_for("idle")
    assert recorder_page.ask()[0] == []


def test_a_kernel_that_restarts_loses_no_recording(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    recorder_page.press("Record")
    recorder_page.wait_for_time("0:01")
    recorder_page.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    recorder_page.press("Stop")
    recorder_page.wait_for("failed")
    assert recorder_page.status_text == "The kernel of this recorder has ended. Run the cell again."
    recorder_page.wait_until(NO_TRACK_IS_LIVE)
    recorder_page.play()
    recorder_page.press("Record again")
    assert recorder_page.status_text == "The kernel of this recorder has ended. Run the cell again."
    assert recorder_page.root.get_attribute("data-state") == "failed"


def test_a_page_that_is_loaded_again_shows_how_it_was(lab: Lab) -> None:
    recorder_page = RecorderPage(lab(SHOW, ASK))
    recorder_page.record()
    recorder_page.wait_for("done")
    recorder_page.notebook.save()
    recorder_page.page.reload(wait_until="domcontentloaded")
    recorder_page.wait_for("done")
    assert recorder_page.status_text == "Transcribed."
    recorder_page.page.evaluate(NOTE_STREAMS)
    recorder_page.record()
    recorder_page.wait_until(NO_TRACK_IS_LIVE)
    recorder_page.wait_for("done")
    assert len(recorder_page.ask()[0]) == 2
