"""``%puq_models``, ``%puq_choose`` and ``%puq_usage`` on a real sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from puq_magics.core.errors import InputError


@pytest.fixture
def sandbox(shell: Any) -> Any:
    """The shell's own sandbox, with as many models as a real router."""
    shell.run("%puq_sandbox --pace 0 --models 2000")
    return shell.session.sandbox


def codes(shell: Any, line: str) -> list[str]:
    shell.run(f"found = %puq_models -q {line}")
    return [model.code for model in shell.names["found"]]


def test_enabled_models_are_listed(shell: Any, sandbox: Any) -> None:
    listed = codes(shell, "")
    assert len(listed) > 1500
    assert "sandbox/chat" in listed
    assert "sandbox/retired" not in listed
    assert "sandbox/retired" in codes(shell, "--all")
    assert shell.names["_puq"] is shell.names["found"]


def test_terms_kinds_and_providers_filter_in_any_order(shell: Any, sandbox: Any) -> None:
    both = codes(shell, "sandbox s --kind chat")
    assert both == codes(shell, "--kind chat SANDBOX s")
    assert "sandbox/short" in both
    assert "sandbox/tts" not in both
    assert codes(shell, "--provider sandbox --kind image") == ["sandbox/image"]
    assert codes(shell, "--provider Sandbox --kind image") == ["sandbox/image"]
    assert codes(shell, "no-such-words") == []
    assert "none of 1," in shell.run("%puq_models no-such-words").out
    assert "image models match 'no-such-words'" in shell.run("%puq_models no-such-words --kind image").out


def test_an_unknown_provider(shell: Any, sandbox: Any) -> None:
    error = shell.error("%puq_models --provider sandbx")
    assert isinstance(error, InputError)
    assert "Did you mean 'sandbox'?" in str(error)


def test_kinds_that_are_corrected(shell: Any, sandbox: Any) -> None:
    shell.run("%config PuqMagics.model_kinds = {'sandbox/sh*': 'image'}")
    assert codes(shell, "--kind image sandbox") == ["sandbox/short", "sandbox/image"]


def test_the_list_is_shown_once_also_in_the_middle_of_a_cell(shell: Any, sandbox: Any) -> None:
    out = shell.run("%puq_models sandbox short").out
    assert out.count("sandbox/short") == 1
    assert "0.15" in out
    assert "credits per 1M tokens" in out
    assert "sandbox/short" in shell.run("%puq_models sandbox short\n1 + 1").out


def test_the_list_is_fetched_once(shell: Any, sandbox: Any) -> None:
    for line in ("", "a", "--refresh"):
        codes(shell, line)
    assert [request.path for request in sandbox.requests] == ["/v1/models"] * 2


def test_a_frame(shell: Any, sandbox: Any) -> None:
    codes(shell, "--provider sandbox --kind speech")
    frame = shell.names["found"].to_frame()
    assert list(frame["code"]) == ["sandbox/tts"]
    assert list(frame["kind"]) == ["speech"]


@pytest.mark.parametrize(
    ("answers", "chosen", "said"),
    [
        (["sandbox sho", "1"], "sandbox/short", "%config PuqMagics.chat_model = 'sandbox/short'"),
        (
            ["no such words", "99999", "sandbox chat", "1"],
            "sandbox/chat",
            "chat models match 'no such words'",
        ),
        ([""], None, "chat_model stays sandbox/"),
        ([], None, "chat_model stays sandbox/"),
    ],
)
def test_choosing_in_a_terminal(
    shell: Any,
    sandbox: Any,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[str],
    chosen: str | None,
    said: str,
) -> None:
    def answer(prompt: str) -> str:
        if not answers:
            raise EOFError
        return answers.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    out = shell.run("%puq_choose").out
    assert said in out
    assert " more: type words to search." in out
    assert shell.session.settings.chat_model == chosen


def test_a_choice_applies_at_once_for_its_kind(sandbox_kernel: Any) -> None:
    shown = sandbox_kernel.run("chooser = %puq_choose")
    assert shown.reply["status"] == "ok"
    assert sandbox_kernel.value("chooser.value") == "sandbox/echo"
    views = [data for data in shown.screen if "application/vnd.jupyter.widget-view+json" in data]
    assert len(views) == 1
    sandbox_kernel.run("chooser.value = 'sandbox/short'")
    assert "PuqMagics.chat_model = 'sandbox/short'" in sandbox_kernel.value("chooser.line")
    assert sandbox_kernel.run("%puq_chat -q -o answer hi").reply["status"] == "ok"
    assert sandbox_kernel.value("answer.model") == "sandbox/short"
    sandbox_kernel.run("chooser.value = 'sandbox/image'")
    sandbox_kernel.run("settings = get_ipython().magics_manager.registry['PuqCommands'].session.settings")
    assert sandbox_kernel.value("[settings.chat_model, settings.image_model]") == [
        "sandbox/short",
        "sandbox/image",
    ]
    sandbox_kernel.run("chooser = %puq_choose nothing such --provider sandbox")
    assert "Chosen chat model: sandbox/short" in sandbox_kernel.value("chooser.text")
    assert sandbox_kernel.value("chooser.get_state('_search')") == {"_search": "sandbox/ nothing such"}
    unknown = sandbox_kernel.run("%puq_choose --provider nobody")
    assert "there is no provider nobody" in " ".join(unknown.error["traceback"])
    again = sandbox_kernel.run("%puq_choose --kind image")
    views = [data for data in again.screen if "application/vnd.jupyter.widget-view+json" in data]
    assert len(views) == 1  # as the value of its cell it is not shown a second time


def test_usage_by_model_and_by_cell(shell: Any, sandbox: Any) -> None:
    shell.run("%puq_models -q")  # with the prices, from which costs are estimated
    shell.run("%puq_chat -q hi\n%puq_chat -q -m sandbox/short hi")
    shell.run("%puq_image -q --size 64x64 a dot")
    shell.error("%puq_chat -q -m sandbox/forbidden hi")
    out = shell.run("usage = %puq_usage").out
    usage = shell.names["usage"]
    rows = {row.name: row for row in usage.by_model}
    assert {name: row.calls for name, row in rows.items()} == {
        "sandbox/chat": 1,
        "sandbox/short": 1,
        "sandbox/image": 1,
        "sandbox/forbidden": 1,
    }
    assert rows["sandbox/forbidden"].failures == 1
    assert rows["sandbox/image"].images == 1
    assert rows["sandbox/chat"].prompt_tokens > 0
    assert rows["sandbox/chat"].time_to_first_token is not None
    assert [row.calls for row in usage.by_cell] == [2, 1, 1]
    assert usage.total.estimated_cost == pytest.approx(100 - sandbox.balance)
    assert "estimate" in out
    assert list(usage.to_frame("call")["outcome"]) == ["ok", "ok", "ok", "403"]


def test_usage_of_all_sessions(shell: Any, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.setenv("PUQ_LEDGER", str(tmp_path / "calls.sqlite"))
    shell.run("%puq_sandbox --pace 0\n%puq_chat -q hi")
    shell.run("%unload_ext puq_magics\n%load_ext puq_magics\n%puq_sandbox --pace 0\n%puq_chat -q hi")
    shell.run("own = %puq_usage -q\nall = %puq_usage -q --all")
    assert shell.names["own"].total.calls == 1
    assert shell.names["all"].total.calls == 2
    shell.run(
        "%config PuqMagics.ledger = False\n%puq_chat -q hi\nown = %puq_usage -q\nall = %puq_usage -q --all"
    )
    assert shell.names["own"].total.calls == shell.names["all"].total.calls == 2  # the file is not looked at
    shell.run("%config PuqMagics.ledger = True")
    monkeypatch.setenv("PUQ_LEDGER", str(tmp_path / "calls.sqlite"))
    shell.run("own = %puq_usage -q\nall = %puq_usage -q --all")
    assert shell.names["own"].total.calls == 2
    assert shell.names["all"].total.calls == 3


def test_a_ledger_that_cannot_be_used_is_reported(shell: Any, monkeypatch: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("PUQ_LEDGER", str(tmp_path / "file" / "calls.sqlite"))
    shell.run("%puq_sandbox --pace 0\n%puq_chat -q hi")
    assert "for this session only" in shell.run("%puq_usage").out
    assert "for this session only" in shell.run("%puq").out


@pytest.mark.parametrize("line", ["%puq_models", "%puq_usage", "%puq_chats"])
def test_the_script_of_a_table_is_an_output_of_its_own(sandbox_kernel: Any, line: str) -> None:
    """Converters to Markdown take all that is in the HTML."""
    cell = sandbox_kernel.run(f"%puq_chat -q -c trip hi\n{line}")
    table, script = cell.screen
    assert "<table" in table["text/html"]
    assert "<script" not in table["text/html"]
    assert list(script) == ["application/javascript"]
