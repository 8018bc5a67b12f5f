"""The journal: what is on the disk, and what is made of files that are damaged, locked or of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from puq_magics import JournalError
from puq_magics.experiments.calls import CallOutcome
from puq_magics.experiments.journal import Journal

PLAN = {"template": "{{text}}"}


def outcome(key: str, text: str = "Yes.") -> CallOutcome:
    return CallOutcome(key, "a/b", "a/b", text, data={"n": 1}, cost=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "puq_runs" / "run"
    with Journal(folder, PLAN) as journal:
        journal.record_started("a")
        journal.record_started("b")
        journal.record_started("c")
        journal.append([outcome("a"), outcome("b", "half a pair: \ud800 ✓")])
    return folder


def test_what_was_written_is_read(folder: Path) -> None:
    with Journal(folder, PLAN) as journal:
        assert journal.outcomes["a"] == outcome("a")
        assert journal.outcomes["b"].text.endswith("✓")
        assert journal.unfinished == {"c"}
        assert journal.notes == []


@pytest.mark.parametrize(
    "tail", [b'{"key": "c", "te', b'{"key": "\xff', b"\x00" * 100, b'"' + b"x" * (1 << 21)]
)
def test_a_torn_last_line_is_set_aside(folder: Path, tail: bytes) -> None:
    with (folder / "calls.jsonl").open("ab") as file:
        file.write(tail)
    with Journal(folder, PLAN) as journal:
        assert set(journal.outcomes) == {"a", "b"}
        assert "was cut" in journal.notes[0]
        journal.append([outcome("d")])
    assert (folder / "calls.jsonl.torn").read_bytes() == tail
    with Journal(folder, PLAN) as journal:
        assert set(journal.outcomes) == {"a", "b", "d"}


def test_what_is_written_after_a_full_disk_is_a_line_of_its_own(folder: Path) -> None:
    with Journal(folder, PLAN) as journal:
        calls = journal._calls
        written = iter([lambda data: calls.write(data[:9]), lambda _: os.write(-1, b"")])
        full: Any = SimpleNamespace(write=lambda data: next(written)(data), fileno=calls.fileno)
        journal._calls = full
        with pytest.raises(JournalError):
            journal.append([outcome("c")])
        journal._calls = calls
        journal.append([outcome("d"), outcome("e")])
    with Journal(folder, PLAN) as journal:
        assert set(journal.outcomes) == {"a", "b", "d", "e"}
        assert journal.notes == ["1 line of calls.jsonl cannot be read; their calls are made again"]


def test_damaged_lines_are_counted_and_passed_over(folder: Path) -> None:
    lines = (folder / "calls.jsonl").read_bytes()
    (folder / "calls.jsonl").write_bytes(b"not JSON\n[1]\n" + b"[" * 100_000 + b"\n" + lines)
    with Journal(folder, PLAN) as journal:
        assert set(journal.outcomes) == {"a", "b"}
        assert "3 lines" in journal.notes[0]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ('{"version": 1, "template": "another"}', "journal of another prompt"),
        ('{"version": 99, "template": "{{text}}"}', "later version"),
        ("not JSON", "not the plan of a journal"),
        ("[]", "not the plan of a journal"),
    ],
)
def test_a_plan_of_something_else_is_refused(folder: Path, plan: str, said: str) -> None:
    (folder / "plan.json").write_text(plan)
    before = (folder / "calls.jsonl").read_bytes()
    with pytest.raises(JournalError) as caught:
        Journal(folder, PLAN)
    assert said in str(caught.value)
    assert caught.value.hint
    assert (folder / "calls.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["plan.json", "calls.jsonl", "started.txt", "lock", "calls.jsonl.torn"])
@pytest.mark.parametrize("target", ["notes.txt", "missing.txt"])
def test_a_link_is_refused(folder: Path, name: str, target: str) -> None:
    notes = folder.parent / "notes.txt"
    notes.write_text("one\ntwo")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder.parent / target)
    for fresh in (False, True):
        with pytest.raises(JournalError, match="is a symbolic link") as caught:
            Journal(folder, PLAN, fresh=fresh)
        assert "Remove it" in caught.value.hint
    assert notes.read_text() == "one\ntwo"
    assert not (folder.parent / "missing.txt").exists()


def test_fresh_keeps_the_old_journal_under_another_name(folder: Path) -> None:
    for number in (1, 2):
        with Journal(folder, PLAN, fresh=True) as journal:
            assert journal.outcomes == {}
            assert f"run.old-{number}" in journal.notes[0]
            journal.append([outcome("z")])
    kept = (folder.with_name("run.old-1") / "calls.jsonl").read_text()
    assert [json.loads(line)["key"] for line in kept.splitlines()] == ["a", "b"]


def test_another_process_is_refused_until_it_dies(folder: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom puq_magics.experiments.journal import Journal\n"
        f"journal = Journal(Path({str(folder)!r}), {PLAN!r})\nprint('open', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JournalError, match="another kernel"):
            Journal(folder, PLAN)
        process.kill()
    with Journal(folder, PLAN) as journal:
        assert set(journal.outcomes) == {"a", "b"}


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "file" / "run", PLAN)
