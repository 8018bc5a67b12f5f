from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from puq_magics.outputs.results.chat import ChatResult
from puq_magics.prompts.tools.execution import MAX_PRINTED_CHARS, Outcome, run_tool
from puq_magics.prompts.tools.tool import Tool


def run(function: Any, limit: int = 1_000, **arguments: Any) -> Outcome:
    return run_tool(Tool.from_function("f", function), arguments, limit)


@dataclass
class Place:
    city: str


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12 °C", "12 °C"),
        (ChatResult(model="m", text="It is 12 °C."), "It is 12 °C."),
        (12, "12"),
        (None, "null"),
        (True, "true"),
        ([Place("Oslo"), None], '[{"city": "Oslo"}, null]'),
        (Place("Oslo"), '{"city": "Oslo"}'),
        ({"a": (1, 2)}, '{"a": [1, 2]}'),
        ("x" * 2_000, "x" * 1_000 + "… (cut at 1,000 of 2,000 characters)"),
    ],
)
def test_results(value: object, text: str) -> None:
    assert run(lambda: value) == Outcome(text)


def test_a_table_is_sent_as_it_is_filled_in() -> None:
    pandas = pytest.importorskip("pandas")
    text = run(lambda: pandas.DataFrame({"a": range(100)})).text
    assert text.startswith("|")
    assert "20 of 100 rows" in text


@pytest.mark.parametrize("value", [b"bytes", len, object()])
def test_results_without_text(value: object) -> None:
    outcome = run(lambda: value)
    assert outcome.failed
    assert outcome.text.startswith(f"The function returned {type(value).__name__}, which cannot be sent: ")


def test_an_error_is_its_message_and_has_a_traceback_for_the_user() -> None:
    def f(n: int) -> None:
        raise ValueError(f"not {n}")

    outcome = run(f, n=3)
    assert (outcome.text, outcome.failed) == ("ValueError: not 3", True)
    assert "in f" in outcome.traceback
    assert "in run_tool" not in outcome.traceback
    assert run(lambda: sys.exit(3)).text == "SystemExit: 3"


def test_what_is_printed_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    def f() -> str:
        for _ in range(100):
            print("x" * 1_000_000)
        print("error", file=sys.stderr)
        return "done"

    out = sys.stdout
    assert run(f) == Outcome("done")
    assert sys.stdout is out
    printed = capsys.readouterr()
    assert len(printed.out) < MAX_PRINTED_CHARS + 100
    assert "characters more were printed" in printed.out
    assert printed.err == "error\n"


async def waiting(n: int) -> int:
    await asyncio.sleep(0)
    if n < 0:
        raise ValueError("below zero")
    return n + 1


@pytest.mark.parametrize("in_loop", [True, False])
def test_async_functions_are_awaited(in_loop: bool) -> None:
    async def both() -> list[Outcome]:
        return [run(waiting, n=1), run(waiting, n=-1)]

    done, failed = asyncio.run(both()) if in_loop else [run(waiting, n=1), run(waiting, n=-1)]
    assert done == Outcome("2")
    assert failed.text == "ValueError: below zero"
    assert "asyncio" not in failed.traceback


def test_an_interrupt_is_no_result() -> None:
    def f() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(f)


def test_the_values_of_an_async_generator() -> None:
    async def count_to(n: int) -> Any:
        for number in range(n):
            yield number

    assert run(count_to, n=3) == Outcome("[0, 1, 2]")
