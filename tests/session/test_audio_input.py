from __future__ import annotations

import os
import struct
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from IPython.display import Audio

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import WAV
from puq_magics.outputs.results import SpeechResult
from puq_magics.session.audio_input import AudioInput, exists, find_audio, from_recording


def tone(*samples: int, rate: int = 16_000, channels: int = 1) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


SOUND = tone(1, 2, 3, 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, and the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def content(source: AudioInput) -> bytes:
    with source.upload.open() as file:
        return file.read()


def samples(source: AudioInput) -> tuple[int, int, tuple[int, ...]]:
    """Rate, channels and samples of what would be sent."""
    with wave.open(BytesIO(content(source))) as file:
        data = file.readframes(file.getnframes())
        return file.getframerate(), file.getnchannels(), struct.unpack(f"<{len(data) // 2}h", data)


# --- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("talk.wav", "talk.wav"),
        ("talk.wav", "~/talk.wav"),
        ("talk.wav", '"~/talk.wav"'),
        ("talk.wav", "./talk.wav"),
        ("my talk.wav", "my talk.wav"),
        ("my talk.wav", '"my talk.wav"'),
        ("my talk.wav", "'my talk.wav'"),
        ("my talk.wav", r"my\ talk.wav"),
        ("it's.wav", "it's.wav"),
        ("it's.wav", '"it\'s.wav"'),
        ('"quoted".wav', '"quoted".wav'),
        ("Grüße 🎈.wav", "Grüße 🎈.wav"),
        ("$HOME {x}.wav", "$HOME {x}.wav"),
        ("talk", "talk"),
    ],
)
def test_a_path_as_it_is_typed(folder: Path, name: str, typed: str) -> None:
    (folder / name).write_bytes(SOUND)
    source = find_audio(typed, {})
    assert content(source) == SOUND
    assert source.name == name
    assert source.note == ""
    assert exists(typed)


def test_only_the_bare_name_is_sent(folder: Path) -> None:
    (folder / "secret").mkdir()
    (folder / "secret" / "talk.wav").write_bytes(SOUND)
    source = find_audio("secret/talk.wav", {})
    assert source.upload.name == source.name == "talk.wav"
    assert find_audio(f"{folder}/secret/talk.wav", {}).upload.name == "talk.wav"


def test_a_file_comes_before_a_variable_and_that_is_said(folder: Path) -> None:
    (folder / "talk").write_bytes(SOUND)
    source = find_audio("talk", {"talk": tone(9)})
    assert content(source) == SOUND
    assert source.note == "the file talk was used, not the variable"


def test_a_folder_does_not(folder: Path) -> None:
    (folder / "talk").mkdir()
    assert content(find_audio("talk", {"talk": SOUND})) == SOUND


def write_text(path: Path) -> None:
    path.write_text("Dear diary, these are words.\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.exists, "there is no file 'talk.mp3'."),
        (Path.mkdir, "is a folder"),
        (Path.touch, "is empty"),
        (write_text, "is not audio that can be sent, but text"),
    ],
)
def test_what_cannot_be_sent(folder: Path, make: Callable[[Path], object], said: str) -> None:
    make(folder / "talk.mp3")
    with pytest.raises(InputError, match=said) as caught:
        find_audio("talk.mp3", {})
    assert caught.value.hint


@contextmanager
def somebody_else() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("forbidden", ["talk.wav", "."])
def test_what_may_not_be_read(monkeypatch: pytest.MonkeyPatch, forbidden: str) -> None:
    with TemporaryDirectory() as folder:
        monkeypatch.chdir("/")
        path = Path(folder) / "talk.wav"
        path.write_bytes(SOUND)
        Path(folder).chmod(0o755)
        (Path(folder) / forbidden).chmod(0)
        with somebody_else(), pytest.raises(InputError, match=r"cannot be read \(permission denied\)"):
            find_audio(str(path), {})


@pytest.mark.parametrize(
    ("typed", "said", "hint"),
    [
        ("", "nothing to transcribe", "It takes a file's path"),
        ("  ", "nothing to transcribe", "It takes a file's path"),
        ("tlak", "neither a file nor a variable named 'tlak'", "Did you mean 'talk'?"),
        ("tlak.wav", "there is no file 'tlak.wav'", "Did you mean 'talk.wav'?"),
        ("nowhere/talk.wav", "there is no folder 'nowhere'", "The working folder is "),
        ("~nobody_of_this_name/talk.wav", "unknown user in path", "Write the path in full"),
        ("talk\0.wav", "is not the name of a file", "Write the path in full"),
        ("x" * 5000 + ".wav", "there is no file 'xxx", "The working folder is "),
        ("talk.audio", "there is no file 'talk.audio'", ""),
    ],
)
def test_what_is_not_there(folder: Path, typed: str, said: str, hint: str) -> None:
    (folder / "talk.wav").write_bytes(SOUND)
    with pytest.raises(InputError, match=said) as caught:
        find_audio(typed, {"talk": SOUND})
    assert hint in caught.value.hint
    assert len(str(caught.value)) < 600
    assert not exists(typed)


# --- variables -----------------------------------------------------------------------------------------------------


def opened(data: bytes) -> BufferedReader:
    path = Path("open.wav")
    path.write_bytes(data)
    return path.open("rb")


class ArrayWithoutNumpy(SimpleNamespace):
    """What only looks like an array."""


@pytest.mark.parametrize(
    "value",
    [
        SOUND,
        bytearray(SOUND),
        memoryview(SOUND),
        SpeechResult(audio=SOUND, text="hello", type=WAV, model="a/b"),
        BytesIO(SOUND),
        Audio(data=SOUND),
    ],
)
def test_a_variable_by_its_name(value: object) -> None:
    source = find_audio("talk", {"talk": value})
    assert content(source) == SOUND
    assert source.name == "variable talk"
    assert source.upload.name == "audio.wav"


@pytest.mark.parametrize("make", [Path, str])
def test_a_variable_that_holds_a_path(folder: Path, make: Callable[[str], object]) -> None:
    (folder / "my talk.wav").write_bytes(SOUND)
    source = find_audio("talk", {"talk": make("~/my talk.wav")})
    assert content(source) == SOUND
    assert source.name == "my talk.wav (variable talk)"
    assert source.upload.name == "my talk.wav"


def test_an_open_file_is_read_from_its_beginning_and_left_where_it_was() -> None:
    with opened(SOUND) as file:
        file.read(10)
        assert content(find_audio("file", {"file": file})) == SOUND
        assert file.tell() == 10
    held = BytesIO(SOUND)
    held.seek(7)
    assert content(find_audio("held", {"held": held})) == SOUND
    assert held.tell() == 7


def test_an_open_file_is_sent_from_disk_if_it_is_still_there(folder: Path) -> None:
    with opened(SOUND) as file:
        assert find_audio("file", {"file": file}).upload.name == "open.wav"
        (folder / "open.wav").unlink()
        source = find_audio("file", {"file": file})
        assert source.upload.name == "audio.wav"
        assert content(source) == SOUND


def test_what_was_written_and_not_flushed_is_sent_too(folder: Path) -> None:
    with (folder / "new.wav").open("w+b") as file:
        file.write(SOUND)
        assert content(find_audio("file", {"file": file})) == SOUND


def test_a_player_of_a_file_that_is_not_embedded(folder: Path) -> None:
    (folder / "talk.wav").write_bytes(SOUND)
    assert content(find_audio("talk", {"talk": Audio(url="talk.wav")})) == SOUND


def test_a_player_made_of_an_array() -> None:
    rate, channels, sent = samples(find_audio("a", {"a": Audio(np.array([0.0, 0.5, -1.0]), rate=8000)}))
    assert (rate, channels) == (8000, 1)
    assert sent == (0, 16383, -32767)


def closed_file() -> BytesIO:
    file = BytesIO(SOUND)
    file.close()
    return file


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: 5, "is an int, not audio"),
        (lambda: None, "is a NoneType, not audio"),
        (lambda: [1, 2], "is a list, not audio"),
        (lambda: (1, 2), "is a tuple, not audio"),
        (lambda: b"", "holds no audio: it is empty"),
        (lambda: b"just words here", "the variable x: the data is not audio that can be sent, but text"),
        (lambda: StringIO("words"), "the file x is open for text"),
        (closed_file, "the file x is closed"),
        (lambda: Path("missing.wav"), "there is no file 'missing.wav'"),
        (lambda: Path(), "is a folder"),
        (lambda: Audio(url="https://example.org/talk.mp3"), "holds no sound, only an address"),
        (lambda: SpeechResult(audio=b"", text="", type=WAV, model="a/b"), "holds no audio"),
        (lambda: np.zeros(100), "the array x does not say how many samples a second it has"),
        (lambda: ArrayWithoutNumpy(read=lambda: "words"), "what is read of x is not bytes"),
    ],
)
def test_a_variable_that_holds_no_audio(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        find_audio("x", {"x": make()})
    assert caught.value.hint


# --- arrays --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "sent"),
    [
        (np.array([0.0, 0.5, -1.0, 1.0]), (0, 16384, -32767, 32767)),
        (np.array([0.0, 0.5, -1.0], dtype="f4"), (0, 16384, -32767)),
        (np.array([0.0, 2.0, -4.0]), (0, 16384, -32767)),
        (np.array([1, -2, 32767, -32768], dtype="i2"), (1, -2, 32767, -32768)),
        (np.array([1, -2], dtype=">i2"), (1, -2)),
        (np.array([1, -2, 300]), (1, -2, 300)),
        (np.array([128, 255, 0], dtype="u1"), (0, 32512, -32768)),
        (np.array([0, 127, -128], dtype="i1"), (0, 32512, -32768)),
        (np.array([1 << 16, -(1 << 31)], dtype="i4"), (1, -32768)),
    ],
)
def test_samples_become_16_bits(array: Any, sent: tuple[int, ...]) -> None:
    assert samples(find_audio("pair", {"pair": (array, 16_000)})) == (16_000, 1, sent)
    assert samples(find_audio("pair", {"pair": (np.int64(8_000), array)})) == (8_000, 1, sent)
    assert samples(find_audio("pair", {"pair": [array, 22_050.0]})) == (22_050, 1, sent)


def test_channels_stand_beside_each_other() -> None:
    frames = np.arange(80, dtype="i2").reshape(40, 2)
    rate, channels, sent = samples(find_audio("pair", {"pair": (44_100, frames)}))
    assert (rate, channels, sent) == (44_100, 2, tuple(range(80)))
    assert samples(find_audio("pair", {"pair": (frames.T, 44_100)})) == (44_100, 2, tuple(range(80)))


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ((np.zeros(9), 0), "the rate of x is 0"),
        ((np.zeros(9), -5), "the rate of x is -5"),
        ((np.zeros(9), float("nan")), "the rate of x is nan"),
        ((np.zeros(9), "fast"), "the rate of x is 'fast'"),
        ((np.zeros(9), np.zeros(9)), "the rate of x is array"),
        ((np.zeros(0), 8000), "the array x is empty"),
        ((np.zeros((50, 50)), 8000), "has the shape 50 × 50"),
        ((np.zeros((2, 3, 4)), 8000), "has the shape 2 × 3 × 4"),
        ((np.array([0.0, float("nan")]), 8000), "samples that are no numbers"),
        ((np.array([0.0, float("inf")]), 8000), "samples that are no numbers"),
        ((np.array([1 << 20]), 8000), "holds int64"),
        ((np.array([1j]), 8000), "holds complex128"),
        ((np.array(["a"]), 8000), "holds <U1"),
    ],
)
def test_arrays_that_are_no_sound(pair: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        find_audio("x", {"x": pair})
    assert caught.value.hint


def test_without_numpy_nobody_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)  # an import of it would fail
    with pytest.raises(InputError, match="is a tuple, not audio"):
        find_audio("x", {"x": ([0.0], 8000)})
    assert content(find_audio("x", {"x": SOUND})) == SOUND


# --- recordings ----------------------------------------------------------------------------------------------------


def test_a_recording() -> None:
    source = from_recording(b"\x1a\x45\xdf\xa3\x01webm" + bytes(99), "audio/webm;codecs=opus")
    assert (source.name, source.upload.name, source.upload.mime) == (
        "a recording",
        "audio.webm",
        "audio/webm",
    )
    with pytest.raises(InputError, match=r"the recording \(audio/x-odd\) cannot be sent"):
        from_recording(b"what is this?", "audio/x-odd; codecs=odd")
    with pytest.raises(InputError, match="the recording cannot be sent: the data is empty"):
        from_recording(b"", "")
