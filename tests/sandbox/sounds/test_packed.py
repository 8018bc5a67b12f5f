import zlib

import pytest

from puq_magics.sandbox.scripted.speech import pack, unpack


@pytest.mark.parametrize("text", ["", "Hello", "Größe – 日本 🦊", "word " * 10_000])
def test_a_text_comes_back(text: str) -> None:
    assert unpack(pack(text)) == text


@pytest.mark.parametrize(
    "data", [b"", b"Hello", pack("Hello")[:-1], zlib.compress(b"\xff"), zlib.compress(bytes(10_000_000))]
)
def test_what_is_damaged_or_a_trap(data: bytes) -> None:
    assert unpack(data) is None
