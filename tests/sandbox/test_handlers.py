from __future__ import annotations

import socket

import pytest
import requests

from puq_magics.sandbox import Asked, Sandbox
from puq_magics.sandbox.catalog import CATALOG

ENDPOINTS = [("GET", "/v1/models"), ("GET", "/v1/credits/balance"), ("POST", "/v1/chat/completions")]
MEDIA = ["/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations"]


def test_all_models(client) -> None:
    codes = [model["code"] for model in client.get("/v1/models").json()["models"]]
    assert codes == list(CATALOG)


def test_enabled_models(client) -> None:
    models = client.get("/v1/models", params={"enabled": 1}).json()["models"]
    assert {model["status"] for model in models} == {1}
    assert [model["code"] for model in models] == [code for code in CATALOG if code != "sandbox/retired"]


def test_the_balance(client, sandbox: Sandbox) -> None:
    sandbox.configure(balance=12.5)
    assert client.get("/v1/credits/balance").json() == {"success": True, "balance": 12.5}


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("header", [None, "Token wrong", "Bearer {token}", "{token}"])
def test_without_the_key_nothing(
    sandbox: Sandbox, client, method: str, path: str, header: str | None
) -> None:
    client.session.headers["Authorization"] = header and header.format(token=sandbox.token)
    response = client.session.request(method, sandbox.base_url + path)
    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized: Invalid or expired API key"}


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("balance", [0, -0.5])
def test_without_credits_nothing(sandbox: Sandbox, client, method: str, path: str, balance: float) -> None:
    sandbox.configure(balance=balance)
    response = client.session.request(method, sandbox.base_url + path)
    assert response.status_code == 402
    assert "Payment Required" in response.json()["error"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models/", "/v2/models", "/v1/embeddings"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_paths_are_404(sandbox: Sandbox, client, method: str, path: str) -> None:
    response = client.session.request(method, sandbox.base_url + path)
    assert response.status_code == 404
    assert path in response.json()["error"]


@pytest.mark.parametrize("path", MEDIA)
def test_media_is_still_to_come(client, path: str) -> None:
    response = client.post(path, json={"model": "sandbox/tts", "input": "Hello"})
    assert response.status_code == 404
    assert "yet" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("DELETE", "/v1/credits/balance", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("BREW", "/v1/chat/completions", "POST"),
    ],
)
def test_other_methods_are_405(sandbox: Sandbox, client, method: str, path: str, allowed: str) -> None:
    response = client.session.request(method, sandbox.base_url + path)
    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert method == "HEAD" or "Method Not Allowed" in response.json()["error"]


def test_every_answer_has_an_id_of_its_own_and_no_cors_header(sandbox: Sandbox, client) -> None:
    origin = {"Origin": "https://example.org"}
    asked = [*ENDPOINTS, ("GET", "/"), ("PUT", "/v1/models"), ("OPTIONS", "/v1/models"), ("BREW", "/")]
    answers = [
        client.session.request(method, sandbox.base_url + path, headers=origin) for method, path in asked
    ]
    answers += [client.chat(), client.chat(stream=True)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        answer.close()


@pytest.mark.parametrize("host", ["example.org", "sandbox.example.org:8765", "127.0.0.1.nip.io", "0.0.0.0"])
@pytest.mark.parametrize("path", ["/v1/models", "/"])
def test_a_strange_host_is_refused(client, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 403
    assert host.partition(":")[0] in response.json()["error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost:8765", "[::1]:8765", "[::1]"])
def test_its_own_names_are_taken(client, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_faults_hit_what_is_paid_for_only(sandbox: Sandbox, client) -> None:
    sandbox.configure(fail="429:2")
    assert client.get("/v1/models").status_code == 200
    assert [client.chat().status_code for _ in range(3)] == [429, 429, 200]
    assert sandbox.settings.fail is None


def test_a_429_says_when_to_come_back(sandbox: Sandbox, client) -> None:
    sandbox.configure(fail="429:2", pace=0)
    assert client.chat().headers["Retry-After"] == "0"
    sandbox.configure(pace=1000)
    assert client.chat().headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "VALIDATION_ERROR"),
        (402, "SUBSCRIPTION_LIMIT"),
        (403, None),
        (418, None),
        (500, "INTERNAL_ERROR"),
        (503, None),
    ],
)
def test_planned_faults_look_real(sandbox: Sandbox, client, status: int, code: str | None) -> None:
    sandbox.configure(fail=f"{status}:1")
    response = client.chat()
    assert response.status_code == status
    assert response.json().get("code") == code
    assert response.json()["error"]
    assert sandbox.balance == 100


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_sends_html(sandbox: Sandbox, client, status: int) -> None:
    sandbox.configure(fail=str(status))
    response = client.chat()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html")
    assert response.text.startswith("<html>")


def test_requests_are_noted_without_the_key(sandbox: Sandbox, client) -> None:
    client.get("/v1/models", params={"enabled": 1})
    client.chat("sandbox/echo")
    requests.get(sandbox.base_url + "/v1/models", headers={"Authorization": "Token stolen"}, timeout=30)
    assert sandbox.requests == (
        Asked("GET", "/v1/models", 200),
        Asked("POST", "/v1/chat/completions", 200, "sandbox/echo"),
        Asked("GET", "/v1/models", 401),
    )
    assert sandbox.token not in repr(sandbox.requests)


def test_a_body_beyond_the_limit_is_not_read(sandbox: Sandbox) -> None:
    port = int(sandbox.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857601\r\n\r\n"
        )
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
