"""Recordings that do not arrive: the file changes, the router goes, somebody stops it."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import pytest
from clients import KEY, MODEL, router_for, shown
from media_samples import wav
from raw_server import Connection, RawServer, answer, responds

from puq_magics.api import Router, Upload
from puq_magics.api.request import Timeouts
from puq_magics.core.errors import APIConnectionError, APIStatusError, APITimeoutError, InputError, PuqError

pytestmark = pytest.mark.usefixtures("body_reader")  # each test with both readers

HEARD = answer({"text": "Hello."})
LONG = 64 << 20  # bytes: more than the buffers between two sockets hold


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A long file that takes no room."""
    path = tmp_path / "talk.wav"
    path.write_bytes(wav())
    os.truncate(path, LONG)
    return path


def read_until_close(connection: Connection) -> None:
    """Take what comes, until the client is gone."""
    buffer = bytearray(1 << 16)
    try:
        while connection.sock.recv_into(buffer):
            pass
    except ConnectionError:
        pass


def failure(router: Router, upload: Upload, **more: Any) -> PuqError:
    with pytest.raises(PuqError) as caught:
        router.transcribe(upload, model=MODEL, **more)
    assert caught.value.hint
    assert not [said for said in shown(caught.value) if KEY in said]
    return caught.value


def test_a_file_that_becomes_shorter(recording: Path) -> None:
    def shorten(done: int, total: int) -> None:
        if done > 1 << 20:
            os.truncate(recording, 1 << 20)

    with RawServer(read_until_close, responds(HEARD)) as server, router_for(server) as router:
        error = failure(router, Upload.from_path(recording), on_progress=shorten)
        assert isinstance(error, InputError)
        assert "'talk.wav' became shorter while it was sent" in error.message
        assert router.transcribe(Upload.from_bytes(wav()), model=MODEL).text == "Hello."


def test_a_file_that_grows_is_sent_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav())
    upload = Upload.from_path(path)
    with path.open("ab") as file:
        file.write(b"more")
    with RawServer(responds(HEARD)) as server, router_for(server) as router:
        router.transcribe(upload, model=MODEL)
    body = server.requests[0].body
    assert wav() + b"\r\n--" in body
    assert len(body) == int(server.requests[0].headers["content-length"])


def test_a_file_that_vanishes_before_it_is_sent(recording: Path) -> None:
    upload = Upload.from_path(recording)
    recording.unlink()
    with RawServer() as server, router_for(server) as router:
        error = failure(router, upload)
    assert isinstance(error, InputError)
    assert "'talk.wav' cannot be read any more (no such file or directory)" in error.message
    assert server.connections == 0


def test_a_file_that_vanishes_between_two_attempts(recording: Path, retry_delays: list[float]) -> None:
    os.truncate(recording, 1000)
    said = answer({"error": "later"}, 503)
    with RawServer(responds(said)) as server, router_for(server, max_retries=2) as router:
        error = failure(router, Upload.from_path(recording), on_retry=lambda _: recording.unlink())
    assert isinstance(error, InputError)
    assert len(retry_delays) == 1


class FailingReader(BytesIO):
    """A disk that fails."""

    def read(self, size: int | None = -1) -> bytes:  # noqa: ARG002
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails() -> None:
    def fails() -> BinaryIO:
        return FailingReader()

    with RawServer(read_until_close) as server, router_for(server) as router:
        error = failure(router, Upload("talk.wav", 1000, fails))
    assert isinstance(error, InputError)
    assert "cannot be read any more (input/output error)" in error.message


@pytest.mark.parametrize("reset", [True, False])
def test_a_router_that_goes(recording: Path, reset: bool) -> None:
    def delete_file(connection: Connection) -> None:
        connection.sock.recv(1 << 16)
        if reset:
            connection.reset()

    with RawServer(delete_file) as server, router_for(server, max_retries=2) as router:
        assert isinstance(failure(router, Upload.from_path(recording)), APIConnectionError)
    assert server.connections == 1


def test_a_refusal_before_all_was_sent(recording: Path) -> None:
    gone = Event()

    def refuses(connection: Connection) -> None:
        connection.sock.recv(1 << 16)
        connection.send(answer({"error": "25 MB at most"}, 413, Connection="close"))
        connection.sock.shutdown(1)
        read_until_close(connection)
        gone.set()

    with RawServer(refuses) as server, router_for(server) as router:
        error = failure(router, Upload.from_path(recording))
    assert isinstance(error, APIStatusError)
    assert (error.status, error.detail) == (413, "25 MB at most")
    assert error.message.startswith("the file is too large for the router")
    assert gone.is_set()


def stall_until(event: Event, then_reads: bool) -> Any:
    def script(connection: Connection) -> None:
        connection.sock.recv(1 << 16)
        connection.wait(event)
        if then_reads:
            read_until_close(connection)

    return script


def test_a_router_that_takes_nothing_more(recording: Path) -> None:
    over = Event()
    with RawServer(stall_until(over, then_reads=False)) as server, router_for(server, timeout=0.2) as router:
        error = failure(router, Upload.from_path(recording))
        over.set()
    assert isinstance(error, APITimeoutError)


def test_a_stall_may_last_longer_than_connecting(recording: Path) -> None:
    over = Event()

    def script(connection: Connection) -> None:
        left = LONG - len(connection.sock.recv(1 << 16))
        over.wait(0.5)  # nobody sets it: longer than the connection may take
        while left > 0 and (part := connection.sock.recv(1 << 16)):
            left -= len(part)
        connection.send(HEARD)

    with RawServer(script) as server, router_for(server) as router:
        request = router.transcription_request(Upload.from_path(recording), model=MODEL)
        request = dataclasses.replace(request, timeouts=Timeouts(connect=0.2, read=15))
        response = router._transport.send(request)
        assert response.status == 200
        response.close()


def test_an_interrupt_ends_an_upload(recording: Path) -> None:
    main = threading.get_ident()
    files: list[BinaryIO] = []

    def opened() -> BinaryIO:
        files.append(recording.open("rb"))
        return files[-1]

    def script(connection: Connection) -> None:
        connection.sock.recv(1 << 16)
        signal.pthread_kill(main, signal.SIGINT)
        read_until_close(connection)

    upload = Upload("talk.wav", LONG, opened)
    with RawServer(script, responds(HEARD)) as server, router_for(server) as router:
        with pytest.raises(KeyboardInterrupt) as caught:
            router.transcribe(upload, model=MODEL)
        assert files[0].closed
        assert router.transcribe(Upload.from_bytes(wav()), model=MODEL).text == "Hello."
    assert not [said for said in shown(caught.value) if KEY in said]


@pytest.mark.parametrize("what", ["speech", "image"])
def test_an_interrupt_ends_a_download(what: str) -> None:
    main = threading.get_ident()
    gone = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        start = wav() if what == "speech" else b'{"data": [{"b64_json": "AAAA'
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + start)
        signal.pthread_kill(main, signal.SIGINT)
        assert connection.wait_for_close()
        gone.set()

    with RawServer(script) as server, router_for(server) as router:
        with pytest.raises(KeyboardInterrupt) as caught:
            router.speech("Hello", model=MODEL) if what == "speech" else router.image("a cat", model=MODEL)
        assert gone.wait(15)
    assert not [said for said in shown(caught.value) if KEY in said]


def test_an_interrupt_ends_a_fetch_from_elsewhere() -> None:
    main = threading.get_ident()
    gone = Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        signal.pthread_kill(main, signal.SIGINT)
        assert connection.wait_for_close()
        gone.set()

    with RawServer(script) as elsewhere:
        said = answer({"data": [{"url": elsewhere.base_url}]})
        with RawServer(responds(said)) as server, router_for(server) as router:
            with pytest.raises(KeyboardInterrupt):
                router.image("a cat", model=MODEL)
            assert gone.wait(15)
