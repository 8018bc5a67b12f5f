import importlib.util

import pytest

from puq_magics.sandbox.scripted.hearing import detect_audio_format
from puq_magics.sandbox.scripted.speech import (
    FORMATS,
    EncoderMissingError,
    PcmAudio,
    text_from_label,
    write_audio,
)

SOUND = PcmAudio(22050, bytes(22050))
KINDS = {"wav": "WAV", "mp3": "MP3", "opus": "Ogg", "flac": "FLAC"}


def test_a_wav_needs_nothing() -> None:
    data, mime = write_audio(SOUND, "Hällo", "tones", "wav")
    assert mime == "audio/wav"
    assert b"Spoken by the sandbox (tones), not by a model." in data
    assert text_from_label(data) == "Hällo"


@pytest.mark.parametrize("kind", FORMATS[1:])
def test_others_need_soundfile(kind: str) -> None:
    if importlib.util.find_spec("soundfile") is None:
        with pytest.raises(EncoderMissingError):
            write_audio(SOUND, "Hello", "tones", kind)
        return
    data, mime = write_audio(SOUND, "Hello", "tones", kind)
    assert detect_audio_format(data) == KINDS[kind]
    assert mime.startswith("audio/")
    assert text_from_label(data) == "Hello"


@pytest.mark.parametrize(
    "label", [b"", b"puq-sandbox:;", b"puq-sandbox:AAAA;", b"puq-sandbox:A;", b"puq-sandbox:eJw"]
)
def test_what_is_no_label(label: bytes) -> None:
    assert text_from_label(b"RIFF...." + label) is None
