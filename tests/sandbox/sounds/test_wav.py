import io
import struct
import wave

import pytest

from puq_magics.sandbox.scripted.speech import PcmAudio, WavHeader, parse_wav_header, write_wav

SAMPLES = struct.pack("<5h", 0, 1, -1, 32767, -32768)


def test_others_can_read_it() -> None:
    data = write_wav(PcmAudio(22050, SAMPLES), "odd")
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, 22050, 5)
        assert file.readframes(9) == SAMPLES
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert b"LIST\x10\x00\x00\x00INFOICMT\x04\x00\x00\x00odd\0" in data


def test_it_reads_its_own_head() -> None:
    data = write_wav(PcmAudio(22050, SAMPLES), "A comment.")
    head = parse_wav_header(data)
    assert head == WavHeader(22050, 1, 16, 1, len(data) - 10, 10, 44100)
    assert head.is_pcm16
    assert head.seconds(len(data)) == PcmAudio(22050, SAMPLES).seconds == 5 / 22050


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_stream_of_unknown_length_goes_on_until_its_end(length: int) -> None:
    data = write_wav(PcmAudio(8000, bytes(16000)), "")
    start = len(data) - 16000
    data = data[: start - 4] + struct.pack("<I", length) + data[start:]
    head = parse_wav_header(data)
    assert head is not None
    assert head.length is None
    assert head.seconds(len(data)) == 1


def test_what_was_cut_off_is_not_counted() -> None:
    head = WavHeader(8000, 2, 16, 1, 44, 32000, 32000)
    assert head.seconds(44 + 16000) == 0.5
    assert head.seconds(20) == 0
    assert not head.is_pcm16


def test_what_is_no_wav() -> None:
    good = write_wav(PcmAudio(8000, SAMPLES), "")
    assert parse_wav_header(b"") is None
    assert parse_wav_header(b"RIFF") is None
    assert parse_wav_header(good[:40]) is None
    assert parse_wav_header(b"RIFX" + good[4:]) is None
    assert parse_wav_header(good.replace(b"fmt ", b"junk")) is None
    no_rate = good.replace(struct.pack("<II", 8000, 16000), bytes(8))
    assert parse_wav_header(no_rate) is None
