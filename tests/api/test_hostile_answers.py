"""Answers that are unusual or ill-meant in their framing or size: read, or ended with a clear error."""

from __future__ import annotations

import gzip
import json
from threading import Event

import pytest
from clients import KEY, router_for
from raw_server import TIMEOUT, Connection, RawServer, answer, responds

from puq_magics.api import Retry, Router
from puq_magics.core.errors import APIStatusError, InvalidResponseError, PuqError

CHAT = json.dumps({"choices": [{"message": {"content": "hi"}}]}).encode()
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def framed(*headers: str, body: bytes = CHAT, before: bytes = b"", status: str = "200 OK") -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return before + f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def ask_twice(data: bytes) -> list[str]:
    """Ask on connections that are kept open, and return the answers' texts, or the errors."""

    def _script(connection: Connection) -> None:
        for _ in range(2):
            try:
                connection.read_request()
            except ValueError:  # the client has closed
                return
            connection.send(data)

    said = []
    with RawServer(_script, _script) as server, router_for(server) as router:
        for _ in range(2):
            try:
                said.append(router.chat("Hello", model="maker/model").text)
            except PuqError as error:
                said.append(f"{type(error).__name__}: {error.message}")
    return said


LENGTH = f"Content-Length: {len(CHAT)}"


@pytest.mark.parametrize(
    "data",
    [
        framed(LENGTH, before=EARLY),
        framed(LENGTH, before=EARLY * 3),
        framed(LENGTH, before=b"HTTP/1.1 102 Processing\r\n\r\n" + EARLY),
        framed(LENGTH, before=b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY),
        framed(LENGTH, LENGTH),
        framed(f"{LENGTH}, {len(CHAT)}"),
    ],
)
def test_the_answer_behind_hints_is_read(data: bytes) -> None:
    assert ask_twice(data) == ["hi", "hi"]


@pytest.mark.parametrize(
    "data",
    [
        framed(LENGTH, "Content-Length: 3"),
        framed("Content-Length: 3", LENGTH),
        framed(f"Content-Length: 3, {len(CHAT)}"),
        framed(LENGTH, before=EARLY * 100),
    ],
)
def test_a_head_that_contradicts_itself_is_no_answer(data: bytes) -> None:
    assert all("does not answer in proper HTTP" in said for said in ask_twice(data))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("1e308", 366 * 86_400), ("inf", 366 * 86_400), ("9" * 400, 366 * 86_400), ("nan", 0), ("-5", 0)],
)
def test_a_time_to_wait_that_nobody_waits(header: str, seconds: float) -> None:
    data = framed("Content-Length: 2", f"Retry-After: {header}", body=b"{}", status="429 Too Many Requests")
    with (
        RawServer(responds(data)) as server,
        router_for(server, max_retries=0) as router,
        pytest.raises(APIStatusError) as caught,
    ):
        router.chat("Hello", model="maker/model")
    assert caught.value.retry_after == seconds


GROWING = {
    "lists": b'{"models":[' + b"[]," * 1_400_000 + b"1]}",
    "objects": b'{"models":[' + b"{}," * 1_300_000 + b"1]}",
    "numbers": b'{"balance":[' + b"1," * 2_000_000 + b"1]}",
    "depth": b"[" * 3_000_000,
    "depth of objects": b'{"a":' * 100_000,
    "spaces": b" " * 50_000_000 + b"{}",
    "a text": b'{"models":"' + b"a" * 50_000_000 + b'"}',
}


@pytest.mark.parametrize("what", ["models", "balance"])
@pytest.mark.parametrize("name", GROWING)
def test_a_list_or_balance_that_grows_is_refused(name: str, what: str) -> None:
    packed = gzip.compress(GROWING[name], 1)
    data = framed(f"Content-Length: {len(packed)}", "Content-Encoding: gzip", body=packed)
    with (
        RawServer(responds(data)) as server,
        router_for(server, max_retries=0) as router,
        pytest.raises(InvalidResponseError, match=r"larger than|more than|not JSON"),
    ):
        getattr(router, what)()


def test_a_list_of_thousands_of_models_is_read() -> None:
    entry = {
        "description": "d" * 300,
        "provider": {"code": "x", "name": "X"},
        "input_price": 0.1,
        "status": 1,
    }
    listed = {"models": [{"code": f"a/model-{number}", **entry} for number in range(5_000)]}
    with RawServer(responds(answer(listed))) as server, router_for(server) as router:
        assert len(router.models()) == 5_000


def test_a_retry_closes_its_connection_first() -> None:
    closed = Event()

    def _refuse(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\nRetry-After: 0\r\n\r\nsome of it")
        if connection.wait_for_close():
            closed.set()

    retries: list[Retry] = []

    def _on_retry(retry: Retry) -> None:
        assert closed.wait(TIMEOUT)
        retries.append(retry)

    with (
        RawServer(_refuse, responds(framed(LENGTH))) as server,
        router_for(server, max_retries=1) as router,
    ):
        assert router.chat("Hello", model="maker/model", on_retry=_on_retry).text == "hi"
    assert len(retries) == 1


@pytest.mark.parametrize("size", range(1, len(KEY)))
def test_the_beginning_of_the_key_at_the_end_of_a_body_is_not_lost(size: int) -> None:
    words = f"the end is {KEY[:size]}"
    data = framed(f"Content-Length: {len(words)}", body=words.encode(), status="400 Bad Request")
    with (
        RawServer(responds(data)) as server,
        Router(KEY, server.base_url) as router,
        pytest.raises(APIStatusError) as caught,
    ):
        router.chat("Hello", model="maker/model")
    assert caught.value.detail == words
