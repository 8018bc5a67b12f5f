"""The model list: fetched once, beside the calls, from a real sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from puq_magics.api.client import Router
from puq_magics.core.errors import NotFoundError
from puq_magics.sandbox import Sandbox
from puq_magics.session.model_list import ModelList, resolve_kind


def connect(sandbox: Sandbox) -> Callable[..., Router]:
    return lambda **_: Router(sandbox.token, sandbox.base_url)


def asked(sandbox: Sandbox) -> list[str]:
    return [request.path for request in sandbox.requests]


def test_the_list_is_fetched_once(sandbox: Sandbox) -> None:
    model_list = ModelList(connect(sandbox))
    assert model_list.cached == {}
    assert "sandbox/chat" in model_list.fetch()
    assert not model_list.fetch()["sandbox/retired"].enabled
    assert asked(sandbox) == ["/v1/models"]
    model_list.fetch(refresh=True)
    assert asked(sandbox) == ["/v1/models", "/v1/models"]


def test_in_the_background_with_the_balance(sandbox: Sandbox) -> None:
    model_list = ModelList(connect(sandbox))
    model_list.fetch_in_background(balance=True)
    model_list.fetch_in_background(balance=True)
    model_list.wait()
    assert "sandbox/chat" in model_list.cached
    assert model_list.balance_at_start == sandbox.balance
    model_list.fetch_in_background(balance=True)
    model_list.wait()
    assert asked(sandbox) == ["/v1/credits/balance", "/v1/models"]


def test_the_first_balance_counts() -> None:
    model_list = ModelList(lambda **_: pytest.fail("nothing is asked"))
    model_list.record_balance(5.0)
    model_list.record_balance(4.0)
    assert model_list.balance_at_start == 5.0


def test_a_list_that_does_not_come_is_told_to_who_asks_and_not_asked_for_again_at_once(serve: Any) -> None:
    def refuse(connection: Any) -> None:
        connection.send_head("404 Not Found", "application/json")
        connection.send(b'{"error": "Not found"}')

    server = serve(refuse, serves_lists=True)
    model_list = ModelList(lambda **_: Router(None, server.url))
    model_list.fetch_in_background()
    model_list.wait()
    model_list.fetch_in_background()
    model_list.wait()
    assert model_list.cached == {}
    assert len(server.requests) == 1
    with pytest.raises(NotFoundError):
        model_list.fetch()
    assert len(server.requests) == 2


def test_a_server_without_a_balance_still_lists(serve: Any) -> None:
    def lists(connection: Any) -> None:
        found = connection.request.path.startswith("/v1/models")
        connection.send_head("200 OK" if found else "404 Not Found", "application/json")
        connection.send(b'{"object": "list", "data": [{"id": "llama"}]}' if found else b"{}")

    server = serve(lists, serves_lists=True)
    model_list = ModelList(lambda **_: Router(None, server.url))
    model_list.fetch_in_background(balance=True)
    model_list.wait()
    assert list(model_list.cached) == ["llama"]
    assert model_list.balance_at_start is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("openai/gpt-4o", "chat"),
        ("openai/tts-1", "speech"),
        ("acme/echo-1", "speech"),
        ("acme/echo-2", "image"),
        ("other/echo-1", "chat"),
    ],
)
def test_kinds_can_be_corrected(code: str, kind: str) -> None:
    assert resolve_kind(code, {"acme/*": "image", "acme/echo-1": "speech"}) == kind
