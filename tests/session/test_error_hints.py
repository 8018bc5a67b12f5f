from __future__ import annotations

import json
from typing import Any

import pytest

from puq_magics.api.client import Router
from puq_magics.core.errors import MissingKeyError
from puq_magics.session.account import Account, available_models
from puq_magics.session.budget import CostTracker
from puq_magics.session.settings import PuqMagics

KEY = "sk-THE-REAL-KEY-0123456789-wxyz"


def router(**refusals: tuple[Any, ...]) -> Any:
    """A router that refuses to chat, with these bodies (and headers) for its other endpoints."""

    def _answer(connection: Any) -> None:
        name = connection.request.path.partition("?")[0].rsplit("/", 1)[-1]
        status, body, *headers = refusals.get(name, ("404 Not Found", {}))
        connection.send_head(status, "application/json", **(headers[0] if headers else {}))
        connection.send(json.dumps(body).encode())

    return _answer


@pytest.fixture
def error(shell: Any, serve: Any, monkeypatch: Any) -> Any:
    """The error of a chat with such a router."""

    def _error(line: str = "%puq_chat -m openai/gpt-4o hi", **refusals: tuple[Any, ...]) -> Any:
        monkeypatch.setenv("PUQ_BASE_URL", serve(router(**refusals), serves_lists=True).url)
        monkeypatch.setenv("PUQ_API_KEY", KEY)
        return shell.error(line)

    return _error


def test_a_wrong_key_says_which_and_how_to_give_another(error: Any) -> None:
    hint = error(completions=("401 Unauthorized", {"error": "Unauthorized"})).hint
    assert hint.startswith("The key is from PUQ_API_KEY (…wxyz): %puq_login takes another.")


@pytest.mark.parametrize(
    ("scheme", "is_named"), [("", True), ("Token", True), ("X-Key", True), ("Bearer", False)]
)
def test_another_router_may_want_another_scheme(
    error: Any, monkeypatch: Any, scheme: str, is_named: bool
) -> None:
    monkeypatch.setenv("PUQ_AUTH_SCHEME", scheme)
    hint = error(completions=("401 Unauthorized", {"error": "Unauthorized"})).hint
    assert ("%config PuqMagics.auth_scheme = 'Bearer'" in hint) == is_named
    assert (f"as {scheme or 'Token'};" in hint) == is_named


def test_the_default_router_wants_its_own_scheme(shell: Any, monkeypatch: Any) -> None:
    from puq_magics.core.errors import AuthenticationError
    from puq_magics.session.budget import CallInfo
    from puq_magics.session.error_hints import add_hint

    monkeypatch.setenv("PUQ_API_KEY", KEY)
    refused = AuthenticationError("no", status=401)
    add_hint(refused, shell.session, CallInfo("chat", "a/b"))
    assert refused.hint == "The key is from PUQ_API_KEY (…wxyz): %puq_login takes another."


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("0", "now"),
        ("0.2", "in 1 second"),
        ("1", "in 1 second"),
        ("1.5", "in 2 seconds"),
        ("59", "in 59 seconds"),
        ("119", "in 119 seconds"),
        ("120", "in 2 minutes"),
        ("3600", "in 60 minutes"),
        ("7201", "in 3 hours"),
        ("90000", "in 25 hours"),
        ("604800", "in 7 days"),
        ("1e308", "later"),
        ("inf", "later"),
        ("soon", "in a minute"),
    ],
)
def test_when_to_try_again(error: Any, shell: Any, header: str, words: str) -> None:
    shell.run("%config PuqMagics.max_retries = 0")
    refused = error(completions=("429 Too Many Requests", {}, {"Retry_After": header}))
    assert refused.hint == f"Try again {words}."


def test_no_key_at_all(shell: Any, serve: Any) -> None:
    url = serve(router(completions=("401 Unauthorized", {}))).url
    shell.run(f"%config PuqMagics.base_url = '{url}'")
    told = str(shell.error("%puq_chat -m a/b hi"))
    assert "No key was sent: %puq_login takes one." in told
    assert "%puq_sandbox starts a local router that needs none." in told


def test_a_spent_balance_is_told(error: Any) -> None:
    refused = ("402 Payment Required", {"error": "no credits"})
    told = error(completions=refused, balance=("200 OK", {"success": True, "balance": -1.5}))
    assert "The balance is -1.5 credits; the price of openai/gpt-4o is not known" in told.hint
    untold = error(completions=refused, balance=refused)
    assert "The balance is 0 or below" in untold.hint


def test_an_ungranted_model_is_named(error: Any) -> None:
    assert "openai/gpt-4o" in error(completions=("403 Forbidden", {})).hint


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("openai/gpt-4", "openai/gpt-4o, openai/gpt-4o-mini"),
        ("gpt-4o", "openai/gpt-4o"),
        ("other/GPT-4O", "openai/gpt-4o"),
        ("zzz/qqq", "This key can use openai/gpt-4o, openai/gpt-4o-mini."),
    ],
)
def test_the_nearest_models(error: Any, model: str, words: str) -> None:
    models = {
        "models": [{"code": code} for code in ("openai/gpt-4o", "openai/gpt-4o-mini", "openai/whisper-1")]
    }
    refused = error(f"%puq_chat -m {model} hi", completions=("404 Not Found", {}), models=("200 OK", models))
    assert words in refused.hint


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "my-model:latest"])
def test_a_model_that_is_listed_is_not_its_own_nearest(error: Any, model: str) -> None:
    models = ("200 OK", {"models": [{"code": code} for code in (model, f"{model}-mini")]})
    hint = error(f"%puq_chat -m {model} hi", completions=("404 Not Found", {}), models=models).hint
    assert "nearest" not in hint
    assert hint.startswith(f"The router lists {model}:")


def test_no_list_no_names(error: Any) -> None:
    assert "%puq" in error(completions=("404 Not Found", {}), models=("403 Forbidden", {})).hint
    assert (
        "lists no models" in error(completions=("404 Not Found", {}), models=("200 OK", {"models": []})).hint
    )


def account(serve: Any, codes: list[str], **settings: Any) -> Account:
    def lists(connection: Any) -> None:
        connection.send_head("200 OK", "application/json")
        connection.send(json.dumps({"models": [{"code": code} for code in codes]}).encode())

    url = serve(lists, serves_lists=True).url
    return Account(lambda **_: Router(None, url), PuqMagics(**settings), CostTracker())


def test_some_models_are_few_and_of_the_kind(serve: Any) -> None:
    many = account(serve, [*(f"a/m{n}" for n in range(10)), "openai/tts-1"])
    assert available_models(many).endswith("a/m7 and 2 more.")
    assert available_models(many, "speech") == " This key can use openai/tts-1."
    assert available_models(many, "image") == ""
    assert (
        available_models(account(serve, ["a/m1"], model_kinds={"a/*": "image"}), "image")
        == " This key can use a/m1."
    )


def test_a_missing_key_is_an_error_before_any_request(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "https://router.example")
    assert isinstance(shell.error("%puq_chat -m a/b hi"), MissingKeyError)
