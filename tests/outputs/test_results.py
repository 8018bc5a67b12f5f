from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from puq_magics.api.errors import InputError
from puq_magics.api.wire import Usage
from puq_magics.outputs.results import INTERRUPTED, ChatResult


@pytest.fixture
def result() -> ChatResult:
    return ChatResult(
        text="**Bold** words\x1b[31m and\n\nmore <script>",
        model="a/b",
        reasoning="thinking",
        finish_reason="stop",
        usage=Usage(1, 2, 3),
        latency=1.25,
        notes=("df: 20 of 10,000 rows",),
        messages=({"role": "user", "content": "hi"},),
        raw={"id": "x"},
    )


def test_attributes_of_a_real_answer(asking: Any) -> None:
    result = asking.run("%puq_chat -m sandbox/think hi").value
    assert result.text.startswith("*Scripted")
    assert result.reasoning.startswith("The user writes: hi")
    assert result.model == "sandbox/think"
    assert result.finish_reason == "stop"
    assert result.usage.total_tokens == result.usage.prompt_tokens + result.usage.completion_tokens > 0
    assert result.cost is None
    assert 0 < result.time_to_first_token <= result.latency
    assert result.request_id.startswith("req_")
    assert result.raw["choices"][0]["message"]["content"] == result.text
    assert result.messages == ({"role": "user", "content": "hi"},)
    assert (result.broken_off, result.interrupted, result.notes, result.alternatives) == ("", False, (), {})
    assert str(result) == result.text


def test_the_same_of_an_answer_in_one_piece(asking: Any) -> None:
    result = asking.run("%puq_chat --no-stream -m sandbox/think hi").value
    assert result.time_to_first_token is None
    assert result.latency > 0
    assert result.usage.total_tokens > 0
    assert result.request_id.startswith("req_")
    assert result.reasoning.startswith("The user writes: hi")


def test_it_is_the_value_of_its_cell(asking: Any) -> None:
    ran = asking.run("%puq_chat hi")
    number = asking.ip.execution_count - 1
    names = asking.names
    assert ran.value is names["_"] is names["Out"][number] is names["_puq"]


def test_it_is_shown_once_in_its_cell_and_again_in_later_ones(asking: Any) -> None:
    ran = asking.run("r = %puq_chat hi\nr")
    assert ran.out.count("## What arrived") == 1
    assert asking.run("r").out.count("## What arrived") == 1


@pytest.mark.parametrize("live", ["True", "False"])
def test_it_is_shown_once_in_a_kernel(pupil: Any, live: str) -> None:
    pupil.run(f"%config PuqMagics.live = {live}")
    for code in ("%puq_chat hi", "r = %puq_chat hi\nr", "%%puq_chat\nhi"):
        cell = pupil.run(code)
        assert "execute_result" not in cell.kinds
        assert cell.kinds.count("display_data") == 1
    for code in ("r", "_puq", "display(r)"):
        (bundle,) = pupil.run(code).screen
        assert "What arrived" in bundle["text/plain"]


def test_loops_show_each_answer(pupil: Any) -> None:
    cell = pupil.run("for word in ('one', 'two', 'three'):\n    r = %puq_chat -m sandbox/short {{word}}\nr")
    assert [
        f"> {word}" in shown["text/plain"]
        for word, shown in zip(("one", "two", "three"), cell.screen, strict=True)
    ]
    assert len(cell.screen) == 3
    assert "> three" in pupil.run("r").screen[0]["text/plain"]


def test_copies_of_what_was_painted_are_shown(pupil: Any) -> None:
    """Made in the cell that painted it; they would never be shown if they took that with them."""
    pupil.run(
        "import copy, dataclasses, pickle\nr = %puq_chat -m sandbox/short hi\n"
        "copies = [copy.copy(r), copy.deepcopy(r), pickle.loads(pickle.dumps(r)), dataclasses.replace(r)]"
    )
    for n in range(4):
        assert len(pupil.run(f"copies[{n}]").screen) == 1
        assert pupil.value(f"copies[{n}] == r") is True


@pytest.mark.parametrize("text", ["", "short", "x" * 1000, "a\nb\r\nc\u2028d\u0085e\x0bf", "\x1b[31mred"])
def test_its_repr_is_one_line(text: str) -> None:
    words = repr(ChatResult(text=text, model="a\n\u2028b", notes=("one\ntwo\u2028three\x85four",)))
    assert len(words.splitlines()) == 1
    assert "\x1b" not in words
    assert len(words) < 200


def test_copies_and_pickles_are_equal(result: ChatResult) -> None:
    for other in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):  # noqa: S301
        assert other == result
        assert other is not result


def test_whether_it_is_painted_is_no_part_of_it(result: ChatResult) -> None:
    other = dataclasses.replace(result)
    result.is_painted = True
    assert other == result
    for copied in (copy.copy(result), dataclasses.replace(result), pickle.loads(pickle.dumps(result))):  # noqa: S301
        assert copied.is_painted is False
    assert result.is_painted


def test_its_bundle_is_safe(result: ChatResult) -> None:
    bundle = result._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/markdown", "text/plain"}
    assert "<script" not in bundle["text/markdown"]
    assert "**Bold** words" in bundle["text/markdown"]
    assert "\x1b" not in bundle["text/plain"]
    assert bundle["text/plain"].endswith("[df: 20 of 10,000 rows · a/b · 3 tokens · 1.2 s]")


def test_it_is_displayed_unless_it_is_painted(result: ChatResult, shell: Any, capsys: Any) -> None:
    result.is_painted = True
    result._ipython_display_()
    assert capsys.readouterr().out == ""
    result.is_painted = False
    result._ipython_display_()
    assert "Bold" in capsys.readouterr().out


def test_save_writes_the_models_own_words(result: ChatResult, tmp_path: Path) -> None:
    result.text = "Grüße 🎈\r\n\x1b[0m"
    path = result.save(tmp_path / "answer.md")
    assert path.read_bytes() == result.text.encode()
    assert result.save(str(tmp_path / "other.md")).name == "other.md"


def test_save_never_overwrites_without_force(result: ChatResult, tmp_path: Path) -> None:
    path = tmp_path / "answer.md"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists") as caught:
        result.save(path)
    assert "force=True" in caught.value.hint
    assert path.read_text() == "mine"
    result.save(path, force=True)
    assert path.read_text() == result.text


def test_save_says_where_it_cannot(result: ChatResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        result.save(tmp_path / "nowhere" / "answer.md")
    with pytest.raises(InputError):
        result.save(tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        result.save(tmp_path, force=True)


def test_interrupted() -> None:
    assert ChatResult(text="", model="m", broken_off=INTERRUPTED).interrupted
    assert not ChatResult(text="", model="m", broken_off="broken off").interrupted
