from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_samples import (
    ADTS_FRAME,
    FLAC_START,
    ID3,
    M4A_START,
    MP3_FRAME,
    OGG_PAGE,
    WEBM_START,
    jpeg,
    png,
    wav,
    webp,
)

from puq_magics.core.media_types import (
    describe_non_media,
    detect_audio_type,
    detect_image_type,
    image_dimensions,
    is_complete_image,
)

IMAGES = {
    "png": (png(3, 2), (3, 2)),
    "jpeg": (jpeg(5, 4), (5, 4)),
    "webp": (webp(7, 6), (7, 6)),
    "webp, lossy": (webp(7, 6, b"VP8 "), (7, 6)),
    "webp, lossless": (webp(700, 600, b"VP8L"), (700, 600)),
}
AUDIO = {
    "wav": wav(),
    "mp3": MP3_FRAME,
    "mp3 with a tag": ID3 + MP3_FRAME,
    "wav with another chunk before": wav()[:12] + b"JUNK\x04\x00\x00\x00junk" + wav()[12:],
    "wav with a long chunk before": wav()[:12] + b"bext\x00\x20\x00\x00" + bytes(4000),
    "mp3 of MPEG 2.5": b"\xff\xe3\x18\xc4" + bytes(50),
    "mp3 with a long tag": b"ID3\x03\x00\x00\x00\x7f\x7f\x7f" + bytes(100),
    "mp3 with zeros before": bytes(1000) + MP3_FRAME * 3,
    "mp3 with 8 kB before": bytes(range(255)) * 32 + MP3_FRAME * 3,
    "mp3 with the rest of a tag before": b"TIT2\0\0\0\x05\0\0\x03song" + bytes(20) + MP3_FRAME * 3,
    "mp3 with a tag that is none before": b"ID3\x04\0\0\xff\xff\xff\xff" + bytes(20) + MP3_FRAME * 3,
    "mp3 with a false beginning before": MP3_FRAME[1:] + MP3_FRAME * 2,
    "mp3 with half a frame before": bytes(1) + MP3_FRAME[200:] + b"\xff\xfb\x90" + MP3_FRAME * 3,
    "aac": ADTS_FRAME,
    "aac with a tag": ID3 + ADTS_FRAME,
    "ogg": OGG_PAGE,
    "flac": FLAC_START,
    "flac with a tag": ID3 + FLAC_START,
    "m4a": M4A_START,
    "webm": WEBM_START,
}
NEITHER = {
    "nothing": b"",
    "text": b"hello, this is no audio at all",
    "UTF-16": "words".encode("utf-16"),
    "JSON": b'{"error": "no"}',
    "HTML": b"<!DOCTYPE html><html></html>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "GIF": b"GIF89a\x01\x00\x01\x00",
    "AVI": b"RIFF\x00\x00\x00\x00AVI LIST",
    "Matroska": b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska",
    "words that begin like a tag": b"ID3 is text, and no music at all",
    "a tag's size that is none": b"ID3\x04\x00\x00\xff\xff\xff\xff" + bytes(20),
    "a WAV's name": wav()[:12],
    "a WAV's first 20 bytes": wav()[:20],
    "a reserved MPEG version": b"\xff\xeb\x90\x64",
    "a bad bit rate": b"\xff\xfb\xf0\x64",
    "a bad sample rate": b"\xff\xfb\x9c\x64",
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
    "PDF": b"%PDF-1.7",
    "text before frames of mp3": b"no music " * 300 + MP3_FRAME * 3,
    "PDF that holds an mp3": b"%PDF-1.7\n" + MP3_FRAME * 3,
    "one frame of mp3 in something else": bytes(10) + MP3_FRAME + bytes(500),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "HEIC of an iPhone": b"\0\0\0\x24ftypheic\0\0\0\0mif1MiHEMiPrmiafheic" + bytes(30),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "AVIF that calls itself mif1": b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf",
    "TIFF": b"II*\0\x08\0\0\0",
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_by_their_first_bytes(name: str) -> None:
    data, size = IMAGES[name]
    kind = detect_image_type(data[:12])
    assert kind is not None
    assert (kind.kind, kind.format, kind.mime) == ("image", name.split(",")[0], f"image/{name.split(',')[0]}")
    assert kind.extension == {"jpeg": ".jpg"}.get(kind.format, f".{kind.format}")
    assert image_dimensions(data) == size
    assert detect_audio_type(data) is None


@pytest.mark.parametrize("name", AUDIO)
def test_audio_by_its_first_bytes(name: str) -> None:
    data = AUDIO[name]
    kind = detect_audio_type(data)
    assert kind is not None
    assert (kind.kind, kind.format, kind.extension) == ("audio", name.split()[0], f".{name.split()[0]}")
    assert kind.mime.startswith("audio/")
    assert detect_image_type(data) is None
    assert image_dimensions(data) is None


@pytest.mark.parametrize("name", NEITHER)
def test_what_is_neither(name: str) -> None:
    assert detect_image_type(NEITHER[name]) is None
    assert detect_audio_type(NEITHER[name]) is None
    assert not is_complete_image(NEITHER[name])


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_cut(name: str) -> None:
    data, _ = IMAGES[name]
    assert is_complete_image(data)
    assert is_complete_image(data + b"trailing")
    assert not [end for end in range(len(data) - 1) if is_complete_image(data[:end])]


def test_a_picture_within_a_jpeg_is_not_its_end() -> None:
    thumbnail = jpeg(1, 1)
    exif = b"\xff\xe1" + (len(thumbnail) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + thumbnail
    data = jpeg()[:2] + exif + jpeg()[2:]
    assert is_complete_image(data)
    assert image_dimensions(data) == (5, 4)
    assert not [end for end in range(len(data) - 1) if is_complete_image(data[:end])]


@pytest.mark.parametrize(
    "data",
    [
        png(0, 2),
        png()[:20],
        jpeg()[:12],
        b"\xff\xd8\xff\xe0\x00\x10" + b"x" * 40,
        b"\xff\xd8\xff\xd8\xff\xd9" + bytes(20),
        webp(kind=b"VP8L").replace(b"\x2f", b"\x00"),
        webp()[:22],
    ],
)
def test_an_image_whose_header_does_not_say_its_size(data: bytes) -> None:
    assert detect_image_type(data) is not None
    assert image_dimensions(data) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg/>", "SVG"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>\n<!-- made\nby hand --><SVG xmlns=''>", "SVG"),
        (b"<!DOCTYPE svg PUBLIC ''>", "SVG"),
        (b"<!doctype HTML><p>", "HTML"),
        (b"\n<html lang=en>", "HTML"),
        (b"<script>alert(1)</script>", "HTML"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (b' {"error": 1}', "JSON"),
        (b"[1]", "JSON"),
        (b"GIF89a", "GIF"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (NEITHER["HEIC"], "HEIC"),
        (NEITHER["HEIC of an iPhone"], "HEIC"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0hevcmsf1", "HEIC"),
        (NEITHER["AVIF"], "AVIF"),
        (NEITHER["AVIF that calls itself mif1"], "AVIF"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avifavis", "AVIF"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "BMP"),
        (b"BM is how this text begins", "text"),
        (M4A_START, ""),
        ("Zuviel verlangt: süß.".encode(), "text"),
        ("ü".encode() * 1023 + b"a" + "ü".encode(), "text"),  # the look ends within a character
        (b"\x00\x01\x02", ""),
        (b"caf\xe9 au lait, long enough to be cut", ""),
        (b"", ""),
        (MP3_FRAME, ""),
        (png(), ""),
    ],
)
def test_what_stands_there_instead(data: bytes, said: str) -> None:
    assert describe_non_media(data) == said


@settings(deadline=None)
@given(st.sampled_from([data for data, _ in IMAGES.values()] + list(AUDIO.values())), st.data())
def test_no_bytes_are_too_strange(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    strange = data[:at] + draw.draw(st.binary(max_size=20)) + data[at + draw.draw(st.integers(0, 20)) :]
    size = image_dimensions(strange)
    assert size is None or min(size) > 0
    assert not (detect_image_type(strange) and detect_audio_type(strange))
    assert isinstance(is_complete_image(strange), bool)
    assert isinstance(describe_non_media(strange), str)
