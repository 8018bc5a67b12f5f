from __future__ import annotations

from typing import Any

import pytest

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.backends import upstream
from puq_magics.sandbox.backends.upstream import Upstream
from puq_magics.sandbox.models import MODELS

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434/v1"),
        (" http://localhost:8000/v1/ ", "http://localhost:8000/v1"),
        ("https://example.org/api/openai", "https://example.org/api/openai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert Upstream(address).url == url


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:11434",
        "localhost",
        "ftp://x/v1",
        "http://",
        "http://x:port",
        "http://[::1",
        "http://x/v1?y=1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="11434/v1"):
        Sandbox(upstream=address)


@pytest.mark.parametrize("address", ["http://me:secret@host/v1", "http://secret@host:port"])
def test_a_key_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        Sandbox(upstream=address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two\nlines", "ключ", "\x00"])
def test_a_key_that_no_header_can_hold(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Sandbox(upstream=NOWHERE, upstream_key=key)


def codes(client: Any) -> list[str]:
    return [model["code"] for model in client.get("/v1/models").json()["models"]]


def test_its_models_are_listed_with_prices(upstream_client, upstream_server) -> None:
    upstream_server.models = ["tiny", "org/large:7b"]
    models = upstream_client.get("/v1/models").json()["models"]
    assert [model["code"] for model in models] == [*MODELS, "upstream/tiny", "upstream/org/large:7b"]
    assert [model["id"] for model in models] == list(range(1, len(models) + 1))
    last = models[-1]
    assert (last["name"], last["input_price"], last["output_price"]) == ("org/large:7b", 1000.0, 10_000.0)
    assert last["provider"]["code"] == "upstream"
    assert upstream_client.chat("upstream/org/large:7b").json()["model"] == "upstream/org/large:7b"
    assert upstream_server.requests[-1].body["model"] == "org/large:7b"


def test_the_list_is_not_asked_for_each_time(
    upstream_client, upstream_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upstream_server.requests == []  # only when it is needed
    for _ in range(3):
        upstream_client.get("/v1/models")
        upstream_client.chat("upstream/tiny")
    assert [heard.method for heard in upstream_server.requests].count("GET") == 1
    upstream_server.models = ["tiny", "new"]
    assert "upstream/new" not in codes(upstream_client)
    monkeypatch.setattr(upstream, "_LIST_TTL", 0.0)
    assert "upstream/new" in codes(upstream_client)


def test_a_model_that_is_new_is_found(
    upstream_client, upstream_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upstream_client.chat("upstream/new").status_code == 404
    upstream_server.models.append("new")
    monkeypatch.setattr(upstream, "_LIST_RETRY_INTERVAL", 0.0)
    assert upstream_client.chat("upstream/new").status_code == 200


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [("upstream/none", 404, "MODEL_NOT_FOUND"), ("elsewhere/tiny", 404, "MODEL_NOT_FOUND")],
)
def test_models_that_it_does_not_have(upstream_client, code: str, status: int, error: str) -> None:
    response = upstream_client.chat(code)
    assert (response.status_code, response.json()["code"]) == (status, error)


def test_its_models_only_chat(upstream_client) -> None:
    assert "upstream/tiny" in codes(upstream_client)
    response = upstream_client.speak(model="upstream/tiny")
    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")


def test_one_that_is_down_breaks_nothing_else(connect) -> None:
    with Sandbox(pace=0, upstream=NOWHERE) as sandbox:
        client = connect(sandbox)
        assert codes(client) == list(MODELS)
        assert client.chat().status_code == 200
        response = client.chat("upstream/tiny", stream=True)
        assert response.status_code == 503
        assert response.json()["error"] == (
            f"The upstream {NOWHERE}/v1 cannot say which models it has: nothing listens there"
        )
        assert sandbox.requests[-1].model == "upstream/tiny"
        assert sandbox.default_chat_model == "sandbox/chat"
        assert sandbox.upstream_error == "nothing listens there"
        assert sandbox.has_model("upstream/tiny")  # nobody can tell


def test_one_that_went_down_keeps_its_models(
    upstream_client, upstream_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "upstream/tiny" in codes(upstream_client)
    upstream_server.stop()
    monkeypatch.setattr(upstream, "_LIST_TTL", 0.0)
    assert "upstream/tiny" in codes(upstream_client)
    assert upstream_client.chat("upstream/tiny").status_code == 503


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "its model list is not valid"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"name": 1}]}', "its model list is not valid"),
        (b"HTTP/1.1 401 No\r\n\r\n{}", "it wants a key (401)"),
        (b"HTTP/1.1 500 No\r\n\r\n{}", "listing its models failed with status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "the connection was cut"),
    ],
)
def test_a_list_that_is_none(
    upstream_server, said: bytes, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(handler: Any) -> None:
        stream = handler.raw()
        await stream.write(said)
        stream.close()

    monkeypatch.setattr(upstream_server.handler, "get", get)
    with Sandbox(upstream=upstream_server.url) as sandbox:
        assert sandbox.upstream_error == trouble


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_told_as_that(
    upstream_server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(handler: Any) -> None:
        handler.set_status(status)

    monkeypatch.setattr(upstream_server.handler, "get", get)
    with Sandbox(upstream=upstream_server.url, upstream_key="a-wrong-key") as sandbox:
        assert sandbox.upstream_error == f"it refuses the key ({status})"


def test_one_that_says_nothing_is_not_waited_for(
    upstream_server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get(handler: Any) -> None:
        await handler.wait(handler.server.client_left)

    monkeypatch.setattr(upstream_server.handler, "get", get)
    monkeypatch.setattr(upstream, "_TIMEOUT", 0.05)
    with Sandbox(upstream=upstream_server.url) as sandbox:
        assert codes(connect(sandbox)) == list(MODELS)
        assert upstream_server.client_left.wait(30)
        assert "does not answer within" in sandbox.upstream_error


@pytest.mark.parametrize(
    ("models", "default"),
    [
        (["tiny", "large"], "upstream/tiny"),
        (["nomic-embed-text", "whisper-1", "large"], "upstream/large"),
        (["nomic-embed-text"], "sandbox/chat"),
        ([], "sandbox/chat"),
    ],
)
def test_the_model_to_chat_with_is_one_of_its_own(
    upstream_server, upstream_sandbox: Sandbox, models: list[str], default: str
) -> None:
    upstream_server.models = models
    assert upstream_sandbox.default_chat_model == upstream_sandbox.default_models["chat"] == default
    assert upstream_sandbox.default_models["speech"] == "sandbox/tts"


def test_the_key_stays_where_it_belongs(upstream_client, upstream_sandbox: Sandbox) -> None:
    told = [
        upstream_client.get("/v1/models").text,
        upstream_client.chat("upstream/tiny").text,
        repr(upstream_sandbox),
        repr(vars(upstream_sandbox)),
    ]
    assert "our-own-key" not in "".join(
        [*told, repr(upstream_sandbox.requests), repr(upstream_sandbox.settings)]
    )


def test_it_is_there_after_another_start(upstream_server, connect) -> None:
    sandbox = Sandbox(pace=0, upstream=upstream_server.url)
    for _ in range(2):
        with sandbox:
            assert connect(sandbox).chat("upstream/tiny").status_code == 200
