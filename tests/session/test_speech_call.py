"""Speech through the one door, in a real kernel: interrupts, and what is kept."""

from __future__ import annotations

import resource
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from media_samples import wav_of as wav

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import MP3, WAV
from puq_magics.session.speech_call import SpeechFile, SpeechSpec

KEPT = "KeyboardInterrupt: the answer was interrupted. The partial answer is in _puq."
SENTENCE = "This is a sentence that is some fifty characters long. "


def point_kernel_at(kernel: Any, server: Any) -> None:
    lines = [
        f"%config PuqMagics.base_url = '{server.url}'",
        "%config PuqMagics.speech_model = 'a/b'",
        "%config PuqMagics.max_speech_chars = 100",
    ]
    assert kernel.run("\n".join(lines)).reply["status"] == "ok"


def audio(kernel: Any, name: str) -> bytes:
    return b64decode(kernel.value(f"__import__('base64').b64encode({name}.audio).decode()"))


@pytest.fixture
def folder(fresh_kernel: Any) -> Path:
    for path in fresh_kernel.folder.glob("*.wav"):
        path.unlink()
    found: Path = fresh_kernel.folder
    return found


def test_an_interrupt_in_mid_stream_keeps_what_came_and_no_half_file(
    fresh_kernel: Any, serve: Any, folder: Path
) -> None:
    def answer(connection: Any) -> None:
        connection.send_head(kind="audio/wav", Content_Length="100000")
        connection.send(wav(*range(50)))
        connection.wait_for_disconnect()

    server = serve(answer)
    point_kernel_at(fresh_kernel, server)
    stopped, after = fresh_kernel.run_all(
        ["%puq_speak -o talk --save talk.wav Hello", "ran = True"],
        fresh_kernel.interrupt_at("receiving audio"),
    )
    server.wait_for_disconnect()
    assert " ".join(stopped.error["traceback"]) == KEPT
    assert after.reply["status"] in ("aborted", "error")
    (bundle,) = stopped.screen
    assert "interrupted" in bundle["text/plain"]
    assert "<audio" in bundle["text/html"]
    assert audio(fresh_kernel, "talk") == wav(*range(50))
    assert fresh_kernel.value("[talk.interrupted, _puq is talk, str(talk.path)]") == [True, True, "None"]
    assert not [path for path in folder.iterdir() if "talk" in path.name]


def test_an_interrupt_in_the_third_part_keeps_the_two_before(
    fresh_kernel: Any, serve: Any, folder: Path
) -> None:
    asked: list[str] = []

    def answer(connection: Any) -> None:
        asked.append(connection.request.json["input"])
        if len(asked) == 3:
            connection.wait_for_disconnect()
            return
        connection.send_head(kind="audio/wav")
        connection.send(wav(len(asked)))

    server = serve(answer)
    point_kernel_at(fresh_kernel, server)
    code = f"%puq_speak -o talk --save talk.wav {SENTENCE * 5}"
    cell = fresh_kernel.run(code, fresh_kernel.interrupt_at("2 of 5 parts", lambda: len(asked) == 3))
    assert " ".join(cell.error["traceback"]) == KEPT
    assert audio(fresh_kernel, "talk") == wav(1, 2)
    (bundle,) = cell.screen
    assert "2 of 5 parts were spoken" in bundle["text/plain"]
    assert asked == [SENTENCE.strip()] * 3
    assert not [path for path in folder.iterdir() if "talk" in path.name]


def test_an_interrupt_before_anything_came(fresh_kernel: Any, serve: Any) -> None:
    point_kernel_at(fresh_kernel, serve(lambda connection: connection.wait_for_disconnect()))
    cell = fresh_kernel.run("%puq_speak -o talk Hello", fresh_kernel.interrupt_at("speaking with a/b"))
    assert "Nothing was received." in cell.error["traceback"][0]
    assert fresh_kernel.value("[len(talk.audio), talk.text, talk.interrupted]") == [0, "Hello", True]
    (bundle,) = cell.screen
    assert "<audio" not in bundle["text/html"]


def test_the_pieces_of_a_text() -> None:
    call = SpeechSpec("a/b", f"\n  {SENTENCE}\n\n\n{SENTENCE}", max_chars=60)
    assert call.chunks == [SENTENCE.strip()] * 2
    assert SpeechSpec("a/b", "short", {"response_format": "flac"}).chunks == ["short"]
    with pytest.raises(InputError, match="spoken in 2 parts, and parts of FLAC cannot be joined"):
        _ = SpeechSpec("a/b", SENTENCE * 2, {"response_format": "flac"}, max_chars=60).chunks


@contextmanager
def fill_disk_at(size: int) -> Iterator[None]:
    """No file can grow past so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_has_its_name_when_all_is_there(tmp_path: Path) -> None:
    file = SpeechFile(tmp_path / "talk", force=False)
    file.write(b"one ", MP3)
    (beside,) = tmp_path.iterdir()
    assert beside.name != "talk.mp3"
    assert beside.read_bytes() == b"one "
    file.write(b"two", MP3)
    assert file.path is None
    file.finish(b"one two", unchanged=True)
    file.discard()
    assert file.path == tmp_path / "talk.mp3"
    assert names(tmp_path) == ["talk.mp3"]
    assert file.path.read_bytes() == b"one two"


def test_what_came_is_replaced_by_what_is_right(tmp_path: Path) -> None:
    file = SpeechFile(tmp_path / "talk.wav", force=False)
    file.write(b"a longer one", WAV)
    file.finish(b"shorter", unchanged=False)
    assert (tmp_path / "talk.wav").read_bytes() == b"shorter"


def test_what_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    file = SpeechFile(tmp_path / "talk.wav", force=False)
    file.write(b"one", WAV)
    file.discard()
    assert names(tmp_path) == []
    assert file.problem is None


def test_without_a_target_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = SpeechFile(None, force=False)
    file.write(b"one", WAV)
    file.finish(b"one", unchanged=True)
    assert (file.path, file.problem, names(tmp_path)) == (None, None, [])


@pytest.mark.parametrize("unchanged", [True, False])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, unchanged: bool) -> None:
    file = SpeechFile(tmp_path / "talk.wav", force=False)
    with fill_disk_at(100):
        file.write(bytes(90), WAV)
        assert file.problem is None
        if unchanged:
            file.write(bytes(90), WAV)
            file.write(bytes(90), WAV)
        file.finish(bytes(180), unchanged=unchanged)
        file.discard()
    assert file.problem is not None
    assert "talk.wav cannot be written: File too large" in file.problem.message
    assert file.path is None
    assert names(tmp_path) == []


def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    file = SpeechFile(tmp_path / "talk.wav", force=False)
    file.write(b"one", WAV)
    (tmp_path / "talk.wav").write_bytes(b"mine")
    file.finish(b"one", unchanged=True)
    assert file.problem is not None
    assert "has appeared meanwhile" in str(file.problem)
    assert (tmp_path / "talk.wav").read_bytes() == b"mine"
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [b"one", b"mine"]
