"""Paths relative to the notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from puq_magics.outputs.paths import display_path, notebook_folder, relative_link


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_do_not_say_whose_they_are(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(work_folder.parent))
    assert display_path(work_folder.parent / "music" / "x.mp3") == "~/music/x.mp3"
    assert display_path(work_folder / "x.mp3") == "x.mp3"
    assert display_path(Path("/elsewhere/x.mp3")) == "/elsewhere/x.mp3"
    monkeypatch.setenv("HOME", "")
    assert display_path(work_folder.parent / "x.mp3") == f"{work_folder.parent}/x.mp3"


def test_links_are_relative_to_the_notebook(
    work_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert relative_link(Path("x y.png")) == "x%20y.png"
    assert relative_link(work_folder / "a" / "x.png") == "a/x.png"
    assert relative_link(work_folder.parent / "x.png") is None
    assert display_path(work_folder / "a" / "x.png") == "a/x.png"
    assert display_path(work_folder.parent / "x\x07.png") == f"{work_folder.parent}/x.png"
    alias = tmp_path_factory.mktemp("alias") / "link"
    alias.symlink_to(work_folder)
    assert relative_link(alias / "x.png") == "x.png"


def test_links_start_where_the_kernel_did(fresh_kernel: Any, tmp_path: Path) -> None:
    fresh_kernel.run("from puq_magics.outputs.paths import notebook_folder\nstarted = str(notebook_folder())")
    fresh_kernel.run(f"%cd -q {tmp_path}")
    same, here = fresh_kernel.value("[str(notebook_folder()) == started, __import__('os').getcwd()]")
    fresh_kernel.run("%cd -q -0")
    assert same
    assert here == str(tmp_path.resolve())


def test_without_a_shell_links_start_here(tmp_path: Path) -> None:
    code = "from puq_magics.outputs.paths import notebook_folder; print(notebook_folder())"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(tmp_path.resolve())
    assert notebook_folder().is_dir()
