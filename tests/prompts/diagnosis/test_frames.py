from __future__ import annotations

import importlib
import json
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from puq_magics.prompts.diagnosis import frames
from puq_magics.prompts.diagnosis.frames import CellSource, FrameInfo


def run(code: str, **names: Any) -> BaseException:
    """Run a cell as IPython does, and give what it raises."""
    lines = [f"{line}\n" for line in code.split("\n")]
    linecache.cache["<cell 1>"] = (len(code), None, lines, "<cell 1>")
    try:
        exec(compile(code, "<cell 1>", "exec"), {"__name__": "__main__", **names})  # noqa: S102
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("the cell raised nothing")


def cell(filename: str) -> CellSource | None:
    return CellSource("Cell In[1]", "".join(linecache.getlines(filename))) if filename == "<cell 1>" else None


def extract_frames(code: str, **names: Any) -> list[FrameInfo]:
    trace: TracebackType | None = run(code, **names).__traceback__
    assert trace is not None
    return frames.extract_frames(trace.tb_next, cell)  # without this module's frame


def format_traceback(code: str, **names: Any) -> list[str]:
    return frames.format_traceback(extract_frames(code, **names))


def test_a_cell_with_its_line_and_a_caret() -> None:
    assert format_traceback("x = 0\ny = 2 + 1 / x") == [
        "Cell In[1], line 2, in <module>",
        "  --> 2 | y = 2 + 1 / x",
        "        |         ^^^^^",
    ]


def test_carets_stand_below_wide_letters_characters() -> None:
    lines = format_traceback("x = 0\nprint('äöü你', 1 / x)")
    assert lines[2].index("^") == lines[1].index("1 / x")


def test_frames_of_a_library_are_one_line() -> None:
    lines = format_traceback("import json\njson.loads('{')")
    assert lines[:2] == ["Cell In[1], line 2, in <module>", "  --> 2 | json.loads('{')"]
    (fold,) = lines[2:]
    assert fold.startswith("[3 frames inside json, the last at json/decoder.py, line ")
    assert fold.endswith("in JSONDecoder.raw_decode]")


def test_a_users_function_that_a_library_calls_is_shown() -> None:
    lines = format_traceback("import json\ndef f(x):\n    return x.a\njson.dumps({1, 2}, default=f)")
    assert [line for line in lines if not line.startswith("  ")] == [
        "Cell In[1], line 4, in <module>",
        next(line for line in lines if "inside json" in line),
        "Cell In[1], line 3, in f",
    ]


def test_of_a_recursion_the_ends_are_shown() -> None:
    lines = format_traceback("def f(n):\n    return f(n + 1)\nf(0)")
    assert len(lines) < 40
    assert sum("more frames of this kind" in line for line in lines) == 1
    assert (
        frames.user_frames(extract_frames("def f(n):\n    return f(n + 1)\nf(0)"))[-1].frame.f_locals["n"]
        > 500
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A module of the user's, in the folder where they work."""

    def _make(code: str) -> str:
        (tmp_path / "their_own.py").write_text(code)
        importlib.invalidate_caches()
        return "their_own"

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "their_own", raising=False)
    return _make


def test_a_file_of_the_users_is_shown_with_the_lines_around(module: Any) -> None:
    name = module("import json\n\ndef f(x):\n    y = x\n    return 1 / y\n\n\n\n\n# far\n")
    lines = format_traceback(f"import {name}\n{name}.f(0)")
    start = lines.index("their_own.py, line 5, in f")
    assert lines[start + 1 : start + 3] == ["      2 |", "      3 | def f(x):"]
    assert "  --> 5 |     return 1 / y" in lines
    assert not any("far" in line for line in lines)


def test_no_path_of_a_persons_folders_is_said(module: Any, tmp_path: Path, monkeypatch: Any) -> None:
    name = module("def f(x):\n    return 1 / x\n")
    monkeypatch.chdir(Path(__file__).parent)
    lines = format_traceback(f"import {name}\n{name}.f(0)")
    assert any(line.startswith("their_own.py, line 2") for line in lines)
    assert str(tmp_path) not in "\n".join(lines)


def names(code: str, **others: Any) -> dict[str, object]:
    return dict(extract_frames(code, **others)[-1].variables())


def test_the_variables_of_a_line() -> None:
    assert names("a, b, c = 1, 0, 3\nprint(a / b)") == {"a": 1, "b": 0}


def test_the_variables_of_a_statement_over_several_lines() -> None:
    assert names("a, b, c = 1, 0, 3\nprint(\n    a,\n    1 / b,\n)") == {"a": 1, "b": 0}


def test_the_variables_in_a_format_string() -> None:
    assert names("a, b = 1, 0\nf'{a / b}'") == {"a": 1, "b": 0}


def test_of_a_loop_that_fails_only_the_head() -> None:
    assert names("a, b = 3, 4\nfor i in a:\n    print(b)") == {"a": 3}


def test_of_a_function_all_variables() -> None:
    assert list(names("g = 0\ndef f(x, y):\n    z = x\n    return 1 / g\nf(1, 2)")) == ["g", "x", "y", "z"]


def test_attributes_are_no_variables() -> None:
    assert list(names("import json\nx = 1\nloads = 2\njson.nothing.x.loads")) == ["json"]


def test_versions_of_the_libraries_that_took_part() -> None:
    said = frames.library_versions(extract_frames("import json\njson.loads('{')"))
    assert said == [f"Python {sys.version_info.major}.{sys.version_info.minor}", f"json {json.__version__}"]
