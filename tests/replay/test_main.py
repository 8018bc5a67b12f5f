"""The command line of cassettes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puq_magics.replay.__main__ import main
from puq_magics.replay.cassette import Cassette
from puq_magics.replay.fingerprint import name_of


def add(folder: Path, text: str, answer: str = "Yes.") -> str:
    """Write a recording of a chat; return its file's name."""
    body = {"messages": [{"content": text, "role": "user"}], "model": "a/b"}
    request = {"body": body, "endpoint": "POST /v1/chat/completions"}
    message = {"content": answer, "role": "assistant"}
    response = {"body": {"choices": [{"message": message}]}, "status": 200, "type": "application/json"}
    cassette = Cassette(folder)
    cassette.prepare_recording()
    name = f"{name_of(request)}.json"
    cassette.write(name, {"request": request, "response": response, "seconds": 0.5, "times": [0.5]}, {})
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "lesson.cassette"
    add(folder, "Why is the sky blue?")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_list_and_show(folder: Path, capsys: Any) -> None:
    add(folder, "\x1b]0;title\x07Hostile", "Answer \x1b[2J")
    status, out = run(capsys, "list", "lesson")
    assert status == 0
    assert "200  a/b  Why is the sky blue?" in out
    assert "2 recordings" in out
    status, out = run(capsys, "show", "lesson.cassette", "chat-")
    assert out.count('"format": 1') == 2
    assert "\x1b" not in out
    assert run(capsys, "show", "lesson", "image-1")[0] == 2
    Cassette(folder).pack()
    for path in folder.iterdir():
        path.unlink()
    assert "2 recordings" in run(capsys, "list", "lesson.cassette.zip")[1]


def damage(folder: Path, how: str) -> None:
    (path,) = folder.glob("chat-*.json")
    document = json.loads(path.read_text())
    content = {
        "secret": "Use sk-proj-Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0L",
        "": f"data:image/png;sha256,{'0123456789abcdef' * 4}",
        "name": "",
        "mail": "Write to ada@example.org",
        "home": "It is in /home/ada/notes",
    }.get(how)
    if content is not None:
        document["response"]["body"]["choices"][0]["message"]["content"] = content
    if how == "name":
        document["response"]["body"]["sk-proj-Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0L"] = 1
    elif how == "edited":
        document["request"]["body"]["model"] = "c/d"
    elif how == "media":
        document["response"]["file"] = f"{path.stem}-00000000.png"
    path.write_text(json.dumps(document) if how != "cut" else path.read_text()[:50])
    if how == "orphan":
        (folder / f"{path.stem}-00000000.png").write_bytes(b"x")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("", " bytes: no problems"),
        ("secret", "what looks like a secret is in content"),
        ("name", "what looks like a secret is in a name"),
        ("mail", "an e-mail address is in content"),
        ("home", "a path of a home folder is in content"),
        ("edited", "its request was edited"),
        ("media", "-00000000.png is missing"),
        ("cut", "is cut, or is not JSON"),
        ("orphan", "-00000000.png: belongs to no recording"),
    ],
)
def test_check(folder: Path, capsys: Any, how: str, words: str) -> None:
    damage(folder, how)
    status, out = run(capsys, "check", "lesson")
    assert status == bool(how)
    assert words in out
    assert "sk-proj" not in out


def notebook(path: Path, *sources: str) -> None:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": source,
        }
        for n, source in enumerate(sources)
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def test_prune(folder: Path, capsys: Any) -> None:
    other = add(folder, "Nobody asks this")
    path = folder.with_name("lesson.ipynb")
    notebook(
        path, "%load_ext puq_magics", "%puq_cassette off", "%puq_chat -m a/b --no-stream Why is the sky blue?"
    )
    status, out = run(capsys, "prune", "lesson", str(path))
    assert (status, (folder / other).exists()) == (0, True), out
    assert f"{other}\n1 of 2 recordings no longer asked for" in out
    assert "1 of 2 recordings deleted" in run(capsys, "prune", "lesson", str(path), "--yes")[1]
    assert not (folder / other).exists()
    orphan = folder / f"{other.removesuffix('.json')}-00000000.png"
    orphan.write_bytes(b"")
    packed = Cassette(folder)
    packed.pack()
    status, out = run(capsys, "prune", "lesson.ipynb", str(path), "--yes")
    assert f"{orphan.name}\n0 of 1 recording and 1 media file deleted" in out
    assert not orphan.exists()
    assert orphan.name not in Cassette(folder).names  # nor in the zip file
    packed.packed.unlink()
    notebook(path, "%load_ext puq_magics", "%puq_chat -m a/b --no-stream Why is the sea blue?")
    status, out = run(capsys, "prune", "lesson", str(path), "--yes")
    assert status == 2
    assert "code cell 2 of lesson.ipynb fails in the replay: RecordingError: lesson.cassette has no" in out
    assert len(list(folder.iterdir())) == 1


def test_bad_input(folder: Path, capsys: Any) -> None:
    status, out = run(capsys, "list", "lessen")
    assert status == 2
    assert "there is no cassette lessen.cassette" in out
    assert "Did you mean 'lesson.cassette'?" in out
    assert run(capsys, "prune", "lesson", "no.ipynb")[0] == 2
    Path("bad.ipynb").write_text("{}")
    assert "bad.ipynb is not a notebook" in run(capsys, "prune", "lesson", "bad.ipynb")[1]
