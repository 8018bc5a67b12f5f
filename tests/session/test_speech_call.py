"""Speech through the one door, in a real kernel: interrupts, and what is kept."""

from __future__ import annotations

import struct
import wave
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.session.speech_call import SpeechSpec

KEPT = "KeyboardInterrupt: the answer was interrupted. What had come is kept in _puq."
SENTENCE = "This is a sentence that is some fifty characters long. "


def wav(*samples: int) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


def use(kernel: Any, server: Any) -> None:
    lines = [
        f"%config PuqMagics.base_url = '{server.url}'",
        "%config PuqMagics.speech_model = 'a/b'",
        "%config PuqMagics.max_speech_chars = 100",
    ]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def audio(kernel: Any, name: str) -> bytes:
    return b64decode(kernel.value(f"__import__('base64').b64encode({name}.audio).decode()"))


@pytest.fixture
def folder(notebook: Any) -> Path:
    for path in notebook.folder.glob("*.wav"):
        path.unlink()
    found: Path = notebook.folder
    return found


def test_an_interrupt_in_mid_stream_keeps_what_came_and_no_half_file(
    notebook: Any, serve: Any, folder: Path
) -> None:
    def answer(connection: Any) -> None:
        connection.head(kind="audio/wav", Content_Length="100000")
        connection.send(wav(*range(50)))
        connection.wait_until_gone()

    server = serve(answer)
    use(notebook, server)
    stopped, after = notebook.run_all(
        ["%puq_speak -o talk --save talk.wav Hello", "ran = True"], notebook.interrupt_at("receiving audio")
    )
    server.wait_until_gone()
    assert stopped.error["traceback"] == [KEPT]
    assert after.reply["status"] in ("aborted", "error")
    (bundle,) = stopped.screen
    assert "interrupted" in bundle["text/plain"]
    assert "<audio" in bundle["text/html"]
    assert audio(notebook, "talk") == wav(*range(50))
    assert notebook.value("[talk.interrupted, _puq is talk, str(talk.path)]") == [True, True, "None"]
    assert not [path for path in folder.iterdir() if "talk" in path.name]


def test_an_interrupt_in_the_third_part_keeps_the_two_before(notebook: Any, serve: Any, folder: Path) -> None:
    asked: list[str] = []

    def answer(connection: Any) -> None:
        asked.append(connection.heard.json["input"])
        if len(asked) == 3:
            connection.wait_until_gone()
            return
        connection.head(kind="audio/wav")
        connection.send(wav(len(asked)))

    server = serve(answer)
    use(notebook, server)
    code = f"%puq_speak -o talk --save talk.wav {SENTENCE * 5}"
    cell = notebook.run(code, notebook.interrupt_at("2 of 5 parts"))
    assert cell.error["traceback"] == [KEPT]
    assert audio(notebook, "talk") == wav(1, 2)
    (bundle,) = cell.screen
    assert "2 of 5 parts were spoken" in bundle["text/plain"]
    assert asked == [SENTENCE.strip()] * 3
    assert not [path for path in folder.iterdir() if "talk" in path.name]


def test_an_interrupt_before_anything_came(notebook: Any, serve: Any) -> None:
    use(notebook, serve(lambda connection: connection.wait_until_gone()))
    cell = notebook.run("%puq_speak -o talk Hello", notebook.interrupt_at("speaking with a/b"))
    assert "Nothing had come." in cell.error["traceback"][0]
    assert notebook.value("[len(talk.audio), talk.text, talk.interrupted]") == [0, "Hello", True]
    (bundle,) = cell.screen
    assert "<audio" not in bundle["text/html"]


def test_the_pieces_of_a_text() -> None:
    call = SpeechSpec("a/b", f"\n  {SENTENCE}\n\n\n{SENTENCE}", max_chars=60)
    assert call.chunks == [SENTENCE.strip()] * 2
    assert SpeechSpec("a/b", "short", {"response_format": "flac"}).chunks == ["short"]
    with pytest.raises(InputError, match="spoken in 2 parts, and parts of FLAC cannot be joined"):
        _ = SpeechSpec("a/b", SENTENCE * 2, {"response_format": "flac"}, max_chars=60).chunks
