"""Files that are whole or not there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from puq_magics.core.errors import InputError
from puq_magics.core.files import (
    atomic_write,
    check_save_path,
    filename_stem,
    first_free_path,
    output_paths,
    save_bytes,
    save_numbered,
    save_text,
    save_to_temp_file,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- before anything is paid for


def test_a_target_is_given_back_and_nothing_is_made(tmp_path: Path) -> None:
    assert check_save_path(tmp_path / "x.png") == tmp_path / "x.png"
    assert names(tmp_path) == []


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_save_path("~/x.png") == tmp_path / "x.png"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "not the name of a file"),
        ("  ", "not the name of a file"),
        ("a\0b", "not the name of a file"),
        (".", "is a folder"),
        ("there", "is a folder"),
        ("there/", "is a folder"),
        ("nowhere/", "there is no folder nowhere/"),
        ("nowhere/x.png", "no folder nowhere"),
        ("mine.png/x.png", "no folder mine.png"),
        ("mine.png", "mine.png exists"),
        ("mine", "mine exists"),
        ("/dev/null", "not an ordinary file"),
        ("~", "is a folder"),
        (None, "None is not the name of a file"),
        (b"bytes", "is not the name of a file"),
        ("nothing.png", "nothing.png exists"),
        ("~nobody-of-this-name/x.png", "unknown user"),
        ("x" * 300, "cannot be written"),
    ],
)
@pytest.mark.parametrize(
    "check",
    [
        check_save_path,
        lambda path: check_save_path(path, extensions=[".png"]),
        lambda path: check_save_path(path, extensions=[".png"], force_hint="--force"),
        lambda path: save_bytes(b"data", path),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any, words: str, check: Callable[[Any], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "mine.png").write_text("mine")
    (tmp_path / "mine").write_text("mine, too")
    (tmp_path / "nothing.png").symlink_to("gone")
    before = names(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        check(name)
    assert caught.value.hint
    assert names(tmp_path) == before
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_force_takes_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    os.mkfifo(tmp_path / "pipe.png")
    assert check_save_path(tmp_path / "mine.png", force=True).name == "mine.png"
    for name in ("pipe.png", ".", "nowhere/x.png"):
        with pytest.raises(InputError):
            check_save_path(tmp_path / name, force=True)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder, and a file in it, that only their owner may write to; others may look."""
    folder = Path(tempfile.mkdtemp())
    (folder / "mine.png").write_text("mine")
    (folder / "mine.png").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_what_may_not_be_written_to(read_only_folder: Path) -> None:
    """Asked by somebody who is not root, whom nothing is forbidden."""
    code = (
        "import os, sys\n"
        "from puq_magics.core.errors import InputError\n"
        "from puq_magics.core.files import check_save_path\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "for name, force in (('new.png', False), ('new.png', True), ('mine.png', True)):\n"
        "    try: check_save_path(sys.argv[1] + '/' + name, force)\n"
        "    except InputError as exc: print(exc.message)\n"
    )
    command = [sys.executable, "-c", code, str(read_only_folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    folder = f"the folder {read_only_folder} is not writable."
    assert ran.stdout.splitlines() == [folder, folder, f"{read_only_folder}/mine.png is not writable."]


def test_all_names_that_may_come_are_looked_at(tmp_path: Path) -> None:
    endings = [".png", ".jpg", ".webp"]
    (tmp_path / "kite.jpg").touch()
    (tmp_path / "cat-2.png").touch()
    with pytest.raises(InputError, match=r"kite\.jpg exists"):
        check_save_path(tmp_path / "kite", extensions=endings)
    assert check_save_path(tmp_path / "kite.png", extensions=endings).name == "kite.png"
    with pytest.raises(InputError, match=r"cat-2\.png exists"):
        check_save_path(tmp_path / "cat.png", number=2)
    with pytest.raises(InputError, match=r"cat-2\.png exists"):
        check_save_path(tmp_path / "cat", extensions=endings, number=3)
    assert check_save_path(tmp_path / "cat.png", extensions=endings, number=1).name == "cat.png"


def test_numbers_and_extensions() -> None:
    assert output_paths(Path("a/x.jpg"), ".png") == [Path("a/x.jpg")]
    assert output_paths(Path("a/x"), ".png") == [Path("a/x.png")]
    assert output_paths(Path("a/x"), ".png", 2) == [Path("a/x-1.png"), Path("a/x-2.png")]
    assert output_paths(Path("v1.2.jpg"), ".png", 2) == [Path("v1.2-1.jpg"), Path("v1.2-2.jpg")]


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("1. kite", "1. kite.png"),
        ("kite.v2", "kite.v2.png"),
        ("v1.2", "v1.2.png"),
        ("e.g. a kite", "e.g. a kite.png"),
        ("kite.", "kite..png"),
        (".kite", ".kite.png"),
        ("kite.JPEG", "kite.JPEG"),
        ("talk.mp3", "talk.mp3"),
        ("talk.m4a", "talk.m4a"),
        ("kite.xyz", "kite.xyz"),
    ],
)
def test_what_is_an_extension(tmp_path: Path, name: str, whole: str) -> None:
    assert output_paths(tmp_path / name, ".png") == [tmp_path / whole]
    number_two = output_paths(tmp_path / name, ".png", 2)[1]
    assert number_two.name == f"{Path(whole).stem}-2{Path(whole).suffix}"
    assert check_save_path(tmp_path / name, extensions=[".png"]) == tmp_path / name


def test_a_file_without_an_extension_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "kite").touch()
    with pytest.raises(InputError, match="kite exists") as caught:
        check_save_path(tmp_path / "kite", extensions=[".png"], force_hint="--force")
    assert caught.value.hint == "Name another; or --force replaces it."
    assert output_paths(check_save_path(tmp_path / "kite", True, extensions=[".png"]), ".png") == [
        tmp_path / "kite"
    ]
    assert check_save_path(tmp_path / "kite", extensions=[".png"], number=2)  # kite-1.png and kite-2.png


def test_the_hint_names_the_option_of_magics_too(tmp_path: Path) -> None:
    (tmp_path / "kite.md").touch()
    with pytest.raises(InputError, match=r"kite\.md exists") as caught:
        check_save_path(tmp_path / "kite.md")
    assert caught.value.hint == "Name another; or force=True (--force) replaces it."


def test_the_first_name_that_is_free(tmp_path: Path) -> None:
    assert first_free_path(tmp_path / "x.txt") == tmp_path / "x.txt"
    for name, free in (("x.txt", "x-2.txt"), ("x-2.txt", "x-3.txt")):
        (tmp_path / name).touch()
        assert first_free_path(tmp_path / "x.txt") == tmp_path / free


# --- writing


def write(target: Path, then: Callable[[], object], force: bool = False) -> None:
    """Write a file; before it ends, let something happen."""
    with atomic_write(target, force) as file:
        file.write(b"data")
        file.flush()
        then()


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    with atomic_write(target) as file:
        file.write(b"da")
        assert not target.exists()
        file.write(b"ta")
    assert target.read_bytes() == b"data"
    assert names(tmp_path) == ["x.png"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_left_of_what_broke_off(tmp_path: Path, problem: type[BaseException], force: bool) -> None:
    target = tmp_path / "x.png"
    if force:
        target.write_bytes(b"mine")

    def _break() -> None:
        raise problem

    with pytest.raises(problem):
        write(target, _break, force)
    assert names(tmp_path) == (["x.png"] if force else [])
    assert not force or target.read_bytes() == b"mine"


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No space left") as caught:
        write(tmp_path / "x.png", lambda: Path("/dev/full").write_bytes(b"more"))
    assert caught.value.hint
    assert names(tmp_path) == []


def test_what_appears_meanwhile_stays_and_so_does_what_came(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    (tmp_path / "x-1.png").write_bytes(b"theirs, too")
    with pytest.raises(InputError, match="appeared meanwhile") as caught:
        write(target, lambda: target.write_bytes(b"theirs"))
    assert target.read_bytes() == b"theirs"
    assert str(tmp_path / "x-2.png") in caught.value.hint
    assert (tmp_path / "x-2.png").read_bytes() == b"data"
    assert names(tmp_path) == ["x-1.png", "x-2.png", "x.png"]


def test_force_replaces_and_keeps_the_mode(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"mine")
    target.chmod(0o640)
    save_bytes(b"data", target, force=True)
    assert target.read_bytes() == b"data"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names(tmp_path) == ["x.png"]


def test_force_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.png").write_bytes(b"mine")
    (tmp_path / "x.png").symlink_to("real/x.png")
    save_bytes(b"data", tmp_path / "x.png", force=True)
    assert (tmp_path / "x.png").is_symlink()
    assert (tmp_path / "real" / "x.png").read_bytes() == b"data"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as FAT, which cannot be had here."""

    def _refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", _refuse)
    save_bytes(b"data", tmp_path / "x.png")
    with pytest.raises(InputError, match="appeared meanwhile"):
        write(tmp_path / "y.png", lambda: (tmp_path / "y.png").write_bytes(b"theirs"))
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [b"data", b"data", b"theirs"]
    assert names(tmp_path) == ["x.png", "y-1.png", "y.png"]


def test_of_many_writers_one_gets_the_name_and_none_is_lost(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    told: list[str] = []

    def _write(n: int) -> None:
        try:
            with atomic_write(tmp_path / "x.png") as file:
                file.write(bytes([n]) * 1000)
                together.wait(30)
        except InputError as exc:
            told.append(exc.hint.rsplit(" ", 1)[-1])

    threads = [threading.Thread(target=_write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(told) == [str(tmp_path / f"x-{n}.png") for n in range(1, 8)]
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == len(names(tmp_path)) == 8


def test_a_text_that_no_file_can_hold(tmp_path: Path) -> None:
    assert save_text("Grüße 🎈\r\n", tmp_path / "x.txt").read_bytes() == "Grüße 🎈\r\n".encode()
    with pytest.raises(InputError, match="half a surrogate pair"):
        save_text("\ud83d", tmp_path / "y.txt")
    assert names(tmp_path) == ["x.txt"]


# --- names of our own


def test_numbered_files(tmp_path: Path) -> None:
    made = [save_numbered(bytes([n]), tmp_path, "A red kite!", ".png") for n in range(3)]
    assert [path.name for path in made] == ["a-red-kite-1.png", "a-red-kite-2.png", "a-red-kite-3.png"]
    assert [path.read_bytes() for path in made] == [b"\0", b"\1", b"\2"]
    assert save_numbered(b"\2", tmp_path, "A red kite!", ".png") == made[2]  # Run All
    assert save_numbered(b"\0", tmp_path, "A red kite!", ".png").name == "a-red-kite-4.png"
    with pytest.raises(InputError, match="no folder"):
        save_numbered(b"", tmp_path / "nowhere", "x", ".png")


@pytest.mark.parametrize(
    ("words", "stem"),
    [
        ("A red kite over the Baltic sea at dawn, please", "a-red-kite-over-the-baltic"),
        ("", "untitled"),
        ("…!?", "untitled"),
        ("../../etc/passwd", "etc-passwd"),
        ("a_b\nc\\d:e", "a-b-c-d-e"),
        ("\x1b[31mred\x00", "31mred"),
        ("Grüße 猫", "grüße-猫"),
        ("x" * 500, "x" * 40),
        ("-rf *", "rf"),
        (".hidden", "hidden"),
    ],
)
def test_names_of_words(words: str, stem: str) -> None:
    assert filename_stem(words) == stem


def test_what_must_not_be_lost_is_kept_for_oneself() -> None:
    path = save_to_temp_file(b"data", ".mp3")
    other = save_to_temp_file(b"more", ".mp3")
    try:
        assert path.read_bytes() == b"data"
        assert path.suffix == ".mp3"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path != other
    finally:
        path.unlink()
        other.unlink()
