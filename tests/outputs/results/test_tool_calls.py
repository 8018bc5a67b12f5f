from __future__ import annotations

import json
import re

import pytest

from puq_magics.api.types import ToolCall
from puq_magics.outputs.results.tool_calls import FunctionCall, Status, calls_to_markdown, calls_to_text

HOSTILE = (
    '<img src=x onerror="a()">\n```\n</code><script>a()</script> $\\href{javascript:a()}{x}$ \x1b[31m\u202e'
)


@pytest.mark.parametrize("status", ["not run", "asked", "running", "done", "failed", "refused"])
def test_what_a_model_calls_is_shown_literally(status: Status) -> None:
    arguments = json.dumps({HOSTILE: HOSTILE})
    call = FunctionCall(ToolCall("t", HOSTILE, arguments), status, HOSTILE, HOSTILE)
    for final in (True, False):
        shown = calls_to_markdown([call], final=final)
        outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", shown, flags=re.DOTALL | re.MULTILINE)
        assert set(re.findall(r"</?(\w+)", outside)) <= {"details", "summary", "code", "span", "pre"}
        assert "$" not in outside
        for text in (shown, calls_to_text([call], final=final)):
            assert "\x1b" not in text
            assert "\u202e" not in text


def test_a_long_call_can_be_read_before_it_is_run() -> None:
    call = FunctionCall(ToolCall("t", "f", json.dumps({"text": "x" * 5_000 + " END"})), "asked")
    assert 'END")' in calls_to_markdown([call], final=False)
    assert 'END")' in calls_to_text([call], final=True)
