"""An interrupt anywhere in a magic is told in one line, without a traceback."""

from __future__ import annotations

from typing import Any

import pytest

INTERRUPTING = """
class Slow:
    def __str__(self):
        raise KeyboardInterrupt
    __repr__ = __format__ = _repr_markdown_ = __str__
slow = Slow()
"""


@pytest.mark.parametrize(
    "line",
    [
        "%puq_chat tell me of {{slow}}",
        "%puq_image {{slow}}",
        "%puq_speak {{slow}}",
        "%%puq_chat\n{{slow}}",
        "%puq_chat --dry-run {{slow}}",
        "%puq_chat -s {{slow}} hi",
    ],
)
def test_an_interrupt_while_a_prompt_is_filled(sandbox_shell: Any, sandbox: Any, line: str) -> None:
    sandbox_shell.run(INTERRUPTING)
    sandbox_shell.run("%config PuqMagics.image_model = 'sandbox/image'")
    sandbox_shell.run("%config PuqMagics.speech_model = 'sandbox/tts'")
    before = len(sandbox.requests)
    outcome = sandbox_shell.attempt(line)
    name = line.strip("%").split()[0]
    assert isinstance(outcome.error, KeyboardInterrupt)
    assert outcome.error._render_traceback_() == [f"KeyboardInterrupt: %{name} was interrupted."]
    assert len(sandbox.requests) == before


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("puq_magics.magics.models.list_models", "%puq_models"),
        ("puq_magics.magics.status.show_status", "%puq"),
        ("puq_magics.magics.status.show_balance", "%puq_balance"),
        ("puq_magics.magics.status.report_usage", "%puq_usage"),
        ("puq_magics.magics.sandbox.control_sandbox", "%puq_sandbox"),
    ],
)
def test_an_interrupt_of_what_sends_no_prompt(
    sandbox_shell: Any, monkeypatch: pytest.MonkeyPatch, target: str, line: str
) -> None:
    def _interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, _interrupt)
    outcome = sandbox_shell.attempt(line)
    assert outcome.error._render_traceback_() == [f"KeyboardInterrupt: {line} was interrupted."]


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("%puq_login", "getpass.getpass"),
        ("%puq_sandbox --upstream https://router.invalid/v1", "getpass.getpass"),
        ("%puq_sandbox --local", "builtins.input"),
    ],
)
def test_an_interrupt_of_a_question(
    shell: Any, monkeypatch: pytest.MonkeyPatch, line: str, question: str
) -> None:
    def _interrupt(*_args: object) -> None:
        raise KeyboardInterrupt("Interrupted by user")

    monkeypatch.setattr(question, _interrupt)
    monkeypatch.setattr("puq_magics.magics.sandbox.check_installed", lambda: None)
    monkeypatch.setattr("puq_magics.magics.sandbox.missing_weights", lambda: "1 MB")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    shown = shell.attempt(line).out.strip()
    assert shown == f"KeyboardInterrupt: {line.split()[0]} was interrupted."
    assert shell.session.sandbox is None


@pytest.mark.parametrize("value", ["[" * 50_000, '{"a":' * 50_000, "[" * 50_000 + "]" * 50_000])
def test_a_parameter_of_many_brackets(sandbox_shell: Any, value: str) -> None:
    error = sandbox_shell.error(f"%puq_chat --param 'deep={value}' hi")
    assert "the value of --param deep is nested too deeply" in str(error)
