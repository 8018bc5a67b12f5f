"""What of the chat engine needs no llama.cpp; the rest is in tests/local."""

from __future__ import annotations

from pathlib import Path

import pytest

from puq_magics.sandbox.local.process import EngineError, EngineProcess


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "own.gguf does not exist in {folder}"),
        (b"GGUF\3\0\0\0\1", "own.gguf is cut short or damaged: fetch it again"),
        (b"<!doctype html>", "own.gguf is not a GGUF file"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_words(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "own.gguf"
    if content is not None:
        path.write_bytes(content)
    child = EngineProcess("puq_magics.sandbox.local.chat_engine", [str(path)])
    child.ready.result(60)
    with pytest.raises(EngineError) as refused:
        child.running()
    child.stop()
    assert str(refused.value) == words.format(folder=tmp_path)
