"""Costs, the budget, the balance: on a real sandbox, which charges what its list says."""

from __future__ import annotations

from typing import Any

import pytest

from puq_magics.core.errors import BudgetError, NotFoundError, PaymentRequiredError


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


def test_the_balance_and_how_it_has_changed(shell: Any, sandbox: Any) -> None:
    first = shell.run("%puq_balance")
    assert first.value == sandbox.balance
    assert first.out.startswith(f"{sandbox.balance:,.2f} credits\n")
    shell.run("%puq_chat -q hi")
    later = shell.run("b = %puq_balance")
    assert shell.names["b"] == sandbox.balance
    assert "less than when this session began" in later.out
    assert shell.names["b"].change == pytest.approx(sandbox.balance - first.value)


def test_a_server_without_a_balance(shell: Any, serve: Any) -> None:
    server = serve(lambda connection: connection.done())
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    error = shell.error("%puq_balance")
    assert isinstance(error, NotFoundError)
    assert "keeps no balance" in str(error)


def test_a_call_that_would_pass_the_budget_is_not_sent(shell: Any, sandbox: Any) -> None:
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


def test_what_others_spend_of_the_balance_counts_too(shell: Any, sandbox: Any) -> None:
    shell.run("%config PuqMagics.budget = 0.5\n%puq_chat hi")
    sandbox.configure(balance=sandbox.balance - 1)
    error = shell.error("%puq_chat hi")
    assert isinstance(error, BudgetError)
    assert "by the balance" in str(error)


def test_at_no_balance_the_error_says_it_and_the_estimate(shell: Any, sandbox: Any) -> None:
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
        connection.head("200 OK", "application/json")
        connection.send(b'{"models": [], "success": true, "balance": 5}')

    server = serve(lists, lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%puq_balance\n%config PuqMagics.timeout = 7")
    account = shell.session.account()
    assert account._connect()._timeout == 7
    assert account._connect(quick=True)._timeout == 7
    shell.run("%config PuqMagics.timeout = 700")
    assert account._connect(quick=True)._timeout == 10
    assert shell.session.account() is account


def test_a_budget_without_prices_and_balance_is_refused(shell: Any, serve: Any) -> None:
    server = serve(lambda connection: connection.done())
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, BudgetError)
    assert "cannot be kept here" in str(error)
    assert server.heard == []


def answer(usage: dict[str, int]) -> Any:
    """A router whose balance stays, and that counts tokens so."""

    def _answer(connection: Any) -> None:
        if connection.heard.method == "POST":
            connection.head()
            connection.say("Words.")
            connection.say("", usage=usage)
            connection.done()
            return
        connection.head("200 OK", "application/json")
        prices = b'{"code": "a/b", "input_price": 1, "output_price": 1}'
        odd = b'{"code": "a/odd", "input_price": -1, "output_price": 1}'
        connection.send(b'{"success": true, "balance": 5, "models": [' + prices + b", " + odd + b"]}")

    return _answer


@pytest.mark.parametrize("count", [10**400, -1_000_000])
def test_counts_that_are_none_do_not_count(shell: Any, serve: Any, count: int) -> None:
    server = serve(answer({"prompt_tokens": count, "completion_tokens": 1_000_000}), lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    assert shell.run("%puq_chat -m a/b hi").value.cost == 1.0
    assert shell.run("%puq_chat -m a/odd hi").value.cost == 1.0  # no tokens, no price


def test_a_call_whose_cost_is_not_known_is_said(shell: Any, serve: Any) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 1}), lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%puq_chat -m a/odd hi")
    assert "1 call whose cost is not known" in shell.run("%puq").out


def test_another_key_does_not_renew_the_budget(shell: Any, serve: Any, typed: list[str]) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 2_000_000}), lists=True)
    shell.run(
        f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1\n%puq_chat -m a/b hi"
    )
    typed.append("another-key-of-mine")
    shell.run("%puq_login")
    assert isinstance(shell.error("%puq_chat -m a/b hi"), BudgetError)


def test_loading_again_does_not_renew_the_budget(shell: Any, serve: Any) -> None:
    server = serve(answer({"prompt_tokens": 1, "completion_tokens": 2_000_000}), lists=True)
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


def test_an_interrupt_behind_the_answer_does_not_lose_it(notebook: Any, serve: Any) -> None:
    """The list of prices hangs, and is waited for a moment when the answer is there already."""

    def _answer(connection: Any) -> None:
        if connection.heard.method == "POST":
            connection.head("200 OK", "application/json")
            connection.send(b'{"choices": [{"message": {"content": "All of it."}, "finish_reason": "stop"}]}')
        else:
            connection.wait_until_gone()

    server = serve(_answer, lists=True)
    waits = (
        "from puq_magics.session.model_list import ModelList\n"
        "wait = ModelList.wait\n"
        "def waiting(self, seconds=None):\n    print('waiting', flush=True)\n    wait(self, 30)\n"
        "ModelList.wait = waiting"
    )
    notebook.run(f"{waits}\n%config PuqMagics.base_url = '{server.url}'")
    stopped = notebook.run("%puq_chat --no-stream -m a/b -o kept hi", notebook.interrupt_at("waiting"))
    notebook.run("ModelList.wait = wait")
    assert stopped.error["traceback"] == [
        "KeyboardInterrupt: the answer was interrupted. What had come is kept in _puq."
    ]
    assert stopped.screen[-1]["text/plain"].startswith("All of it.")
    assert notebook.value("[kept.text, kept.broken_off]") == ["All of it.", ""]
    assert notebook.run("%puq_usage").screen
