"""The status, the balance, the budget and the costs of calls."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from puq_magics.core.errors import (
    BudgetError,
    NotFoundError,
    PaymentRequiredError,
)

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"
HOST = "https://router.invalid"


def row(out: str, label: str) -> str:
    """What the status says of something."""
    (words,) = [line.split(None, 1)[1] for line in out.splitlines() if line.split(None, 1)[0] == label]
    return words


def test_status_shows_the_effective_settings(shell: Any, monkeypatch: Any) -> None:
    out = shell.run("%puq").out
    assert "https://api.puq.ai (default)" in out
    assert "no API key" in out
    assert "not set" in out
    monkeypatch.setenv("PUQ_BASE_URL", "https://router.invalid/v1/")
    monkeypatch.setenv("PUQ_API_KEY", KEY)
    monkeypatch.setenv("PUQ_CHAT_MODEL", "fast")
    shell.run("%config PuqMagics.aliases = {'fast': 'openai/gpt-4o-mini'}\n%config PuqMagics.temperature = 0")

    def find_nothing(*_args: object, **_more: object) -> None:
        """Fail at once: the panel does not wait long for names."""
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    out = shell.run("%puq").out
    assert "https://router.invalid (PUQ_BASE_URL)" in out
    assert "…wxyz from PUQ_API_KEY" in out
    assert KEY[-5:] not in out
    assert "openai/gpt-4o-mini" in out
    assert row(out, "temperature") == "0.0"
    assert row(out, "balance").startswith("not known: the name router.invalid does not resolve")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://router.invalid/v1/", "https://router.invalid/v1/chat/completions"),
        ("https://router.invalid/v1beta/openai", "https://router.invalid/v1beta/openai/chat/completions"),
        ("'https://router.invalid/api/v3',", "https://router.invalid/api/v3/chat/completions"),
    ],
)
def test_status_and_dry_run_show_the_url_that_is_asked(
    shell: Any, monkeypatch: Any, url: str, asked: str
) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", url)
    monkeypatch.setenv("PUQ_API_KEY", f'"{KEY}",')
    out = shell.run("%puq").out
    assert row(out, "endpoint") == asked
    assert "…wxyz from PUQ_API_KEY" in out
    assert asked in shell.run("%puq_chat -m a/b --dry-run hi").out


def test_status_shows_problems_and_does_not_fail(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "ftp://router.example")
    assert "problem" in shell.run("%puq").out
    monkeypatch.setenv("PUQ_BASE_URL", "http://router.example")
    assert "plain http" in shell.run("%puq").out
    monkeypatch.setenv("PUQ_BASE_URL", "https://router.example")
    monkeypatch.setenv("PUQ_AUTH_SCHEME", "two words")
    assert "authentication scheme" in shell.run("%puq").out


@pytest.fixture
def sandbox(shell: Any) -> Any:
    """The shell's own sandbox."""
    shell.run("%puq_sandbox --pace 0")
    return shell.session.sandbox


def paid(sandbox: Any) -> list[str]:
    """The requests that cost something."""
    return [request.path for request in sandbox.requests if request.method == "POST"]


def test_a_footer_has_the_cost_from_the_first_call_on(shell: Any, sandbox: Any) -> None:
    before = sandbox.balance
    ran = shell.run("%puq_chat hi")
    assert ran.value.cost == pytest.approx(before - sandbox.balance)
    assert "credits" in ran.out
    assert [request.path for request in sandbox.requests].count("/v1/models") == 1
    assert shell.run("%puq_chat hi").value.cost == pytest.approx(ran.value.cost)
    assert [request.path for request in sandbox.requests].count("/v1/models") == 1


def test_prices_in_another_unit(shell: Any, sandbox: Any) -> None:
    million = shell.run("%puq_chat hi").value.cost
    shell.run("%config PuqMagics.price_unit = 1000")
    assert shell.run("%puq_chat hi").value.cost == pytest.approx(1000 * million)


def test_the_balance_and_its_change(shell: Any, sandbox: Any) -> None:
    first = shell.run("%puq_balance")
    assert first.value == sandbox.balance
    assert first.out.startswith(f"{sandbox.balance:,.2f} credits\n")
    shell.run("%puq_chat -q hi")
    later = shell.run("b = %puq_balance")
    assert shell.names["b"] == sandbox.balance
    assert " spent in this session)" in later.out
    assert shell.names["b"].change == pytest.approx(sandbox.balance - first.value)


def test_a_balance_of_0_is_shown(shell: Any, sandbox: Any) -> None:
    shell.run("%puq_balance\n%puq_sandbox --balance 0")
    assert shell.run("%puq_balance").out.startswith("0 credits")
    assert row(shell.run("%puq").out, "balance").startswith("0 credits")


def test_a_server_without_a_balance(shell: Any, serve: Any) -> None:
    server = serve(lambda connection: connection.send_done())
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    error = shell.error("%puq_balance")
    assert isinstance(error, NotFoundError)
    assert "keeps no balance" in str(error)


def test_a_call_that_would_exceed_the_budget_is_not_sent(shell: Any, sandbox: Any) -> None:
    shell.run("%config PuqMagics.budget = 0.000001")
    error = shell.error("%puq_chat hi")
    assert isinstance(error, BudgetError)
    assert "by the list's prices" in str(error)
    assert "assumed 1,000 tokens" in str(error)
    assert "%config PuqMagics.budget" in str(error)
    assert paid(sandbox) == []
    assert shell.error("%puq_chat --max-tokens 9000 hi")
    shell.run("%config PuqMagics.budget = 0.5\n%puq_chat hi")
    assert len(paid(sandbox)) == 1


def test_what_others_spend_of_the_balance_does_not_count(shell: Any, sandbox: Any) -> None:
    shell.run("%config PuqMagics.budget = 0.5\n%puq_chat hi")
    sandbox.configure(balance=sandbox.balance - 1)
    shell.run("%puq_chat hi")
    assert row(shell.run("%puq").out, "budget").endswith(" of 0.5 credits spent")


def test_what_calls_take_of_the_balance_counts_where_the_prices_say_less(shell: Any, sandbox: Any) -> None:
    shell.run("%config PuqMagics.price_unit = 1_000_000_000\n%config PuqMagics.budget = 0.00001")
    shell.run("%puq_chat hi")
    error = shell.error("%puq_chat hi")
    assert isinstance(error, BudgetError)
    assert "by the balance" in str(error)
    shell.run("%puq_chat --over-budget hi")
    shell.run("%puq_sandbox --balance 7")  # starts the count anew
    assert row(shell.run("%puq").out, "budget") == "0 of 0.00001 credits spent"
    assert row(shell.run("%puq").out, "balance") == "7.00 credits"
    shell.run("%puq_chat hi")


@pytest.mark.parametrize(
    "call",
    [
        "%puq_image -q a kite",
        "%puq_speak -q hello",
        "%puq_transcribe sound",
        "%puq_chat hi",
        "%%puq_chat\nhi",
    ],
)
def test_the_first_call_of_any_kind_keeps_to_the_budget(shell: Any, sandbox: Any, call: str) -> None:
    shell.run("s = %puq_speak -q Good morning, everybody.\nsound = s.audio\n%puq_sandbox --balance 100")
    before = len(paid(sandbox))
    shell.run("%config PuqMagics.budget = 0.0000001")
    error = shell.error(call)
    assert isinstance(error, BudgetError)
    assert "by the list's prices and" in str(error)
    assert len(paid(sandbox)) == before
    magic, line_end, rest = call.partition(" ") if "\n" not in call else call.partition("\n")
    allowed = f"{magic} --over-budget{line_end}{rest}"
    cost = shell.run(allowed).value.cost
    assert cost == pytest.approx(100 - sandbox.balance)
    assert isinstance(shell.error(call), BudgetError)


def test_a_dry_run_tells_what_the_budget_has_against_it(shell: Any, sandbox: Any) -> None:
    shell.run("%puq_models -q\n%config PuqMagics.budget = 0.0000001")
    out = shell.run("%puq_chat --dry-run hi").out
    assert "\n\nthis call would exceed the budget of 0.0000001 credits" in out


def test_speech_and_transcription_have_a_cost_by_the_lists_prices(shell: Any, sandbox: Any) -> None:
    shell.run("%puq_models -q\ns = %puq_speak -q Good morning, everybody.")
    assert shell.names["s"].cost == pytest.approx(100 - sandbox.balance)
    before = sandbox.balance
    shell.run("t = %puq_transcribe -q s\nusage = %puq_usage -q")
    assert shell.names["t"].cost == pytest.approx(before - sandbox.balance, rel=0.1)
    assert shell.names["usage"].total.without_cost == 0


def test_a_footer_says_that_a_cost_is_not_known(shell: Any, serve: Any) -> None:
    def _answer(connection: Any) -> None:
        connection.send_head("200 OK", "application/json")
        connection.send(b'{"text": "Good morning.", "models": []}')

    server = serve(_answer, serves_lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    shell.names["sound"] = b"ID3" + bytes(64)
    assert " · cost not known · " in shell.run("%puq_transcribe -m a/whisper sound").out


def test_without_balance_the_error_has_balance_and_estimate(shell: Any, sandbox: Any) -> None:
    shell.run("%puq_models -q\n%puq_sandbox --balance 0")
    error = shell.error("%puq_chat --max-tokens 500 hi")
    assert isinstance(error, PaymentRequiredError)
    assert "The balance is 0 or below, and this call may cost about" in str(error)
    assert "at most 500 tokens" in str(error)


def test_a_dry_run_estimates_and_sends_nothing(shell: Any, sandbox: Any) -> None:
    out = shell.run("%puq_chat --dry-run --max-tokens 500 What is a cell?").out
    assert "%puq_models fetches the prices" in out
    assert sandbox.requests == ()
    shell.run("%puq_models -q")
    out = shell.run("%puq_chat --dry-run --max-tokens 500 What is a cell?").out
    assert "user: What is a cell?" in out
    assert "credits, by the list's prices and at most 500 tokens of answer" in out
    assert paid(sandbox) == []


def test_settings_reach_the_lists_too(shell: Any, serve: Any) -> None:
    def lists(connection: Any) -> None:
        connection.send_head("200 OK", "application/json")
        connection.send(b'{"models": [], "success": true, "balance": 5}')

    server = serve(lists, serves_lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%puq_balance\n%config PuqMagics.timeout = 7")
    account = shell.session.account()
    assert account._connect()._timeout == 7
    assert account._connect(quick=True)._timeout == 7
    shell.run("%config PuqMagics.timeout = 700")
    assert account._connect(quick=True)._timeout == 10
    assert shell.session.account() is account


def test_without_prices_a_budget_refuses_all_calls(shell: Any, serve: Any) -> None:
    server = serve(lambda connection: connection.send_done())
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, BudgetError)
    assert "cannot be estimated, and a budget of 1 credits is set: the price of a/b is not known" in str(
        error
    )
    assert server.requests == []


def answer(usage: dict[str, int]) -> Any:
    """A router whose balance stays, and that counts tokens so."""

    def _answer(connection: Any) -> None:
        if connection.request.method == "POST":
            connection.send_head()
            connection.send_event("Words.")
            connection.send_event("", usage=usage)
            connection.send_done()
            return
        connection.send_head("200 OK", "application/json")
        prices = b'{"code": "a/b", "input_price": 1, "output_price": 1}'
        odd = b'{"code": "a/odd", "input_price": -1, "output_price": 1}'
        connection.send(b'{"success": true, "balance": 5, "models": [' + prices + b", " + odd + b"]}")

    return _answer


@pytest.mark.parametrize("count", [10**400, -1_000_000])
def test_invalid_token_counts_are_ignored(shell: Any, serve: Any, count: int) -> None:
    server = serve(answer({"prompt_tokens": count, "completion_tokens": 1_000_000}), serves_lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    assert shell.run("%puq_chat -m a/b hi").value.cost == 1.000001  # the prompt by its length
    assert shell.run("%puq_chat -m a/odd hi").value.cost is None  # its prompt has no price


def test_the_status_counts_calls_of_unknown_cost(shell: Any, serve: Any) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 1}), serves_lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%puq_chat -m a/odd hi")
    assert "1 call of unknown cost" in shell.run("%puq").out


def test_another_key_does_not_renew_the_budget(shell: Any, serve: Any, getpass_answers: list[str]) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 2_000_000}), serves_lists=True)
    shell.run(
        f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1\n%puq_chat -m a/b hi"
    )
    getpass_answers.append("another-key-of-mine")
    shell.run("%puq_login")
    assert isinstance(shell.error("%puq_chat -m a/b hi"), BudgetError)


def test_loading_again_does_not_renew_the_budget(shell: Any, serve: Any) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 2_000_000}), serves_lists=True)
    shell.run(
        f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1\n%puq_chat -m a/b hi"
    )
    shell.run("%reload_ext puq_magics")
    assert isinstance(shell.error("%puq_chat -m a/b hi"), BudgetError)


def test_another_sandbox_does_not_renew_the_budget(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0\n%puq_chat hi")
    spent = shell.session.account().costs.estimated_total
    assert spent > 0
    shell.run("%puq_sandbox stop\n%puq_sandbox --pace 0\n%puq_chat hi")
    assert shell.session.account().costs.estimated_total > spent


def test_an_interrupt_after_the_answer_does_not_lose_it(fresh_kernel: Any, serve: Any) -> None:
    """The list of prices hangs, and is waited for a moment when the answer is there already."""

    def _answer(connection: Any) -> None:
        if connection.request.method == "POST":
            connection.send_head("200 OK", "application/json")
            connection.send(b'{"choices": [{"message": {"content": "All of it."}, "finish_reason": "stop"}]}')
        else:
            connection.wait_for_disconnect()

    server = serve(_answer, serves_lists=True)
    waits = (
        "from puq_magics.session.model_list import ModelList\n"
        "wait = ModelList.wait\n"
        "def waiting(self, seconds=None):\n    print('waiting', flush=True)\n    wait(self, 30)\n"
        "ModelList.wait = waiting"
    )
    fresh_kernel.run(f"{waits}\n%config PuqMagics.base_url = '{server.url}'")
    stopped = fresh_kernel.run(
        "%puq_chat --no-stream -m a/b -o kept hi", fresh_kernel.interrupt_at("waiting")
    )
    fresh_kernel.run("ModelList.wait = wait")
    assert " ".join(stopped.error["traceback"]) == (
        "KeyboardInterrupt: the answer was interrupted. The whole answer is in _puq."
    )
    assert stopped.screen[-1]["text/plain"].startswith("All of it.")
    assert fresh_kernel.value("[kept.text, kept.status]") == ["All of it.", ""]
    assert fresh_kernel.run("%puq_usage").screen
