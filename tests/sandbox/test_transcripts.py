from __future__ import annotations

import pytest

from puq_magics.sandbox.transcripts import MultipartParser, parse_boundary
from puq_magics.sandbox.validation import ErrorResponse

FILE = bytes(range(256)) * 20 + b"\r\n--\r\n--b\r\n-"


def part(disposition: str, value: bytes) -> bytes:
    return (
        b"--bound\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + value + b"\r\n"
    )


FORM = (
    part('name="model"', b"sandbox/whisper")
    + part('name="file"; filename="a b.wav"\r\nContent-Type: audio/wav', FILE)
    + part('name="language"', "dé".encode())
    + b"--bound--\r\n"
)


def read(body: bytes, size: int) -> tuple[dict[str, str], dict[tuple[str, str], bytes]]:
    files: dict[tuple[str, str], bytes] = {}

    def take(name: str, filename: str, data: bytes) -> None:
        files[name, filename] = files.get((name, filename), b"") + data

    reader = MultipartParser(b"bound", take)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.close()
    return reader.fields, files


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 1_000_000])
@pytest.mark.parametrize("around", [b"", b"A preamble\r\n--boun\r\n"])
def test_wherever_it_is_cut_it_reads_the_same(size: int, around: bytes) -> None:
    fields, files = read(around + FORM + around, size)
    assert fields == {"model": "sandbox/whisper", "language": "dé"}
    assert files == {("file", "a b.wav"): FILE}


def test_empty_values() -> None:
    form = part('name="model"', b"") + part('name="file"; filename="x.wav"', b"") + b"--bound--"
    assert read(form, 5) == ({"model": ""}, {("file", "x.wav"): b""})


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="Grüße.wav"', "Grüße.wav"),
        ("name=file; filename=x.wav", "x.wav"),
        ('filename="x.wav"; name="file"', "x.wav"),
        ("name=\"file\"; filename*=utf-8''Gr%C3%BC%C3%9Fe.wav", "Grüße.wav"),
    ],
)
def test_names_of_files(disposition: str, name: str) -> None:
    _, files = read(part(disposition, b"x") + b"--bound--", 100)
    assert files == {("file", name): b"x"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (FORM[:-10], 422),
        (b"no form at all", 422),
        (b"--bound\r\n\r\nx\r\n--bound--", 422),
        (b"--bound\r\nContent-Disposition: form-data\r\n\r\nx\r\n--bound--", 422),
        (b"--bound and more\r\n\r\n", 422),
        (b"--bound" + b" " * 20_000, 422),
        (b"--bound\r\nX: " + b"x" * 20_000, 422),
        (part('name="a"', b"") * 65 + b"--bound--", 422),
        (part('name="model"', b"x" * 65_537) + b"--bound--", 400),
    ],
)
@pytest.mark.parametrize("size", [4096, 1_000_000])
def test_what_cannot_be_read(body: bytes, status: int, size: int) -> None:
    with pytest.raises(ErrorResponse) as caught:
        read(body, size)
    assert caught.value.status == status


def test_boundaries() -> None:
    assert parse_boundary("multipart/form-data; boundary=abc") == b"abc"
    assert parse_boundary('Multipart/Form-Data; charset=utf-8; boundary="a b"') == b"a b"
    for other in ("", "multipart/form-data", "application/json", "multipart/mixed; boundary=abc"):
        with pytest.raises(ErrorResponse, match="not multipart/form-data"):
            parse_boundary(other)
