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
    ConfigurationError,
    InputError,
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
def test_an_invalid_key_is_refused_and_not_repeated(
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


def test_login_without_a_prompt(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    shell.run("%unload_ext puq_magics\n%load_ext puq_magics")
    shell.run(f"%config PuqMagics.base_url = '{HOST}'")
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
    assert "does not release the key" in str(refused)
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
    assert session._router_config is None


@pytest.mark.parametrize("url", [HOST, "http://127.0.0.1:9"])
def test_a_key_of_the_environment_is_not_shown_where_it_is_not_used(
    shell: Any, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    shell.run(f"%config PuqMagics.base_url = '{url}'")
    monkeypatch.setenv("PUQ_API_KEY", KEY)  # for the router of the environment
    out = shell.run(f"%puq\n%puq_chat --dry-run -m a/b Is {KEY} secret?").out
    assert "Is … secret?" in out
    assert KEY not in out
    monkeypatch.setenv("PUQ_API_KEY", "<your-key>")
    assert "Is it?" in shell.run("%puq_chat --dry-run -m a/b Is it?").out


def test_a_system_without_a_keyring(shell: Any, getpass_answers: list[str], system_keyring: Keyring) -> None:
    system_keyring.problem = NoKeyringError("No recommended backend was available.")
    assert "keyring" not in shell.run("%puq").out
    getpass_answers.append(KEY)
    assert "No recommended backend" in str(shell.error("%puq_login --keyring"))
    assert "is forgotten." in shell.run("%puq_logout").out


def test_an_invalid_key_in_the_keyring(shell: Any, system_keyring: Keyring) -> None:
    system_keyring.held["puq_magics", HOST] = "no key at all"
    out = shell.run("%puq").out
    assert "holds something that is no key" in out
    assert "no key at all" not in out


def test_without_the_keyring_library(
    shell: Any, getpass_answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)  # as if it were not installed
    getpass_answers.append(KEY)
    error = shell.error("%puq_login --keyring")
    assert 'pip install "puq_magics[keyring]"' in str(error)
    assert "…wxyz from %puq_login" in shell.run("%puq").out


@pytest.mark.parametrize("line", ["%puq_login", "%puq_login --keyring"])
def test_login_leaves_the_sandbox_for_the_router_that_was_set_before(
    shell: Any, getpass_answers: list[str], system_keyring: Keyring, line: str
) -> None:
    shell.run("%puq_sandbox")
    getpass_answers.append("")
    assert "Nothing has changed" in str(shell.error(line))
    assert shell.session.effective.is_sandbox
    getpass_answers[:] = [KEY]
    out = shell.run(line).out
    assert getpass_answers == ["API key for router.invalid: "]
    assert "router.invalid is in use from now on; %puq_sandbox returns to the sandbox." in out
    assert shell.session.effective.base_url == HOST
    assert "…wxyz from %puq_login" in shell.run("%puq").out
    shell.run("%puq_sandbox --pace 0\n%puq_chat -q hi")  # the sandbox has its own key
    assert "The key for router.invalid is forgotten" in shell.run("%puq_logout").out
    assert shell.session.effective.is_sandbox


@pytest.mark.parametrize("setting", [None, "sandbox"])
def test_login_leaves_a_sandbox_of_the_environment_for_the_default_router(
    shell: Any, getpass_answers: list[str], monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox")
    shell.run(f"%config PuqMagics.base_url = {setting!r}")
    getpass_answers.append(KEY)
    out = shell.run("%puq_login").out
    assert out == (
        "The key for api.puq.ai is kept until this kernel ends. "
        "api.puq.ai is in use from now on; %puq_sandbox returns to the sandbox.\n"
    )
    assert getpass_answers == ["API key for api.puq.ai: "]
    assert shell.session.address().host == "api.puq.ai"


def test_a_login_that_the_keyring_refuses_leaves_the_sandbox(
    shell: Any, getpass_answers: list[str], system_keyring: Keyring
) -> None:
    shell.run("%puq_sandbox")
    system_keyring.problem = KeyringLocked("locked")
    getpass_answers.append(KEY)
    error = shell.error("%puq_login --keyring")
    assert "is kept until this kernel ends. router.invalid is in use from now on" in str(error)
