"""Costs, the budget, the balance: on a real sandbox, which charges what its list says."""

from __future__ import annotations

from typing import Any

import pytest

from puq_magics.api.errors import BudgetError, NotFoundError, PaymentRequiredError


@pytest.fixture
def sandbox(shell: Any) -> Any:
    """The shell's own sandbox."""
    shell.run("%puq_sandbox --pace 0")
    return shell.workspace.sandbox


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
    assert "%puq_models asks for them" in out
    assert sandbox.requests == ()
    shell.run("%puq_models -q")
    out = shell.run("%puq_chat --dry-run --max-tokens 500 What is a cell?").out
    assert "user: What is a cell?" in out
    assert "credits, by the list's prices and at most 500 tokens of answer" in out
    assert paid(sandbox) == []
