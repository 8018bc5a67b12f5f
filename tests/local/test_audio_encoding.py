"""Files that are encoded as their sound comes, read back by the library and by the client's own readers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from puq_magics.sandbox.local.audio_encoding import FORMATS, WriteBuffer, make_encoder
from puq_magics.sandbox.scripted.speech import parse_wav_header

RATE = 24_000


def tone(seconds: float, hertz: float = 440.0) -> Any:
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype("float32")


@pytest.mark.parametrize("kind", FORMATS)
def test_pieces_make_a_file(kind: str) -> None:
    import soundfile

    file = make_encoder(kind, RATE)
    pieces = [file.encode(tone(2.0)), file.encode(tone(0.5)), file.close()]
    assert (len(pieces[0]) > 1000) == (kind != "flac")  # it leaves before the rest is there
    sound, rate = soundfile.read(io.BytesIO(b"".join(pieces)))
    assert len(sound) / rate == pytest.approx(2.5, abs=0.1)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * rate / len(sound) == pytest.approx(440, abs=2)


def test_sound_that_is_too_loud_is_cut_off_and_does_not_turn_over() -> None:
    file = make_encoder("wav", RATE)
    data = file.encode(np.array([2.0, -2.0, 0.0], "float32")) + file.close()
    head = parse_wav_header(data)
    assert head is not None
    assert (head.rate, head.is_pcm16, head.length) == (RATE, True, None)
    assert np.frombuffer(data[head.start :], "<i2").tolist() == [32767, -32767, 0]


def test_a_wav_without_sound_has_a_head() -> None:
    assert len(make_encoder("wav", RATE).close()) == 44


def test_what_has_gone_is_not_changed() -> None:
    outlet = WriteBuffer()
    outlet.write(b"head")
    outlet.seek(0)
    outlet.write(b"HEAD more")
    assert outlet.drain() == b"HEAD more"
    outlet.seek(0)
    outlet.write(b"late")
    assert outlet.seek(0, io.SEEK_END) == 9
    outlet.write(b"!")
    outlet.seek(7)
    outlet.write(b"re!?")
    assert outlet.drain() == b"!?"
    assert outlet.tell() == 11
