from __future__ import annotations

import re
from typing import Any

import pytest

from puq_magics.outputs.tables.conversations import ConversationTranscript


def test_a_terminal_wraps_quoted_answers_once(
    shell: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    words = "An answer with `some code` in it, and **more words** than fit into a line of `forty columns`."
    ConversationTranscript(None, f"> {words}").display_now()
    out = re.sub(r"\x1b\[\d+D\x1b\[K", "\b", capsys.readouterr().out)
    assert all(line.startswith(">") for line in out.splitlines())
