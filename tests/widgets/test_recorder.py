"""The recorder's Python side; what the browser does is tested in tests/browser/test_recorder.py."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import puq_magics.widgets
from puq_magics.core.errors import InputError
from puq_magics.widgets import Recorder
from puq_magics.widgets.recorder import STATES

WEBM = "audio/webm;codecs=opus"
Heard = list[tuple[bytes, str]]


def ignore(data: bytes, mime: str) -> None:
    """Take a recording, and do nothing with it."""


def record(recorder: Recorder, data: bytes = b"sound", mime: str = WEBM) -> None:
    """What happens when the browser has sent a recording."""
    recorder._microphone._handle_custom_msg({"kind": "recording", "mime": mime}, [memoryview(data)])


def upload(recorder: Recorder, data: bytes, mime: str) -> None:
    """What happens when the upload button has sent a file."""
    modified = datetime(2026, 1, 2, tzinfo=UTC)
    file = {"name": "talk.mp3", "type": mime, "size": len(data), "content": memoryview(data)}
    recorder._upload.value = ({**file, "last_modified": modified},)


def states(recorder: Recorder) -> list[str]:
    """The states that it enters from now on."""
    entered: list[str] = []
    recorder.observe(lambda change: entered.append(change["new"]), "state")
    return entered


def shown(recorder: Recorder) -> tuple[str, str]:
    """What the browser was told last, with and without anywidget."""
    said: dict[str, str] = recorder._microphone.kernel_message
    assert recorder._message_label.value == said["words"] == recorder.message
    assert said["state"] == recorder.state
    return said["state"], said["words"]


def test_a_recording_is_handed_over_and_kept() -> None:
    heard: Heard = []
    recorder = Recorder(lambda data, mime: heard.append((data, mime)))
    entered = states(recorder)
    record(recorder)
    assert heard == [(b"sound", WEBM)]
    assert (recorder.data, recorder.mime, recorder.error) == (b"sound", WEBM, None)
    assert entered == ["transcribing", "done"]
    assert shown(recorder) == ("done", "Transcribed.")


def test_an_uploaded_file_is_handed_over_and_the_same_again() -> None:
    heard: Heard = []
    recorder = Recorder(lambda data, mime: heard.append((data, mime)))
    upload(recorder, b"ID3", "audio/mpeg")
    upload(recorder, b"ID3", "audio/mpeg")
    assert heard == [(b"ID3", "audio/mpeg")] * 2
    assert shown(recorder) == ("done", "Transcribed.")


def test_the_function_may_speak_for_itself() -> None:
    said: list[str] = []

    def transcribe(data: bytes, mime: str) -> None:
        recorder.set_message("Sending, 40 %")
        said.append(shown(recorder)[1])
        recorder.set_message("12 words in English.", state="done")

    recorder = Recorder(transcribe)
    entered = states(recorder)
    record(recorder)
    assert said == ["Sending, 40 %"]
    assert entered == ["transcribing", "done"]
    assert shown(recorder) == ("done", "12 words in English.")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("This is not audio.", hint="Record again."), "This is not audio.\nRecord again."),
        (InputError("This is not audio."), "This is not audio."),
        (ValueError("no number"), "ValueError: no number"),
        (KeyboardInterrupt(), "Interrupted."),
    ],
)
def test_what_the_function_raises_is_shown_and_kept(error: BaseException, words: str) -> None:
    def fail(data: bytes, mime: str) -> None:
        if data == b"bad":
            raise error

    recorder = Recorder(fail)
    record(recorder, b"bad")
    assert shown(recorder) == ("failed", words)
    assert recorder.error is error
    assert recorder.data == b"bad"
    record(recorder, b"good")
    assert shown(recorder) == ("done", "Transcribed.")
    assert recorder.error is None


@pytest.mark.parametrize("state", STATES)
def test_the_browser_says_how_it_is(state: str) -> None:
    recorder = Recorder(ignore)
    recorder._microphone._handle_custom_msg({"kind": "state", "state": state, "words": "So."}, [])
    assert (recorder.state, recorder.message) == (state, "So.")
    assert recorder._microphone.kernel_message == {}  # it is not told its own words


@pytest.mark.parametrize(
    ("content", "buffers"),
    [
        ({"kind": "state", "state": "elsewhere", "words": "So."}, []),
        ({"kind": "state", "state": "done", "words": 7}, []),
        ({"kind": "recording", "mime": WEBM}, []),
        ({"kind": "recording", "mime": WEBM}, [b"two", b"buffers"]),
        ({"kind": "recording"}, [b"sound"]),
        ({}, []),
        ("recording", [b"sound"]),
    ],
)
def test_other_messages_do_nothing(content: Any, buffers: list[bytes]) -> None:
    heard: Heard = []
    recorder = Recorder(lambda data, mime: heard.append((data, mime)))
    recorder._microphone._handle_custom_msg(content, buffers)
    assert (recorder.state, recorder.message, heard) == ("idle", "", [])


def test_limits_reach_the_browser() -> None:
    microphone = Recorder(ignore, max_seconds=5, max_bytes=1000)._microphone
    assert (microphone.max_seconds, microphone.max_bytes) == (5, 1000)


KERNEL_CODE = """
from puq_magics.widgets import Recorder
def transcribe(data, mime):
    recorder.show_result({"text/plain": data.decode(), "text/markdown": "*heard*"})
recorder = Recorder(transcribe)
recorder
"""


def test_a_kernel_shows_words_for_later_and_the_result_in_their_place(fresh_kernel: Any) -> None:
    widget, script, words = fresh_kernel.run(KERNEL_CODE).screen
    assert "application/vnd.jupyter.widget-view+json" in widget
    assert widget["text/plain"] == "", "a converter that knows no widgets shows the words below alone"
    assert set(script) == {"application/javascript"}
    assert set(words) == {"text/plain", "text/html"}
    assert "%puq_transcribe" in words["text/plain"]
    cell = fresh_kernel.run("recorder._handle_recording(b'hello', '')")
    (update,) = cell.contents("update_display_data")
    assert update["data"] == {"text/plain": "hello", "text/markdown": "*heard*"}
    assert fresh_kernel.run("recorder").screen[2] == update["data"]  # shown again, with what it has


def test_a_recorder_says_what_it_is() -> None:
    recorder = Recorder(ignore)
    assert repr(recorder) == "<Recorder idle>"
    recorder.set_message("Two\nlines.", state="failed")
    assert repr(recorder) == r"<Recorder failed 'Two\nlines.'>"


def test_widgets_are_imported_when_they_are_asked_for() -> None:
    code = """
import sys, puq_magics.widgets
assert not {"ipywidgets", "anywidget"} & sys.modules.keys()
puq_magics.widgets.Recorder
assert {"ipywidgets", "anywidget"} <= sys.modules.keys()
assert "puq_magics.widgets.chooser" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    names = puq_magics.widgets.__all__
    assert names == sorted(names)
    assert set(names) <= set(dir(puq_magics.widgets))
    assert [getattr(puq_magics.widgets, name).__name__ for name in names] == names
    with pytest.raises(AttributeError, match="no attribute 'Camera'"):
        _ = puq_magics.widgets.Camera
