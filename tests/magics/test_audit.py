"""``%puq_audit``: records of provenance in the outputs of notebooks that were run, and in files of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from puq_magics.magics.runs import _first_answers
from puq_magics.outputs.results.provenance import Provenance, describe_params, hash_cell, hash_content

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"
CELLS = [
    "%load_ext puq_magics\n%puq_sandbox --pace 0",
    "%%puq_chat -t 0.5 -o answer --param note='a private note'\nTell me a tale of the violet walrus.",
    "%puq_chat -q the violet walrus again",
    "answer",
    "%puq_image --size 256x256 -n 2 the violet walrus\n%puq_speak --voice alloy the violet walrus",
    "%puq_transcribe _puq",
    "%puq_chat -f text the violet walrus",
    "%%puq_compare -m sandbox/chat -m sandbox/short\nthe violet walrus",
    "%%puq_map rows\nthe violet walrus {{a}}",
    "1 + 1",
    "%%puq_map rows -o again\nthe violet walrus {{a}}",  # from the journal
    "%%puq_grid -m sandbox/chat --over rows\nthe violet walrus {{a}}",
    "%%puq_compare -m sandbox/chat -m sandbox/short --blind\nthe violet walrus",
    "%%puq_compare -m sandbox/chat -m sandbox/short --blind\nthe violet walrus, too",
    "%puq_compare --vote tie",
]


@pytest.fixture(scope="module", params=["0", "1"], ids=["once", "live"])
def executed(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a notebook that was run, with outputs that were shown once or updated."""
    path = tmp_path_factory.mktemp("audit") / "lesson.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.cells[0].source += "\nrows = [{'a': 1}]"
    home = {"HOME": str(path.parent), "PUQ_LIVE": request.param, "PUQ_API_KEY": KEY}
    client = nbclient.NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    client.execute(env={**os.environ, **home})
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return path


def records(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [
        record
        for cell in cells
        for out in cell["outputs"]
        for record in out.get("metadata", {}).get("puq", [])
    ]


def test_every_saved_answer_has_a_record_without_a_word_of_the_prompt(executed: Path) -> None:
    found = records(executed)
    kinds = [
        "chat",
        "chat",
        "image",
        "speech",
        "transcription",
        "chat",
        "chat",
        "chat",
        *["map"] * 2,
        "grid",
        "compare",
    ]
    assert [record["kind"] for record in found[: len(kinds)]] == kinds
    chat, again, image, speech, heard, *_ = found
    assert again == chat
    assert (chat["asked"], chat["answered"]) == ("sandbox/chat", "sandbox/chat")
    assert chat["params"] == {"note": f"sha256:{hash_content('a private note')[:12]}", "temperature": 0.5}
    assert image["params"] == {"n": 2, "size": "256x256"}
    assert speech["params"] == {"voice": "alloy"}
    assert speech["messages"] == image["messages"] == hash_content("the violet walrus")
    assert heard["messages"] != speech["messages"]
    assert chat["cell"] == hash_cell(CELLS[1])
    assert all(record["cost"] > 0 for record in found[:5])
    assert found[8]["cost"] == found[9]["cost"] == found[10]["cost"] > 0
    assert "sandbox" not in json.dumps(found[11])
    text = json.dumps(found)
    assert all(words not in text for words in ("walrus", "private", KEY, KEY[-8:]))


def test_what_matches_its_cell_and_what_does_not(request: Any, executed: Path, shell: Any) -> None:
    report = shell.run(f"%puq_audit '{executed}'").value
    is_live = "live" in request.node.callspec.id
    states = [(row.cell, row.provenance.kind if row.provenance else "", row.state) for row in report]
    expected = [
        (2, "chat", "matches"),
        (3, "", "no record"),
        (5, "image", "matches"),
        (5, "speech", "matches"),
        (6, "transcription", "matches"),
        (7, "chat", "matches"),
        (8, "chat", "matches"),
        (8, "chat", "matches"),
        (9, "map", "matches"),
        (11, "map", "matches"),
        (12, "grid", "matches"),
        (13, "compare", "matches"),
        *[(14, "chat", "matches") if is_live else (15, "chat", "of cell 14")] * 2,
    ]
    assert states == expected
    blind = next(row.provenance for row in report if row.cell == 13)
    assert blind.requested_model == "A, B (blind)"
    assert blind.cost == pytest.approx(sum(row.provenance.cost for row in report if row.cell == 8))
    assert report.cost == pytest.approx(sum(row.provenance.cost or 0 for row in report if row.provenance))
    edited = json.loads(executed.read_text("utf-8"))
    edited["cells"][1]["source"] = CELLS[1].replace("tale", "lie")
    edited["cells"][4]["source"] += "\n"  # nothing that anybody sees
    path = executed.with_name("edited.ipynb")
    path.write_text(json.dumps(edited), "utf-8")
    ran = shell.run(f"%puq_audit '{path}'")
    assert [row.cell for row in ran.value.edited] == [2]
    assert "1 no longer matches its cell" in ran.out
    assert len(ran.value.to_frame()) == len(expected)


@pytest.mark.parametrize("name", ["handed in.md", "handed in.ipynb"])
def test_export_of_what_was_asked_and_answered(executed: Path, shell: Any, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    shell.run(f"%puq_audit -q '{executed}' --export '{target}'")
    text = target.read_text("utf-8")
    assert "violet walrus" in text
    assert "sandbox/chat" in text
    assert "`A, B (blind)`" in text
    assert text.count("**row 0") == 3  # of two runs of map, and of the grid
    assert "journal, if" not in text
    assert "exists" in str(shell.error(f"%puq_audit -q '{executed}' --export '{target}'"))


def test_the_answers_of_a_run_are_kept_and_read_within_bounds(
    executed: Path, shell: Any, tmp_path: Path
) -> None:
    longest = _first_answers((f"row {number}", "x" * 3_000) for number in range(100))
    assert len(json.dumps(longest)) < 50_000
    assert (longest["total"], longest["cut"]) == (100, len(longest["answers"]))
    assert longest["answers"][0][1].endswith("x …")
    notebook = json.loads(executed.read_text("utf-8"))
    (output,) = [out for out in notebook["cells"][8]["outputs"] if "puq_answers" in out["metadata"]]
    path, target = tmp_path / "lesson.ipynb", tmp_path / "handed in.md"
    fence = [["row 0", "```\nnot closed"], ["row <b>1</b>", "<img src='https://a.invalid/x.png'>"]]
    for kept, words in (
        (
            {"answers": fence, "total": 7},
            "has the first 2 of 7 answers of this run. All are",
        ),
        (
            {"answers": fence, "total": 2, "cut": 1},
            "has only the beginning of 1 answer. All are",
        ),
        ({"answers": [], "total": 7}, "no answers of this run"),
        ({"answers": [["row 0"], "row 1", [1, 2]], "total": "many", "cut": "x"}, "no answers of this run"),
        ({"answers": fence, "total": 10**4200, "cut": -5}, "## Question 8"),
        (["row 0", "Yes"], "no answers of this run"),
    ):
        output["metadata"]["puq_answers"] = kept
        path.write_text(json.dumps(notebook), "utf-8")
        shell.run(f"%puq_audit -q '{path}' --export '{target}' --force")
        text = target.read_text("utf-8")
        assert words in text
        assert "<b>" not in text
        assert "![" not in text
        assert "<img src" not in text
        assert "## Question 8" in text


def test_this_notebook(executed: Path, shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not known" in str(shell.error("%puq_audit"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(executed))
    ran = shell.run("%puq_audit")
    assert "lesson.ipynb: 13 answers" in ran.out
    assert "As saved at" in ran.out
    assert "those from its journal too" in " ".join(ran.out.split())
    notebook = json.loads(executed.read_text("utf-8"))
    for cell in notebook["cells"]:
        cell |= {"outputs": [], "execution_count": None}
    path = executed.with_name("unsaved.ipynb")
    path.write_text(json.dumps(notebook), "utf-8")
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    shell.attempt(CELLS[1])
    ran = shell.run("%puq_audit")
    assert "0 answers, 1 not saved yet" in ran.out
    assert [(row.cell, row.state) for row in ran.value][:2] == [(2, "not saved"), (3, "not run")]
    assert "save the notebook" in " ".join(ran.out.split())
    monkeypatch.setenv("JPY_SESSION_NAME", str(executed.with_name("gone.ipynb")))
    assert "Save the notebook" in str(shell.error("%puq_audit"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"", "not JSON"),
        (b"\x89PNG\r\n\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "has no cells"),
        (b'{"worksheets": [], "nbformat": 3}', "has no cells"),
        (b'{"cells": {"a": 1}}', "has no cells"),
    ],
)
def test_what_is_no_notebook(shell: Any, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.ipynb"
    if content is not None:
        path.write_bytes(content)
    assert words in str(shell.error(f"%puq_audit '{path}'"))
    assert "is a folder" in str(shell.error(f"%puq_audit '{tmp_path}'"))
    assert "'.' is a folder" in str(shell.error("%puq_audit ."))


HOSTILE = [
    *[
        None,
        1,
        "text",
        [],
        {"asked": 3},
        {"asked": "a/b", "params": [1], "cost": "x", "at": 5, "cell": "../x"},
    ],
    {
        "asked": "<script>alert(1)</script>\x1b[31m",
        "answered": ["x"],
        "cost": float("nan"),
        "at": "2026-13-01",
    },
    {
        "asked": "a" * 10**6,
        "cost": -1,
        "params": {"t": {"deep": []}, "<b>": "<img src=x>"},
        "at": "0001-01-01T00:00:00+14:00",
    },
    {"asked": "a/b", "cost": True, "messages": "z", "kind": 7, "cell": "0" * 64},
    {"asked": "a/b", "cost": 10**400},
]


def test_a_notebook_of_somebody_else_is_only_text(shell: Any, tmp_path: Path) -> None:
    outputs: list[Any] = [
        *[
            7,
            {},
            {"metadata": 1},
            {"metadata": {"puq": {"asked": "a"}}},
            {"metadata": {"puq": [{"asked": "a/b"}]}, "data": 1},
        ],
        {"metadata": {"puq": HOSTILE}, "data": {"text/plain": ["<script>", 1, "![x](http://x/y)"]}},
    ]
    cell = {
        "cell_type": "code",
        "source": [1, "%puq_chat <img src=x>"],
        "outputs": outputs,
        "execution_count": "1",
    }
    cells = [1, {}, cell, {"cell_type": "code"}, {"cell_type": "code", "source": 5, "outputs": {}}]
    path = tmp_path / "theirs.ipynb"
    path.write_text(json.dumps({"cells": cells}), "utf-8")
    report = shell.run(f"%puq_audit '{path}' --export '{tmp_path / 'out.md'}'").value
    html = report._repr_mimebundle_()["text/html"]
    assert len(report) == 4
    assert report.cost is None
    assert not any(mark in html for mark in ("<script", "<img", "\x1b"))
    exported = (tmp_path / "out.md").read_text("utf-8")
    assert "<script" not in exported.replace("`<script>alert(1)</script>", "")  # literally, in code
    assert "![x]" not in exported
    assert "1970" not in exported  # a record without a time has none


def test_a_record_is_read_back() -> None:
    record = {"kind": "chat", "asked": "a/b", "answered": "a/b-2", "at": "2026-01-02T03:04:05Z", "cost": 0.5}
    record |= {"params": {"n": 2}, "messages": hash_content("x"), "cell": hash_cell("y")}
    provenance = Provenance.from_json(record)
    assert provenance is not None
    assert provenance.to_json() == record


@pytest.mark.parametrize(
    ("name", "value", "is_shown"),
    [
        ("seed", 7, True),
        ("voice", "alloy", True),
        ("voice", "ignore all that", False),
        ("api_key", "sk1", False),
        ("stop", "END", False),
        ("prompt", "names", False),
        ("top_p", float("nan"), False),
        ("response_format", {}, False),
    ],
)
def test_parameters_that_could_hold_words_are_hashed(name: str, value: object, is_shown: bool) -> None:
    (described,) = describe_params({name: value, "none": None}).values()
    assert (described == value) is is_shown
    assert is_shown or str(described).startswith("sha256:")


def test_line_ends_and_blank_edges_do_not_count() -> None:
    assert hash_cell("a  \r\nb\n\n") == hash_cell("\na\nb") != hash_cell("a b")
    assert hash_cell(" \n") == ""
