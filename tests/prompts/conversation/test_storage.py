from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puq_magics.api.types import Usage
from puq_magics.core import files
from puq_magics.core.errors import InputError
from puq_magics.prompts.conversation import storage
from puq_magics.prompts.conversation.conversation import Conversation
from puq_magics.prompts.conversation.storage import MAX_FILE_BYTES
from puq_magics.prompts.conversation.turns import Turn

CALLED = (
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "t", "content": "12 °C"},
)
AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
]


def example() -> Conversation:
    chat = Conversation("main", "Be brief.")
    chat.commit("Wie heißt 数学?", "Mathematik", "m/1", Usage(9, 4, 13), at=AT, key=("3f2a9c1e", 0))
    chat.commit(PARTS, "A ca", "m/1", interrupted=True, at=AT, key=("aaaa-bbbb", 0))
    chat.commit(PARTS, "A cat", "m/1", at=AT, key=("aaaa-bbbb", 0))
    return chat


def everything(chat: Conversation) -> Any:
    branches = [(b.name, b.turns, b.reason, b.at) for b in chat.branches]
    return chat.name, chat.system, chat.turns, branches


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "main.json"


SOURCES = (("Oslo", "https://example.org/oslo"), ("", "https://example.org"), ("A book", ""))


def test_sources_are_saved_and_added_to(path: Path) -> None:
    chat = Conversation("main")
    chat.commit("Oslo?", "In", sources=SOURCES[:2], interrupted=True, at=AT)
    chat.extend_answer("In Norway", sources=SOURCES[1:])
    chat.save(path)
    assert chat.turns[0].sources == SOURCES
    assert everything(Conversation.load(path)) == everything(chat)
    for wrong in ("x", ["x"], [["x"]], [["x", 1]]):
        document = json.loads(path.read_text(encoding="utf-8"))
        document["turns"][0]["sources"] = wrong
        path.write_text(json.dumps(document), encoding="utf-8")
        assert "'sources'" in refused(path)
        chat.save(path, force=True)


def test_what_is_loaded_is_what_was_saved(path: Path) -> None:
    chat = example()
    assert chat.save(path) == path
    loaded = Conversation.load(path)
    assert everything(loaded) == everything(chat)
    loaded.undo()
    assert [branch.name for branch in loaded.branches] == ["main~1", "main~2"]


@pytest.mark.parametrize("answer", ["12 degrees.", ""])
def test_tool_calls_are_saved_and_sent_again(path: Path, answer: str) -> None:
    chat = Conversation("main")
    assert chat.commit("Weather?", answer, tool_messages=CALLED, at=AT) == ()
    chat.save(path)
    loaded = Conversation.load(path)
    assert everything(loaded) == everything(chat)
    messages, _ = loaded.preview("And now?", limit_tokens=1_000)
    said = [{"role": "assistant", "content": answer}] if answer else []
    assert messages == [
        {"role": "user", "content": "Weather?"},
        *CALLED,
        *said,
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    "messages", [CALLED[:1], CALLED[1:], CALLED[::-1], (*CALLED, CALLED[0]), ({"role": "system"},), "no"]
)
def test_tool_messages_that_no_router_takes(messages: Any) -> None:
    with pytest.raises(InputError, match="tool messages"):
        Conversation().commit("Weather?", "12", tool_messages=messages)


def test_the_format_is_as_documented(path: Path) -> None:
    example().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    at = document["branches"][0].pop("at")
    assert datetime.fromisoformat(at).tzinfo is not None
    rest = {
        "interrupted": False,
        "at": "2026-01-31T12:00:00+00:00",
        "model": "m/1",
        "usage": None,
        "ordinal": 0,
    }
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    heidi = {"cell": "3f2a9c1e", "content": "Wie heißt 数学?", "answer": "Mathematik", "usage": usage}
    assert document == {
        "format": "puq_magics conversation",
        "version": 1,
        "name": "main",
        "system": "Be brief.",
        "turns": [
            rest | heidi,
            rest | {"cell": "aaaa-bbbb", "content": PARTS, "answer": "A cat"},
            rest | {"cell": "aaaa-bbbb", "content": PARTS, "answer": "A ca", "interrupted": True},
        ],
        "line": [0, 1],
        "branches": [{"number": 1, "turns": [0, 2], "why": "turn 2 replaced"}],
    }
    assert "数学" in path.read_text(encoding="utf-8")


def test_system_prompts_and_marks_of_cut_answers_come_back(path: Path) -> None:
    chat = Conversation("main", "Be brief.")
    chat.commit("1", "a")
    chat.commit("2", "b", system="Be a pirate.", truncated=True, key=("cell-a", 0))
    chat.commit("3", "c", system="", key=("cell-b", 0))
    chat.system = None
    chat.undo()
    chat.system = "Be kind."
    chat.undo()
    chat.save(path)
    loaded = Conversation.load(path)
    assert everything(loaded) == everything(chat)
    assert [branch.system for branch in loaded.branches] == [None]
    turns = loaded.branches[0].turns
    assert [(turn.system, turn.truncated) for turn in turns] == [
        ("Be brief.", False),
        ("Be a pirate.", True),
        ("", False),
    ]


OLD = """{"format": "puq_magics conversation", "version": 1, "name": "main", "system": "Be brief.",
"turns": [{"cell": "3f2a9c1e", "ordinal": 0, "content": "?", "answer": "!", "model": "m/1", "usage": null,
"interrupted": false, "at": "2026-01-31T12:00:00+00:00"}], "line": [0],
"branches": [{"number": 1, "turns": [0], "why": "reset", "at": "2026-01-31T12:00:00+00:00"}]}"""


def test_a_file_of_before_turns_had_system_prompts(path: Path) -> None:
    path.write_text(OLD)
    loaded = Conversation.load(path)
    assert (loaded.turns[0].system, loaded.turns[0].truncated) == ("Be brief.", False)
    assert loaded.branches[0].system == "Be brief."
    loaded.save(path, force=True)
    assert json.loads(path.read_text()) == json.loads(OLD)


@pytest.mark.parametrize(
    ("cell", "lasts"),
    [
        ("3f2a9c1e", True),
        ("12345678", True),
        ("In[5] 1a2b3c", False),
        ("5", False),
        ("vscode-notebook-cell:/home/me/x.ipynb#W0sZmlsZQ%3D%3D", False),
        ("x" * 65, False),
    ],
)
def test_a_cell_is_kept_if_it_is_the_same_after_a_restart(path: Path, cell: str, lasts: bool) -> None:
    chat = Conversation("main")
    chat.commit("?", "!", key=(cell, 3))
    chat.save(path)
    assert Conversation.load(path).turns[0].key == ((cell, 3) if lasts else None)
    assert (json.dumps(cell) in path.read_text(encoding="utf-8")) is lasts


def test_a_cell_of_a_loaded_conversation_runs_again(path: Path) -> None:
    chat = Conversation("main")
    for n in range(3):
        chat.commit("?", f"a{n}", key=("cell-a", n))
    chat.commit("?", "b0", key=("cell-b", 0))
    chat.save(path)
    loaded = Conversation.load(path)
    loaded.begin_execution("cell-a")
    loaded.commit("?", "A0", key=("cell-a", 0))
    assert [turn.answer for turn in loaded.turns] == ["A0"]
    assert [turn.answer for turn in loaded.branches[0].turns] == ["a0", "a1", "a2", "b0"]


def test_it_is_loaded_under_another_name(path: Path) -> None:
    example().save(path)
    loaded = Conversation.load(path, "other")
    assert loaded.name == "other"
    assert loaded.branches[0].name == "other~1"
    with pytest.raises(InputError, match="is not a name"):
        Conversation.load(path, "my chat")


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(alphabet=st.characters(), min_size=1), st.text(alphabet=st.characters(), min_size=1))
def test_any_words_come_back(tmp_path_factory: pytest.TempPathFactory, question: str, answer: str) -> None:
    target = tmp_path_factory.getbasetemp() / "any.json"
    chat = Conversation("x", answer)
    chat.commit(f"?{question}", answer)
    chat.save(target, force=True)
    turn = Conversation.load(target).turns[0]
    assert (turn.content, turn.answer) == (f"?{question}", answer)


def test_half_a_character_comes_back(path: Path) -> None:
    chat = Conversation("x")
    chat.commit("?\ud83d", "é\ude00")
    chat.save(path)
    assert Conversation.load(path).turns[0].answer == "é\ude00"


# --- writing -----------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        example().save(path)
    assert path.read_text() == "mine"
    example().save(path, force=True)
    assert Conversation.load(path).name == "main"
    assert [each.name for each in path.parent.iterdir()] == ["main.json"]


def test_what_appears_meanwhile_is_not_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "check_save_path", lambda path, *_: path.write_text("mine") and path)
    with pytest.raises(InputError, match="has appeared meanwhile"):
        example().save(path)
    assert path.read_text() == "mine"
    assert Conversation.load(path.with_name("main-1.json")).name == "main"


def test_a_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    example().save(path)
    assert Conversation.load(path).name == "main"
    with pytest.raises(InputError, match="exists"):
        example().save(path)
    assert [each.name for each in path.parent.iterdir()] == ["main.json"]


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example().save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        Conversation("x").save(path, force=True)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["main.json"]


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    target.write_text("old")
    target.chmod(0o600)
    path.symlink_to(target)
    example().save(path, force=True)
    assert path.is_symlink()
    assert Conversation.load(target).name == "main"
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is not the name of a file"),
        ("a\0b", "is not the name of a file"),
        (None, "is not the name of a file"),
        (".", "is a folder"),
        ("~no-such-person-here/x.json", "unknown user in path"),
        ("no-such-folder/x.json", "there is no folder"),
        ("x" * 300 + ".json", "cannot be written"),
    ],
)
def test_where_nothing_can_be_written(
    name: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        example().save(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_and_a_pipe_are_no_target(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not an ordinary file"):
        example().save(tmp_path / "pipe", force=True)
    with pytest.raises(InputError, match="is a folder"):
        example().save(tmp_path, force=True)


def test_a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(InputError, match="cannot be written"):
        example().save(path, force=True)
    with pytest.raises(InputError, match="exists"):
        example().save(path)
    assert "cannot be read" in refused(path)


def test_what_would_not_be_read_again_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 500)
    with pytest.raises(InputError, match="more than the 0 MB that can be loaded again"):
        example().save(path)
    assert not path.exists()


# --- reading -----------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """What the refusal says, which is short and names the file."""
    with pytest.raises(InputError) as caught:
        Conversation.load(path)
    message = caught.value.message
    assert str(path) in message
    assert len(message) - len(str(path)) < 150
    assert caught.value.hint
    return message.replace(str(path), "FILE")


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    example().save(path)
    whole = path.read_bytes().rstrip()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        message = refused(path)
        if size > 40:
            assert message == "FILE is truncated or damaged: its JSON is incomplete."
    path.write_bytes(whole)
    assert Conversation.load(path).name == "main"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "FILE is empty."),
        (b"hello", "FILE is not JSON."),
        (b"\x89PNG\r\n\x1a\n\0\0", "FILE is not JSON."),
        (b"[" * 100_000, "FILE is not JSON."),
        (b'{"format": NaN}', "FILE is not JSON."),
        (b"[]", "FILE is not a conversation of puq_magics."),
        (b'{"nbformat": 4}', "FILE is not a conversation of puq_magics."),
        (
            b'{"format": "puq_magics conversation", "version": 2}',
            "FILE is from a later puq_magics (its format is 2, this one reads 1).",
        ),
        (
            b'{"format": "puq_magics conversation"}',
            "FILE has no valid format version.",
        ),
        (
            b'{"format": "puq_magics conversation", "version": true}',
            "FILE has no valid format version.",
        ),
    ],
)
def test_other_files(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    assert refused(path) == words


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing.json") == "there is no file 'FILE'."
    assert refused(tmp_path) == "FILE is a folder."
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "FILE is not a file."
    with pytest.raises(InputError, match="is not the name of a file"):
        Conversation.load("")


def test_a_huge_file_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refused(path) == "FILE is larger than 100 MB."


def test_a_byte_order_mark_does_no_harm(path: Path) -> None:
    example().save(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Conversation.load(path).name == "main"


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(name=5), "it needs a string as 'name'"),
        (lambda d: d.update(name="a b"), "is not a name for a conversation"),
        (lambda d: d.update(system=5), "it needs a string as 'system'"),
        (lambda d: d["turns"][1].update(system=5), "turn 1 needs a string as 'system'"),
        (lambda d: d["turns"][1].update(cut="no"), "turn 1 needs true or false as 'cut'"),
        (lambda d: d["branches"][0].update(system=5), "branch 1 needs a string as 'system'"),
        (lambda d: d.pop("turns"), "it needs a list as 'turns'"),
        (lambda d: d.pop("line"), "it needs a list as 'line'"),
        (lambda d: d.pop("branches"), "it needs a list as 'branches'"),
        (lambda d: d["turns"].__setitem__(0, "x"), "turn 0 is not an object"),
        (lambda d: d["turns"][1].update(content=""), "the question is empty"),
        (lambda d: d["turns"][1].update(content=5), "must be text or a list of content parts"),
        (lambda d: d["turns"][1].update(answer=None), "turn 1 needs a string as 'answer'"),
        (lambda d: d["turns"][1].update(answer=""), "turn 1 has an empty answer"),
        (lambda d: d["turns"][1].update(model=None), "turn 1 needs a string as 'model'"),
        (lambda d: d["turns"][1].update(usage=5), "the usage of turn 1 is not an object"),
        (
            lambda d: d["turns"][0]["usage"].update(total_tokens=-1),
            "the usage of turn 0 has a negative 'total_tokens'",
        ),
        (lambda d: d["turns"][1].update(interrupted="no"), "turn 1 needs true or false as 'interrupted'"),
        (lambda d: d["turns"][1].update(at="yesterday"), "turn 1 has an invalid timestamp"),
        (lambda d: d["turns"][1].update(at="0001-01-01T00:00:00+14:00"), "turn 1 has an invalid timestamp"),
        (lambda d: d["turns"][1].update(cell=5), "turn 1 needs a string as 'cell'"),
        (lambda d: d["turns"][1].update(ordinal=None), "turn 1 needs a number as 'ordinal'"),
        (lambda d: d.update(line=[0, 3]), "it has an invalid index of a turn"),
        (lambda d: d.update(line=[-1]), "it has an invalid index of a turn"),
        (lambda d: d.update(line=[True]), "it has an invalid index of a turn"),
        (lambda d: d["branches"][0].update(turns=[9]), "branch 1 has an invalid index of a turn"),
        (lambda d: d["branches"][0].update(number=0), "branch 1 has the number 0"),
        (lambda d: d["branches"][0].update(why=None), "branch 1 needs a string as 'why'"),
        (lambda d: d["branches"].append(d["branches"][0]), "it has two branches of the same number"),
    ],
)
def test_a_field_that_is_not_what_it_should_be(path: Path, change: Change, words: str) -> None:
    example().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document))
    message = refused(path)
    assert message.startswith("FILE is not a complete conversation: ")
    assert words in message


def test_further_fields_are_ignored(path: Path) -> None:
    example().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["colour"] = document["turns"][0]["mood"] = "blue"
    path.write_text(json.dumps(document))
    assert everything(Conversation.load(path))[:3] == everything(example())[:3]


def test_only_what_was_asked_and_answered_is_written(path: Path) -> None:
    left_out = ("key", "execution", "continue_prompts", "system", "truncated", "tool_messages", "sources")
    fields = {field for field in Turn.__dataclass_fields__ if field not in left_out}
    example().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert set(document["turns"][0]) == fields | {"cell", "ordinal"}
    assert set(document) == {"format", "version", "name", "system", "turns", "line", "branches"}


def test_the_words_at_which_an_answer_went_on(path: Path) -> None:
    chat = example()
    chat.extend_answer("A cat, asleep", continue_prompts=["More."])
    chat.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [turn.get("continued") for turn in document["turns"]].count(["More."]) == 1
    assert everything(Conversation.load(path)) == everything(chat)
    document["turns"][0]["continued"] = "More."
    path.write_text(json.dumps(document))
    assert "needs a list as 'continued'" in refused(path)
