"""Login, logout and the keyring: the real library, with a keyring that lives in this process."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import Any

import keyring
import pytest
from IPython.core.error import StdinNotImplementedError
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, NoKeyringError, PasswordDeleteError

from puq_magics.core.errors import (
    BudgetError,
    ConfigurationError,
    InputError,
    NotFoundError,
    PaymentRequiredError,
)

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"
HOST = "https://router.invalid"


class Keyring(KeyringBackend):
    """A system's keyring."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.looks = 0
        self.problem: Exception | None = None

    def _look(self) -> None:
        self.looks += 1
        if self.problem is not None:
            raise self.problem

    def get_password(self, service: str, username: str) -> str | None:
        self._look()
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._look()
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._look()
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


@pytest.fixture
def system_keyring() -> Iterator[Keyring]:
    """The keyring of the system."""
    before = keyring.get_keyring()
    ours = Keyring()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def unreachable_host(shell: Any) -> None:
    """A host that no network knows: nothing that is tested here reaches anyone."""
    shell.run(f"%config PuqMagics.base_url = '{HOST}'")


def test_login_keeps_a_key_for_the_host(shell: Any, getpass_answers: list[str]) -> None:
    getpass_answers.append(f"  {KEY}\n")
    ran = shell.run("%puq_login")
    assert getpass_answers == ["API key for router.invalid: "]
    assert KEY not in ran.out
    assert "router.invalid" in ran.out
    status = shell.run("%puq").out
    assert "…wxyz from %puq_login" in status
    assert KEY[-5:] not in status
    shell.run("%puq_logout")
    assert "%puq_login" in shell.run("%puq").out
    assert "No key was entered" in shell.run("%puq_logout").out


def test_a_kept_key_is_for_its_host_alone(shell: Any, getpass_answers: list[str]) -> None:
    getpass_answers.append(KEY)
    shell.run("%puq_login")
    shell.run("%config PuqMagics.base_url = 'https://collector.example'")
    error = shell.error("%puq_chat -m a/b hi")
    assert "no API key for collector.example" in str(error)


@pytest.mark.parametrize("wrong", ["", "   ", "two words", "schlüssel", "tab\tinside"])
def test_what_is_no_key_is_refused_and_not_repeated(
    shell: Any, getpass_answers: list[str], wrong: str
) -> None:
    getpass_answers.append(wrong)
    error = shell.error("%puq_login")
    assert isinstance(error, InputError | ConfigurationError)
    if wrong.strip():
        assert wrong not in str(error)
        traceback = error.__traceback__
        while traceback is not None:
            assert wrong not in map(repr, traceback.tb_frame.f_locals.values())
            assert wrong not in [v for v in traceback.tb_frame.f_locals.values() if isinstance(v, str)]
            traceback = traceback.tb_next
    assert "%puq_login" in shell.run("%puq").out


def test_where_nobody_can_be_asked(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def _getpass(prompt: str) -> str:
        raise StdinNotImplementedError("no stdin")

    monkeypatch.setattr(getpass, "getpass", _getpass)
    error = shell.error("%puq_login")
    assert isinstance(error, ConfigurationError)
    assert "PUQ_API_KEY" in str(error)


def test_a_key_in_the_keyring_is_found_by_the_next_session(
    shell: Any, getpass_answers: list[str], system_keyring: Keyring
) -> None:
    getpass_answers.append(KEY)
    ran = shell.run("%puq_login --keyring")
    assert "in the system's keyring" in ran.out
    assert KEY not in ran.out
    assert system_keyring.held == {("puq_magics", HOST): KEY}
    assert "…wxyz from %puq_login" in shell.run("%puq").out
    shell.run(f"%reload_ext puq_magics\n%config PuqMagics.base_url = '{HOST}'")
    assert "…wxyz from the keyring" in shell.run("%puq").out
    looks = system_keyring.looks
    shell.run("%puq")
    assert system_keyring.looks == looks


def test_login_wins_over_the_environment_and_that_over_the_keyring(
    shell: Any, getpass_answers: list[str], system_keyring: Keyring, monkeypatch: Any
) -> None:
    system_keyring.held["puq_magics", HOST] = "the-key-of-the-keyring-kkkk"
    assert "…kkkk from the keyring" in shell.run("%puq").out
    monkeypatch.setenv("PUQ_API_KEY", "the-key-of-the-environment-eeee")
    monkeypatch.setenv("PUQ_BASE_URL", HOST)
    assert "…eeee from PUQ_API_KEY" in shell.run("%puq").out
    getpass_answers.append(KEY)
    shell.run("%puq_login")
    assert "…wxyz from %puq_login" in shell.run("%puq").out
    out = shell.run("%puq_logout").out
    assert "is forgotten, in the keyring too" in out
    assert "From now on PUQ_API_KEY is used (…eeee)" in out
    assert system_keyring.held == {}


def test_a_key_in_the_keyring_is_for_its_host_alone(shell: Any, system_keyring: Keyring) -> None:
    system_keyring.held["puq_magics", HOST] = KEY
    shell.run("%config PuqMagics.base_url = 'https://collector.invalid'")
    assert "no API key for collector.invalid" in str(shell.error("%puq_chat -m a/b hi"))


def test_a_locked_keyring(shell: Any, getpass_answers: list[str], system_keyring: Keyring) -> None:
    system_keyring.problem = KeyringLocked("Failed to unlock the collection!")
    out = shell.run("%puq").out
    assert "the keyring cannot be read (Failed to unlock the collection!)" in out
    assert "no API key" in out
    getpass_answers.append(KEY)
    error = shell.error("%puq_login --keyring")
    getpass_answers.clear()
    assert isinstance(error, ConfigurationError)
    assert "does not take the key (Failed to unlock" in str(error)
    assert KEY not in str(error)
    assert "The key is kept until this kernel ends." in str(error)
    assert "…wxyz from %puq_login" in shell.run("%puq").out  # for the session it is kept
    refused = shell.error("%puq_logout")
    assert "does not give the key up" in str(refused)
    assert "The key that was entered is forgotten." in str(refused)
    system_keyring.problem = None
    getpass_answers.append(KEY)
    shell.run("%puq_login --keyring")
    assert system_keyring.held


def test_a_keyring_that_is_unlocked_meanwhile_is_read(shell: Any, system_keyring: Keyring) -> None:
    system_keyring.problem = KeyringLocked("locked")
    assert "cannot be read" in shell.run("%puq").out
    system_keyring.problem = None
    system_keyring.held["puq_magics", HOST] = KEY
    assert "…wxyz from the keyring" in shell.run("%puq").out


def test_after_logout_nothing_holds_the_key(shell: Any, getpass_answers: list[str]) -> None:
    getpass_answers.append(KEY)
    shell.run("%puq_login\n%puq")
    session = shell.session
    assert session._accounts
    shell.run("%puq_logout")
    assert session._accounts == {}
    assert session._router is None
    assert session._router_config == ()


def test_a_system_without_a_keyring(shell: Any, getpass_answers: list[str], system_keyring: Keyring) -> None:
    system_keyring.problem = NoKeyringError("No recommended backend was available.")
    assert "keyring" not in shell.run("%puq").out
    getpass_answers.append(KEY)
    assert "No recommended backend" in str(shell.error("%puq_login --keyring"))
    assert "is forgotten." in shell.run("%puq_logout").out


def test_something_else_in_the_keyring(shell: Any, system_keyring: Keyring) -> None:
    system_keyring.held["puq_magics", HOST] = "no key at all"
    out = shell.run("%puq").out
    assert "holds something that is no key" in out
    assert "no key at all" not in out


def test_without_the_library(shell: Any, getpass_answers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)  # as if it were not installed
    getpass_answers.append(KEY)
    error = shell.error("%puq_login --keyring")
    assert 'pip install "puq_magics[keyring]"' in str(error)
    assert "…wxyz from %puq_login" in shell.run("%puq").out


def test_the_sandbox_takes_no_key(shell: Any, getpass_answers: list[str], system_keyring: Keyring) -> None:
    shell.run("%puq_sandbox")
    assert "its own key" in str(shell.error("%puq_login --keyring"))
    assert getpass_answers == []
    assert system_keyring.looks == 0


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
    server = serve(lambda connection: connection.send_done())
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


def test_a_budget_without_prices_and_balance_is_refused(shell: Any, serve: Any) -> None:
    server = serve(lambda connection: connection.send_done())
    shell.run(f"%config PuqMagics.base_url = '{server.url}'\n%config PuqMagics.budget = 1")
    error = shell.error("%puq_chat -m a/b hi")
    assert isinstance(error, BudgetError)
    assert "cannot be kept here" in str(error)
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
def test_counts_that_are_none_do_not_count(shell: Any, serve: Any, count: int) -> None:
    server = serve(answer({"prompt_tokens": count, "completion_tokens": 1_000_000}), serves_lists=True)
    shell.run(f"%config PuqMagics.base_url = '{server.url}'")
    assert shell.run("%puq_chat -m a/b hi").value.cost == 1.0
    assert shell.run("%puq_chat -m a/odd hi").value.cost == 1.0  # no tokens, no price


def test_a_call_whose_cost_is_not_known_is_said(shell: Any, serve: Any) -> None:
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


def test_an_interrupt_behind_the_answer_does_not_lose_it(fresh_kernel: Any, serve: Any) -> None:
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
    assert stopped.error["traceback"] == [
        "KeyboardInterrupt: the answer was interrupted. What had come is kept in _puq."
    ]
    assert stopped.screen[-1]["text/plain"].startswith("All of it.")
    assert fresh_kernel.value("[kept.text, kept.status]") == ["All of it.", ""]
    assert fresh_kernel.run("%puq_usage").screen


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        ("puq_chat", ("--temperature", "sampling temperature", "{{name}}")),
        ("puq_image", ("--size", "number of images")),
        ("puq_speak", ("--voice", "--autoplay")),
        ("puq_transcribe", ("--record", "--language")),
        ("puq_models", ("--kind", "--provider")),
        ("puq_login", ("--keyring",)),
        ("puq_sandbox", ("--fail", "--models")),
    ],
)
def test_the_options_are_documented(shell: Any, magic: str, words: tuple[str, ...]) -> None:
    found = shell.ip.object_inspect_text(f"%{magic}")
    assert "::" in found or "usage" in found
    assert [word for word in words if word not in found] == []
    again = shell.ip.object_inspect_text(f"%{magic}")
    assert again == found
