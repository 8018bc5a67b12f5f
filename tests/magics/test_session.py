from __future__ import annotations

from typing import Any

import pytest

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"


def row(out: str, label: str) -> str:
    """What the status says of something."""
    (words,) = [line.split(None, 1)[1] for line in out.splitlines() if line.split(None, 1)[0] == label]
    return words


def test_status_shows_what_is_in_force(shell: Any, environ: Any) -> None:
    out = shell.run("%puq").out
    assert "https://api.puq.ai (default)" in out
    assert "no API key" in out
    assert "not set" in out
    environ.setenv("PUQ_BASE_URL", "https://router.invalid/v1/")
    environ.setenv("PUQ_API_KEY", KEY)
    environ.setenv("PUQ_CHAT_MODEL", "fast")
    shell.run("%config PuqMagics.aliases = {'fast': 'openai/gpt-4o-mini'}\n%config PuqMagics.temperature = 0")
    out = shell.run("%puq").out
    assert "https://router.invalid (PUQ_BASE_URL)" in out
    assert "…wxyz from PUQ_API_KEY" in out
    assert KEY[-5:] not in out
    assert "openai/gpt-4o-mini" in out
    assert row(out, "temperature") == "0.0"
    assert row(out, "balance").startswith("not known: the name router.invalid does not resolve")


def test_status_tells_of_problems_and_does_not_fail(shell: Any, environ: Any) -> None:
    environ.setenv("PUQ_BASE_URL", "ftp://router.example")
    assert "problem" in shell.run("%puq").out
    environ.setenv("PUQ_BASE_URL", "http://router.example")
    assert "plain http" in shell.run("%puq").out
    environ.setenv("PUQ_BASE_URL", "https://router.example")
    environ.setenv("PUQ_AUTH_SCHEME", "two words")
    assert "auth scheme" in shell.run("%puq").out


@pytest.mark.parametrize("magic", ["puq", "puq_login", "puq_logout"])
def test_magics_without_arguments_take_none(shell: Any, magic: str) -> None:
    assert "takes options at most" in str(shell.error(f"%{magic} now"))
    error = shell.error(f"%{magic} --now")
    assert "there is no option --now" in str(error)
    assert f"%{magic}? says more" in str(error)


def test_the_sandbox_starts_answers_and_stops(shell: Any) -> None:
    out = shell.run("%puq_sandbox").out
    sandbox = shell.workspace.sandbox
    assert sandbox.base_url in out
    assert "sandbox/chat" in out
    assert sandbox.token not in out
    shell.run("%puq_chat -q hi")
    assert shell.run("%puq_sandbox status").out.startswith(f"A local router answers at {sandbox.base_url}")
    assert "stopped" in shell.run("%puq_sandbox stop").out
    assert not sandbox.running
    assert "was not running" in shell.run("%puq_sandbox stop").out
    assert "not running" in shell.run("%puq_sandbox status").out
    assert "no API key" in str(shell.error("%puq_chat -m a/b hi"))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--pace 0", "pace", 0),
        ("--pace=7.5", "pace", 7.5),
        ("start --pace 3", "pace", 3),
        ("--pace 3 start", "pace", 3),
        ("--pace 0 start --balance 5", "pace", 0),
        ("--balance 0", "balance", 0),
        ("--balance 0 start", "balance", 0),
        ("--balance -2.5", "balance", -2.5),
        ("--fail 429:2", "fail", "429:2"),
        ("--fail 429:2,500", "fail", "429:2,500"),
        ("--drop-after 5", "drop_after", 5),
    ],
)
def test_the_sandbox_behaves_as_asked(shell: Any, line: str, name: str, value: object) -> None:
    shell.run(f"%puq_sandbox {line}")
    assert getattr(shell.workspace.sandbox.settings, name) == value
    other = shell.workspace.sandbox
    shell.run("%puq_sandbox")
    assert shell.workspace.sandbox is other
    assert getattr(other.settings, name) == value


def test_faults_can_be_called_off(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0 --fail 500")
    assert shell.error("%puq_chat hi").status == 500
    shell.run("%puq_sandbox --fail 0")
    shell.run("%puq_chat -q hi")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--pace fast", "'fast' is not a number"),
        ("--pace -1", "not a number of chunks"),
        ("--pace nan", "not a number of chunks"),
        ("--balance much", "not a number of credits"),
        ("--balance nan", "number of credits"),
        ("--fail soon", "'soon' is no fault"),
        ("--fail 200", "'200' is no fault"),
        ("--fail 429:x", "no fault"),
        ("--drop-after -1", "whole number above 0"),
        ("--drop-after x", "whole number above 0"),
        ("--pce 5", "Did you mean --pace?"),
        ("--pace", "expected one argument"),
        ("sotp", "'sotp' is no action"),
        ("start now", "'now' is one too many"),
    ],
)
def test_wrong_values_change_nothing(shell: Any, line: str, words: str) -> None:
    assert words in str(shell.error(f"%puq_sandbox {line}"))
    assert shell.workspace.sandbox is None
    assert shell.workspace.settings.base_url is None
    shell.run("%puq_sandbox --pace 5 --balance 7")
    before = shell.workspace.sandbox.settings
    assert words in str(shell.error(f"%puq_sandbox {line}"))
    assert shell.workspace.sandbox.settings == before


def test_if_needed_starts_it_only_without_key_and_router(shell: Any, environ: Any) -> None:
    environ.setenv("PUQ_API_KEY", KEY)
    assert "Using https://api.puq.ai" in shell.run("%puq_sandbox --if-needed").out
    assert shell.workspace.sandbox is None
    environ.delenv("PUQ_API_KEY")
    environ.setenv("PUQ_BASE_URL", "https://router.example")
    assert "Using https://router.example (PUQ_BASE_URL)" in shell.run("%puq_sandbox --if-needed").out
    assert shell.workspace.sandbox is None
    environ.delenv("PUQ_BASE_URL")
    shell.run("%puq_sandbox --if-needed")
    assert shell.workspace.sandbox is not None


def test_if_needed_is_not_when_somebody_has_logged_in(shell: Any, typed: list[str]) -> None:
    typed.append(KEY)
    shell.run("%puq_login")
    assert "Using https://api.puq.ai" in shell.run("%puq_sandbox --if-needed").out
    assert shell.workspace.sandbox is None


def test_a_real_key_never_reaches_the_sandbox(shell: Any, typed: list[str], environ: Any) -> None:
    environ.setenv("PUQ_API_KEY", KEY)
    environ.setenv("PUQ_BASE_URL", "sandbox")
    shell.run("%puq_sandbox --pace 0")
    address = shell.workspace.address()
    assert shell.workspace.credential(address).key.reveal() == shell.workspace.sandbox.token
    for magic in ("%puq_login", "%puq_logout"):
        assert "%config PuqMagics.base_url" in str(shell.error(magic))
    assert typed == []
    assert shell.workspace.credential(address).key.reveal() == shell.workspace.sandbox.token
    shell.run("%puq_chat -q hi")


def test_what_it_does_wrong_is_said_and_taken_back(shell: Any) -> None:
    assert "cut after 3 chunks" in shell.run("%puq_sandbox --pace 0 --drop-after 3 --fail 429:1").out
    assert shell.workspace.sandbox.settings.drop_after == 3
    said = shell.run("%puq_sandbox --drop-after 0 --fail 0").out
    assert "On purpose" not in said
    assert shell.workspace.sandbox.settings.drop_after is None


def test_stopping_it_gives_the_router_back_that_was_set(shell: Any) -> None:
    shell.run("%config PuqMagics.base_url = 'http://127.0.0.1:9'")
    shell.run("%puq_sandbox")
    shell.run("%puq_sandbox --pace 0")
    shell.run("%puq_sandbox stop")
    assert shell.workspace.settings.base_url == "http://127.0.0.1:9"


def test_the_sandbox_speaks_its_own_scheme(shell: Any) -> None:
    shell.run("%config PuqMagics.auth_scheme = 'Bearer'\n%puq_sandbox --pace 0")
    shell.run("%puq_chat -q hi")


def test_status_of_a_sandbox_that_is_not_in_use_asks_nobody(shell: Any) -> None:
    shell.run("%puq_sandbox --pace 0\n%config PuqMagics.base_url = 'https://router.example'")
    assert "sandbox/chat" in shell.run("%puq_sandbox status").out


def test_the_sandbox_stays_the_router_when_other_settings_change(shell: Any) -> None:
    shell.run("%config PuqMagics.base_url = 'https://router.example'")
    shell.run("%puq_sandbox --pace 0\n%config PuqMagics.footer = 'short'")
    assert shell.workspace.address().url == shell.workspace.sandbox.base_url
