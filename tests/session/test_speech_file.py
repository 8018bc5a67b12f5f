from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from puq_magics.core.media_types import MP3, WAV
from puq_magics.session.speech_call import SpeechFile


@contextmanager
def full_at(size: int) -> Iterator[None]:
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
    with full_at(100):
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
