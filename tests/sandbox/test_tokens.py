import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from puq_magics.sandbox.tokens import count, describe_image, tokens


def url(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def picture(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (640, 48)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("PNG", {}, "640x48 PNG"),
        ("JPEG", {}, "640x48 JPEG"),
        ("JPEG", {"progressive": True}, "640x48 JPEG"),
        ("GIF", {}, "640x48 GIF"),
        ("WEBP", {}, "640x48 WebP"),
        ("WEBP", {"lossless": True}, "640x48 WebP"),
        ("WEBP", {"exif": b"Exif\0\0"}, "640x48 WebP"),
    ],
)
def test_pictures(kind: str, options: dict[str, object], words: str) -> None:
    assert describe_image(url(picture(kind, **options))) == words


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://example.org/a.png?key=secret", "at example.org, not fetched"),
        ("http://[", "at an address that is none, not fetched"),
        ("data:image/png;base64,AAAA", "of an unknown format"),
        ("data:image/png;base64,é", "of an unknown format"),
        ("data:image/png,plain", "of an unknown format"),
        ("data:", "of an unknown format"),
        (url(picture("PNG")[:18]), "PNG"),
        (url(picture("JPEG")[:12]), "JPEG"),
        (url(picture("WEBP")[:16]), "WebP"),
    ],
)
def test_what_is_no_picture(address: str, words: str) -> None:
    assert describe_image(address) == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, world!", ["Hello", ",", " world", "!"]),
        ("conversation", ["conversa", "tion"]),
        ("a\n\n  b \n", ["a", "\n\n  b", " \n"]),
        ("日本語 🚀", ["日本語", " 🚀"]),
    ],
)
def test_words_signs_and_white_space(text: str, expected: list[str]) -> None:
    assert list(tokens(text)) == expected


@given(st.text())
def test_the_tokens_are_the_text(text: str) -> None:
    pieces = list(tokens(text))
    assert "".join(pieces) == text
    assert len(pieces) == count(text)
    assert all(pieces)
