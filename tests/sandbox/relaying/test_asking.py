from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from puq_magics.sandbox import Sandbox
from puq_magics.sandbox.backends import http_client as asking
from puq_magics.sandbox.backends.http_client import CutError, Server, UnreachableError, ask


def answer(server: Server, body: bytes = b"") -> tuple[int, dict[str, str], list[bytes]]:
    async def _answer() -> tuple[int, dict[str, str], list[bytes]]:
        pieces = []
        async with ask(server, "POST", "/x", body) as reply:
            while piece := await reply.read():
                pieces.append(piece)
            assert await reply.read() == b""
        return reply.status, dict(reply.headers), pieces

    return asyncio.run(_answer())


def says(another: Any, data: bytes) -> None:
    async def say(answering: Any, _body: Any) -> None:
        stream = answering.raw()
        await stream.write(data)
        stream.close()

    another.say = say


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
def test_every_way_to_end_a_body(another, said: bytes) -> None:
    says(another, said)
    status, headers, pieces = answer(Server(another.url))
    assert (status, headers["X-One"], b"".join(pieces)) == (200, "1", b"hello there")


@pytest.mark.parametrize(
    "end", ["Content-Length: 0\r\n\r\n", "\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
def test_a_body_of_nothing(another, end: str) -> None:
    says(another, HEAD + end.encode())
    assert answer(Server(another.url))[2] == []


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
def test_what_came_before_a_cut_is_not_lost(another, said: bytes) -> None:
    says(another, said)

    got = []

    async def read() -> None:
        async with ask(Server(another.url), "POST", "/x") as reply:
            while piece := await reply.read():
                got.append(piece)

    with pytest.raises(CutError):
        asyncio.run(read())
    assert b"".join(got) == b"hello there"


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", HEAD + b"Content-Length: some\r\n\r\n"]
)
def test_no_answer(another, said: bytes) -> None:
    says(another, said)
    with pytest.raises(UnreachableError):
        answer(Server(another.url))


def test_what_is_sent(another) -> None:
    assert answer(Server(another.url, "secret"), b'{"stream": true}')[0] == 200
    heard = another.heard[-1]
    assert (heard.method, heard.path, heard.body) == ("POST", "/v1/x", {"stream": True})
    assert heard.headers["Host"] == another.url.split("/")[2]
    assert heard.headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
def test_nobody_there(url: str) -> None:
    with pytest.raises(UnreachableError) as caught:
        answer(Server(url))
    assert str(caught.value) in ("nothing listens there", "there is no host of that name")


def test_silence_has_an_end(another, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONGEST_SILENCE", 0.05)

    async def say(answering: Any, _body: Any) -> None:
        await answering.wait(answering.server.left)

    another.say = say
    with pytest.raises(UnreachableError, match="nothing came for"):
        answer(Server(another.url))
    assert another.left.wait(30)


def test_the_key_is_in_no_repr() -> None:
    assert "secret" not in repr(Server("http://localhost/v1", "secret"))


@pytest.fixture
def authority(another) -> Iterator[trustme.CA]:
    """The other server again, on https."""
    ca = trustme.CA()
    another.stop()
    again = type(another)()
    again.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(again.tls)
    again.start()
    another.url = again.url
    yield ca
    again.stop()


def test_a_certificate_that_is_not_trusted(authority: trustme.CA, another, connect) -> None:
    with Sandbox(upstream=another.url) as sandbox:
        response = connect(sandbox).chat("upstream/tiny")
        assert response.status_code == 503
        assert "certificate is not to be trusted" in response.json()["error"]


def test_a_certificate_that_is(
    authority: trustme.CA, another, connect, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Sandbox(upstream=another.url) as sandbox:
        assert connect(sandbox).chat("upstream/tiny", stream=True).text.endswith("data: [DONE]\n\n")
