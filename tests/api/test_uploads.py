from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from media import ID3, M4A_START, png, wav

from puq_magics.api import Upload
from puq_magics.api.uploads import form_fields
from puq_magics.core.errors import InputError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a talk.wav"
    path.write_bytes(wav())
    return path


def test_a_file(recording: Path) -> None:
    for path in (recording, str(recording)):
        upload = Upload.from_path(path)
        assert (upload.name, upload.size, upload.mime) == ("a talk.wav", len(wav()), "audio/wav")
        for _ in range(2):
            with upload.open() as file:
                assert file.read() == wav()


def test_a_file_of_the_home_folder(recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(recording.parent))
    assert Upload.from_path("~/a talk.wav").name == "a talk.wav"


def test_a_file_is_found_again_from_another_folder(
    recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(recording.parent)
    upload = Upload.from_path("a talk.wav")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with upload.open() as file:
        assert file.read() == wav()


def make(folder: Path, what: str) -> Path:
    path = folder / "talk.mp3"
    if what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "text":
        path.write_text("these are only words")
    elif what == "an image":
        path.write_bytes(png())
    elif what == "a page":
        path.write_text("<html>")
    elif what == "empty":
        path.touch()
    elif what == "in a file":
        path.touch()
        return path / "talk.mp3"
    elif what == "a loop":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "there is no file"),
        ("a folder", "is a folder"),
        ("a pipe", "is not a file"),
        ("text", "is not audio that can be sent, but text"),
        ("an image", "is not audio that can be sent."),
        ("a page", "is not audio that can be sent, but HTML"),
        ("empty", "is empty"),
        ("in a file", "cannot be read (not a directory)"),
        ("a loop", "cannot be read (too many levels of symbolic links)"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, what: str, said: str) -> None:
    path = make(tmp_path, what)
    with pytest.raises(InputError) as caught:
        Upload.from_path(path)
    assert said in caught.value.message
    assert "talk.mp3" in caught.value.message
    assert caught.value.hint


def test_a_file_without_permission(recording: Path) -> None:
    recording.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # whom permissions do not stop
            os.seteuid(65534)
        with pytest.raises(InputError, match=r"cannot be read \(permission denied\)"):
            Upload.from_path(recording)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("path", [None, 5, b"x", ["x"], "a\0b", "~nobody-of-that-name/x.mp3"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InputError) as caught:
        Upload.from_path(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Gespräch.wav", "Gespräch.wav"),
        ("会議.wav", "会議.wav"),
        ('say "hi".wav', 'say "hi".wav'),
        ("two\nlines\x1b[31m.wav", "two_lines_[31m.wav"),
        ("back\\slash.wav", "slash.wav"),
        (".wav", "audio.wav"),
        ("talk", "talk"),
        ("x" * 220 + ".wav", "x" * 200 + ".wav"),
    ],
)
def test_the_name_that_is_sent(tmp_path: Path, name: str, sent: str) -> None:
    (tmp_path / name).write_bytes(wav())
    assert Upload.from_path(tmp_path / name).name == sent


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    with open(path, "wb") as file:
        file.write(wav())
    assert Upload.from_path(os.fsdecode(path)).name == "caf?.wav"


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        (None, "audio.wav"),
        ("", "audio.wav"),
        ("talk", "talk.wav"),
        ("talk.mp3", "talk.mp3"),
        ("/home/me/secret/talk.wav", "talk.wav"),
        ("C:\\me\\talk.wav", "talk.wav"),
        ("folder/", "audio.wav"),
        ("..", "audio.wav"),
        (".", "audio.wav"),
        ("../..", "audio.wav"),
        (".wav", "audio.wav"),
        ("...wav", "audio.wav"),
        (" ", "audio.wav"),
        ("talk.", "talk.wav"),
        (".hidden", "audio.hidden"),
    ],
)
def test_bytes(name: str | None, sent: str) -> None:
    data = bytearray(wav())
    upload = Upload.from_bytes(data, name)
    data[:] = b""
    assert (upload.name, upload.size, upload.mime) == (sent, len(wav()), "audio/wav")
    for _ in range(2):
        assert upload.open().read() == wav()


def test_bytes_have_a_name_that_says_what_they_are() -> None:
    assert Upload.from_bytes(memoryview(M4A_START)).name == "audio.m4a"
    assert Upload.from_bytes(ID3 + bytes(10)).name == "audio.mp3"


@pytest.mark.parametrize("data", [b"", b"words", "words", None, 5, png()])
def test_bytes_that_are_no_recording(data: Any) -> None:
    with pytest.raises(InputError) as caught:
        Upload.from_bytes(data)
    assert caught.value.hint


def test_parameters_as_fields() -> None:
    params = {
        "model": "a/b",
        "language": None,
        "temperature": 0.5,
        "flag": True,
        "timestamp_granularities": ["word", "segment"],
        "include[]": ("logprobs",),
        "chunking_strategy": {"type": "auto"},
        "prompt": "Wörter",
    }
    assert form_fields(params) == (
        ("model", "a/b"),
        ("temperature", "0.5"),
        ("flag", "true"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("include[]", "logprobs"),
        ("chunking_strategy", '{"type": "auto"}'),
        ("prompt", "Wörter"),
    )


@pytest.mark.parametrize("value", [float("nan"), {1}, b"x", [object()]])
def test_a_parameter_that_no_field_can_hold(value: Any) -> None:
    with pytest.raises(InputError, match="cannot be written as a form"):
        form_fields({"a": value})
