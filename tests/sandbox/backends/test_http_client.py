from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.backends import http_client as http_client
from puq_magics.sandbox.backends.http_client import (
    Endpoint,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)


def answer(server: Endpoint, body: bytes = b"") -> tuple[int, dict[str, str], list[bytes]]:
    async def _answer() -> tuple[int, dict[str, str], list[bytes]]:
        pieces = []
        async with send_request(server, "POST", "/x", body) as reply:
            while piece := await reply.read():
                pieces.append(piece)
            assert await reply.read() == b""
        return reply.status, dict(reply.headers), pieces

    return asyncio.run(_answer())


def says(upstream_server: Any, data: bytes) -> None:
    async def say(handler: Any, _body: Any) -> None:
        stream = handler.raw()
        await stream.write(data)
        stream.close()

    upstream_server.respond = say


HEAD = b"HTTP/1.1 200 OK\r\nX-One: 1\r\n"


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"Content-Length: 11\r\n\r\nhello there",
        HEAD + b"Content-Length: 11\r\n\r\nhello there and more",
        HEAD + b"\r\nhello there",
        HEAD.replace(b"\r\n", b"\n") + b"\nhello there",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n there\r\n0\r\n\r\n",
        HEAD
        + b"Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\nb\r\nhello there\r\n0\r\nX-Two: 2\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-One: 0\r\n\r\n"
        + HEAD
        + b"\r\nhello there",
    ],
)
def test_every_way_to_end_a_body(upstream_server, said: bytes) -> None:
    says(upstream_server, said)
    status, headers, pieces = answer(Endpoint(upstream_server.url))
    assert (status, headers["X-One"], b"".join(pieces)) == (200, "1", b"hello there")


@pytest.mark.parametrize(
    "end", ["Content-Length: 0\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
def test_a_body_of_nothing(upstream_server, end: str) -> None:
    says(upstream_server, HEAD + end.encode())
    assert answer(Endpoint(upstream_server.url))[2] == []


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"Content-Length: 12\r\n\r\nhello there",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello there",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello there\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nc\r\nhello there",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello there\r\n-1\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello there\r\nword\r\n",
    ],
)
def test_what_came_before_a_cut_is_not_lost(upstream_server, said: bytes) -> None:
    says(upstream_server, said)

    got = []

    async def read() -> None:
        async with send_request(Endpoint(upstream_server.url), "POST", "/x") as reply:
            while piece := await reply.read():
                got.append(piece)

    with pytest.raises(IncompleteResponseError):
        asyncio.run(read())
    assert b"".join(got) == b"hello there"


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", HEAD + b"Content-Length: some\r\n\r\n"]
)
def test_no_answer(upstream_server, said: bytes) -> None:
    says(upstream_server, said)
    with pytest.raises(UnreachableError):
        answer(Endpoint(upstream_server.url))


def test_what_is_sent(upstream_server) -> None:
    assert answer(Endpoint(upstream_server.url, "secret"), b'{"stream": true}')[0] == 200
    heard = upstream_server.requests[-1]
    assert (heard.method, heard.path, heard.body) == ("POST", "/v1/x", {"stream": True})
    assert heard.headers["Host"] == upstream_server.url.split("/")[2]
    assert heard.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        answer(Endpoint(url))
    assert str(caught.value) in ("nothing listens there", "there is no host of that name")


def test_silence_has_an_end(upstream_server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "READ_TIMEOUT", 0.05)

    async def say(handler: Any, _body: Any) -> None:
        await handler.wait(handler.server.client_left)

    upstream_server.respond = say
    with pytest.raises(UnreachableError, match="nothing came for"):
        answer(Endpoint(upstream_server.url))
    assert upstream_server.client_left.wait(30)


def test_the_key_is_in_no_repr() -> None:
    assert "secret" not in repr(Endpoint("http://localhost/v1", "secret"))


@pytest.fixture
def certificate_authority(upstream_server) -> Iterator[trustme.CA]:
    """The other server again, on https."""
    ca = trustme.CA()
    upstream_server.stop()
    again = type(upstream_server)()
    again.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(again.tls)
    again.start()
    upstream_server.url = again.url
    yield ca
    again.stop()


def test_a_certificate_that_is_not_trusted(
    certificate_authority: trustme.CA, upstream_server, connect
) -> None:
    with Sandbox(upstream=upstream_server.url) as sandbox:
        response = connect(sandbox).chat("upstream/tiny")
        assert response.status_code == 503
        assert "certificate is not trusted" in response.json()["error"]


def test_a_certificate_that_is(
    certificate_authority: trustme.CA,
    upstream_server,
    connect,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate_authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Sandbox(upstream=upstream_server.url) as sandbox:
        assert connect(sandbox).chat("upstream/tiny", stream=True).text.endswith("data: [DONE]\n\n")
