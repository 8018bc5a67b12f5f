from __future__ import annotations

from pathlib import Path

import pytest

from puq_magics.api.errors import AnswerError
from puq_magics.session.salvage import salvage


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        (b"\x89PNG\r\n\x1a\n cut", ".png"),
        (b"RIFF\0\0\0\0WAVE", ".wav"),
        (b'{"a": 1}', ".json"),
        (b"<!doctype html><p>", ".html"),
        (b"<svg></svg>", ".svg"),
        (b"<?xml version='1.0'?><a/>", ".xml"),
        (b"only words", ".txt"),
        (b"\0\1\2\3", ".bin"),
    ],
)
def test_what_came_is_in_a_file_that_the_error_names(kept: Path, data: bytes, ending: str) -> None:
    error = AnswerError("that was none.", hint="Try again.")
    salvage(error, [data, b""])
    (path,) = kept.iterdir()
    assert path.suffix == ending
    assert path.read_bytes() == data
    assert error.hint == f"Try again. What came instead is kept in {path}"
    assert path.stat().st_mode & 0o077 == 0  # nobody else's business


def test_several_files_and_none() -> None:
    error = AnswerError("that was none.")
    salvage(error, [])
    assert error.hint == ""
    salvage(error, [b"one", b"two"])
    names = error.hint.removeprefix("What came instead is kept in ").split(", ")
    assert [Path(name).read_bytes() for name in names] == [b"one", b"two"]


def test_where_nothing_can_be_kept_the_error_stays(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(kept / "missing"))
    error = AnswerError("that was none.", hint="Try again.")
    salvage(error, [b"one"])
    assert error.message == "that was none."
    assert error.hint.startswith("Try again. It could not be kept: ")
