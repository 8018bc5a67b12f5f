from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import requests

from puq_magics.sandbox import RequestRecord, Sandbox, handlers
from puq_magics.sandbox.models import MODELS

ENDPOINTS = [
    ("GET", "/v1/models"),
    ("GET", "/v1/credits/balance"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
]


def test_all_models(client) -> None:
    codes = [model["code"] for model in client.get("/v1/models").json()["models"]]
    assert codes == list(MODELS)


def test_enabled_models(client) -> None:
    models = client.get("/v1/models", params={"enabled": 1}).json()["models"]
    assert {model["status"] for model in models} == {1}
    assert [model["code"] for model in models] == [code for code in MODELS if code != "sandbox/retired"]


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


def test_every_key_has_a_balance_of_its_own(connect) -> None:
    with Sandbox(pace=0, keys=3, balance=5) as sandbox:
        assert len(set(sandbox.tokens)) == 3
        assert sandbox.tokens[0] == sandbox.token
        clients = [connect(sandbox) for _ in range(3)]
        for client, token in zip(clients, sandbox.tokens, strict=True):
            client.session.headers["Authorization"] = f"Token {token}"
        assert clients[1].chat("sandbox/tour").status_code == clients[2].draw().status_code == 200
        balances = [client.get("/v1/credits/balance").json()["balance"] for client in clients]
        assert balances[0] == sandbox.balance == 5
        assert max(balances[1:]) < 5
        assert balances[1] != balances[2]
        sandbox.configure(balance=0)
        assert [client.chat().status_code for client in clients] == [402] * 3


def test_a_padded_list(client, sandbox: Sandbox) -> None:
    sandbox.configure(models=2000)
    models = client.get("/v1/models").json()["models"]
    assert len(models) == len({model["code"] for model in models}) == 2000
    assert [model["id"] for model in models] == list(range(1, 2001))
    invented = next(m["code"] for m in models[len(MODELS) :] if m["status"] and "answers" in m["description"])
    assert client.chat(invented).json()["choices"][0]["message"]["content"]
    sandbox.configure(models=None)
    assert client.chat(invented).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models", "GET"),
        ("DELETE", "/v1/credits/balance", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("BREW", "/v1/chat/completions", "POST"),
        ("GET", "/v1/images/generations", "POST"),
        ("PUT", "/v1/audio/speech", "POST"),
        ("GET", "/v1/audio/transcriptions", "POST"),
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
        RequestRecord("GET", "/v1/models", 200),
        RequestRecord("POST", "/v1/chat/completions", 200, "sandbox/echo"),
        RequestRecord("GET", "/v1/models", 401),
    )
    assert sandbox.token not in repr(sandbox.requests)


@pytest.mark.parametrize("way", ["draw", "speak", "hear"])
def test_media_fails_on_purpose_too(sandbox: Sandbox, client, way: str) -> None:
    sandbox.configure(fail="429:1,500:1")
    ask = (lambda: client.hear(b"ID3 something")) if way == "hear" else getattr(client, way)
    assert [ask().status_code for _ in range(3)] == [429, 500, 200]


def test_media_is_noted_with_its_model(sandbox: Sandbox, client) -> None:
    client.draw()
    client.hear(client.speak().content)
    assert [(asked.path, asked.status, asked.model) for asked in sandbox.requests] == [
        ("/v1/images/generations", 200, "sandbox/image"),
        ("/v1/audio/speech", 200, "sandbox/tts"),
        ("/v1/audio/transcriptions", 200, "sandbox/whisper"),
    ]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/v1/images/generations", "sandbox/chat", "does not make images: it is for chat"),
        ("/v1/audio/speech", "sandbox/whisper", "does not speak: it is for transcription"),
        ("/v1/chat/completions", "sandbox/tts", "does not chat: it is for speech"),
    ],
)
def test_models_of_another_kind(client, path: str, code: str, words: str) -> None:
    body = {"model": code, "prompt": "x", "input": "x", "messages": [{"role": "user", "content": "x"}]}
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert response.json() == {"error": f"The model {code!r} {words}", "code": "VALIDATION_ERROR"}


TOO_LARGE = {"error": "Payload Too Large: this endpoint takes 20,971,520 bytes at most"}


def head(sandbox: Sandbox, *lines: str) -> bytes:
    """The head of a request for a chat."""
    first = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", f"Authorization: Token {sandbox.token}"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def say(sandbox: Sandbox, data: bytes) -> Iterator[bytes]:
    """The lines of the answer to a request that may never be sent whole."""
    port = int(sandbox.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as answer:
            yield from answer


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(sandbox: Sandbox) -> None:
    answer = say(sandbox, head(sandbox, "Content-Length: 104857601"))
    assert next(answer).startswith(b"HTTP/1.1 413 ")
    answer.close()


def test_who_waits_to_be_asked_for_the_body_is_not_asked_in_vain(sandbox: Sandbox) -> None:
    answer = b"".join(say(sandbox, head(sandbox, "Content-Length: 104857601", "Expect: 100-continue")))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100" not in answer.partition(b"\r\n")[0]
    assert b"Connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == TOO_LARGE


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_too_much_still_hears_why(client, chunked: bool) -> None:
    piece = bytes(1024 * 1024)
    pieces = (piece for _ in range(101))
    response = client.post("/v1/chat/completions", data=pieces if chunked else piece * 101)
    assert (response.status_code, response.json()) == (413, TOO_LARGE)
    assert client.get("/v1/models").status_code == 200


def test_who_sends_much_without_the_key_still_hears_why(client, sandbox: Sandbox) -> None:
    client.session.headers["Authorization"] = "Token wrong"
    response = client.post("/v1/audio/transcriptions", data=(bytes(1024 * 1024) for _ in range(30)))
    assert response.status_code == 401
    client.session.headers["Authorization"] = f"Token {sandbox.token}"
    assert client.get("/v1/models").status_code == 200


def test_nobody_is_listened_to_for_ever(client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_MAX_DRAINED_BYTES", 1024 * 1024)
    answer = b"".join(say(sandbox, head(sandbox, "Content-Length: 104857601") + bytes(1024 * 1024 + 1)))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert client.get("/v1/models").status_code == 200


def test_a_client_that_goes_while_it_sends_leaves_nothing_behind(sandbox: Sandbox, client) -> None:
    port = int(sandbox.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head(sandbox, "Content-Length: 100") + b"{")
    assert client.get("/v1/models").status_code == 200
    assert [asked.path for asked in sandbox.requests] == ["/v1/models"]
