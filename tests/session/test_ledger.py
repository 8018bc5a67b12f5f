"""The ledger, on real files, with real processes beside it."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from puq_magics.api.error_body import make_status_error
from puq_magics.core.errors import APIConnectionError, StreamError
from puq_magics.session.ledger import VERSION, Ledger, LedgerEntry, default_path, outcome_of

SECRET = "sk-THE-REAL-KEY-0123456789"
#: Notes entries forever, and says so after each; the first argument is the file.
NOTING = """
import sys
from pathlib import Path
from puq_magics.session.ledger import LedgerEntry, Ledger
ledger = Ledger(Path(sys.argv[1]))
count = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for i in range(count):
    ledger.record(LedgerEntry(kind="chat", model=f"a/{sys.argv[3]}", prompt_tokens=i))
    print(i, flush=True)
if not ledger.problem:
    ledger.close()
print("end" + ledger.problem, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


def chat(**fields: Any) -> LedgerEntry:
    return LedgerEntry(**{"kind": "chat", "model": "openai/gpt-4o"} | fields)


def noted(path: Path) -> list[LedgerEntry]:
    """What another session finds in the file."""
    ledger = Ledger(path)
    entries = ledger.entries(all_sessions=True)
    ledger.close()
    assert ledger.problem == ""
    return list(entries)


def start(path: Path, count: int, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", NOTING, str(path), str(count), name]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_an_entry_comes_back_whole(path: Path) -> None:
    entry = chat(
        host="api.puq.ai",
        cell="7",
        prompt_tokens=10,
        completion_tokens=3,
        total_tokens=13,
        characters=5,
        images=2,
        audio_seconds=1.5,
        seconds=2.25,
        time_to_first_token=0.5,
        cost=0.001,
        outcome="402",
    )
    ledger = Ledger(path)
    ledger.record(entry)
    (own,) = ledger.entries()
    assert own.session == ledger.session
    assert own.has_failed
    assert noted(path) == [own]
    assert {f.name: getattr(own, f.name) for f in fields(LedgerEntry)} == {
        f.name: getattr(entry, f.name) for f in fields(LedgerEntry)
    } | {"session": ledger.session}
    ledger.close()


def test_sessions_stay_apart(path: Path) -> None:
    one, other = Ledger(path), Ledger(path)
    one.record(chat(cell="1"))
    other.record(chat(cell="2"))
    one.record(chat(cell="3"))
    assert [entry.cell for entry in one.entries()] == ["1", "3"]
    assert [entry.cell for entry in other.entries()] == ["2"]
    assert [entry.cell for entry in one.entries(all_sessions=True)] == ["1", "2", "3"]
    one.close()
    one.record(chat(cell="4"))  # opens again
    assert [entry.cell for entry in other.entries(all_sessions=True)] == ["1", "2", "3", "4"]
    one.close()
    other.close()


def test_times_are_utc(path: Path) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone(timedelta(hours=2)))
    ledger = Ledger(path)
    ledger.record(chat(at=moment))
    ledger.close()
    (entry,) = noted(path)
    assert entry.at == moment
    assert entry.at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("model", f"tell me of {SECRET}", "?"),
        ("model", "a\nb", "?"),
        ("model", "x" * 201, "?"),
        ("model", None, "?"),
        ("host", f"api.puq.ai/{SECRET}", ""),
        ("kind", "what is a cell?", "other"),
        ("outcome", f"401 {SECRET}", "failed"),
        ("outcome", "999", "failed"),
        ("prompt_tokens", -1, None),
        ("prompt_tokens", 10**30, None),
        ("prompt_tokens", "12", None),
        ("prompt_tokens", True, None),
        ("completion_tokens", 1.5, None),
        ("cost", float("nan"), None),
        ("cost", float("inf"), None),
        ("cost", 10**400, None),
        ("seconds", SECRET, None),
        ("cell", 7, "7"),
    ],
)
def test_what_does_not_fit_is_not_kept(path: Path, field: str, value: Any, kept: Any) -> None:
    ledger = Ledger(path)
    ledger.record(chat(**{field: value}))
    ledger.close()
    assert getattr(noted(path)[0], field) == kept


def test_a_cell_id_with_a_path_is_hashed(path: Path) -> None:
    uri = "vscode-notebook-cell:/home/me/secret%20plans.ipynb#W0sZmlsZQ%3D%3D"
    ledger = Ledger(path)
    ledger.record(chat(cell=uri))
    ledger.record(chat(cell=uri))
    ledger.close()
    first, second = noted(path)
    assert first.cell == second.cell != ""
    assert not {"home", "secret"} & set(first.cell.replace("/", " ").split())
    assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("model", "words of a prompt"),
        ("model", "x" * 201),
        ("model", None),
        ("model", b"bytes"),
        ("prompt_tokens", "many words"),
        ("cost", "words"),
        ("outcome", "x" * 17),
    ],
)
def test_the_file_itself_checks_its_columns(path: Path, column: str, value: Any) -> None:
    ledger = Ledger(path)
    ledger.record(chat())
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE calls SET {column} = ?", (value,))  # noqa: S608


def test_the_file_is_the_users_own(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(chat())
    beside = list(path.parent.iterdir())
    assert len(beside) == 3  # with the log, and the index of the log
    assert {stat.S_IMODE(file.stat().st_mode) for file in beside} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    ledger.close()


def test_nothing_is_written_before_the_first_entry(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.entries() == ()
    ledger.close()
    assert not path.parent.exists()


def test_turned_off(path: Path) -> None:
    ledger = Ledger(path, enabled=False)
    ledger.record(chat())
    assert len(ledger.entries()) == len(ledger.entries(all_sessions=True)) == 1
    ledger.close()
    assert not path.parent.exists()
    assert ledger.problem == ""


def test_kernels_that_write_at_once_lose_nothing(path: Path) -> None:
    children = [start(path, 200, name) for name in ("one", "two", "three")]
    for child in children:  # all find no file, and begin one
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate()[0].splitlines()[-1] == "end"
    entries = noted(path)
    assert sorted(entry.model for entry in entries) == sorted(["a/one", "a/two", "a/three"] * 200)
    assert len({entry.session for entry in entries}) == 3


def test_a_kill_loses_no_entry_that_was_noted(path: Path) -> None:
    child = start(path, 1_000_000, "killed")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    last = max(int(child.stdout.readline()) for _ in range(300))
    os.kill(child.pid, signal.SIGKILL)
    rest = [int(line) for line in child.stdout.read().splitlines() if line.isdecimal()]
    child.communicate()
    entries = noted(path)
    assert [entry.prompt_tokens for entry in entries] == list(range(len(entries)))
    assert len(entries) > max([last, *rest[:-1]])  # of the last line, half may have come
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_kernel_that_is_stopped_in_mid_write_holds_up_nobody_for_long(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(chat(cell="1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.record(chat(cell="2"))
        assert ledger.problem == ""
        assert [entry.cell for entry in ledger.entries(all_sessions=True)] == ["1", "2"]
        assert [entry.cell for entry in noted_while_locked(path)] == ["1"]
        other.execute("ROLLBACK")
    ledger.record(chat(cell="3"))
    assert [entry.cell for entry in noted(path)] == ["1", "2", "3"]
    ledger.close()


def noted_while_locked(path: Path) -> tuple[LedgerEntry, ...]:
    ledger = Ledger(path)
    entries = ledger.entries(all_sessions=True)
    ledger.close()
    return entries


def test_what_was_held_up_is_written_at_the_end(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(chat(cell="1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.record(chat(cell="2"))
        other.execute("ROLLBACK")
    ledger.close()
    assert [entry.cell for entry in noted(path)] == ["1", "2"]


@pytest.mark.parametrize("home", ["a file", "a system folder"])
def test_a_home_that_cannot_be_written(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" if home == "a file" else Path("/proc/nowhere")
    ledger = Ledger(folder / "puq_magics" / "ledger.sqlite")
    ledger.record(chat(cell="1"))
    ledger.record(chat(cell="2"))
    assert [entry.cell for entry in ledger.entries()] == ["1", "2"]
    assert [entry.cell for entry in ledger.entries(all_sessions=True)] == ["1", "2"]
    assert "for this session only" in ledger.problem
    assert str(folder) in ledger.problem
    ledger.close()
    assert (tmp_path / "file").read_text() == "mine"


def corrupt_file(path: Path) -> None:
    path.write_bytes(b"no ledger, but words " * 1000)


def corrupt_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))


def truncate_file(path: Path) -> None:
    os.truncate(path, 5000)


@pytest.mark.parametrize("spoil", [corrupt_file, corrupt_pages, truncate_file])
def test_a_corrupt_file_is_set_aside_and_a_new_one_begun(path: Path, spoil: Any) -> None:
    before = Ledger(path)
    for _ in range(200):
        before.record(chat())
    before.close()
    spoil(path)
    content = path.read_bytes()
    ledger = Ledger(path)
    ledger.record(chat(cell="1"))
    ledger.entries(all_sessions=True)  # some damage shows only when all is read
    ledger.record(chat(cell="2"))
    (aside,) = path.parent.glob("ledger.corrupt-2*.sqlite")
    assert aside.name in ledger.problem
    assert len(aside.read_bytes()) >= len(content)  # nothing of it is gone
    assert [entry.cell for entry in ledger.entries(all_sessions=True)] == ["1", "2"]
    ledger.close()
    assert [entry.cell for entry in noted(path)] == ["1", "2"]


def test_two_sessions_set_a_corrupt_file_aside_once(path: Path) -> None:
    path.parent.mkdir()
    corrupt_file(path)
    children = [start(path, 5, name) for name in ("one", "two")]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        assert "end" in child.communicate()[0]
    kept = [file for file in path.parent.glob("ledger.corrupt-*.sqlite") if file.read_bytes()[:2] == b"no"]
    assert len(kept) == 1
    assert noted(path)


def test_a_file_of_another_kind_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("All my work. " * 100)
    ledger = Ledger(path)
    ledger.record(chat())
    assert "thesis.txt cannot be used" in ledger.problem
    assert path.read_text() == "All my work. " * 100
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"CREATE TABLE calls (later TEXT); PRAGMA user_version={VERSION + 1}", "later version"),
        ("CREATE TABLE songs (title TEXT)", "something else"),
        (f"CREATE TABLE songs (title TEXT); PRAGMA user_version={VERSION}", "something else"),
    ],
)
def test_a_database_that_is_not_ours_is_left_alone(path: Path, script: str, words: str) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    content = path.read_bytes()
    ledger = Ledger(path)
    ledger.record(chat(cell="1"))
    assert words in ledger.problem
    assert len(ledger.entries(all_sessions=True)) == 1
    ledger.close()
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    ledger = Ledger(path)
    ledger.record(chat())
    assert ledger.problem == ""
    assert len(noted(path)) == 1
    ledger.close()


def test_where_it_is() -> None:
    assert default_path().name == "ledger.sqlite"
    assert default_path().parent.name == "puq_magics"
    assert Ledger().path == default_path()
    assert Ledger(Path("~/x.db")).path == Path.home() / "x.db"
    assert Ledger(Path("~no-such-user/x.db")).path == Path("~no-such-user/x.db")


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [
        (None, "ok"),
        (KeyboardInterrupt(), "interrupted"),
        (make_status_error(402, b""), "402"),
        (StreamError("it broke"), "incomplete"),
        (APIConnectionError("no answer"), "failed"),
    ],
)
def test_outcomes(problem: BaseException | None, outcome: str) -> None:
    assert outcome_of(problem) == outcome
    assert chat(outcome=outcome).outcome == outcome
    assert chat(outcome=outcome).has_failed == (outcome not in ("ok", "interrupted"))


def test_an_answer_that_was_cut_is_incomplete() -> None:
    error = APIConnectionError("the connection was cut")
    error.partial = "half an answ"
    assert outcome_of(error) == "incomplete"
