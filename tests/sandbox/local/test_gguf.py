from __future__ import annotations

import struct
from pathlib import Path

import pytest

from puq_magics.sandbox.local.gguf import Gguf, GgufError, read_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


ENTRIES = [
    entry("general.architecture", 8, text("llama")),
    entry("llama.context_length", 4, struct.pack("<I", 8192)),
    entry("llama.rope.freq_base", 6, struct.pack("<f", 1e4)),
    entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("größer") + text("")),
    entry("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 3) + struct.pack("<3f", 1, 2, 3)),
    entry("tokenizer.ggml.add_bos_token", 7, b"\1"),
    entry("a.count", 10, struct.pack("<Q", 2**40)),
]


def gguf(entries: list[bytes] = ENTRIES, version: int = 3, alignment: int = 32) -> bytes:
    """A file with two tensors, of 4 and 5 numbers of 32 bits, the second at the second multiple of 32."""
    tensors = [("one", (4,), 0), ("two", (5, 1), 32)]
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    for name, shape, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
    head += bytes(-len(head) % alignment)
    return head + bytes(32) + bytes(20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


def refusal(path: Path) -> str:
    with pytest.raises(GgufError) as refused:
        read_gguf(path)
    return str(refused.value)


@pytest.mark.parametrize("version", [2, 3])
def test_what_a_model_tells_of_itself(path: Path, version: int) -> None:
    path.write_bytes(gguf(version=version))
    assert read_gguf(path) == Gguf("llama", 8192)


def test_what_it_does_not_tell_is_not_known(path: Path) -> None:
    path.write_bytes(gguf([]))
    assert read_gguf(path) == Gguf("", None)


def test_wherever_a_file_is_cut_it_is_refused(path: Path) -> None:
    whole = gguf()
    for size in range(4, len(whole) - 20 + 1):  # the last tensor's 20 bytes are for llama.cpp
        path.write_bytes(whole[:size])
        assert refusal(path) == "tiny.gguf is cut short or damaged: fetch it again"


def test_where_the_weights_begin_is_as_the_file_says(path: Path) -> None:
    wide = entry("general.alignment", 4, struct.pack("<I", 4096))
    whole = gguf([wide], alignment=4096)
    path.write_bytes(whole)
    assert read_gguf(path)
    path.write_bytes(whole[:1000])
    assert "cut short" in refusal(path)


def test_what_is_no_gguf(path: Path) -> None:
    for content in (b"", b"GGU", b"ggml" + bytes(100), b"<!doctype html>"):
        path.write_bytes(content)
        assert refusal(path) == "tiny.gguf is not a GGUF file"


def test_what_is_not_known_here(path: Path) -> None:
    path.write_bytes(gguf(version=4))
    assert refusal(path) == "tiny.gguf is a GGUF file of a kind that is not known here: its version is 4"
    path.write_bytes(gguf([entry("x", 13, b"")]))
    assert "it has values of type 13" in refusal(path)
    nested = entry("x", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 4, 0))
    path.write_bytes(gguf([nested]))
    assert "it has values of type 9" in refusal(path)


def test_sizes_beyond_all_measure(path: Path) -> None:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + bytes(100))
    assert "cut short or damaged" in refusal(path)
    path.write_bytes(gguf([entry("x", 9, struct.pack("<IQ", 10, 2**63))]))
    assert "cut short or damaged" in refusal(path)


def test_what_is_not_there_or_no_file(path: Path) -> None:
    assert refusal(path) == f"tiny.gguf does not exist in {path.parent}"
    path.mkdir()
    assert refusal(path) == "tiny.gguf cannot be read: Is a directory"
