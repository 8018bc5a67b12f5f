from __future__ import annotations

from pathlib import Path

import pytest

from puq_magics.core.errors import InvalidResponseError
from puq_magics.session.partial_results import save_partial, transcript_text


@pytest.fixture(autouse=True)
def temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        (b"\x89PNG\r\n\x1a\n cut", ".png"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + bytes(12) + b"data" + bytes(8), ".wav"),
        (b'{"a": 1}', ".json"),
        (b"<!doctype html><p>", ".txt"),
        (b"<svg></svg>", ".txt"),
        (b"<?xml version='1.0'?><a/>", ".txt"),
        (b"only words", ".txt"),
        (b"\0\1\2\3", ".bin"),
    ],
)
def test_what_came_is_in_a_file_that_the_error_names(temp_folder: Path, data: bytes, ending: str) -> None:
    error = InvalidResponseError("that was none.", hint="Try again.")
    save_partial(error, [data, b""])
    (path,) = temp_folder.iterdir()
    assert path.suffix == ending
    assert path.read_bytes() == data
    assert error.hint == f"Try again. What came instead is kept in {path}"
    assert path.stat().st_mode & 0o077 == 0  # nobody else's business


def test_several_files_and_none() -> None:
    error = InvalidResponseError("that was none.")
    save_partial(error, [])
    assert error.hint == ""
    save_partial(error, [b"one", b"two"])
    names = error.hint.removeprefix("What came instead is kept in ").split(", ")
    assert [Path(name).read_bytes() for name in names] == [b"one", b"two"]


def test_where_nothing_can_be_kept_the_error_stays(
    temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temp_folder / "missing"))
    error = InvalidResponseError("that was none.", hint="Try again.")
    save_partial(error, [b"one"])
    assert error.message == "that was none."
    assert error.hint.startswith("Try again. What came could not be kept: ")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"Hello th", "Hello th"),
        (b'{"language": "en", "text": "Hello th', "Hello th"),
        (b'{"text": "Gr\\u00fc\\u00', "Gr\u00fc"),
        (b'{"text": "a \\"word\\" \\', 'a "word"'),
        (b'{"text": "balloon \\ud83c\\udf', "balloon \ufffd"),
        (b'{"text": "", "segments": [', ""),
        (b'{"text": "All of it.", "segments": [{"text": "All', "All of it."),
        (b'{"segments": [{"text": " One.", "tokens": [1], "end": 1}, {"text": " Tw', "One. Tw"),
        (b'{"segments": [{"text": " One."}, {"text": " Two."}], "text": "One. T', "One. Two."),
        (b'{"segments": [{"text": " One."}, {"text": " Two."}], "text": "One. Two.\\n', "One. Two."),
        (b'{"error": "no ears left"}', ""),
        (b"<html>words</html>", ""),
        (b"\0\1\2", ""),
        (b"", ""),
    ],
)
def test_words_of_a_transcript_that_broke_off(body: bytes, words: str) -> None:
    assert transcript_text(body) == words
