"""Displays that fail: nothing that was paid for is lost."""

from __future__ import annotations

import errno
import sys
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest

TEXT = "About ≈ 3, and 😀."


class FailingOutput(StringIO):
    """Standard output whose every write fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:  # noqa: ARG002
        raise self._error


def closed_output() -> StringIO:
    output = StringIO()
    output.close()
    return output


@pytest.fixture
def ask(use_responses: Any, shell: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Function that asks with another standard output; returns the result of the cell."""
    monkeypatch.setenv("PUQ_CHAT_MODEL", "a/b")
    use_responses({"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]})

    def _ask(output: Any, code: str = "%puq_chat --no-stream -o r hi") -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", output)
            return shell.ip.run_cell(code, store_history=True)

    return _ask


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("code", ["%puq_chat --no-stream -o r hi", "r = %puq_chat --no-stream -q hi\nr"])
def test_an_encoding_without_some_characters(ask: Any, shell: Any, encoding: str, code: str) -> None:
    data = BytesIO()
    output = TextIOWrapper(data, encoding=encoding, write_through=True)
    assert ask(output, code).success
    assert TEXT.encode(encoding, "replace") in data.getvalue()
    assert shell.names["r"].text == shell.names["_puq"].text == TEXT


@pytest.mark.parametrize(
    "output",
    [
        FailingOutput(OSError(errno.ENOSPC, "No space left on device")),
        FailingOutput(BrokenPipeError()),
        FailingOutput(RuntimeError("a hook")),
        closed_output(),
    ],
)
def test_an_output_that_takes_nothing(ask: Any, shell: Any, output: Any, capsys: Any) -> None:
    ask(output)
    assert shell.names["r"].text == shell.names["_puq"].text == TEXT
    assert "The answer is in _puq; showing it failed" in capsys.readouterr().err
    costs, (entry,) = shell.session.account().costs, shell.session.ledger.entries()
    assert (entry.outcome, costs.unpriced_calls) == ("ok", 1)


@pytest.mark.parametrize("allowed", [0, 1, 2])
@pytest.mark.parametrize("call", ["%puq_chat one two three", "%puq_image a kite", "%puq_speak hello"])
def test_a_front_end_whose_hook_fails(sandbox_kernel: Any, call: str, allowed: int) -> None:
    sandbox_kernel.run(
        "publisher = get_ipython().display_pub\npublish, published = publisher.publish, []\n"
        "def failing(*args, **kwargs):\n"
        "    published.append(args)\n"
        f"    if len(published) > {allowed}:\n        raise ValueError('the hook')\n"
        "    publish(*args, **kwargs)\n"
    )
    cell = sandbox_kernel.run(
        f"publisher.publish = failing\ntry:\n    r = {call}\nfinally:\n    publisher.publish = publish"
    )
    assert cell.reply["status"] == "ok"
    assert sandbox_kernel.value("_puq is r and r.has_content and not r.status")
    assert sandbox_kernel.value("len(published)") <= allowed + 1  # a view that failed is left alone


def test_a_quiet_result_is_shown_when_it_is_the_value_of_the_cell(sandbox_kernel: Any) -> None:
    for code, shown in [
        ("r = %puq_chat -q hi\nr", True),
        ("%puq_chat -q -o r hi\nr", True),
        ("%%puq_chat -q\nhi", False),
        ("r = 1\n%puq_chat -q hi", False),
        ("r = %puq_models -q\nr", True),
        ("r = %puq_chat hi\nr", False),
        ("def ask():\n    return get_ipython().run_line_magic('puq_chat', '-q hi')\nask()", True),
    ]:
        cell = sandbox_kernel.run(code)
        displays = [each["data"] for each in cell.contents("display_data")]
        if "puq_models" in code:
            assert set(displays.pop()) == {"application/javascript"}  # which sorts the table
        assert len(displays) == (1 if shown or code.startswith("r = %puq_chat hi") else 0), code
