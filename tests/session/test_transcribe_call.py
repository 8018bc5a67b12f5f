"""Transcription through the one door, in a real kernel: uploads that take their time, and interrupts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

NOTHING = "KeyboardInterrupt: the answer was interrupted. Nothing was received."
KEPT = "KeyboardInterrupt: the answer was interrupted. The partial answer is in _puq."
SIZE = 64 << 20


@pytest.fixture
def unresponsive_url() -> Iterator[str]:
    """The address of a server that takes connections, and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def large_recording(fresh_kernel: Any) -> Iterator[None]:
    """``large.wav`` in the kernel's folder: a head, and zeros that take no room."""
    path = fresh_kernel.folder / "large.wav"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVEfmt ")
        file.truncate(SIZE)
    yield
    path.unlink()


def point_kernel_at(kernel: Any, url: str) -> None:
    lines = [f"%config PuqMagics.base_url = '{url}'", "%config PuqMagics.transcribe_model = 'a/b'"]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def test_a_long_upload_has_a_bar_and_can_be_interrupted(
    fresh_kernel: Any, unresponsive_url: str, large_recording: None
) -> None:
    point_kernel_at(fresh_kernel, unresponsive_url)
    bars: list[str] = []
    stop = fresh_kernel.interrupt_at("of 67.1 MB")

    def watch(message: dict[str, Any]) -> None:
        bars.append(str(message["content"].get("data", {}).get("text/html", "")))
        stop(message)

    stopped, after = fresh_kernel.run_all(
        ["%puq_transcribe -o heard --save heard.txt large.wav", "ran = True"], watch
    )
    assert stopped.error["traceback"] == [NOTHING]
    assert after.reply["status"] in ("aborted", "error")
    assert any("<progress " in bar and "sending large" in bar for bar in bars)
    assert fresh_kernel.value("[heard.text, heard.interrupted, heard.source]") == ["", True, "large.wav"]
    assert not (fresh_kernel.folder / "heard.txt").exists()


def test_waiting_for_the_words_can_be_interrupted(
    fresh_kernel: Any, serve: Any, large_recording: None
) -> None:
    server = serve(lambda connection: connection.wait_for_disconnect())
    point_kernel_at(fresh_kernel, server.url)
    stop = fresh_kernel.interrupt_at("transcribing with a/b", lambda: server.requests)  # the upload has ended
    cell = fresh_kernel.run("%puq_transcribe large.wav", stop)
    server.wait_for_disconnect()
    assert cell.error["traceback"] == [NOTHING]
    assert int(server.requests[0].headers["content-length"]) > SIZE


def test_a_short_upload_has_no_bar(sandbox_kernel: Any) -> None:
    sandbox_kernel.run("%puq_speak -q -o talk Hello there")
    cell = sandbox_kernel.run("%puq_transcribe talk")
    assert "<progress" not in cell.all_content_json
    assert cell.reply["status"] == "ok"


HELLO = (
    b'data: {"type": "transcript.text.delta", "delta": "Hello <b>there"}\n\n'
    b'data: {"type": "transcript.text.segment", "id": "s", "start": 0, "end": 65, "text": "Hello <b>there", '
    b'"duration": 3600}\n\n'
)


def test_words_that_come_are_shown_and_kept_when_it_is_interrupted(
    fresh_kernel: Any, serve: Any, large_recording: None
) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(kind="text/event-stream")
        connection.send(HELLO)
        connection.wait_for_disconnect()

    server = serve(answer)
    point_kernel_at(fresh_kernel, server.url)
    seen: list[dict[str, str]] = []
    stop = fresh_kernel.interrupt_at("1:05 min of 1:00:00 h")

    def watch(message: dict[str, Any]) -> None:
        seen.append(message["content"].get("data", {}))
        stop(message)

    stopped, after = fresh_kernel.run_all(
        ["%puq_transcribe --stream -o heard large.wav", "ran = True"], watch
    )
    server.wait_for_disconnect()
    assert " ".join(stopped.error["traceback"]) == KEPT
    assert after.reply["status"] in ("aborted", "error")
    (growing,) = [
        shown
        for shown in seen
        if "of 1:00:00 h" in shown.get("text/plain", "") and "Hello" in shown["text/html"]
    ][:1]
    assert "<p>Hello &#60;b&#62;there</p>" in growing["text/html"]
    assert growing["text/plain"].startswith(
        "Hello <b>there\n[transcribing with a/b · 1:05 min of 1:00:00 h · "
    )
    assert len(stopped.screen) == 1
    assert stopped.screen[0]["text/plain"].startswith("Hello <b>there\n")
    assert "interrupted" in stopped.screen[0]["text/plain"]
    assert fresh_kernel.value("[heard.text, heard.interrupted, heard is _puq]") == [
        "Hello <b>there",
        True,
        True,
    ]
